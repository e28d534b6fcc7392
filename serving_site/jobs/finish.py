"""The one function that makes a row terminal, whoever asks: worker, cancel, sweeper, deletion."""

import contextlib
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from serving_site.jobs import sql, tally, wait
from serving_site.jobs.kinds import KINDS, Kind
from serving_site.jobs.models import Job, Status, count

log = structlog.get_logger(__name__)
JOBS = tally.Total("jobs", "Background work that has ended.", ("queue", "status"))


@dataclass(frozen=True)
class Outcome:
    """What became of the row `id`; `fields` holds values for the kind's RESULT_COLUMNS."""

    id: uuid.UUID
    status: Status
    reason_code: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


def finish(kind: Kind, outcomes: Sequence[Outcome], *, token: uuid.UUID | None) -> list[uuid.UUID]:
    """Write terminal statuses and results in one transaction with the kind's `on_finished` and the wake-up of waiters.

    With a lease token only rows that still run under it change: a zombie's result is dropped and counted. Without one
    (cancel, deletion) any row that is not terminal changes. Returns the ids that changed.
    """
    if not outcomes:
        return []
    with transaction.atomic() if kind.on_finished else contextlib.nullcontext():  # alone, the UPDATE is a transaction
        won = _update(kind, outcomes, token)
        if won and kind.on_finished:
            status_of = {outcome.id: outcome.status for outcome in outcomes}
            kind.on_finished([(key, status_of[key]) for key in won])
        transaction.on_commit(lambda: wait.wake(list(won)))
        if settings.METRICS:
            transaction.on_commit(lambda: _measure(kind, outcomes, won), robust=True)
    if token and len(won) < len(outcomes):
        log.warning("fenced_write_dropped", kind=kind.queue, rows=len(outcomes) - len(won))
        count("fenced_writes", len(outcomes) - len(won))
    return list(won)


def _measure(kind: Kind, outcomes: Sequence[Outcome], won: Mapping[uuid.UUID, Any]) -> None:
    recorded = [(outcome, won[outcome.id]) for outcome in outcomes if outcome.id in won]
    for status, many in Counter(outcome.status for outcome, _ in recorded).items():
        JOBS.add(kind.queue, status.value, by=many)
    if kind.measure:
        kind.measure(recorded)


def _update(kind: Kind, outcomes: Sequence[Outcome], token: uuid.UUID | None) -> dict[uuid.UUID, Any]:
    """The ids that changed, each with its value of the kind's `fill_by`."""
    names = ["status", "reason_code", *kind.model.RESULT_COLUMNS]
    blank = {name: kind.model._meta.get_field(name).get_default() for name in names}  # type: ignore[union-attr]
    rows = [
        sql.value_row(
            kind.model,
            outcome.id,
            {**blank, **outcome.fields, "status": outcome.status.value, "reason_code": outcome.reason_code},
        )
        for outcome in outcomes
    ]
    table = kind.table
    fence = f"{table}.status = 'running' AND {table}.lease_token = %s"
    open_rows = f"{table}.status IN ('queued', 'running')"
    key = kind.model._meta.pk
    filled: Any = kind.model._meta.get_field(kind.fill_by or "id")
    columns = f"id, {filled.column}" if kind.fill_by else "id"
    with connection.cursor() as cursor:
        cursor.execute(
            sql.returning_told(
                f"UPDATE {table} SET completed_at = {sql.clock()}, lease_token = NULL, lease_until = NULL, "
                f"{sql.update_from(kind.model, names)} FROM (VALUES {sql.value_rows(rows)}) AS v "
                f"WHERE {table}.id = CAST(v.column1 AS {sql.key_type()}) AND {fence if token else open_rows}",
                *(columns, wait.CHANNEL, wait.IDS_PER_NOTE, wait.EVERYBODY),
            ),
            [*(value for row in rows for value in row), *(sql.keys([token]) if token else [])],
        )
        return {key.to_python(row[0]): filled.to_python(row[-1]) for row in cursor.fetchall()}


def cancel(job: Job) -> bool:
    """Cancel a queued or running job: one UPDATE. The result of a run in progress is dropped by its fence."""
    return bool(finish(KINDS[type(job)], [Outcome(job.id, Status.CANCELED, "canceled")], token=None))
