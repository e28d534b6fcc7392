"""How admin writes what the registry holds: states in words and colour, figures, links from row to row."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import Model
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from mlmodels.models import Evaluation, ModelVersion, Release, State
from serving_site.jobs.models import Job, Status
from serving_site.words import duration, number

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "area under the ROC curve",
    "log_loss": "log loss (less is better)",
    "ece": "calibration error (less is better)",
    "r2": "R², explained variation",
    "mae": "mean error (less is better)",
    "rmse": "root mean squared error (less is better)",
}
"""Figures in the order in which they are read; others follow by name."""


def state_mark(state: str) -> SafeString:
    """The state in words, coloured by class and never by colour alone."""
    css = {State.HEALTHY: "state-good", State.CHECKING: "state-wait"}.get(State(state), "state-bad")
    return format_html('<strong class="{}">{}</strong>', css, state)


def status_mark(job: Job) -> SafeString:
    """What a job does now, or how it ended."""
    css = {Status.SUCCEEDED: "state-good", Status.FAILED: "state-bad"}.get(Status(job.status), "state-wait")
    return format_html('<strong class="{}">{}</strong>', css, job.get_status_display())


def address(row: Model) -> str:
    """The page of a row in admin."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def link(row: Model | None, words: object = None) -> SafeString:
    """A link to the page of a row, or a dash where there is none."""
    if row is None:
        return SafeString("-")
    return format_html('<a href="{}">{}</a>', address(row), row if words is None else words)


def exact(moment: datetime | None) -> str:
    """A time to the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def took(job: Job) -> str:
    """How long a job has run, or ran."""
    if job.started_at is None:
        return "-"
    return duration(((job.completed_at or timezone.now()) - job.started_at).total_seconds() * 1000)


def headline(metrics: Mapping[str, Any]) -> str:
    """The two figures that matter most, in a few characters."""
    found = [(name, metrics[name]) for name in METRICS if isinstance(metrics.get(name), float)]
    return ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in found[:2])


def figures(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every figure with its name in words, the known ones first."""
    order = [name for name in METRICS if name in metrics] + sorted(set(metrics) - set(METRICS))
    return [
        (METRICS.get(name, name.replace("_", " ")), number(metrics[name]))
        for name in order
        if isinstance(metrics[name], int | float) and not isinstance(metrics[name], bool)
    ]


def copyable(text: str, shown: int = 12) -> SafeString:
    """The beginning of a hash or a commit; the whole of it is chosen with one click, and said on hovering."""
    if not text:
        return SafeString("-")
    return format_html(
        '<code class="copy" title="{}">{}<span class="rest">{}</span></code>', text, text[:shown], text[shown:]
    )


def evidence(release: Release) -> SafeString:
    """On what a release rests, with a link where there is a report."""
    told = release.evidence
    said = "the gate's report"
    if told.get("override") or told.get("gate") == "overridden":
        said = "the gate refused it and was overridden"
    if key := told.get("evaluation"):
        return format_html('<a href="{}">{}</a>', reverse("admin:mlmodels_evaluation_change", args=[key]), said)
    if told.get("rollback_of"):
        return format_html("went back from release {}", told["rollback_of"])
    if told.get("gate"):
        return format_html("gate: {}", told["gate"])
    return format_html("{}", "none is kept")


def listed(links: Iterable[SafeString]) -> SafeString:
    """Links one after the other, or a dash."""
    return format_html_join(", ", "{}", ((one,) for one in links)) or SafeString("-")


def passed(evaluation: Evaluation) -> SafeString:
    """A gate's verdict in words and colour; a dash where the evaluation gives none."""
    if evaluation.passed is None:
        return SafeString("-")
    css, word = ("state-good", "passed") if evaluation.passed else ("state-bad", "refused")
    return format_html('<strong class="{}">{}</strong>', css, word)


def data_of(version: ModelVersion) -> SafeString:
    """What a version was trained on: the snapshot where it is kept here, else what its manifest says."""
    snapshot = version.snapshot
    if snapshot is None:
        told = version.manifest.get("dataset") or {}
        return format_html(
            "{}", f"not kept here; its manifest says: {told.get('title') or told.get('name') or 'nothing'}"
        )
    rows = f"{snapshot.train_rows:,} rows for training, {snapshot.holdout_rows:,} held out"
    return format_html("{}: {}; {}", link(snapshot, snapshot.sha256[:12]), rows, snapshot.source)
