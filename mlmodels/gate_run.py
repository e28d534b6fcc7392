"""What a worker does for the gate: both versions run side by side, each in an executor of its own."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mlmodels import artifacts, evaluations, gate, gate_checks, measures, snapshots, trials
from mlmodels.gate import Correction, StoredInput
from mlmodels.gate_checks import Check
from mlmodels.models import DatasetSnapshot, Evaluation, ModelVersion, Purpose, State
from mlmodels.trials import Output, Trial, TrialFailed, Watch
from serving_site.jobs.models import Status

MOST_DISAGREEMENTS = 100
CHUNK_ROWS = 128
"""Stored inputs are read and run so many rows at a time, because each may hold a picture."""
FULL_DISTANCE, LEAST_DISTANCE = 1.0, 1e-6

T = TypeVar("T")


def judge(evaluation: Evaluation, over: Watch) -> tuple[dict[str, Any], bool]:
    """The gate's report on `evaluation.version` in place of `evaluation.against`, and whether it passes.

    Whatever the candidate does wrong is a check that fails. Raises executor.ServerFailed or runtime.Interrupted.
    """
    candidate, live = evaluation.version, evaluation.against
    report: dict[str, Any] = {"candidate": {}, "live": {} if live else None, "replay": None}
    checks = [
        gate_checks.admission(candidate),
        gate_checks.same_signature(candidate, live),
        gate_checks.leak(trained_on(candidate), held_out_hashes(candidate)),
    ]
    if candidate.state == State.HEALTHY:
        try:
            checks += _measured(evaluation, report) or _compared(evaluation, over, report)
        except TrialFailed as error:
            checks.append(gate_checks.bad("trial", "failed", "answers every row", str(error)))
    passed = all(check.passed for check in checks)
    report |= {"passed": passed, "checks": [check.as_dict() for check in checks]}
    return {**report, "summary": _summary(candidate, checks)}, passed


def _measured(evaluation: Evaluation, report: dict[str, Any]) -> list[Check]:
    """The checks of a first version that was measured on the same rows: that is not done again.

    None of them where another is live to be compared with, or where corrections wait for an answer.
    """
    known = evaluation.version.evaluations.filter(
        purpose=Purpose.EVALUATE, status=Status.SUCCEEDED, snapshot=evaluation.snapshot
    )
    newest = None if evaluation.against or _given_corrections(evaluation.version) else known.order_by("-id").first()
    if newest is None:
        return []
    found, limits = newest.report, evaluation.options["thresholds"]
    report["candidate"] = {**found["metrics"], "rows": found["rows"]}
    single = found["latency_ms"]["single_p50"]
    return [
        *gate_checks.figures(found, None, [], limits),
        gate_checks.latency([] if single is None else [single], None, limits),
        gate_checks.corrections([], 0),
    ]


def _compared(evaluation: Evaluation, over: Watch, report: dict[str, Any]) -> list[Check]:
    with _side_by_side(evaluation.version, evaluation.against, over) as pair:
        return _tried(pair, evaluation, report)


@dataclass
class Pair:
    """The candidate and what is live. A live version that breaks is left out from then on; `trouble` says so."""

    mine: Trial
    theirs: Trial | None
    trouble: str = ""

    def live(self, act: Callable[[Trial], T]) -> T | None:
        """What `act` makes of the live version; None where none is, or where it breaks."""
        if self.theirs is None:
            return None
        try:
            return act(self.theirs)
        except TrialFailed as error:
            if error.version != self.theirs.version:
                raise
            self.theirs, self.trouble = None, str(error)
            return None


@contextlib.contextmanager
def _side_by_side(candidate: ModelVersion, live: ModelVersion | None, over: Watch) -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        pair = Pair(stack.enter_context(trials.trial(candidate, over)), None)
        if live is not None:
            try:
                pair.theirs = stack.enter_context(trials.trial(live, over))
            except TrialFailed as error:
                if error.version != live:
                    raise
                pair.trouble = str(error)
        yield pair


def _tried(pair: Pair, evaluation: Evaluation, report: dict[str, Any]) -> list[Check]:
    """The checks that need both versions running; what they found goes into `report`."""
    limits = evaluation.options["thresholds"]
    data = evaluations.held_out(evaluation.snapshot)
    mine, _ = evaluations.judged(pair.mine, data)
    theirs = pair.live(lambda live: evaluations.judged(live, data)[0])
    report["candidate"] = _figures(mine)
    if theirs:
        report["live"] = _figures(theirs)
    rows = data.rows if data else trials.golden_rows(pair.mine.version)
    times = pair.live(lambda live: trials.times_ms([pair.mine, live], rows)) or trials.times_ms([pair.mine], rows)
    tolerance = _tolerance(theirs or mine, evaluation.against or evaluation.version)
    missed, count = _corrections(pair.mine, tolerance)
    checks = [
        *gate_checks.figures(mine, theirs, data.targets if data else [], limits),
        gate_checks.latency(times[0], times[1] if len(times) > 1 else None, limits),
        gate_checks.corrections(missed, count),
    ]
    if evaluation.against:
        stored = _stored(evaluation.version, limits["replay_last"])
        report["replay"] = found = _replay(pair, evaluation.against, stored, tolerance)
        checks.append(gate_checks.replay(found, limits))
    if pair.trouble:
        said = f"The live version could not be compared with: {pair.trouble}"
        checks.append(gate_checks.good("live version", "broken", "answers every row", said))
    return checks


def _figures(judged: dict[str, Any]) -> dict[str, Any]:
    return {**judged["metrics"], "rows": judged["rows"]} if judged["rows"] else {}


def trained_on(version: ModelVersion) -> list[str] | None:
    """The hashes of the rows that it was trained on, from its stored manifest; None where that lists none."""
    try:
        hashes = (artifacts.read_manifest(version).get("dataset") or {}).get("row_hashes")
    except (FileNotFoundError, ValueError, AttributeError):
        return None
    is_list = isinstance(hashes, list) and all(isinstance(one, str) for one in hashes)
    return [one[:16].lower() for one in hashes] if is_list and hashes else None


def held_out_hashes(version: ModelVersion) -> set[str]:
    """The hashes of every row that was ever held out for the version's model."""
    found: set[str] = set()
    newest_first = DatasetSnapshot.objects.filter(model=version.model_id, holdout_rows__gt=0).order_by("-id")
    for snapshot in {one.holdout_sha256: one for one in newest_first}.values():
        found |= _hashes(snapshot)
    return found


