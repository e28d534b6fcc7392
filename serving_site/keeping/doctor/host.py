"""This machine: room on its disks, its folders, its programs, its backups."""

from __future__ import annotations

import datetime
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage

from serving_site.jobs.sql import is_postgres
from serving_site.keeping.backup import NAMES
from serving_site.keeping.doctor.findings import Finding, error, note, ok, warning

GB = 1024**3
LITTLE, NEARLY_NONE = 2 * GB, GB // 4
OLD_BACKUP = datetime.timedelta(hours=36)


def disks_have_room() -> Iterator[Finding]:
    """DATA_DIR and BACKUP_DIR, or where they would be made."""
    seen = set()
    for folder in (settings.DATA_DIR, settings.BACKUP_DIR):
        there = next(one for one in (folder, *folder.parents) if one.exists())
        if there.stat().st_dev in seen:
            continue
        seen.add(there.stat().st_dev)
        disk = os.statvfs(there)
        free, files = disk.f_bavail * disk.f_frsize, disk.f_favail
        told = f"{free / GB:.1f} GB are free for {folder}"
        advice = "Make room: `manage.py prune` says what may go; older backups may too."
        if free < NEARLY_NONE or (disk.f_files and files < 1000):
            yield error(f"{told}, and room for {files:,} files: what people submit is soon refused.", advice)
        elif free < LITTLE:
            yield warning(f"{told}.", advice)
        else:
            yield ok(f"{told}.")


def folders_are_closed() -> Iterator[Finding]:
    """Whether the site can write where it must, and strangers read nothing."""
    folder = settings.DATA_DIR
    if not folder.exists():
        yield error(f"DATA_DIR {folder} is missing.", f"For the site's own user: mkdir -m 750 {folder}")
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield error(f"DATA_DIR {folder} cannot be written by this user.", "Run this as the site's user, or chown it.")
    owner = folder.stat().st_uid
    if os.geteuid() != owner:
        yield warning(
            f"This runs as user {os.geteuid()}, and {folder} belongs to user {owner}.",
            "Run the site's commands as its own user, or files come to belong to the wrong one.",
        )
    for path, wrong in ((folder, 0o007), (settings.BACKUP_DIR, 0o077)):
        if path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) & wrong:
            yield warning(
                f"{path} has mode {mode:03o}: others can read it.", f"chmod {0o777 & mode & ~wrong:03o} {path}"
            )
    if settings.ACCEL_REDIRECT and settings.STORAGE_URL.startswith("file:"):
        yield from _open_to_the_proxy()
    yield ok(f"{folder} is the site's own.")


def _open_to_the_proxy() -> Iterator[Finding]:
    base = Path(settings.STORAGES["uploads"]["OPTIONS"]["base"])
    newest = next(base.glob("??/*"), None)
    closed = [one for one in (base.parent, base, newest) if one and one.exists() and not one.stat().st_mode & 0o040]
    if closed:
        yield error(
            f"ACCEL_REDIRECT is set, and the site's group, in which the proxy is, cannot read {closed[0]}.",
            f"chmod -R g+rX {base.parent}",
        )


def static_files_are_there() -> Iterator[Finding]:
    """What `collectstatic` gathers: without it pages have no style."""
    kept: Any = staticfiles_storage
    if _serves_nobody():
        yield note("The web host serves them.")
        return
    if not hasattr(kept, "hashed_files"):
        yield note("Static files are served from the code (DEBUG).")
        return
    known = kept.hashed_files
    wanted = [path for finder in finders.get_finders() for path, _ in finder.list([])]
    missing = [path for path in wanted if path not in known or not kept.exists(known[path])]
    if missing:
        yield error(
            f"{len(missing)} of {len(wanted)} static files are not collected ({missing[0]}): pages have no style.",
            "Run `manage.py collectstatic --noinput` and restart the web process.",
        )
    else:
        yield ok(f"{len(wanted)} static files are collected.")


def programs_are_there() -> Iterator[Finding]:
    """What backups call."""
    if _serves_nobody():
        yield note("The web host makes the backups.")
        return
    needed = {"pg_dump": "postgresql-client", "pg_restore": "postgresql-client", "psql": "postgresql-client"}
    wanted = needed if is_postgres() else {}
    if settings.MODEL_REPOSITORY.exists():
        wanted = {**wanted, "git": "git"}
    missing = {package for program, package in wanted.items() if shutil.which(program) is None}
    for package in sorted(missing):
        yield warning(f"The package {package} is missing: no backup can be made here.", f"apt-get install {package}")
    if not missing:
        yield ok("What backups need is installed.")


def backups_are_fresh() -> Iterator[Finding]:
    """The newest one's age, and who can read them."""
    if _serves_nobody():
        yield note("The web host makes the backups.")
        return
    try:
        found = sorted(settings.BACKUP_DIR.glob(NAMES)) if settings.BACKUP_DIR.exists() else []
    except PermissionError:
        yield note(f"{settings.BACKUP_DIR} is not for this user to look into.")
        return
    how = "Make one every night: `manage.py backup --keep 14` (serving-site-backup.timer does), and copy it elsewhere."
    if not found:
        yield warning(f"There is no backup in {settings.BACKUP_DIR}.", how)
        return
    newest = found[-1].stat()
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromtimestamp(newest.st_mtime, datetime.UTC)
    told = f"The newest of {len(found)} backups is {age.total_seconds() / 3600:.0f} hours old"
    yield warning(f"{told}.", how) if age > OLD_BACKUP else ok(f"{told}.")
    for path in found:
        if path.stat().st_mode & 0o077:
            yield error(f"{path} can be read by others.", f"chmod 600 {path}")


def _serves_nobody() -> bool:
    """Whether this is a host of workers, which has another one for pages and files."""
    return bool(settings.STORAGE_URL.startswith("site:"))
