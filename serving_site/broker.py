"""Dramatiq's RabbitMQ broker, made safe: bounded waits, and acknowledgements that cannot hit a wrong message.

Nothing here carries a promise: the broker is a doorbell (see `serving_site.jobs`). A lost message costs at most the
sweeper's interval.
"""

import os
import sys
from typing import Any

import dramatiq.brokers.rabbitmq as upstream
import pika
from dramatiq.broker import MessageProxy
from dramatiq.common import xq_name

# With attempts at 2 the worst publish to a hung broker takes about 4 s; one reconnect must stay possible, because
# the broker drops connections that were idle.
upstream.MAX_ENQUEUE_ATTEMPTS = 2
upstream.MAX_DECLARE_ATTEMPTS = 2


QUORUM = {"x-queue-type": "quorum"}


class Consumer(upstream._RabbitmqConsumer):  # noqa: SLF001 - the class has no public name
    """Acknowledges a message only on the connection that delivered it.

    Delivery tags count per channel. After a reconnect the worker thread would acknowledge its old tag on the new
    channel, where the same number names another message, which is then lost.
    """

    def __next__(self) -> MessageProxy | None:
        message: MessageProxy | None = super().__next__()  # type: ignore[no-untyped-call]
        if message is not None:
            message.delivered_by = self  # type: ignore[attr-defined]
        return message

    def ack(self, message: Any) -> None:
        if message.delivered_by is self:
            super().ack(message)  # type: ignore[no-untyped-call]

    def nack(self, message: Any) -> None:
        if message.delivered_by is self:
            super().nack(message)  # type: ignore[no-untyped-call]


class Broker(upstream.RabbitmqBroker):
    """RabbitMQ at `amqp_url`, with every wait bounded and a connection name that an operator recognises.

    Several addresses with commas between them are the nodes of one cluster; the first that answers is used. With
    `quorum`, what is declared lives on as long as most of them do.
    """

    def __init__(self, *, amqp_url: str, quorum: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.quorum = quorum
        self.parameters = [_parameters(url) for url in amqp_url.split(",")]

    @property
    def consumer_class(self) -> type[Consumer]:
        return Consumer

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        arguments: dict[str, Any] = super()._build_queue_arguments(queue_name)  # type: ignore[no-untyped-call]
        if self.quorum:
            arguments |= QUORUM
        return arguments

    def _declare_xq_queue(self, queue_name: str) -> Any:
        # Upstream's is a classic one: while the node that it lives on is down, nobody can declare it.
        if not self.quorum:
            return super()._declare_xq_queue(queue_name)  # type: ignore[no-untyped-call]
        arguments = {"x-message-ttl": upstream.DEAD_MESSAGE_TTL, **QUORUM}
        return self.channel.queue_declare(queue=xq_name(queue_name), durable=True, arguments=arguments)

    def depth(self, queue_name: str) -> int:
        """How many messages are ready in the queue; re-declares it. Raises what the connection raises.

        A connection from before may have been closed by the broker for being idle, so that a new one is tried.
        """
        is_from_before = getattr(self.state, "connection", None) is not None
        try:
            declared = self._declare_queue(queue_name)  # type: ignore[no-untyped-call]
            return int(declared.method.message_count)
        except Exception:
            del self.connection
            self.queues_pending.add(queue_name)
            if is_from_before:
                return self.depth(queue_name)
            raise


def _parameters(amqp_url: str) -> pika.URLParameters:
    parameters = pika.URLParameters(amqp_url)
    parameters.heartbeat = 15
    parameters.socket_timeout = 1
    parameters.stack_timeout = 2
    parameters.blocked_connection_timeout = 2
    parameters.connection_attempts = 1
    role = "worker" if "runworker" in sys.argv else "web"
    parameters.client_properties = {"connection_name": f"serving-site {role} {os.getpid()}"}
    return parameters
