"""How a version enters the registry: an accepted artifact becomes a version in state `checking` and a check job."""

from typing import Any

from django.conf import settings
from django.core.files.storage import storages
from django.db import transaction
from django.db.models import Max, Q

from mlmodels.artifacts import Artifact
from mlmodels.manifests import RefusedArtifact
from mlmodels.models import DatasetSnapshot, MLModel, ModelVersion, State, VersionCheck, VersionHealth, system_user
from mlmodels.training import RECIPES
from serving_site.accounts.models import User, audit
from serving_site.jobs import submit


def register(
    artifact: Artifact,
    *,
    by: User | None,
    model: MLModel | None = None,
    snapshot: DatasetSnapshot | None = None,
    request: Any = None,
) -> ModelVersion:
    """The version of `artifact`, new or the one that is there already; a new one is `checking` and its job is queued.

    The manifest's slug names the model, which is made when it does not exist. One that is quarantined is checked again:
    its files have just been stored anew. The version names the `snapshot` that it was trained on, given or known by the
    manifest's hash of the data. Raises RefusedArtifact, the files being gone again, when `model` is another one or of
    another task. `request` is for the audit event.
    """
    try:
        with transaction.atomic():
            return _register(artifact, by, model, snapshot, request)
    except Exception:
        discard_files(artifact.manifest_sha256, artifact.weights_sha256)
        raise


def discard_files(*names: str) -> None:
    """Remove files from the storage, except those of a version that was not refused and those of a snapshot."""
    for sha256 in names:
        of_version = Q(manifest_sha256=sha256) | Q(weights_sha256=sha256)
        of_snapshot = Q(train_sha256=sha256) | Q(holdout_sha256=sha256)
        used = ModelVersion.objects.filter(of_version).exclude(state=State.REFUSED).exists()
        if not used and not DatasetSnapshot.objects.filter(of_snapshot).exists():
            storages["artifacts"].delete(sha256)


def _register(
    artifact: Artifact, by: User | None, wanted: MLModel | None, snapshot: DatasetSnapshot | None, request: Any
) -> ModelVersion:
    slug = artifact.manifest["slug"]
    if wanted is not None and wanted.slug != slug:
        raise RefusedArtifact(f"The manifest is for the model {slug}, not for {wanted.slug}.")
    model = model_for(artifact.manifest, by)
    MLModel.objects.select_for_update().get(pk=model.pk)
    known = model.versions.filter(manifest_sha256=artifact.manifest_sha256).exclude(state=State.REFUSED).first()
    if known is None:
        version = _create(artifact, model, snapshot, by)
        _queue_check(version, by, "version.upload", request)
        return version
    if known.state == State.QUARANTINED:
        VersionHealth.objects.filter(version=known).delete()
        ModelVersion.objects.filter(pk=known.pk).update(state=State.CHECKING, state_reason="")
        known.refresh_from_db()
        _queue_check(known, by, "version.upload_again", request)
    return known


def _create(artifact: Artifact, model: MLModel, snapshot: DatasetSnapshot | None, by: User | None) -> ModelVersion:
    sha256 = (artifact.manifest.get("dataset") or {}).get("sha256")
    return ModelVersion.objects.create(
        model=model,
        number=1 + (model.versions.aggregate(last=Max("number"))["last"] or 0),
        manifest=_without_row_hashes(artifact.manifest),
        manifest_sha256=artifact.manifest_sha256,
        weights_sha256=artifact.weights_sha256,
        artifact_bytes=artifact.size,
        snapshot=snapshot or model.snapshots.filter(sha256=sha256).first(),
        created_by=by,
    )


def _without_row_hashes(manifest: dict[str, Any]) -> dict[str, Any]:
    """For the database: there may be millions, and only the gate reads them, from the stored file."""
    dataset = manifest.get("dataset") or {}
    if "row_hashes" not in dataset:
        return manifest
    kept = {name: value for name, value in dataset.items() if name != "row_hashes"}
    return {**manifest, "dataset": {**kept, "row_hashes_count": len(dataset["row_hashes"])}}


def _queue_check(version: ModelVersion, by: User | None, action: str, request: Any) -> None:
    submit.submit(VersionCheck(version=version, owner=by or system_user()))
    audit(by, action, version, after={"manifest_sha256": version.manifest_sha256}, request=request)


def model_for(described: dict[str, Any], by: User | None) -> MLModel:
    """The model that a manifest or the schema of a dataset describes, made when it does not exist.

    Raises RefusedArtifact when there is one of another task.
    """
    fields = {name: described.get(name) or "" for name in ("title", "description", "task")}
    fields["recipe"] = known_recipe(described.get("recipe") or "")
    model, is_new = MLModel.objects.get_or_create(slug=described["slug"], defaults={**fields, "owner": by})
    if not is_new and model.task != described["task"]:
        raise RefusedArtifact(f"{model.slug} is a {model.task} model; the manifest says {described['task']}.")
    return model


def known_recipe(name: str) -> str:
    """`name` where it is a recipe that may be run here, else nothing: a manifest can name any module."""
    return name if name in RECIPES or name in settings.MODEL_RECIPES else ""
