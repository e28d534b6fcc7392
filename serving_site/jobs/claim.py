"""Claiming: queued rows become this worker's, in stored order, a head and whatever fits in its batch."""

import itertools
import uuid
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction

from serving_site.jobs import sql, submit
from serving_site.jobs.batch import Batch
from serving_site.jobs.kinds import FILL_BYTES, KINDS, Kind
from serving_site.jobs.models import ALONE_AFTER_LOST, Job

LEASE_S = 30
OLDEST_EVERY = 8
"""Every eighth claim takes the oldest row of any lane, so that none starves."""

_claims = itertools.count(1)


def claim(kind: Kind) -> Batch | None:
    """Queued becomes running for the head of the order and the rows that fill its batch; None when none is queued.

    The head is claimed by one statement, which commits by itself; only if more rows are queued does a transaction fill
    the batch. Attempts + 1, a new lease token, a lease of 30 s by the database's clock. Suspect rows and rows whose
    host vanished three times come alone.
    """
    if not sql.is_postgres() and not has_queued(kind):  # SQLite: do not take the one write lock for nothing
        return None
    token = uuid.uuid4()
    head = _take_head(kind, token)
    if head is None:
        return None
    filled, more = [], bool(head.more_queued)
    try:
        if more and kind.fill_by and not head.runs_alone:
            filled = _fill(kind, head, token)
            more = not filled or has_queued(kind)
    except (OperationalError, InterfaceError):  # the head is ours already: it runs, rather than wait for its lease
        connection.close()
    return Batch(kind, token, [head, *filled], more)


def claim_new(job: Job) -> Batch:
    """Insert the new row and claim it in one transaction: this process does the work, and no other is rung for it."""
    kind, token = KINDS[type(job)], uuid.uuid4()
    with transaction.atomic():
        submit.insert(job)
        return Batch(kind, token, _take(kind, sql.keys([job.id]), token))


def has_queued(kind: Kind) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM {kind.table} WHERE status = 'queued' LIMIT 1")
        return cursor.fetchone() is not None


def _take_head(kind: Kind, token: uuid.UUID) -> Any:
    """The first queued row, now running, with `more_queued`: whether others stood behind it; None when none is."""
    table = kind.table
    order = "id" if next(_claims) % OLDEST_EVERY == 0 else "lane, turn, id"
    taken = kind.model._default_manager.raw(
        f"UPDATE {table} SET {_running()} "
        f"WHERE id = (SELECT id FROM {table} WHERE status = 'queued' ORDER BY {order} LIMIT 1 {sql.skip_locked()}) "
        f"AND status = 'queued' RETURNING *, {sql.relax_commit()} AS relaxed, "
        f"EXISTS (SELECT 1 FROM {table} AS other WHERE other.status = 'queued' AND other.id <> {table}.id) "
        f"AS more_queued",
        sql.keys([token]),
    )
    return next(iter(taken), None)


def _fill(kind: Kind, head: Job, token: uuid.UUID) -> list[Any]:
    """The rows after the head, in the same order, for as long as rows and bytes fit; they are running now."""
    fill_key = getattr(head, kind.fill_by)
    room, size = kind.fill_rows(fill_key) - head.rows, head.size
    if room <= 0:
        return []
    keys = []
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, rows, size, {sql.relax_commit()} FROM {kind.table} "
            f"WHERE status = 'queued' AND {kind.fill_by} = %s AND NOT suspect AND lost < {ALONE_AFTER_LOST} "
            f"ORDER BY lane, turn, id LIMIT {room} {sql.skip_locked()}",
            sql.keys([fill_key]),
        )
        for key, more_rows, more_bytes, _ in cursor.fetchall():
            room, size = room - more_rows, size + more_bytes
            if room < 0 or size > FILL_BYTES:
                break
            keys.append(key)
        return _take(kind, keys, token) if keys else []


def _take(kind: Kind, keys: list[Any], token: uuid.UUID) -> list[Any]:
    """The rows as model instances, in the order of `keys`."""
    claimed = kind.model._default_manager.raw(
        f"UPDATE {kind.table} SET {_running()} WHERE id IN ({sql.placeholders(len(keys))}) AND status = 'queued' "
        f"RETURNING *",
        [*sql.keys([token]), *keys],
    )
    to_key = kind.model._meta.pk.to_python
    place = {to_key(key): number for number, key in enumerate(keys)}
    return sorted(claimed, key=lambda job: place[job.id])


def _running() -> str:
    """What a claim writes; its one parameter is the lease token."""
    return (
        "status = 'running', attempts = attempts + 1, lease_token = %s, "
        f"lease_until = {sql.clock(LEASE_S)}, started_at = {sql.clock()}"
    )
