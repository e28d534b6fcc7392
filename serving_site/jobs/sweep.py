"""The sweeper: every few seconds, somewhere, what was lost is found again."""

import json
import time
from collections.abc import Callable, Iterator

import structlog
from django.db import DatabaseError, connection, transaction

from serving_site.jobs import ring, sql
from serving_site.jobs.finish import Outcome, finish
from serving_site.jobs.kinds import KINDS, Kind
from serving_site.jobs.models import Job, Status, Worker, count

log = structlog.get_logger(__name__)
SWEEP_S = 5.0
LOST_LIMIT = 20
ALIVE_S = 10
"""A worker is alive while its heartbeat is younger than this."""
CALM_S = 30.0
"""After a database error no lease is freed for so long: workers could not renew either."""
LOCK = 7_301_001

_calm_until = 0.0


def sweep(on_unheard: Callable[[Kind], None] = lambda _: None) -> dict[str, int]:
    """One round over every kind; returns what was done: leases recovered, rows given up, rings sent.

    `on_unheard` is called with a kind that deserves rings while the broker is away.
    """
    done = {"recovered": 0, "gave_up": 0, "rings": 0}
    for kind in list(KINDS.values()):
        try:
            wanted = _repair(kind, done)
        except DatabaseError:
            be_calm()
            raise
        if wanted:
            sent = _ring(kind, wanted)
            done["rings"] += sent or 0
            if sent is None:
                on_unheard(kind)
    return done


def be_calm() -> None:
    """Remember that the database failed just now."""
    global _calm_until  # noqa: PLW0603 - per process
    _calm_until = time.monotonic() + CALM_S


def _repair(kind: Kind, done: dict[str, int]) -> int:
    """Free expired leases in one short transaction; returns how many rings the queue deserves."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql.try_lock(LOCK))
        if not cursor.fetchone()[0]:
            return 0
        if time.monotonic() >= _calm_until:
            recovered, gave_up = _free_expired(kind), _give_up(kind)
            done["recovered"] += recovered
            done["gave_up"] += gave_up
        return min(_queued(kind, limit=1000), live_slots(kind))


def _free_expired(kind: Kind) -> int:
    """The host vanished with these rows: no evidence against any of them, so back to the queue with `lost` + 1."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {kind.table} SET status = 'queued', lost = lost + 1, lease_token = NULL, lease_until = NULL "
            f"WHERE status = 'running' AND lease_until < {sql.clock()} AND lost + 1 < {LOST_LIMIT}"
        )
        freed = int(cursor.rowcount)
    if freed:
        log.warning("leases_recovered", kind=kind.queue, rows=freed)
        count("leases_recovered", freed)
    return freed


def _give_up(kind: Kind) -> int:
    given_up = 0
    for job in _hopeless(kind):
        lost = Outcome(job.id, Status.FAILED, "infrastructure", _sentence(kind))
        given_up += len(finish(kind, [lost], token=job.lease_token))
    return given_up


def _hopeless(kind: Kind) -> Iterator[Job]:
    return iter(
        kind.model._default_manager.raw(
            f"SELECT * FROM {kind.table} WHERE status = 'running' AND lease_until < {sql.clock()} "
            f"AND lost + 1 >= {LOST_LIMIT} LIMIT 100"
        )
    )


def _sentence(kind: Kind) -> dict[str, str]:
    text = (
        f"The machines that ran this stopped {LOST_LIMIT} times. Nothing is wrong with the input; run it again later."
    )
    return {"error": text} if "error" in kind.model.RESULT_COLUMNS else {}


def _queued(kind: Kind, limit: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM (SELECT 1 FROM {kind.table} WHERE status = 'queued' LIMIT {limit}) AS q")
        return int(cursor.fetchone()[0])


def live_slots(kind: Kind) -> int:
    """How many runs of this kind the living workers can hold at once."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT slots, queues FROM {Worker._meta.db_table} WHERE seen_at > {sql.clock(-ALIVE_S)}")
        workers = [slots for slots, queues in cursor.fetchall() if kind.queue in json.loads(queues)]
    return kind.detached * len(workers) or sum(workers)


def _ring(kind: Kind, wanted: int) -> int | None:
    """Ring as often as the queue deserves, and note it at the rows in front; None when the broker is away."""
    try:
        sent = ring.ring_confirmed(kind, wanted)
    except Exception as error:  # noqa: BLE001 - the broker is away, in one of many ways; the next round tries again
        log.warning("sweep_ring_failed", queue=kind.queue, error=repr(error))
        return None
    if sent:
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {kind.table} SET rung_at = {sql.clock()} WHERE status = 'queued' AND id IN "
                f"(SELECT id FROM {kind.table} WHERE status = 'queued' ORDER BY lane, turn, id LIMIT {sent})"
            )
    return sent


def forget_dead_workers() -> None:
    """Remove heartbeat rows that have been silent for an hour; until then admin shows them as gone."""
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {Worker._meta.db_table} WHERE seen_at < {sql.clock(-3600)}")
