"""Making a backup: the database first, then the files that its rows named at that moment.

Stored files are never edited, so what is copied later is what was there then; one that somebody deleted meanwhile is
left out and counted. The archive is written aside, read again from disk, and only then gets its name.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import storages
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from mlmodels.gitobjects import Repository
from mlmodels.models import DatasetSnapshot, ModelVersion, State
from mlmodels.training.commit import code_commit
from predictions.models import Upload
from serving_site.keeping import dumps
from serving_site.keeping.archive import Archive, Changed, Writer
from serving_site.keeping.named import Named, from_line
from serving_site.storage import sync_folder

FORMAT = 1
NAMES = "serving-site-*.tar"
DRAFT = ".serving-site-draft-"
BUNDLE = "models.bundle"
NOT_INSIDE = (
    "Not in it: SECRET_KEY and the other settings (the environment, /etc/serving-site, DATA_DIR/secret_key), TLS keys, "
    "and who may push. Keep a copy of those by hand, apart from the backups."
)
Say = Callable[[str], None]


class NotMade(Exception):
    """There is no backup; the message says why, and nothing is left of it."""


@dataclass
class Made:
    """A backup that was written and read again."""

    path: Path
    manifest: dict[str, Any]
    problems: list[str] = field(default_factory=list)
    """Files that the site itself has lost or spoilt."""


def make(folder: Path, say: Say = lambda _: None) -> Made:
    """Write a backup of this site into `folder`. Raises NotMade."""
    try:
        with _only_one(folder), tempfile.TemporaryDirectory(dir=folder, prefix=DRAFT) as scratch:
            return _made(folder, Path(scratch), say)
    except OSError as error:
        raise NotMade(f"The backup cannot be written: {error}.") from None
    except dumps.Failed as error:
        raise NotMade(str(error)) from None


def forget_old(folder: Path, keep: int) -> list[Path]:
    """Remove all backups in `folder` but the newest `keep`; returns what was removed."""
    old = sorted(folder.glob(NAMES))[:-keep]
    for path in old:
        path.unlink()
    return old


def _made(folder: Path, scratch: Path, say: Say) -> Made:
    draft, dump, named = scratch / "archive", scratch / "database", scratch / "named"
    began = datetime.datetime.now(datetime.UTC)
    say("The database …")
    with named.open("wb") as names:
        dumps.dump(dump, names)
    with draft.open("wb") as file, (scratch / "contents").open("wb+") as contents:
        os.fchmod(file.fileno(), 0o600)
        writer = Writer(file, contents)
        _add(writer, dumps.member_name(), dump)
        dump.unlink()
        say("The files that it names …")
        copied = Copied()
        with named.open("rb") as lines:
            for line in lines:
                copied.add(writer, from_line(line))
        if bundle := _bundle(scratch):
            say("The repository of models …")
            _add(writer, BUNDLE, bundle)
        writer.finish({**_about(began), **copied.counts, "problems": copied.problems[:100]})
        file.flush()
        os.fsync(file.fileno())
    say("Reading it again …")
    with Archive(draft) as written:
        written.check()
        manifest = written.manifest
    path = folder / f"serving-site-{began:%Y%m%dT%H%M%S}.{began.microsecond // 1000:03}Z.tar"
    draft.rename(path)
    sync_folder(folder)
    return Made(path, manifest, copied.problems)


@dataclass
class Copied:
    """What became of the files that rows name."""

    counts: dict[str, int] = field(
        default_factory=lambda: {"artifacts": 0, "uploads": 0, "deleted_meanwhile": 0, "of_quarantined": 0}
    )
    problems: list[str] = field(default_factory=list)

    def add(self, writer: Writer, one: Named) -> None:
        try:
            with storages[one.area].open(one.name) as file:
                writer.add(f"{one.area}/{one.name}", file, file.size, one.sha256)
            self.counts[one.area] += 1
        except (FileNotFoundError, Changed) as error:
            if not is_named(one):
                self.counts["deleted_meanwhile"] += 1
            elif not one.is_sound:
                self.counts["of_quarantined"] += 1
            else:
                lost = isinstance(error, FileNotFoundError)
                self.problems.append(f"{one.area}/{one.name} is {'missing' if lost else 'damaged'}")


def is_named(one: Named) -> bool:
    """Whether a row of the database names the file now."""
    if one.area == "uploads":
        return Upload.objects.filter(pk=one.name).exists()
    versions, snapshots = ModelVersion.objects.exclude(state=State.REFUSED), DatasetSnapshot.objects
    return (
        versions.filter(manifest_sha256=one.name).exists()
        or versions.filter(weights_sha256=one.name).exists()
        or snapshots.filter(train_sha256=one.name).exists()
        or snapshots.filter(holdout_sha256=one.name).exists()
    )


def _about(began: datetime.datetime) -> dict[str, Any]:
    applied: dict[str, list[str]] = {}
    for app, name in sorted(MigrationRecorder(connection).applied_migrations()):
        applied.setdefault(app, []).append(name)
    return {
        "format": FORMAT,
        "site": settings.SITE_URL,
        "began_at": began.isoformat(timespec="milliseconds"),
        "engine": dumps.engine(),
        "commit": code_commit() or settings.BASE_DIR.name,
        "migrations": applied,
    }


def _add(writer: Writer, name: str, path: Path) -> None:
    with path.open("rb") as file:
        writer.add(name, file, path.stat().st_size)


def _bundle(scratch: Path) -> Path | None:
    """What engineers pushed, as git itself packs it; without hooks and settings, which hold secrets."""
    repository = Repository(settings.MODEL_REPOSITORY)
    if not (repository.path / "HEAD").exists() or not repository.tip("main"):
        return None
    bundle = scratch / BUNDLE
    done = subprocess.run(
        ["git", "bundle", "create", "--quiet", str(bundle), "--all"],
        env=repository.environment, cwd=repository.path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise NotMade(f"{repository.path} cannot be bundled: {done.stderr.strip()[:300]}")
    return bundle


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made where it is missing; what a killed backup left in it is removed."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(0o700)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.glob(f"{DRAFT}*"):
            for path in left.iterdir():
                path.unlink()
            left.rmdir()
        yield
    except BlockingIOError:
        raise NotMade(f"Another backup is being written into {folder}.") from None
    finally:
        os.close(handle)
