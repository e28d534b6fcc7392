"""The background work of this app: the admission check of a version, and warming what is live or about to be."""

import structlog
from django.db import transaction

from mlmodels import registry, runtime
from mlmodels.executor import LoadFailed, Refused, RunFailed
from mlmodels.models import MLModel, ModelVersion, State, VersionCheck
from serving_site.accounts.models import audit
from serving_site.jobs import kinds, worker
from serving_site.jobs.batch import Batch
from serving_site.jobs.finish import Outcome
from serving_site.jobs.models import Status

log = structlog.get_logger(__name__)


def check(batch: Batch) -> None:
    """Run the admission check of one version and record the verdict: healthy, or refused with one sentence."""
    (job,) = batch.jobs
    version = ModelVersion.objects.select_related("model").get(pk=job.version_id)
    try:
        runtime.get_runtime().check(version)
        outcome = Outcome(job.id, Status.SUCCEEDED)
    except (Refused, LoadFailed, RunFailed, runtime.BrokenArtifact) as error:
        outcome = Outcome(job.id, Status.FAILED, "refused", {"error": str(error)})
    batch.finish([outcome])


def record_verdicts(rows: kinds.FinishedRows) -> None:
    """With the check's end the version becomes healthy or refused, in the same transaction."""
    for key, status in rows:
        job = VersionCheck.objects.select_related("version__model").get(pk=key)
        state = State.HEALTHY if status == Status.SUCCEEDED else State.REFUSED
        reason = job.error or ("" if status == Status.SUCCEEDED else "The check was canceled.")
        waiting = ModelVersion.objects.filter(pk=job.version_id, state=State.CHECKING)
        if waiting.update(state=state, state_reason=reason):
            audit(None, f"version.{state}", job.version, after={"reason": reason})
            if state == State.REFUSED:
                transaction.on_commit(lambda version=job.version: registry.discard_files(version))  # type: ignore[misc]


def warm() -> None:
    """Load the versions that are about to go live wherever the live one is loaded, before the first click needs them."""
    waiting = MLModel.objects.exclude(next_version=None).select_related("next_version__model")
    for version in [model.next_version for model in waiting]:
        if version is None or version.pk in runtime.get_runtime().loaded():
            continue
        try:
            runtime.get_runtime().warm(version)
        except (LoadFailed, runtime.BrokenArtifact) as error:
            log.warning("warm_failed", version=str(version), error=str(error))


kinds.register(VersionCheck, "check.v1", check, deadline_s=180.0, on_finished=record_verdicts)
worker.on_tick(0.5, warm)
worker.on_heartbeat(runtime.facts)
worker.on_stop(runtime.close)
