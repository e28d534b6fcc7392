"""Claiming: queued rows become this worker's, in stored order, a head and whatever fits in its batch."""

import itertools
import uuid
from typing import Any

from django.db import connection, transaction

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

    One transaction: attempts + 1, a new lease token, a lease of 30 s by the database's clock. Suspect rows and rows
    whose host vanished three times come alone.
    """
    if not sql.is_postgres() and not has_queued(kind):  # SQLite: do not take the one write lock for nothing
        return None
    with transaction.atomic(), connection.cursor() as cursor:
        if relax := sql.relax_commit():
            cursor.execute(relax)
        head = _head(cursor, kind)
        if head is None:
            return None
        key, fill_key, runs_alone, rows, size = head
        keys = [key] if runs_alone or not kind.fill_by else [key, *_fill(cursor, kind, key, fill_key, rows, size)]
        token = uuid.uuid4()
        return Batch(kind, token, _take(kind, keys, token))


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


def _head(cursor: Any, kind: Kind) -> Any:
    order = "id" if next(_claims) % OLDEST_EVERY == 0 else "lane, turn, id"
    cursor.execute(
        f"SELECT id, {kind.fill_by or 'NULL'}, (suspect OR lost >= {ALONE_AFTER_LOST}), rows, size FROM {kind.table} "
        f"WHERE status = 'queued' ORDER BY {order} LIMIT 1 {sql.skip_locked()}"
    )
    return cursor.fetchone()


def _fill(cursor: Any, kind: Kind, head: Any, fill_key: Any, rows: int, size: int) -> list[Any]:
    """The keys after the head, in the same order, for as long as rows and bytes fit."""
    room = kind.fill_rows(kind.model._meta.pk.to_python(fill_key)) - rows
    if room <= 0:
        return []
    cursor.execute(
        f"SELECT id, rows, size FROM {kind.table} WHERE status = 'queued' AND {kind.fill_by} = %s AND id <> %s "
        f"AND NOT suspect AND lost < {ALONE_AFTER_LOST} ORDER BY lane, turn, id LIMIT {room} {sql.skip_locked()}",
        [fill_key, head],
    )
    keys = []
    for key, more_rows, more_bytes in cursor.fetchall():
        room, size = room - more_rows, size + more_bytes
        if room < 0 or size > FILL_BYTES:
            break
        keys.append(key)
    return keys


def _take(kind: Kind, keys: list[Any], token: uuid.UUID) -> list[Any]:
    """The rows as model instances, in the order of `keys`."""
    claimed = kind.model._default_manager.raw(
        f"UPDATE {kind.table} SET status = 'running', attempts = attempts + 1, lease_token = %s, "
        f"lease_until = {sql.clock(LEASE_S)}, started_at = {sql.clock()} "
        f"WHERE id IN ({sql.placeholders(len(keys))}) AND status = 'queued' RETURNING *",
        [*sql.keys([token]), *keys],
    )
    to_key = kind.model._meta.pk.to_python
    place = {to_key(key): number for number, key in enumerate(keys)}
    return sorted(claimed, key=lambda job: place[job.id])
