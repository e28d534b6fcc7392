"""A job's place in the order, stored when it is submitted."""

from django.db import connection, transaction
from structlog.contextvars import get_contextvars

from serving_site.jobs import ring, sql
from serving_site.jobs.kinds import KINDS
from serving_site.jobs.models import Job


def submit(job: Job) -> None:
    """Save the new row with its turn and time; ring after the surrounding transaction, if there is one, commits."""
    kind = KINDS[type(job)]
    insert(job)
    transaction.on_commit(lambda: ring.ring(kind, str(job.id)))


def insert(job: Job) -> None:
    """Save the new row with its turn and time, by one statement.

    turn = 1 + the greater of the owner's highest and the lane's lowest queued turn: an owner's rows follow each other
    and a newcomer starts beside the head of the line, so claims are fair without counting anything.
    """
    job.request_id = job.request_id or _request_id()
    table, fields = job._meta.db_table, job._meta.concrete_fields
    queued = f"FROM {table} WHERE status = 'queued' AND lane = %s"
    owner = sql.keys([job.owner_id])[0]
    turn = (
        f"1 + {sql.greatest()}(COALESCE((SELECT max(turn) {queued} AND owner_id = %s), 0), "
        f"COALESCE((SELECT min(turn) {queued}), 0))"
    )
    computed = {"turn": (turn, [job.lane, owner, job.lane]), "created_at": (sql.clock(), [])}
    values = [
        computed.get(field.name) or ("%s", [field.get_db_prep_save(field.pre_save(job, add=True), connection)])
        for field in fields
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(str(field.column) for field in fields)}) "
            f"VALUES ({', '.join(text for text, _ in values)}) RETURNING turn, created_at",
            [value for _, parameters in values for value in parameters],
        )
        job.turn, created_at = cursor.fetchone()
    job.created_at = sql.read_time(created_at)
    job._state.adding, job._state.db = False, connection.alias


def _request_id() -> str:
    return str(get_contextvars().get("request_id", ""))[:64]
