"""Which kinds of background work there are. Each app's `tasks.py` registers its own; nothing here names one."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dramatiq

from serving_site.jobs.models import Job, Status

FinishedRows = Sequence[tuple[uuid.UUID, Status]]

if TYPE_CHECKING:
    from serving_site.jobs.batch import Batch
    from serving_site.jobs.finish import Outcome

FILL_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    `run` takes a claimed batch and finishes each of its rows. Rows of equal `fill_by` (a column) may share a batch of
    up to `fill_rows(value)` rows. `deadline_s` bounds one run: leases are not renewed past it. `on_finished` is called
    with the rows that won, inside the transaction that made them terminal; `measure`, where METRICS is on, after it
    with the outcomes that won and their value of `fill_by`.

    Runs that outlast any message are `detached`: a worker process keeps so many at once, each on a thread of its own,
    and the actor returns at once (0: the actor's own thread runs them). Such a `run` must give its rows back soon after
    `drain.stopping` is set.
    """

    model: type[Job]
    queue: str
    run: Callable[["Batch"], None]
    actor: dramatiq.Actor[..., Any]
    deadline_s: float
    fill_by: str = ""
    fill_rows: Callable[[uuid.UUID], int] = lambda _: 1
    on_finished: Callable[[FinishedRows], None] | None = None
    measure: Callable[[Sequence[tuple["Outcome", Any]]], None] | None = None
    detached: int = 0

    @property
    def table(self) -> str:
        return self.model._meta.db_table


KINDS: dict[type[Job], Kind] = {}


def register(model: type[Job], queue: str, run: Callable[["Batch"], None], **options: Any) -> Kind:
    """Make `model` a kind of job whose doorbell is `queue`; returns the kind. `options`: the other fields of `Kind`."""

    def ring_heard(hint: str) -> None:
        from serving_site.jobs.drain import drain  # the door opens on the loop, which knows every other part

        drain(KINDS[model])

    named = dramatiq.actor(actor_name=queue.replace(".", "-"), queue_name=queue, max_retries=0)
    actor = named(ring_heard)
    KINDS[model] = Kind(model=model, queue=queue, run=run, actor=actor, **options)
    return KINDS[model]
