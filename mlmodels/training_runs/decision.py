"""What becomes of a version that was trained: a candidate, or live, by the run's policy. The gate has the last word."""

from collections.abc import Mapping
from typing import Any

from mlmodels import releases
from mlmodels.models import MLModel, ModelVersion, Promote, TrainingRun, system_user
from serving_site.accounts.models import User

Metrics = Mapping[str, Any]


def decide(run: TrainingRun, version: ModelVersion) -> str:
    """Carry out the run's policy; one sentence that says what became of `version`, which has been measured."""
    found = headline(version.measured)
    live = MLModel.objects.select_related("live_release").get(pk=version.model_id).live_release
    if live and live.version_id == version.pk:  # the run was taken up again behind its release
        return f"{version} is live: {found}."
    if run.promote == Promote.NEVER:
        return f"{version} is a candidate: {found}."
    only_better = run.promote == Promote.IF_BETTER
    reason = run.reason or f"Retrained: {found}."
    try:
        release = releases.promote(version.model, version, by=asker(run), reason=reason, only_better=only_better)
    except releases.NotBetter as refused:
        report, against = refused.evaluation.report, refused.evaluation.against
        return f"{version} is a candidate, not better than {against}: {compared(report['candidate'], report['live'])}."
    except (releases.NotReleasable, releases.LostRace) as refused:
        return f"{version} is a candidate ({found}). {refused}"
    return f"{version} is live as release {release.number}: {found}."


def asker(run: TrainingRun) -> User | None:
    """Who asked for the run; None is the system itself."""
    return None if run.owner == system_user() else run.owner


def headline(metrics: Metrics) -> str:
    """The one figure that people compare, and on how many rows: "accuracy 0.953 on 114 rows held out"."""
    name, value = _figure(metrics)
    rows = f" on {metrics['rows']:,} rows held out" if "rows" in metrics else ""
    return "not measured, because no rows are held out" if value is None else f"{name} {value:.3f}{rows}"


def compared(new: Metrics, old: Metrics) -> str:
    """For example "accuracy 0.951 against 0.953"; where they are equal, the log loss that decided."""
    (name, mine), (_, theirs) = _figure(new), _figure(old)
    if mine is None or theirs is None:
        return "not measured"
    if mine == theirs and "log_loss" in new and "log_loss" in old:
        return f"{name} {mine:.3f}, log loss {new['log_loss']:.4f} against {old['log_loss']:.4f}"
    return f"{name} {mine:.3f} against {theirs:.3f}"


def _figure(metrics: Metrics) -> tuple[str, float | None]:
    return ("accuracy", metrics["accuracy"]) if "accuracy" in metrics else ("R²", metrics.get("r2"))
