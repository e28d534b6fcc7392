"""RabbitMQ, as far as it can be seen over the protocol that the site itself speaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dramatiq
import pika
from django.conf import settings
from pika.exceptions import AMQPError, ChannelClosedByBroker, ProbableAccessDeniedError, ProbableAuthenticationError

from serving_site.broker import Broker
from serving_site.jobs import ring
from serving_site.jobs.kinds import KINDS
from serving_site.keeping.doctor.findings import Finding, error, note, ok, warning

MANY = 10_000


def answers() -> Iterator[Finding]:
    """Whether it lets us in, and whether each queue is there, of the right kind, and heard."""
    if settings.EMBEDDED:
        yield ok("None is needed: the site works in its own process.")
        return
    broker = dramatiq.get_broker()
    assert isinstance(broker, Broker)
    reached = False
    for parameters in broker.parameters:
        where = f"{parameters.host}:{parameters.port}"
        try:
            with pika.BlockingConnection(parameters) as connection:
                reached = True
                told = connection._impl.server_properties  # noqa: SLF001 - pika offers no other way
                yield ok(f"{_text(told.get('product'))} {_text(told.get('version'))} answers at {where}.")
        except (AMQPError, OSError) as failure:
            yield _away(where, failure)
    if reached:
        yield from _queues(broker)
        yield from _bell()
        yield note("Its consumer_timeout and disk limit cannot be seen from here: deploy/rabbitmq/ sets them.")


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _away(where: str, failure: BaseException) -> Finding:
    cause = failure.args[0] if failure.args and isinstance(failure.args[0], BaseException) else failure
    if isinstance(cause, ProbableAuthenticationError):
        return error(f"The broker at {where} refuses the user.", "Check user and password in RABBITMQ_URL.")
    if isinstance(cause, ProbableAccessDeniedError):
        return error(
            f"The broker at {where} refuses the virtual host.",
            "Check the vhost in RABBITMQ_URL, and `rabbitmqctl list_permissions -p VHOST`.",
        )
    return error(
        f"The broker at {where} does not answer ({cause!r}): what people submit is kept, and runs with some delay.",
        "Check that it runs (systemctl status rabbitmq-server) and that RABBITMQ_URL names its host and port.",
    )


def _queues(broker: Broker) -> Iterator[Finding]:
    sound = 0
    for kind in KINDS.values():
        found = list(_queue(broker, kind.queue))
        yield from found
        sound += not found
    if sound == len(KINDS):
        yield ok(f"{sound} queues are {'quorum' if broker.quorum else 'classic'} queues, as set, and heard.")


def _queue(broker: Broker, name: str) -> Iterator[Finding]:
    arguments = broker._build_queue_arguments(name)  # noqa: SLF001 - what the workers declare
    try:
        with pika.BlockingConnection(broker.parameters) as connection:
            declared = connection.channel().queue_declare(name, durable=True, arguments=arguments).method
    except ChannelClosedByBroker as closed:
        if closed.reply_code == 406:
            yield error(
                f"The queue {name} is there as one of another kind: {closed.reply_text[:160]}",
                "Set QUORUM_QUEUES as it was, or stop the workers and delete the queue: rows stay, and are rung for.",
            )
        else:
            yield error(
                f"The queue {name} is refused: {closed.reply_text[:160]}",
                "Give the user configure, write and read on the site's queues: see deploy/rabbitmq/.",
            )
        return
    except (AMQPError, OSError) as failure:
        yield error(f"The queue {name} cannot be asked for: {failure!r}", "Look into the broker's log.")
        return
    if not declared.consumer_count:
        yield warning(f"Nobody listens to the queue {name}.", "Start a worker that hears it: `manage.py runworker`.")
    if declared.message_count > MANY:
        yield warning(f"{declared.message_count:,} rings wait in {name}.", "Add workers, or see why they are slow.")


def _bell() -> Iterator[Finding]:
    """Whether a message is taken: with an alarm of memory or disk the broker lets in and takes none."""
    kind = next(iter(KINDS.values()))
    try:
        ring.ring_confirmed(kind, 1)
    except Exception as failure:  # noqa: BLE001 - several families
        yield error(
            f"The broker takes no message: {failure!r}",
            "Look at `rabbitmqctl status` for alarms of memory or disk, and at the user's permission to write.",
        )
