"""Trial runs: a version answers rows that nobody waits for, in an executor of its own, so that it can be judged."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from mlmodels import measures, runtime, signature
from mlmodels.executor import Executor, ItemOutput, LoadFailed, Run, RunFailed, picture_bytes
from mlmodels.models import ModelVersion
from serving_site.jobs import lease
from serving_site.jobs.batch import Batch
from serving_site.jobs.drain import stopping

Row = Mapping[str, Any]
Output = dict[str, Any]

TRIAL_S = 240.0
"""So long all trial runs of one job may take together: less than any broker waits for an acknowledgement."""
TIMED_ROWS = 100
TIMED_S = 5.0
"""After so long the single rows timed so far are enough."""
FEWEST_TIMED = 5


class TrialFailed(Exception):
    """A version could not be tried to the end; the text is one sentence. `version` is None when time was up."""

    def __init__(self, message: str, version: ModelVersion | None = None) -> None:
        super().__init__(message)
        self.version = version


@dataclass
class Watch:
    """Ends the trial runs of one job when time is up, when the worker stops, or when nobody wants the job any more."""

    held: lease.Lease
    until: float
    children: list[Executor] = field(default_factory=list)

    def look(self) -> None:
        """Raises runtime.Interrupted, or TrialFailed when time is up."""
        if self.held.is_unwanted or stopping.is_set():
            raise runtime.Interrupted
        if time.monotonic() > self.until:
            raise TrialFailed(f"The trial runs took longer than {TRIAL_S:.0f} s and were stopped.")

    def stop(self) -> None:
        for child in self.children:
            child.kill()


def watch(batch: Batch) -> Watch:
    """The watch over what this thread does for `batch`, whose lease it holds."""
    held = next(one for one in lease.held() if one.batch is batch)
    made = Watch(held, time.monotonic() + TRIAL_S)
    held.on_unwanted = made.stop
    return made


@dataclass(frozen=True)
class Answers:
    """One output per row, None where that row alone could not be answered; `error` is the first reason why."""

    outputs: list[Output | None]
    error: str
    row_ms: float | None
    """What one row costs in a batch: the median over the batches; None where nothing was run."""

    @property
    def failed_rows(self) -> int:
        return sum(output is None for output in self.outputs)


class Trial:
    """A version loaded to be tried. Every method raises TrialFailed or runtime.Interrupted."""

    def __init__(self, version: ModelVersion, child: Executor, over: Watch) -> None:
        self.version = version
        self._child = child
        self._watch = over
        self._pictures = [one.name for one in signature.fields(version.signature) if one.kind == "image"]

    @property
    def peak_mb(self) -> float | None:
        return self._child.peak_mb

    def answers(self, rows: Sequence[Row], *, alone: bool = False) -> Answers:
        """What the version answers to `rows`, run in its largest batches, or one row per forward."""
        outputs: list[Output | None] = []
        error, per_row = "", []
        size = 1 if alone else self.version.max_batch
        for start in range(0, len(rows), size):
            items = [self._item_or_reason(row) for row in rows[start : start + size]]
            good = [item for item in items if not isinstance(item, str)]
            run, wall_ms = self._timed(good) if good else (Run([], 0.0), 0.0)
            per_row += [wall_ms / len(good)] if good else []
            outcomes = iter(run.outcomes)
            for item in items:
                outcome = item if isinstance(item, str) else next(outcomes)
                if isinstance(outcome, ItemOutput):
                    outputs.append(outcome.output)
                else:
                    outputs.append(None)
                    error = error or (outcome if isinstance(outcome, str) else outcome.message)
        return Answers(outputs, error, measures.quantile(per_row, 0.5) if per_row else None)

    def single_ms(self, row: Row) -> float | None:
        """How long one row takes by itself, the way to the executor and back included; None for one that is refused."""
        item = self._item_or_reason(row)
        return None if isinstance(item, str) else self._timed([item])[1]

    def _item_or_reason(self, row: Row) -> Row | str:
        """`row` as an executor takes it, its pictures (bytes, or data URIs) as bytes; or why it does not fit."""
        given = {name: value for name, value in row.items() if isinstance(value, bytes)}
        try:
            item = signature.validate(self.version.signature, {**row, **dict.fromkeys(given, "a picture")})
            for name in self._pictures:
                if name in item:
                    item[name] = given.get(name) or picture_bytes(item[name])
        except signature.InvalidInput as error:
            return str(error)
        except ValueError:
            return "A picture of this row is not a base64 data URI."
        return item

    def _timed(self, items: Sequence[Row]) -> tuple[Run, float]:
        self._watch.look()
        started = time.perf_counter()
        try:
            run = self._child.predict(items, settings.PREDICTION_DEADLINE_S)
        except RunFailed as failure:
            self._watch.look()
            said = f"{self.version} failed while it was tried ({failure.kind}): {failure.message}"
            raise TrialFailed(said, self.version) from None
        return run, (time.perf_counter() - started) * 1000


@contextlib.contextmanager
def trial(version: ModelVersion, over: Watch) -> Iterator[Trial]:
    """`version` in a child of its own while the block runs. Raises TrialFailed, or executor.ServerFailed."""
    over.look()
    with contextlib.ExitStack() as stack:
        try:
            child = stack.enter_context(runtime.get_runtime().borrowed(version))
        except LoadFailed as error:
            raise TrialFailed(f"{version} cannot be loaded: {error.message}", version) from None
        except runtime.BrokenArtifact as error:
            raise TrialFailed(f"{version} cannot be loaded: {error}", version) from None
        over.children.append(child)
        yield Trial(version, child, over)


def times_ms(trials: Sequence[Trial], rows: Sequence[Row]) -> list[list[float]]:
    """For each trial how long single rows took, asked in turns: what slows this machine meanwhile slows all alike."""
    times: list[list[float]] = [[] for _ in trials]
    until = time.monotonic() + TIMED_S
    for number, row in enumerate(rows[: TIMED_ROWS + 1]):
        taken = [one.single_ms(row) for one in trials]
        if number and not any(ms is None for ms in taken):  # the first run of a child is never typical
            for mine, ms in zip(times, taken, strict=True):
                mine.append(ms or 0.0)
        if len(times[0]) >= FEWEST_TIMED and time.monotonic() > until:
            break
    return times


def golden_rows(version: ModelVersion) -> list[Row]:
    """The golden inputs of its manifest, again and again: rows to time it with where no data is known."""
    golden = [entry["input"] for entry in version.manifest["golden"]]
    return (golden * (TIMED_ROWS // len(golden) + 1))[: TIMED_ROWS + 1]