@functools.lru_cache(maxsize=64)
def _hashes(snapshot: DatasetSnapshot) -> frozenset[str]:
    """A snapshot never changes, so one reading per process is enough."""
    return frozenset(snapshots.holdout_hashes(snapshot))


def _stored(version: ModelVersion, last: int) -> Iterable[StoredInput]:
    given = (give(version.model, last, None) for give in gate.stored_inputs)
    return itertools.chain.from_iterable(given if last else ())


def in_chunks(stored: Iterable[StoredInput]) -> Iterator[list[StoredInput]]:
    """Whole requests, together of about CHUNK_ROWS rows."""
    chunk: list[StoredInput] = []
    for one in stored:
        chunk.append(one)
        if sum(len(each.inputs or ()) for each in chunk) >= CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _replay(pair: Pair, live: ModelVersion, stored: Iterable[StoredInput], tolerance: float | None) -> dict[str, Any]:
    """Both versions' answers to stored inputs, compared. What the live version has answered before is not run again."""
    rows = agree = unanswered = gone = 0
    apart: list[dict[str, Any]] = []
    for chunk in in_chunks(stored):
        gone += sum(one.inputs is None for one in chunk)
        there = [one for one in chunk if one.inputs is not None]
        mine = iter(pair.mine.answers([row for one in there for row in one.inputs or ()]).outputs)
        for one, expected in zip(there, _live_outputs(pair, live, there), strict=True):
            answered = list(itertools.islice(mine, len(one.inputs or ())))
            distances = [distance(*both, tolerance) for both in zip(answered, expected, strict=False)]
            rows, unanswered = rows + len(distances), unanswered + distances.count(None)
            differ = [FULL_DISTANCE if far is None else far for far in distances if far is None or far > 0]
            agree += len(distances) - len(differ)
            if differ:
                apart.append({"prediction": str(one.key), "distance": measures.tidy(max(differ))})
    worst = sorted(apart, key=lambda one: -one["distance"])[:MOST_DISAGREEMENTS]
    return {"rows": rows, "agree": agree, "unanswered": unanswered, "gone": gone, "disagreements": worst}


