"""A site in the test's own process whose rows name files that are really there."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages

from mlmodels.models import MLModel, ModelVersion
from predictions import uploads
from predictions.models import Prediction
from serving_site.accounts.models import User
from serving_site.keeping.archive import Archive, Writer
from tests import registry


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """DATA_DIR of the site, its files in `files`."""
    settings.DATA_DIR, settings.BACKUP_DIR = tmp_path / "data", tmp_path / "data" / "backups"
    settings.MODEL_REPOSITORY = settings.DATA_DIR / "models.git"
    settings.DATA_DIR.mkdir(mode=0o750)
    kind = "serving_site.storage.LocalStorage"
    areas = ("artifacts", "uploads")
    own = {area: {"BACKEND": kind, "OPTIONS": {"base": str(settings.DATA_DIR / "files" / area)}} for area in areas}
    settings.STORAGES = {**settings.STORAGES, **own}
    data: Path = settings.DATA_DIR
    return data


def keep(content: bytes) -> str:
    """Store an artifact's file; its hash, which is its name."""
    sha256 = hashlib.sha256(content).hexdigest()
    storages["artifacts"].save(sha256, ContentFile(content))
    return sha256


def stored_model(slug: str = "pictures", **fields: Any) -> MLModel:
    """A live model of pictures whose version's two files are stored."""
    model = registry.live_model(slug, registry.picture_signature(), **fields)
    files = {"manifest_sha256": keep(f"manifest of {slug}".encode()), "weights_sha256": keep(f"of {slug}".encode())}
    ModelVersion.objects.filter(model=model).update(**files)
    return model


def answered(owner: User, model: MLModel, **fields: Any) -> Prediction:
    """A prediction with a picture and its preview, both stored."""
    given = uploads.store(owner.pk, ContentFile(registry.png(), name="x.png"), "image/png", "x.png")
    preview = uploads.store_preview(owner.pk, registry.png((4, 4)))
    inputs = [{"picture": {"upload": str(given.pk)}}]
    return registry.prediction(owner, model, inputs=inputs, previews={"0": {"picture": preview}}, **fields)


@pytest.fixture
def alice(transactional_db: None) -> User:
    return User.objects.create_user("alice", "alice@example.org", "correct horse battery")


@pytest.fixture
def model(folder: Path, transactional_db: None) -> MLModel:
    return stored_model()


@pytest.fixture
def prediction(alice: User, model: MLModel) -> Prediction:
    return answered(alice, model)


Rewrite = Callable[[dict[str, Any]], None]


def rewritten(path: Path, change: Rewrite = lambda _: None, database: bytes | None = None) -> Path:
    """The same backup with another manifest or another database, and with the hashes that belong to that."""
    other = path.with_name("other.tar")
    with Archive(path) as archive, other.open("wb") as file:
        writer = Writer(file, io.BytesIO())
        for member in archive.members():
            content = b"".join(archive.read(member))
            if member.name.startswith("database") and database is not None:
                content = database
            writer.add(member.name, io.BytesIO(content), len(content))
        manifest = {name: value for name, value in archive.manifest.items() if name not in ("files", "contents_sha256")}
        change(manifest)
        writer.finish(manifest)
    return other
