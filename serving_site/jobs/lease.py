"""Leases: what keeps a claimed row this worker's while its child works, and what notices that nobody wants it."""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog
from django.db import Error, connection

from serving_site.jobs import sql
from serving_site.jobs.batch import Batch
from serving_site.jobs.claim import LEASE_S

log = structlog.get_logger(__name__)
RENEW_S = 10.0
KEEP_S = 1.0


@dataclass
class Lease:
    """A held batch. `on_unwanted` is called once when no row of it is still wanted (all canceled or taken away)."""

    batch: Batch
    until: float
    renewed_at: float = field(default_factory=time.monotonic)
    on_unwanted: Callable[[], None] = lambda: None
    is_unwanted: bool = False

    def drop(self) -> None:
        """Nobody wants this batch any more: say so, once."""
        if not self.is_unwanted:
            self.is_unwanted = True
            self.on_unwanted()


_held: dict[uuid.UUID, Lease] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def hold(batch: Batch) -> Iterator[Lease]:
    """Keep the batch's lease fresh while the block runs, at most until the kind's deadline has passed."""
    lease = Lease(batch, until=time.monotonic() + batch.kind.deadline_s)
    with _lock:
        _held[batch.token] = lease
    try:
        yield lease
    finally:
        with _lock:
            del _held[batch.token]


def held() -> list[Lease]:
    with _lock:
        return list(_held.values())


@contextlib.contextmanager
def keeping() -> Iterator[None]:
    """Keep the leases of a process that is no worker, on a thread of its own, while the block runs."""
    ended = threading.Event()
    keeper = threading.Thread(target=_keep_until, args=(ended,), name="keep", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()


def _keep_until(ended: threading.Event) -> None:
    while not ended.wait(KEEP_S):
        try:
            keep()
        except Error as error:  # of any database; the next round tries on a fresh connection
            log.warning("database_away", during="keep", error=str(error).strip()[:200])
            connection.close()
    connection.close()


def keep() -> None:
    """One round, about once a second: renew what is due, and tell batches that nobody wants any more."""
    for lease in held():
        if lease.is_unwanted:
            continue
        now = time.monotonic()
        due = now - lease.renewed_at >= RENEW_S and now < lease.until
        if _still_wanted(lease, renew=due):
            lease.renewed_at = now if due else lease.renewed_at
        elif not lease.batch.settled:
            lease.drop()


def _still_wanted(lease: Lease, *, renew: bool) -> bool:
    table = lease.batch.kind.table
    mine = "status = 'running' AND lease_token = %s"
    with connection.cursor() as cursor:
        if renew:
            cursor.execute(
                f"UPDATE {table} SET lease_until = {sql.clock(LEASE_S)} WHERE {mine}", sql.keys([lease.batch.token])
            )
            return bool(cursor.rowcount > 0)
        cursor.execute(f"SELECT 1 FROM {table} WHERE {mine} LIMIT 1", sql.keys([lease.batch.token]))
        return cursor.fetchone() is not None
