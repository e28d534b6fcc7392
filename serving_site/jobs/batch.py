"""A batch: rows that one worker claimed together under one lease token, and what may become of them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction

from serving_site.jobs import finish, sql
from serving_site.jobs.finish import Outcome
from serving_site.jobs.kinds import Kind
from serving_site.jobs.models import Status

LONE_CRASHES = 3
"""So many deaths of a child that ran the row alone close it."""


@dataclass
class Batch:
    """`jobs` are instances read at the claim. Every method is fenced by `token`: a zombie changes nothing.

    `more`: rows were queued still when it was claimed.
    """

    kind: Kind
    token: uuid.UUID
    jobs: Sequence[Any]
    more: bool = False
    settled: bool = field(default=False, init=False)

    @property
    def is_lone(self) -> bool:
        return len(self.jobs) == 1

    def finish(self, outcomes: Sequence[Outcome]) -> list[uuid.UUID]:
        """Record the outcomes, at most one per row; returns the ids that won."""
        won = finish.finish(self.kind, outcomes, token=self.token)
        self.settled = True
        return won

    def without(self, outcomes: Sequence[Outcome]) -> Batch:
        """Record the outcomes of some rows now; returns the batch of the others."""
        self.finish(outcomes)
        done = {outcome.id for outcome in outcomes}
        return Batch(self.kind, self.token, [job for job in self.jobs if job.id not in done])

    def fail(self, reason_code: str, **fields: Any) -> None:
        """Close every row as failed for the same reason."""
        self.finish([Outcome(job.id, Status.FAILED, reason_code, fields) for job in self.jobs])

    def isolate(self) -> None:
        """Something went wrong with several rows in the child: evidence against none. Each runs alone next."""
        self._requeue({job.id: {"suspect": True} for job in self.jobs})

    def give_back(self) -> None:
        """The rows never reached a child: back to the queue, and the attempt does not count."""
        self._requeue({job.id: {"attempts": max(job.attempts - 1, 0)} for job in self.jobs})

    def crashed(self, **fields: Any) -> None:
        """The child died with this lone row in it: try again, up to three such deaths."""
        (job,) = self.jobs
        if job.crashes + 1 >= LONE_CRASHES:
            self.fail("worker_crashed", **fields)
        else:
            self._requeue({job.id: {"crashes": job.crashes + 1, "suspect": True}})

    def _requeue(self, changes: Mapping[uuid.UUID, Mapping[str, Any]]) -> None:
        names = sorted({name for change in changes.values() for name in change})
        rows = [
            sql.value_row(self.kind.model, key, {name: change[name] for name in names})
            for key, change in changes.items()
        ]
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {self.kind.table} SET status = 'queued', lease_token = NULL, lease_until = NULL, "
                f"{sql.update_from(self.kind.model, names)} "
                f"FROM (VALUES {sql.value_rows(rows)}) AS v "
                f"WHERE {self.kind.table}.id = CAST(v.column1 AS {sql.key_type()}) "
                f"AND {self.kind.table}.status = 'running' AND {self.kind.table}.lease_token = %s",
                [*(value for row in rows for value in row), *sql.keys([self.token])],
            )
        self.settled = True
