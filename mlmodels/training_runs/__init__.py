"""Training runs: ask for one, or keep one here, from its child to a version that is checked, measured and decided on.

`child` the process that trains · `journal` what it says, in the row · `keeper` the steps of a run · `decision` what
becomes of its version.
"""

import importlib.util
import queue
import threading
from typing import Any

from django.db import connection, transaction

from mlmodels import registry
from mlmodels.models import DatasetSnapshot, MLModel, Promote, TrainingRun, system_user
from mlmodels.training_runs.journal import Say
from mlmodels.training_runs.keeper import Keeper
from serving_site.accounts.models import User, audit
from serving_site.jobs import claim, finish, lease
from serving_site.jobs import submit as jobs
from serving_site.jobs.batch import Batch
from serving_site.jobs.models import Status

OPEN = (Status.QUEUED, Status.RUNNING)


class Busy(Exception):
    """The model is being trained already; the message says by whom, how far, and how to stop it."""


class CannotTrain(Exception):
    """Nothing can be trained so; the message says why, and what can be done."""


def submit(
    model: MLModel,
    snapshot: DatasetSnapshot,
    *,
    by: User | None,
    seed: int = 0,
    epochs: int | None = None,
    promote: str = Promote.NEVER,
    reason: str = "",
    request: Any = None,
) -> TrainingRun:
    """Queue a training for a worker. Raises Busy and CannotTrain. `request` is for the audit event."""
    run = _new(model, snapshot, by, seed=seed, epochs=epochs, promote=promote, reason=reason)
    with transaction.atomic():
        _refuse_second(model)
        jobs.submit(run)
        audit(by, "model.train", model, after=_asked(run), request=request)
    return run


def run_here(
    model: MLModel,
    snapshot: DatasetSnapshot,
    *,
    by: User | None,
    progress: Say,
    seed: int = 0,
    epochs: int | None = None,
    promote: str = Promote.NEVER,
    reason: str = "",
) -> TrainingRun:
    """Train in the foreground of a command; returns the run as it ended.

    The same rows as a queued run, but it is claimed as it is written and its lease is kept here. `progress` is called
    in the caller's thread; what it raises, and Ctrl-C, cancels the run, waits until nothing of it is left, and is
    passed on. Raises Busy and CannotTrain.
    """
    if importlib.util.find_spec("torch") is None:
        raise CannotTrain("Training needs torch, which is not installed here. Add --queue, and a worker trains it.")
    run = _new(model, snapshot, by, seed=seed, epochs=epochs, promote=promote, reason=reason)
    with transaction.atomic():
        _refuse_second(model)
        batch = claim.claim_new(run)
        audit(by, "model.train", model, after=_asked(run))
    _keep_here(batch, progress)
    run.refresh_from_db()
    return run


def current(model: MLModel) -> TrainingRun | None:
    """The training of `model` that is queued or running."""
    return model.training_runs.filter(status__in=OPEN).select_related("owner").first()


def cancel(run: TrainingRun, *, by: User | None, request: Any = None) -> bool:
    """Stop a run; whether it was still open. Its child is gone within two seconds."""
    with transaction.atomic():
        if won := finish.cancel(run):
            audit(by, "model.cancel_training", run.model, after={"run": str(run.pk)}, request=request)
    return won


def keep(batch: Batch) -> None:
    """What a worker does with a claimed run."""
    Keeper(batch, retries=True).run()


def _keep_here(batch: Batch, progress: Say) -> None:
    said: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    with lease.keeping(), lease.hold(batch) as held:
        keeper = threading.Thread(target=_say_all, args=(batch, said), name="training")
        keeper.start()
        try:
            for message in iter(said.get, None):
                progress(message)
        except BaseException:
            try:
                finish.cancel(batch.jobs[0])
            finally:
                held.drop()
            raise
        finally:
            keeper.join()


def _say_all(batch: Batch, said: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    try:
        Keeper(batch, retries=False, say=said.put).run()
    finally:
        connection.close()
        said.put(None)


def _new(model: MLModel, snapshot: DatasetSnapshot, by: User | None, **asked: Any) -> TrainingRun:
    recipe = snapshot.schema["recipe"]
    if not registry.known_recipe(recipe):
        raise CannotTrain(f"{model} is trained by the recipe {recipe}, which is not known here. See MODEL_RECIPES.")
    return TrainingRun(model=model, snapshot=snapshot, owner=by or system_user(), recipe=recipe, **asked)


def _asked(run: TrainingRun) -> dict[str, Any]:
    """What an audit event says of it."""
    return {"run": str(run.pk), "seed": run.seed, "epochs": run.epochs, "promote": run.promote, "reason": run.reason}


def _refuse_second(model: MLModel) -> None:
    """One training of a model at a time: whoever asks next is told of it. The lock makes two askers take turns."""
    MLModel.objects.select_for_update().get(pk=model.pk)
    if run := current(model):
        raise Busy(
            f"{model} is being trained already: {_told(run)}. "
            f"Wait for it, or stop it: manage.py retrain {model} --cancel"
        )


def _told(run: TrainingRun) -> str:
    far = run.progress
    epoch = f", epoch {far['epoch']} of {far['epochs']}" if "epoch" in far and "epochs" in far else ""
    return f"the run that {run.owner} asked for at {run.created_at:%H:%M} UTC is {run.status}{epoch}"
