"""How a version enters the registry: an accepted artifact becomes a version in state `checking` and a check job."""

from typing import Any

from django.core.files.storage import storages
from django.db import transaction
from django.db.models import Max, Q

from mlmodels.artifacts import Artifact, RefusedArtifact
from mlmodels.models import MLModel, ModelVersion, State, VersionCheck, system_user
from serving_site.accounts.models import User, audit
from serving_site.jobs import submit


def register(artifact: Artifact, *, by: User | None, model: MLModel | None = None, request: Any = None) -> ModelVersion:
    """The version of `artifact`, new or the one that is there already; a new one is `checking` and its job is queued.

    The manifest's slug names the model, which is made when it does not exist. Raises RefusedArtifact when `model` is
    another one. `request` is for the audit event.
    """
    slug = artifact.manifest["slug"]
    if model is not None and model.slug != slug:
        raise RefusedArtifact(f"The manifest is for the model {slug}, not for {model.slug}.")
    with transaction.atomic():
        model = _model(artifact.manifest, by)
        MLModel.objects.select_for_update().get(pk=model.pk)
        known = model.versions.filter(manifest_sha256=artifact.manifest_sha256).exclude(state=State.REFUSED).first()
        if known:
            return known
        version = ModelVersion.objects.create(
            model=model,
            number=1 + (model.versions.aggregate(last=Max("number"))["last"] or 0),
            manifest=artifact.manifest,
            manifest_sha256=artifact.manifest_sha256,
            weights_sha256=artifact.weights_sha256,
            artifact_bytes=artifact.size,
            created_by=by,
        )
        submit.submit(VersionCheck(version=version, owner=by or system_user()))
        audit(by, "version.upload", version, after={"manifest_sha256": artifact.manifest_sha256}, request=request)
    return version


def discard_files(version: ModelVersion) -> None:
    """Remove a refused version's files from the storage, except those that another version uses."""
    for sha256 in (version.manifest_sha256, version.weights_sha256):
        used = Q(manifest_sha256=sha256) | Q(weights_sha256=sha256)
        if not ModelVersion.objects.filter(used).exclude(state=State.REFUSED).exists():
            storages["artifacts"].delete(sha256)


def _model(manifest: dict[str, Any], by: User | None) -> MLModel:
    described = {name: manifest.get(name, "") for name in ("title", "description", "task")}
    model, is_new = MLModel.objects.get_or_create(slug=manifest["slug"], defaults={**described, "owner": by})
    if not is_new and model.task != manifest["task"]:
        raise RefusedArtifact(f"{model.slug} is a {model.task} model; the manifest says {manifest['task']}.")
    return model
