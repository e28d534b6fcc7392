"""Databases and a storage of the test's own, and an artifact of the zoo to spoil."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from mlmodels import runtime
from serving_site.jobs.drain import stopping
from tests import zoo
from tests.jobs.conftest import engine
from tests.working import Working

__all__ = ("Stored", "edit", "engine", "folder", "host", "stored", "worker", "working")

Stored = Callable[[], list[str]]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[runtime.Runtime]:
    """One executor server for all, as in a worker process."""
    with override_settings(MODEL_ARCHITECTURES=["mlmodels.architectures", "tests.zoo"]):
        made = runtime.Runtime(4, runtime.ArtifactCache(tmp_path_factory.mktemp("cache")))
    before, runtime._runtime = runtime._runtime, made
    yield made
    runtime._runtime = before
    made.close()


@pytest.fixture
def worker(transactional_db: None, host: runtime.Runtime, stored: Stored, settings: Any, tmp_path: Path) -> None:
    """What a worker process holds, with a disk of the test's own."""
    settings.PREDICTION_DEADLINE_S = 10.0
    stopping.clear()
    host.cache = runtime.ArtifactCache(tmp_path / "cache")


@pytest.fixture
def working(engine: str, host: runtime.Runtime, stored: Stored, settings: Any, tmp_path: Path) -> Iterator[Working]:
    """A worker at work, on a thread of this process, with a database and a disk of the test's own."""
    settings.PREDICTION_DEADLINE_S = 10.0
    stopping.clear()
    host.cache = runtime.ArtifactCache(tmp_path / "cache")
    with Working() as started:
        yield started


@pytest.fixture
def stored(settings: Any, tmp_path: Path) -> Stored:
    """The names of the files in the storage of artifacts, which is empty at first."""
    base = tmp_path / "files"
    local = "serving_site.storage.LocalStorage"
    areas = {area: {"BACKEND": local, "OPTIONS": {"base": str(base / area)}} for area in ("artifacts", "uploads")}
    settings.STORAGES = {**settings.STORAGES, **areas}
    return lambda: sorted(path.name for path in (base / "artifacts").rglob("*") if path.is_file())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good artifact."""
    zoo.artifact(tmp_path / "artifact", "ok")
    return tmp_path / "artifact"


def edit(folder: Path, **fields: Any) -> None:
    """Change fields of the manifest; `...` takes one out."""
    path = folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({name: value for name, value in manifest.items() if value is not ...}))
