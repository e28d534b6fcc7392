"""The private folder of one training: its data in, its artifact out, and nothing left behind, whoever is killed."""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from mlmodels import snapshots
from mlmodels.models import DatasetSnapshot

DATA, SCHEMA, OUT = "train.csv", "schema.json", "out"
NEW_S = 60.0
"""A folder younger than this may be one that is about to be locked."""


@contextlib.contextmanager
def private(snapshot: DatasetSnapshot) -> Iterator[Path]:
    """A folder that holds the rows to train on and their schema; it is gone afterwards.

    Those that a killed process left on this machine go too: nobody holds their lock any more.
    """
    base = settings.DATA_DIR / "training"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in base.iterdir():
        _remove_abandoned(left)
    folder = Path(tempfile.mkdtemp(dir=base))
    with _locked(folder):
        try:
            with snapshots.open_train(snapshot) as source, (folder / DATA).open("wb") as target:
                shutil.copyfileobj(source, target)
            (folder / SCHEMA).write_text(json.dumps(snapshot.schema))
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    with contextlib.suppress(OSError), _locked(folder):
        if time.time() - folder.stat().st_mtime > NEW_S:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises OSError where somebody else does, or where it is gone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
