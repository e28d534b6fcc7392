"""How a version enters the registry: an accepted artifact becomes a version in state `checking` and a check job."""

from typing import Any

from django.core.files.storage import storages
from django.db import transaction
from django.db.models import Max, Q

from mlmodels.artifacts import Artifact
from mlmodels.manifests import RefusedArtifact
from mlmodels.models import MLModel, ModelVersion, State, VersionCheck, VersionHealth, system_user
from serving_site.accounts.models import User, audit
from serving_site.jobs import submit


def register(artifact: Artifact, *, by: User | None, model: MLModel | None = None, request: Any = None) -> ModelVersion:
    """The version of `artifact`, new or the one that is there already; a new one is `checking` and its job is queued.

    The manifest's slug names the model, which is made when it does not exist. One that is quarantined is checked again:
    its files have just been stored anew. Raises RefusedArtifact, the files being gone again, when `model` is another
    one or of another task. `request` is for the audit event.
    """
    try:
        with transaction.atomic():
            return _register(artifact, by, model, request)
    except Exception:
        discard_files(artifact.manifest_sha256, artifact.weights_sha256)
        raise


def discard_files(*names: str) -> None:
    """Remove files of an artifact from the storage, except those that a version uses which was not refused."""
    for sha256 in names:
        used = Q(manifest_sha256=sha256) | Q(weights_sha256=sha256)
        if not ModelVersion.objects.filter(used).exclude(state=State.REFUSED).exists():
            storages["artifacts"].delete(sha256)


def _register(artifact: Artifact, by: User | None, wanted: MLModel | None, request: Any) -> ModelVersion:
    slug = artifact.manifest["slug"]
    if wanted is not None and wanted.slug != slug:
        raise RefusedArtifact(f"The manifest is for the model {slug}, not for {wanted.slug}.")
    model = _model(artifact.manifest, by)
    MLModel.objects.select_for_update().get(pk=model.pk)
    known = model.versions.filter(manifest_sha256=artifact.manifest_sha256).exclude(state=State.REFUSED).first()
    if known is None:
        version = _create(artifact, model, by)
        _queue_check(version, by, "version.upload", request)
        return version
    if known.state == State.QUARANTINED:
        VersionHealth.objects.filter(version=known).delete()
        ModelVersion.objects.filter(pk=known.pk).update(state=State.CHECKING, state_reason="")
        known.refresh_from_db()
        _queue_check(known, by, "version.upload_again", request)
    return known


def _create(artifact: Artifact, model: MLModel, by: User | None) -> ModelVersion:
    return ModelVersion.objects.create(
        model=model,
        number=1 + (model.versions.aggregate(last=Max("number"))["last"] or 0),
        manifest=artifact.manifest,
        manifest_sha256=artifact.manifest_sha256,
        weights_sha256=artifact.weights_sha256,
        artifact_bytes=artifact.size,
        created_by=by,
    )


def _queue_check(version: ModelVersion, by: User | None, action: str, request: Any) -> None:
    submit.submit(VersionCheck(version=version, owner=by or system_user()))
    audit(by, action, version, after={"manifest_sha256": version.manifest_sha256}, request=request)


def _model(manifest: dict[str, Any], by: User | None) -> MLModel:
    described = {name: manifest.get(name) or "" for name in ("title", "description", "task")}
    model, is_new = MLModel.objects.get_or_create(slug=manifest["slug"], defaults={**described, "owner": by})
    if not is_new and model.task != manifest["task"]:
        raise RefusedArtifact(f"{model.slug} is a {model.task} model; the manifest says {manifest['task']}.")
    return model
