"""A job's place in the order, stored when it is submitted."""

import datetime

from django.db import connection, transaction
from structlog.contextvars import get_contextvars

from serving_site.jobs import ring, sql
from serving_site.jobs.kinds import KINDS
from serving_site.jobs.models import Job


def submit(job: Job) -> None:
    """Save the new row with its turn and time; ring after the surrounding transaction commits."""
    kind = KINDS[type(job)]
    with transaction.atomic(savepoint=False):
        insert(job)
        transaction.on_commit(lambda: ring.ring(kind, str(job.id)))


def insert(job: Job) -> None:
    """Save the new row with its turn and time, in the caller's transaction.

    turn = 1 + the greater of the owner's highest and the lane's lowest queued turn: an owner's rows follow each other
    and a newcomer starts beside the head of the line, so claims are fair without counting anything.
    """
    job.turn, job.created_at = _turn_and_time(KINDS[type(job)].table, job)
    job.request_id = job.request_id or _request_id()
    job.save(force_insert=True)


def _turn_and_time(table: str, job: Job) -> tuple[int, datetime.datetime]:
    queued = f"FROM {table} WHERE status = 'queued' AND lane = %s"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT 1 + {sql.greatest()}(COALESCE((SELECT max(turn) {queued} AND owner_id = %s), 0), "
            f"COALESCE((SELECT min(turn) {queued}), 0)), {sql.clock()}",
            [job.lane, *sql.keys([job.owner_id]), job.lane],
        )
        turn, now = cursor.fetchone()
    return turn, sql.read_time(now)


def _request_id() -> str:
    return str(get_contextvars().get("request_id", ""))[:64]
