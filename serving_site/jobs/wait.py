"""Waiting for an outcome: woken by the finish itself, with slow polling behind it.

On PostgreSQL the finish sends NOTIFY (one per batch; its payload may hold 8,000 bytes, so beyond 100 ids it says
"all look"). Within one process an event does the same. A waiter registers, then reads the row, then sleeps.
"""

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterator, Sequence

import psycopg
import structlog
from django.db import connection

from serving_site.jobs import sql
from serving_site.jobs.models import FINAL, Job

log = structlog.get_logger(__name__)
CHANNEL = "jobs_finished"
IDS_PER_NOTE = 100
EVERYBODY = "*"
POLL_S = 0.5

_waiting: dict[uuid.UUID, list[threading.Event]] = {}
_lock = threading.Lock()
_listener: "Listener | None" = None


def wait_for(model: type[Job], key: uuid.UUID, timeout_s: float) -> bool:
    """Wait until the row is terminal (True) or `timeout_s` has passed (False)."""
    until = time.monotonic() + timeout_s
    with _registered(key) as event:
        while True:
            event.clear()
            if model._default_manager.filter(pk=key, status__in=FINAL).exists():
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            event.wait(min(left, POLL_S))


@contextlib.contextmanager
def _registered(key: uuid.UUID) -> Iterator[threading.Event]:
    event = threading.Event()
    with _lock:
        _waiting.setdefault(key, []).append(event)
    try:
        _listen()
        yield event
    finally:
        with _lock:
            _waiting[key].remove(event)
            if not _waiting[key]:
                del _waiting[key]


def wake(ids: Sequence[uuid.UUID] | None) -> None:
    """Wake the waiters of `ids` in this process, or all of them; those of other processes hear the finish's NOTIFY."""
    with _lock:
        events = [event for key in (_waiting if ids is None else ids) for event in _waiting.get(key, ())]
    for event in events:
        event.set()


def _listen() -> None:
    global _listener  # noqa: PLW0603 - one per process, started after fork
    if not sql.is_postgres():
        return
    with _lock:
        if _listener is None or _listener.pid != os.getpid():
            _listener = Listener()
            _listener.start()


class Listener:
    """The one LISTEN connection of this process; whenever it (re)connects, everybody looks. Once replaced, it ends."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.parameters = dict(connection.get_connection_params())
        for name in ("cursor_factory", "context"):
            self.parameters.pop(name, None)

    def start(self) -> None:
        threading.Thread(target=self._run, name="listener", daemon=True).start()

    def _run(self) -> None:
        while _listener is self:
            try:
                with psycopg.connect(**self.parameters, autocommit=True) as listening:
                    listening.execute(f"LISTEN {CHANNEL}")
                    wake(None)
                    for note in listening.notifies():
                        wake(None if note.payload == EVERYBODY else [uuid.UUID(key) for key in note.payload.split(",")])
            except psycopg.Error as error:
                if _listener is self:
                    log.warning("listener_reconnects", error=str(error).strip()[:200])
                    time.sleep(1)
