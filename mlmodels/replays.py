"""Replays: stored inputs are run again, and their new answers compared with the stored ones, down to the last bit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlmodels import evaluations, gate, gate_run, measures, signature, trials
from mlmodels.gate import StoredInput
from mlmodels.models import Evaluation, ModelVersion, Purpose
from mlmodels.signature_outputs import PROBABILITY_NOISE, VALUE_NOISE
from serving_site.accounts.models import User

MOST_ROWS = 100_000
FULL_DISTANCE = 1.0


def submit(
    version: ModelVersion, *, last: int, by: User | None, is_alone: bool = False, of_any_version: bool = False
) -> Evaluation:
    """Queue a replay on `version` of the last rows that it answered itself, or that any version of its model did.

    With `is_alone` each row has a forward of its own.
    """
    options = {"last": last, "alone": is_alone, "all": of_any_version}
    return evaluations.submit(version, purpose=Purpose.REPLAY, by=by, options=options)


@dataclass
class Tally:
    """What was found: rows run again, and how many agree or are the same in every bit.

    `alone_rows` first had a forward of their own, so that those run alone again give the same bits. `distance` is the
    largest relative difference of any number; disagreements are listed by prediction, never by content.
    """

    rows: int = 0
    agree: int = 0
    identical: int = 0
    alone_rows: int = 0
    alone_identical: int = 0
    unanswered: int = 0
    gone: int = 0
    disagreements: list[dict[str, Any]] = field(default_factory=list)

    def add(self, one: StoredInput, outputs: list[trials.Output | None]) -> None:
        apart = []
        for new, old in zip(outputs, one.outputs, strict=True):
            same = new == old
            self.rows += 1
            self.identical += same
            self.alone_rows += one.batch_rows == 1
            self.alone_identical += same and one.batch_rows == 1
            self.unanswered += new is None
            if new is not None and signature.agrees(new, old):
                self.agree += 1
            else:
                apart.append(FULL_DISTANCE if new is None else largest_difference(new, old))
        if apart:
            self.disagreements.append({"prediction": str(one.key), "distance": measures.tidy(max(apart))})

    def as_report(self) -> dict[str, Any]:
        worst = sorted(self.disagreements, key=lambda one: -one["distance"])
        return {**vars(self), "disagreements": worst[: gate_run.MOST_DISAGREEMENTS]}


def replay(evaluation: Evaluation, over: trials.Watch) -> tuple[dict[str, Any], None]:
    """Run the stored inputs again that `evaluation.options` name."""
    options, version, tally = evaluation.options, evaluation.version, Tally()
    answered_by = None if options["all"] else version
    given = (give(version.model, options["last"], answered_by) for give in gate.stored_inputs)
    with trials.trial(version, over) as one:
        for chunk in gate_run.in_chunks(itertools.chain.from_iterable(given)):
            there = [stored for stored in chunk if stored.inputs is not None]
            tally.gone += len(chunk) - len(there)
            rows = [row for stored in there for row in stored.inputs or ()]
            outputs = iter(one.answers(rows, alone=options["alone"]).outputs)
            for stored in there:
                tally.add(stored, list(itertools.islice(outputs, len(stored.outputs))))
    return tally.as_report(), None


def largest_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """The largest relative difference between two outputs' numbers, where it is more than noise."""
    if "value" in a and "value" in b:
        return _relative(a["value"], b["value"], VALUE_NOISE)
    mine, theirs = a.get("probabilities", {}), b.get("probabilities", {})
    names = {*mine, *theirs}
    return max(
        (_relative(mine.get(name, 0.0), theirs.get(name, 0.0), PROBABILITY_NOISE) for name in names), default=1.0
    )


def _relative(x: float, y: float, noise: float) -> float:
    apart = abs(x - y)
    return apart / max(abs(x), abs(y)) if apart > noise else 0.0


evaluations.RUNNERS[Purpose.REPLAY] = replay
