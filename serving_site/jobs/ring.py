"""The doorbell: "there is work in this queue". Nobody who serves a request ever waits for the broker.

One thread per process talks to the broker. Request threads only set a flag after commit; a ring covers the rows that
were committed before its publish began, and a flag set meanwhile causes the next. Rings here are not confirmed: the
row is the job, and the sweeper repairs what is lost. In a cluster they are: a channel that was used while a queue had
no leader goes on refusing messages after there is one again, and only who is told opens another.
"""

import os
import threading
import time
from typing import Any

import dramatiq
import structlog
from django.conf import settings

from serving_site.broker import Broker
from serving_site.jobs.kinds import Kind

log = structlog.get_logger(__name__)
BREAKER_S = 5.0
"""After a failed ring the broker is left alone for so long; rows committed meanwhile wait for the sweeper."""


class Ringer:
    """The ringing thread of one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.flags: dict[str, tuple[Kind, str]] = {}
        self.flagged = threading.Condition()
        self.broker: Any = dramatiq.get_broker() if settings.EMBEDDED else _ringing_broker()
        self.closed_until = 0.0
        threading.Thread(target=self._run, name="ringer", daemon=True).start()

    def flag(self, kind: Kind, hint: str) -> None:
        with self.flagged:
            self.flags[kind.queue] = kind, hint
            self.flagged.notify()

    def _run(self) -> None:
        while True:
            with self.flagged:
                self.flagged.wait_for(lambda: self.flags)
                flags, self.flags = self.flags, {}
            for kind, hint in flags.values():
                self._publish(kind, hint)

    def _publish(self, kind: Kind, hint: str) -> None:
        if time.monotonic() < self.closed_until:
            return
        try:
            self.broker.enqueue(kind.actor.message(hint))
        except Exception as error:  # noqa: BLE001 - pika raises several families; none may end this thread
            self.closed_until = time.monotonic() + BREAKER_S
            log.warning("ring_failed", queue=kind.queue, error=repr(error))


_ringer: Ringer | None = None
_starting = threading.Lock()


def ring(kind: Kind, hint: str) -> None:
    """Ask this process's ringing thread to ring `kind`'s queue; returns at once, never raises."""
    global _ringer  # noqa: PLW0603 - one per process, started after fork
    if _ringer is None or _ringer.pid != os.getpid():
        with _starting:
            if _ringer is None or _ringer.pid != os.getpid():
                _ringer = Ringer()
    _ringer.flag(kind, hint)


def ring_confirmed(kind: Kind, times: int) -> int:
    """Ring `times`, less what already rings in the queue, each confirmed by the broker; returns how many were sent.

    Reading the depth re-declares the queue, so a wiped broker is repaired here. Raises what the broker raises.
    """
    broker: Any = dramatiq.get_broker()
    sent = max(times - _depth(broker, kind.queue), 0)
    for number in range(sent):
        broker.enqueue(kind.actor.message(f"sweep {number}"))
    return sent


def depth(kind: Kind) -> int | None:
    """How many rings wait in the queue, or None where the broker does not say."""
    try:
        return _depth(dramatiq.get_broker(), kind.queue)
    except Exception as error:  # noqa: BLE001 - the broker is away, in one of many ways
        log.warning("depth_unknown", queue=kind.queue, error=repr(error))
        return None


def _depth(broker: Any, queue: str) -> int:
    if isinstance(broker, Broker):
        return broker.depth(queue)
    return int(broker.queues[queue].qsize()) if queue in broker.queues else 0


def _ringing_broker() -> Broker:
    quorum = settings.QUORUM_QUEUES
    return Broker(amqp_url=settings.RABBITMQ_URL, quorum=quorum, confirm_delivery=quorum, middleware=[])
