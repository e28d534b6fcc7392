"""The worker process, the same in both installs: actor threads, the keeper of leases, the sweeper, the heartbeat."""

import atexit
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import dramatiq
import dramatiq.worker
import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from serving_site.jobs import disks, lease, sql, supervisor, sweep
from serving_site.jobs.drain import drain, stopping
from serving_site.jobs.kinds import KINDS, Kind
from serving_site.jobs.models import Worker
from serving_site.jobs.uuid7 import uuid7

log = structlog.get_logger(__name__)
BEAT_S = 1.0
SHUTDOWN_S = 60
GIVE_BACK_S = 5.0
"""How long a detached run may take to give its row back when the worker stops; after that the worker does it."""
BUSY_S = 20
"""How long a worker thread waits for SQLite's one writer; a web thread waits for less (settings)."""

Tick = Callable[[], bool | None]
_ticks: list[tuple[Tick, float]] = []
_facts: list[Callable[[], dict[str, Any]]] = []
_on_stop: list[Callable[[], None]] = []


def on_tick(every_s: float, tick: Tick) -> None:
    """Call `tick` about every `every_s` seconds in each worker process, on a thread of its own.

    Where it returns True the heartbeat has news and is written at once.
    """
    _ticks.append((tick, every_s))


def on_heartbeat(facts: Callable[[], dict[str, Any]]) -> None:
    """Add what `facts` returns to the worker's heartbeat row; it must be quick and touch no database."""
    _facts.append(facts)


def on_stop(stop: Callable[[], None]) -> None:
    """Call `stop` when the worker process ends, after its actors."""
    _on_stop.append(stop)


class WorkerProcess:
    """Everything one process runs to do background work of `kinds` (default: all) in `slots` threads."""

    def __init__(self, slots: int, kinds: list[Kind] | None = None) -> None:
        self.id = uuid7()
        self.slots = slots
        self.kinds = kinds or list(KINDS.values())
        self.stopped = threading.Event()
        self.substitute = threading.Lock()
        broker = dramatiq.get_broker()
        self.dramatiq = dramatiq.Worker(
            broker, queues={kind.queue for kind in self.kinds}, worker_threads=slots, worker_timeout=200
        )
        self.dramatiq.queue_prefetch = slots

    def start(self) -> None:
        """Start the threads and return. Claims are made before the first ring is waited for."""
        stopping.clear()
        self._beat()
        self._every(BEAT_S, self._beat)
        self._every(lease.KEEP_S, lease.keep)
        self._every(sweep.SWEEP_S, self._sweep)
        for tick, every_s in _ticks:
            self._every(every_s, tick)
        for number in range(self.slots):
            threading.Thread(target=self._first_drain, name=f"first-drain-{number}", daemon=True).start()
        self.dramatiq.start()
        log.info("worker_started", worker=str(self.id), slots=self.slots, queues=[kind.queue for kind in self.kinds])

    def stop(self, timeout_s: float = SHUTDOWN_S) -> None:
        """Claim nothing more, finish what runs within `timeout_s`, end every child; safe to call twice."""
        if self.stopped.is_set():
            return
        stopping.set()
        until = time.monotonic() + timeout_s
        _await_leases(until)
        left_s = max(until - time.monotonic(), 1)
        self.dramatiq.stop(timeout=int(left_s * 1000 / 2))  # it waits so long for its actors, then for its consumers
        self.stopped.set()
        for stop in _on_stop:
            stop()
        try:
            Worker.objects.filter(pk=self.id).delete()
        except DatabaseError:
            log.warning("worker_left_its_heartbeat_row", worker=str(self.id))
        log.info("worker_stopped", worker=str(self.id))

    def is_whole(self) -> bool:
        """Whether every actor thread still lives: without one the worker would look alive and do less."""
        return all(thread.is_alive() for thread in self.dramatiq.workers)

    def hears(self) -> bool:
        """Whether the broker lets this process listen to each of its queues."""
        return all(thread.consumer is not None for thread in self.dramatiq.consumers.values())

    def _first_drain(self) -> None:
        be_patient()
        for kind in self.kinds:
            drain(kind)
        connection.close()

    def _beat(self) -> None:
        now = sql.now()
        ahead_s = round(time.time() - now.timestamp(), 1)
        facts: dict[str, Any] = {"disks": disks.here(data=settings.DATA_DIR), "clock_ahead_s": ahead_s}
        for more in _facts:
            facts |= more()
        fresh = {"seen_at": now, "info": facts}
        if not Worker.objects.filter(pk=self.id).update(**fresh):
            queues = [kind.queue for kind in self.kinds]
            named = {"host": socket.gethostname(), "pid": os.getpid(), "slots": self.slots, "queues": queues}
            Worker.objects.create(pk=self.id, started_at=now, **named, **fresh)

    def _sweep(self) -> None:
        sweep.sweep(on_unheard=self._drain_unheard)
        sweep.forget_dead_workers()

    def _drain_unheard(self, kind: Kind) -> None:
        """The broker is away and rows wait: drain them on one thread of our own, so that they need not wait for it."""
        if kind in self.kinds and self.substitute.acquire(blocking=False):
            threading.Thread(target=self._substitute, args=(kind,), name="substitute", daemon=True).start()

    def _substitute(self, kind: Kind) -> None:
        try:
            be_patient()
            drain(kind)
        finally:
            connection.close()
            self.substitute.release()

    def _every(self, seconds: float, work: Tick) -> None:
        threading.Thread(target=self._loop, args=(seconds, work), name=work.__name__, daemon=True).start()

    def _loop(self, seconds: float, work: Tick) -> None:
        be_patient()
        while not self.stopped.wait(seconds):
            try:
                if work():
                    self._beat()
            except (OperationalError, InterfaceError) as error:
                log.warning("database_away", during=work.__name__, error=str(error).strip()[:200])
                sweep.be_calm()
                connection.close()
            except Exception:
                log.exception("tick_failed", during=work.__name__)
                connection.close()
        connection.close()


def _await_leases(until: float) -> None:
    """Wait for what runs; detached runs only give their rows back, and where one is slow, that is done for it."""
    soon = min(until, time.monotonic() + GIVE_BACK_S)
    while any(time.monotonic() < (soon if one.batch.kind.detached else until) for one in lease.held()):
        time.sleep(0.05)
    for one in lease.held():
        if one.batch.kind.detached:
            try:
                one.batch.give_back()
            except DatabaseError:
                log.warning("worker_left_its_lease", job=str(one.batch.jobs[0].id))


def be_patient() -> None:
    """Let this thread's SQLite connection wait longer for the writer than a web request would."""
    if not sql.is_postgres():
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000}")
        except DatabaseError as error:
            log.warning("database_away", error=str(error))


def run_until_told(process: WorkerProcess) -> int:
    """Run in the foreground until INT or TERM; returns the exit status (1 when an actor thread was lost)."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    process.start()
    is_ready = False
    while not told.wait(1.0):
        if not process.is_whole():
            log.error("actor_thread_lost")
            process.stop()
            return 1
        if not is_ready and process.hears():
            is_ready = True
            supervisor.notify("READY=1")
    supervisor.notify("STOPPING=1")
    process.stop()
    return 0


_embedded: WorkerProcess | None = None


def start_embedded() -> WorkerProcess:
    """Start the in-process worker of the embedded install, once per process, and stop it when the process ends."""
    global _embedded  # noqa: PLW0603 - one per process
    if _embedded is None:
        _embedded = WorkerProcess(settings.WORKER_SLOTS)
        _embedded.start()
        atexit.register(_embedded.stop, timeout_s=10)
    return _embedded
