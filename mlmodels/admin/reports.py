"""The report of an evaluation as a person reads it: figures and charts, the gate's checks, a replay's disagreements."""

from collections.abc import Mapping
from typing import Any

from django.utils.safestring import SafeString

from mlmodels.admin import shown
from mlmodels.admin.topped import part
from mlmodels.models import Evaluation, ModelVersion, Purpose
from serving_site import charts
from serving_site.words import duration, number

FOLDED_FROM = 10


def report(evaluation: Evaluation) -> SafeString:
    """Whatever `evaluation` found; empty while it has found nothing."""
    found = evaluation.report
    if not found:
        return SafeString("")
    if evaluation.purpose == Purpose.GATE:
        return gate(evaluation)
    if evaluation.purpose == Purpose.REPLAY:
        return replay(found)
    return judged(evaluation.version, found)


def judged(version: ModelVersion, found: Mapping[str, Any]) -> SafeString:
    """How a version did on the rows held out, drawn."""
    return part("_judged", figures=_figures(found), charts=drawn(version, found), rows=found.get("rows"))


def _figures(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    speed = found.get("latency_ms") or {}
    names = {"single_p50": "one row, median", "single_p95": "one row, 95 of 100 faster", "batch_per_row": "in a batch"}
    costs = [(name, duration_ms(speed[key])) for key, name in names.items() if speed.get(key) is not None]
    if found.get("memory_mb") is not None:
        costs.append(("memory", f"{number(found['memory_mb'])} MB"))
    return shown.figures(found.get("metrics") or {}) + costs


def duration_ms(ms: float) -> str:
    """A latency, with the fractions of a millisecond that tell fast models apart."""
    return f"{number(ms)} ms" if ms < 1000 else duration(ms)


def drawn(version: ModelVersion, found: Mapping[str, Any]) -> list[SafeString]:
    """Every chart that the report has the numbers for."""
    answered = version.signature["output"]["properties"]
    titles = answered.get("label", {}).get("x-labels", {})
    unit = answered.get("value", {}).get("x-unit", "")
    confusion, residuals = found.get("confusion") or {}, found.get("residuals") or {}
    every = (
        charts.confusion(confusion.get("classes", []), confusion.get("counts", []), titles),
        charts.roc(found.get("roc") or [], titles),
        charts.calibration(found.get("calibration") or []),
        charts.residuals(residuals.get("points", []), unit),
        charts.residual_histogram(residuals.get("histogram", []), unit),
    )
    return [chart for chart in every if chart]


def gate(evaluation: Evaluation) -> SafeString:
    """The gate's report as it stands in its evaluation."""
    return gate_report(evaluation.report, evaluation.version, evaluation.against)


def gate_report(found: Mapping[str, Any], candidate: ModelVersion, live: ModelVersion | None) -> SafeString:
    """Every check of the gate with its verdict, both versions' figures, and the inputs that are answered otherwise."""
    return part(
        "_gate",
        passed=found.get("passed"),
        summary=found.get("summary", ""),
        checks=found.get("checks", []),
        candidate=candidate,
        live=live,
        figures=_side_by_side(found.get("candidate") or {}, found.get("live") or {}),
        replay=replay(found.get("replay") or {}, "as the live version answers them"),
    )


def _side_by_side(candidate: Mapping[str, Any], live: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    ours, theirs = dict(shown.figures(candidate)), dict(shown.figures(live))
    return [(name, ours.get(name, "-"), theirs.get(name, "-")) for name in {**ours, **theirs}]


def replay(found: Mapping[str, Any], alike: str = "as they were then") -> SafeString:
    """How many stored inputs are answered as before, and those that are not, the worst first."""
    if not found.get("rows"):
        return SafeString("")
    different = [{**each, "distance": _distance(each.get("distance"))} for each in found.get("disagreements", [])]
    return part(
        "_replay",
        rows=found["rows"],
        agree=found.get("agree", 0),
        identical=found.get("identical"),
        alike=alike,
        unanswered=found.get("unanswered"),
        gone=found.get("gone"),
        first=different[:FOLDED_FROM],
        more=different[FOLDED_FROM:],
    )


def _distance(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else str(value or "")