def _live_outputs(pair: Pair, live: ModelVersion, there: Sequence[StoredInput]) -> Iterator[Sequence[Any]]:
    """Per stored input the live version's answers, stored where it was asked itself, else run; () if it broke."""
    others = [row for one in there if one.version_id != live.pk for row in one.inputs or ()]
    answers = pair.live(lambda theirs: theirs.answers(others)) if others else None
    run = iter(answers.outputs if answers else [])
    for one in there:
        yield one.outputs if one.version_id == live.pk else list(itertools.islice(run, len(one.inputs or ())))


def distance(mine: Output | None, theirs: Output | None, tolerance: float | None) -> float | None:
    """How far apart two answers are: 0 for the same decision, None where only the candidate has none.

    Two classes are as far apart as their probabilities (half the sum of the differences, at most 1); two numbers as
    many times as they exceed the tolerance, the live version's usual error.
    """
    if theirs is None:
        return 0.0
    if mine is None:
        return None
    if "label" in theirs:
        if mine.get("label") == theirs["label"]:
            return 0.0
        a, b = mine["probabilities"], theirs["probabilities"]
        return max(math.fsum(abs(a.get(name, 0.0) - b.get(name, 0.0)) for name in {*a, *b}) / 2, LEAST_DISTANCE)
    apart = abs(float(mine["value"]) - float(theirs["value"]))
    return apart / tolerance if tolerance and apart > tolerance else 0.0


def _tolerance(report: dict[str, Any], version: ModelVersion) -> float | None:
    """By how much a number is usually wrong: measured here, or as its training said; None for classes."""
    found = report["metrics"].get("rmse", version.metrics.get("rmse"))
    return float(found) if found is not None else None


def _corrections(mine: Trial, tolerance: float | None) -> tuple[list[str], int]:
    """The ids of accepted corrections that are answered otherwise, and how many corrections there are."""
    given = _given_corrections(mine.version)
    missed = []
    for start in range(0, len(given), CHUNK_ROWS):
        part = given[start : start + CHUNK_ROWS]
        outputs = mine.answers([one.input for one in part]).outputs
        missed += [
            str(one.key) for one, output in zip(part, outputs, strict=True) if not _is_met(one, output, tolerance)
        ]
    return missed, len(given)


def _given_corrections(version: ModelVersion) -> list[Correction]:
    return [one for give in gate.corrections for one in give(version.model)]


def _is_met(correction: Correction, output: Output | None, tolerance: float | None) -> bool:
    if output is None:
        return False
    if "label" in output:
        return bool(output["label"] == correction.truth)
    return abs(float(output["value"]) - float(correction.truth)) <= (tolerance or 0.0)


def _summary(version: ModelVersion, checks: Sequence[Check]) -> str:
    failed = [check for check in checks if not check.passed]
    if not failed:
        return f"The gate lets {version} pass: all {len(checks)} checks passed."
    more = f" ({len(failed) - 1} more of {len(checks)} checks failed.)" if len(failed) > 1 else ""
    return f"The gate refuses {version}: {failed[0].sentence}{more}"


evaluations.RUNNERS[Purpose.GATE] = judge
