"""What a run says of itself, in its row, while it runs: at most once a second, and only under its lease."""

import math
import time
from collections.abc import Callable
from typing import Any

import structlog
from django.db import Error, connection

from mlmodels.executor.outcomes import safe_text
from mlmodels.models import TrainingRun
from serving_site.jobs.batch import Batch
from serving_site.jobs.models import Status

log = structlog.get_logger(__name__)
EVERY_S = 1.0
MOST_POINTS = 1000
WHOLE, MEASURED = ("epoch", "epochs"), ("loss", "metric")

Say = Callable[[dict[str, Any]], None]


class Journal:
    """`progress`, `curves` and `log` of one run. `say` is told of every step of progress, as it comes."""

    def __init__(self, batch: Batch, say: Say) -> None:
        self.batch, self.say = batch, say
        self.progress: dict[str, Any] = {}
        self.curves: list[list[Any]] = []
        self.log = ""
        self._written_at = 0.0

    def hear(self, message: dict[str, Any]) -> None:
        """Take what the child said, as far as pages can draw it. Figures stay until there are newer ones."""
        self.progress = {**self.progress, **_shaped(message)}
        if self.progress["stage"] == "fit" and self.progress.get("epoch", 0) > (
            self.curves[-1][0] if self.curves else 0
        ):
            self.curves.append([self.progress["epoch"], *(self.progress.get(name) for name in MEASURED)])
            if len(self.curves) > MOST_POINTS:
                self.curves = self.curves[::2]
        self.say(self.progress)

    def reach(self, stage: str) -> None:
        """One of the keeper's own steps; it is written at once."""
        self.hear({"stage": stage})
        self.write(at_once=True)

    def write(self, *, at_once: bool = False, **more: Any) -> None:
        """Write what is new, unless that was done just now. A database that is away costs only the news."""
        if not at_once and time.monotonic() - self._written_at < EVERY_S:
            return
        self._written_at = time.monotonic()
        try:
            mine(self.batch).update(progress=self.progress, curves=self.curves, log=self.log, **more)
        except Error as error:
            log.warning("progress_not_written", error=str(error).strip()[:200])
            connection.close()


def mine(batch: Batch) -> Any:
    """The batch's one row, as long as it runs under this lease."""
    return TrainingRun.objects.filter(pk=batch.jobs[0].pk, status=Status.RUNNING, lease_token=batch.token)


def _shaped(message: dict[str, Any]) -> dict[str, Any]:
    shaped: dict[str, Any] = {"stage": safe_text(message.get("stage", ""), 40)}
    shaped |= {name: message[name] for name in WHOLE if _is_count(message.get(name))}
    return shaped | {name: float(message[name]) for name in MEASURED if _is_figure(message.get(name))}


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value < 2**31


def _is_figure(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
