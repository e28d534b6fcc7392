"""The gate: whether a version may go live in place of another, found out by a worker and kept as a report.

Here: the thresholds, the verdict that releases ask for, the report as text, and the evidence that other apps register.
What a worker does for it stands in `gate_run`, the single checks in `gate_checks`.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Q

from mlmodels import evaluations
from mlmodels.models import Evaluation, MLModel, ModelVersion, Purpose
from serving_site.accounts.models import User
from serving_site.jobs import sql
from serving_site.jobs.models import Status

WAIT_S = 180.0
REUSED_S = 600
"""A verdict that is younger than this is asked for again, not made again."""
SHOWN_DISAGREEMENTS = 10

DEFAULTS: dict[str, float | None] = {
    "max_drop": 0.01,
    "max_balanced_drop": 0.03,
    "max_log_loss_rise": 1.25,
    "max_mae_rise": 1.05,
    "max_rmse_rise": 1.05,
    "min_accuracy": None,
    "min_r2": None,
    "max_latency_factor": 2.0,
    "latency_floor_ms": 10.0,
    "replay_last": 1000,
    "max_disagreement": 0.25,
}
"""What holds where a model's own `gate` says nothing else.

max_drop: how much accuracy or R² may fall; max_balanced_drop: the same of balanced accuracy. One row less is always
allowed, however few are held out. max_…_rise: by what factor an error may grow. min_…: what must be reached whatever is
live (None: nothing). max_latency_factor: by what factor the median of single rows may grow; below latency_floor_ms
it never matters. replay_last: how many stored inputs are answered again; max_disagreement: for which share of them the
answer may differ from the live version's.
"""
BOUNDS: dict[str, tuple[float, float]] = {
    "max_drop": (0, 1),
    "max_balanced_drop": (0, 1),
    "max_log_loss_rise": (1, 1000),
    "max_mae_rise": (1, 1000),
    "max_rmse_rise": (1, 1000),
    "min_accuracy": (0, 1),
    "min_r2": (-1000, 1),
    "max_latency_factor": (1, 1000),
    "latency_floor_ms": (0, 60_000),
    "replay_last": (0, 10_000),
    "max_disagreement": (0, 1),
}


@dataclass(frozen=True)
class StoredInput:
    """What somebody once asked: `inputs` as an executor takes them (None: a file of it is gone) and what was answered.

    `batch_rows` says how many inputs shared its forward; None where that is not known.
    """

    key: uuid.UUID
    version_id: uuid.UUID
    inputs: Sequence[Mapping[str, Any]] | None
    outputs: Sequence[Mapping[str, Any]]
    batch_rows: int | None = None


@dataclass(frozen=True)
class Correction:
    """What the answer to a stored input should have been, as an operator has accepted it."""

    key: uuid.UUID
    input: Mapping[str, Any]
    truth: str | float


stored_inputs: list[Callable[[MLModel, int, ModelVersion | None], Iterable[StoredInput]]] = []
"""Each gives the newest answered inputs of a model, at most so many rows, of one version or (None) of all."""
corrections: list[Callable[[MLModel], Iterable[Correction]]] = []
"""Each gives the accepted corrections of a model."""


def validate_thresholds(value: Any) -> None:
    """Raise ValidationError unless `value` may stand in MLModel.gate: an object of known names and sound values."""
    if not isinstance(value, dict):
        raise ValidationError('Expected an object of thresholds, such as {"max_drop": 0.02}.')
    for name, given in value.items():
        if name not in DEFAULTS:
            raise ValidationError(f"There is no threshold {str(name)[:60]!r}. Known: {', '.join(DEFAULTS)}.")
        low, high = BOUNDS[name]
        whole = name == "replay_last"
        is_number = type(given) is int or (type(given) is float and not whole)
        is_unset = given is None and DEFAULTS[name] is None
        if not is_unset and not (is_number and low <= given <= high):
            kind = "a whole number" if whole else "a number"
            raise ValidationError(f"{name} is {str(given)[:60]!r}: expected {kind} from {low:g} to {high:g}.")


def thresholds(model: MLModel) -> dict[str, Any]:
    """The thresholds that hold for `model`."""
    own = model.gate if isinstance(model.gate, dict) else {}
    return {**DEFAULTS, **{name: value for name, value in own.items() if name in DEFAULTS}}


def verdict(
    version: ModelVersion,
    live: ModelVersion | None,
    *,
    by: User | None,
    wait_s: float = WAIT_S,
    is_refusal_known: bool = False,
) -> Evaluation:
    """The gate's verdict on `version` in place of `live`, made by a worker now or within the last ten minutes.

    A refusal is only taken again where `is_refusal_known`; otherwise whoever asks again gets another look. Raises
    evaluations.NoWorker. An evaluation that did not succeed gives no verdict: its `error` says why.
    """
    snapshot = evaluations.snapshot_for(version)
    options = {"thresholds": thresholds(version.model)}
    found = _reusable(version, live, snapshot, options, is_refusal_known)
    if found is None:
        found = evaluations.submit(
            version, purpose=Purpose.GATE, by=by, against=live, snapshot=snapshot, options=options
        )
    return evaluations.await_report(found, wait_s)


def _reusable(
    version: ModelVersion, live: ModelVersion | None, snapshot: Any, options: dict[str, Any], is_refusal_known: bool
) -> Evaluation | None:
    """The newest gate of exactly this question that is under way or young enough."""
    young = Q(status=Status.SUCCEEDED, completed_at__gt=sql.now() - datetime.timedelta(seconds=REUSED_S))
    if not is_refusal_known:
        young &= Q(passed=True)
    asked = Evaluation.objects.filter(
        young | Q(status__in=[Status.QUEUED, Status.RUNNING]),
        version=version, purpose=Purpose.GATE, against=live, snapshot=snapshot,
    )  # fmt: skip
    return next((one for one in asked.order_by("-id")[:20] if one.options == options), None)


def is_better(report: Mapping[str, Any]) -> bool:
    """Whether a report that passed shows an improvement on the rows held out; true where nothing was live."""
    mine, theirs = report["candidate"], report["live"]
    if theirs is None:
        return True
    if "accuracy" in mine and "accuracy" in theirs:
        return bool((mine["accuracy"], -mine["log_loss"]) > (theirs["accuracy"], -theirs["log_loss"]))
    return bool("rmse" in mine and "rmse" in theirs and mine["rmse"] < theirs["rmse"])


def as_text(report: Mapping[str, Any]) -> str:
    """The report as a person reads it in a terminal: one line per check, the summary last."""
    checks = report["checks"]
    width = max((len(check["name"]) for check in checks), default=0)
    lines = [f"{'pass' if one['passed'] else 'FAIL'}  {one['name']:<{width}}  {one['sentence']}" for one in checks]
    worst = (report.get("replay") or {}).get("disagreements", [])
    lines += [
        f"      prediction {one['prediction']} differs by {one['distance']:.3g}" for one in worst[:SHOWN_DISAGREEMENTS]
    ]
    if len(worst) > SHOWN_DISAGREEMENTS:
        lines.append(f"      … and {len(worst) - SHOWN_DISAGREEMENTS} more in the report")
    return "\n".join([*lines, report["summary"]])
