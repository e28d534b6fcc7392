"""A model that begins with its data: whole, with a first version, or not at all."""

import datetime

from django.db import transaction
from django.utils import timezone

from mlmodels import registry, snapshots
from mlmodels.datasets import Dataset
from mlmodels.models import DatasetSnapshot, MLModel
from serving_site.accounts.models import User, audit
from serving_site.jobs.models import Status

STARTING_S = 60
"""So long a model may have neither data nor a training before it counts as left behind by a command that was killed."""


class Exists(Exception):
    """There is a model of that name; the message says what to do instead."""


def begin(dataset: Dataset, *, by: User | None) -> DatasetSnapshot:
    """Make the model that the schema names, and its first snapshot; `abandon` it when no version comes of it.

    Raises Exists and, with nothing left behind, BadData.
    """
    model = _new(dataset, by)
    try:
        return snapshots.take(model, dataset, by=by)
    except BaseException:
        abandon(model, by=by)
        raise


def refuse_known(slug: str) -> None:
    """Raise Exists where there is a model of that name, or one in the making."""
    model = MLModel.objects.filter(slug=slug).first()
    if model is None or _is_left_behind(model):
        return
    if model.versions.exists():
        raise Exists(f"There is a model {slug} already. Train it on other data: manage.py retrain {slug} --data FILE")
    raise Exists(f"The model {slug} is being made at this moment. Wait for it, or choose another name.")


def _new(dataset: Dataset, by: User | None) -> MLModel:
    slug = dataset.schema["slug"]
    refuse_known(slug)
    if left_behind := MLModel.objects.filter(slug=slug).first():
        abandon(left_behind, by=by)
    with transaction.atomic():
        model = registry.model_for(dataset.schema, by)
        audit(by, "model.create", model, after={"source": dataset.schema["source"]})
    return model


def _is_left_behind(model: MLModel) -> bool:
    """Whether its making was killed: it has no version, and nothing that may still bring one."""
    if model.versions.exists():
        return False
    if model.training_runs.filter(status__in=[Status.QUEUED, Status.RUNNING]).exists():
        return False
    starting = timezone.now() - model.created_at < datetime.timedelta(seconds=STARTING_S)
    return model.training_runs.exists() or not starting


def abandon(model: MLModel, *, by: User | None) -> bool:
    """Remove a model that has no version, with its data and trainings; whether it was removed."""
    with transaction.atomic():
        MLModel.objects.select_for_update().get(pk=model.pk)
        if model.versions.exists():
            return False
        files = [name for pair in model.snapshots.values_list("train_sha256", "holdout_sha256") for name in pair]
        model.training_runs.all().delete()
        model.snapshots.all().delete()
        audit(by, "model.abandon", model)
        model.delete()
    registry.discard_files(*files)
    return True
