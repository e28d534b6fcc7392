"""The loop behind the door: claim, run, finish, claim again.

Detached kinds are claimed here too, but run on threads of their own, so that no message is held while they work.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from django.db import InterfaceError, OperationalError, connection

from serving_site.jobs import lease, ring
from serving_site.jobs.batch import Batch
from serving_site.jobs.claim import LEASE_S, claim, has_queued
from serving_site.jobs.kinds import Kind

log = structlog.get_logger(__name__)
T = TypeVar("T")
DRAIN_S = 60.0
PATIENCE_S = 60.0
"""How long a claim waits for a database that is away, message in hand, so that rings do not pile up as dead letters."""

stopping = threading.Event()
"""Set once when this process is asked to end: nothing more is claimed."""

_filling = threading.Lock()
_detached: list[Batch] = []


def drain(kind: Kind) -> None:
    """Claim and run batches of `kind` until none is queued; after 60 s, or when stopping, ring and leave the rest.

    If rows remain after the first claim, ring once, so that the next idle worker wakes: one ring wakes them all.
    """
    if kind.detached:
        _fill(kind)
        return
    until, has_rung = time.monotonic() + DRAIN_S, False
    while not stopping.is_set() and time.monotonic() < until:
        batch = patiently(lambda: claim(kind), PATIENCE_S)
        if batch is None:
            return
        if not has_rung:
            has_rung = True
            if batch.more:
                ring.ring(kind, "more")
        run(batch)
    ring_if_queued(kind)


def _fill(kind: Kind) -> None:
    """Claim until this process keeps as many runs of `kind` as it may; if rows remain then, ring for the others.

    A ring that finds no room is done with: whoever ends looks again.
    """
    with _filling:
        before = room = kind.detached - sum(batch.kind is kind for batch in _detached)
        while room > 0 and not stopping.is_set():
            batch = patiently(lambda: claim(kind), PATIENCE_S)
            if batch is None:
                return
            _detached.append(batch)
            threading.Thread(target=_run_detached, args=(batch,), name=f"{kind.queue} run", daemon=True).start()
            room -= 1
    if room < before:
        ring_if_queued(kind)


def _run_detached(batch: Batch) -> None:
    try:
        run(batch)
        _detached.remove(batch)
        if stopping.is_set():
            ring_if_queued(batch.kind)  # it was given back, and somebody else may have room
        else:
            _fill(batch.kind)
    except (OperationalError, InterfaceError) as error:
        log.warning("database_away", error=str(error).strip()[:200])  # the sweeper rings when it is back
    finally:
        connection.close()


def ring_if_queued(kind: Kind) -> None:
    if patiently(lambda: has_queued(kind), LEASE_S):
        ring.ring(kind, "more")


def run(batch: Batch) -> None:
    """Run one batch under its lease. A defect of ours is logged and leaves the rows to the sweeper."""
    structlog.contextvars.bind_contextvars(request_id=batch.jobs[0].request_id, job=str(batch.jobs[0].id))
    try:
        with lease.hold(batch):
            batch.kind.run(batch)
    except Exception:
        log.exception("run_failed", kind=batch.kind.queue, rows=len(batch.jobs))
        connection.close()
    finally:
        structlog.contextvars.unbind_contextvars("request_id", "job")


def patiently(attempt: Callable[[], T], patience_s: float) -> T:
    """`attempt()`, again and again on a fresh connection while the database is away, for up to `patience_s`."""
    until, pause_s = time.monotonic() + patience_s, 0.05
    while True:
        try:
            return attempt()
        except (OperationalError, InterfaceError) as error:
            connection.close()
            if time.monotonic() + pause_s > until or (stopping.is_set() and patience_s > LEASE_S):
                raise
            log.warning("database_away", error=str(error).strip()[:200])
        time.sleep(pause_s * random.uniform(0.7, 1.3))  # noqa: S311 - spreads the retries of several threads
        pause_s = min(pause_s * 2, 2.0)
