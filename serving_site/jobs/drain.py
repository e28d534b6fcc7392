"""The loop behind the door: claim, run, finish, claim again."""

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


def drain(kind: Kind) -> None:
    """Claim and run batches of `kind` until none is queued; after 60 s, or when stopping, ring and leave the rest.

    If rows remain after the first claim, ring once, so that the next idle worker wakes: one ring wakes them all.
    """
    until, has_rung = time.monotonic() + DRAIN_S, False
    while not stopping.is_set() and time.monotonic() < until:
        batch = patiently(lambda: claim(kind), PATIENCE_S)
        if batch is None:
            return
        if not has_rung:
            has_rung = True
            ring_if_queued(kind)
        run(batch)
    ring_if_queued(kind)


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
