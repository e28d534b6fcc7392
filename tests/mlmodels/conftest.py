"""Databases and a storage of the test's own, and an artifact of the zoo to spoil."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import zoo
from tests.jobs.conftest import engine

__all__ = ("edit", "engine", "folder", "stored")


@pytest.fixture
def stored(settings: Any, tmp_path: Path) -> Callable[[], list[str]]:
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
