"""The background work of this app: training, checking and judging versions, and warming what is live or will be."""

import functools
import time
import uuid

import structlog
from django.conf import settings
from django.db import transaction

from mlmodels import (
    deliveries,
    evaluations,
    registry,
    releases,
    replays,  # noqa: F401 - with it comes how gates and replays are run
    runtime,
    training_runs,
)
from mlmodels.executor import ExecutorError, LoadFailed, Refused, RunFailed
from mlmodels.models import Evaluation, MLModel, ModelVersion, State, TrainingRun, VersionCheck
from serving_site.accounts.models import audit
from serving_site.jobs import claim, kinds, ring, worker
from serving_site.jobs.batch import Batch
from serving_site.jobs.finish import Outcome
from serving_site.jobs.models import Status

log = structlog.get_logger(__name__)
WARM_AGAIN_S = 60.0
TRAINING_S = 24 * 3600.0
_failed_until: dict[uuid.UUID, float] = {}


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
                names = (job.version.manifest_sha256, job.version.weights_sha256)
                transaction.on_commit(functools.partial(registry.discard_files, *names))


def hear() -> None:
    """Where the site itself is the worker: look for what a command has queued beside it.

    The command's ring stays in its own process, and whoever waits in a terminal need not wait for the sweeper.
    """
    for kind in (kinds.KINDS[VersionCheck], kinds.KINDS[Evaluation], kinds.KINDS[TrainingRun]):
        if claim.has_queued(kind):
            ring.ring(kind, "found")


def warm() -> bool:
    """Load what is live, as far as there is room, and what is about to go live, before a click needs it.

    A version whose stored file is broken is taken out of service here, before it serves. Returns whether anything was
    loaded: a promotion waits for the heartbeat that says so.
    """
    loaded = False
    here = runtime.get_runtime()
    models = MLModel.objects.select_related("next_version__model", "live_release__version__model")
    for model in models.exclude(next_version=None, live_release=None):
        has_room = len(here.loaded()) < here.capacity
        for version in (model.next_version, model.live_version if has_room else None):
            if version is not None and version.state == State.HEALTHY:
                loaded |= _warm(here, version)
    return loaded


def _warm(here: runtime.Runtime, version: ModelVersion) -> bool:
    if version.pk in here.loaded() or time.monotonic() < _failed_until.get(version.pk, 0.0):
        return False
    try:
        here.warm(version)
    except runtime.BrokenArtifact as error:
        releases.quarantine(version, str(error))
    except (ExecutorError, OSError) as error:
        _failed_until[version.pk] = time.monotonic() + WARM_AGAIN_S
        log.warning("warm_failed", version=str(version), error=str(error))
    else:
        return True
    return False


kinds.register(VersionCheck, "check.v1", check, deadline_s=180.0, on_finished=record_verdicts)
kinds.register(
    Evaluation,
    "evaluate.v1",
    evaluations.run,
    deadline_s=evaluations.DEADLINE_S,
    on_finished=evaluations.record,
    detached=1,
)
kinds.register(TrainingRun, "train.v1", training_runs.keep, deadline_s=TRAINING_S, detached=1)
worker.on_tick(0.5, warm)
if settings.EMBEDDED:
    worker.on_tick(0.5, hear)
worker.on_tick(5.0, deliveries.finish_landed)
worker.on_tick(60.0, runtime.forget_unused)
worker.on_heartbeat(runtime.facts)
worker.on_stop(runtime.close)
