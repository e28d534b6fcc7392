"""Putting a backup in the place of what a site holds: whole, or not at all.

The archive is read from end to end before anything changes. Then come the files, beside those that are there, then the
database in one transaction, which is the moment of the change; what fails before it takes the new files away again.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import storages
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from mlmodels.gitobjects import Repository
from mlmodels.models import MLModel
from predictions.models import Prediction
from serving_site.accounts.models import User, audit
from serving_site.jobs import sql
from serving_site.jobs.models import Worker
from serving_site.jobs.sweep import ALIVE_S
from serving_site.keeping import dumps
from serving_site.keeping.archive import Archive, Damaged, Member
from serving_site.keeping.backup import BUNDLE, FORMAT

Say = Callable[[str], None]


class NotRestored(Exception):
    """Unless the message says otherwise, the site is as it was; it says why."""


def restore(path: Path, *, replace: bool = False, say: Say = lambda _: None) -> dict[str, Any]:
    """Restore the backup at `path` and bring its database up to this code; returns its manifest. Raises NotRestored."""
    with _opened(path) as archive:
        _judge(archive.manifest)
        _judge_site(replace)
        say("Reading the whole backup …")
        archive.check()
        _judge_dump(archive)
        settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="serving-site-restore-", dir=settings.DATA_DIR) as scratch:
            _put(archive, Path(scratch), say)
        _after(archive.manifest, say)
        return archive.manifest


def check(path: Path) -> dict[str, Any]:
    """Read a backup from end to end and change nothing; returns its manifest. Raises NotRestored."""
    with _opened(path) as archive:
        archive.check()
        return archive.manifest


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Archive]:
    try:
        with Archive(path) as archive:
            yield archive
    except (Damaged, dumps.Failed) as error:
        raise NotRestored(str(error)) from None
    except OSError as error:
        raise NotRestored(f"The backup cannot be restored: {error}.") from None


def _judge(manifest: dict[str, Any]) -> None:
    """Whether this code and this database can take it. Raises NotRestored."""
    if manifest["format"] != FORMAT:
        raise NotRestored(f"The backup is of format {manifest['format']}; this code reads format {FORMAT}.")
    if manifest["engine"] != dumps.engine():
        names = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
        raise NotRestored(
            f"The backup holds a database of {names[manifest['engine']]}; this site runs on {names[dumps.engine()]}. "
            "Set DATABASE_URL to one of the same kind: databases are not translated."
        )
    known = MigrationLoader(None).disk_migrations
    for app, names in manifest["migrations"].items():
        for name in names:
            if (app, name) not in known:
                raise NotRestored(
                    f"The backup is of newer code: it has the migration {name} of {app}, which this code does not "
                    f"know. Install commit {manifest['commit']} or a later one first."
                )


def _judge_site(replace: bool) -> None:
    """Whether nobody works here and, unless `replace`, nothing is lost. Raises NotRestored."""
    tables = connection.introspection.table_names()
    if Worker._meta.db_table in tables and Prediction._meta.db_table in tables:
        alive = Worker.objects.raw(
            f"SELECT * FROM {Worker._meta.db_table} WHERE seen_at > {sql.clock(-ALIVE_S)}"  # noqa: S608 - our own names
        )
        if len(alive):
            raise NotRestored(f"The site runs: the worker {alive[0]} answers. Stop web and workers first.")
        _judge_emptiness(replace)
    if others := _other_connections():
        raise NotRestored(f"The site runs: {others} other connections to its database. Stop web and workers first.")


def _judge_emptiness(replace: bool) -> None:
    people = User.objects.exclude(username="system").count()
    found = {"models": MLModel.objects.count(), "predictions": Prediction.objects.count(), "people": people}
    if any(found.values()) and not replace:
        told = ", ".join(f"{count:,} {name}" for name, count in found.items())
        raise NotRestored(f"This site is not empty: {told}. With --replace the backup takes their place.")


def _other_connections() -> int:
    if not sql.is_postgres():
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


def _judge_dump(archive: Archive) -> None:
    if sql.is_postgres():
        dumps.check(archive.read(_database(archive)))


def _database(archive: Archive) -> Member:
    return next(one for one in archive.members() if one.name == dumps.member_name())


def _put(archive: Archive, scratch: Path, say: Say) -> None:
    """Files, then the repository's objects, then the database; what is new goes again where that fails."""
    with (scratch / "new").open("w+") as new:
        try:
            say("The files …")
            bundle = None
            for member in archive.members():
                area, _, name = member.name.partition("/")
                if member.name == BUNDLE:
                    bundle = _unpacked(archive, member, scratch)
                elif name:
                    _store(archive, member, area, name, new)
            say("The database …")
            dumps.load(archive.read(_database(archive)), scratch)
        except BaseException:
            _take_away(new)
            raise
    if bundle:
        say("The repository of models …")
        try:
            _git("fetch", "--quiet", "--atomic", "--prune", str(bundle), "+refs/*:refs/*")
        except NotRestored as error:
            raise NotRestored(
                f"All is restored but the repository of models; repair that and repeat. {error}"
            ) from None


def _store(archive: Archive, member: Member, area: str, name: str, new: Any) -> None:
    """Also over a file of that name: it holds the same, unless a disk has spoilt it."""
    storage = storages[area]
    if not storage.exists(name):
        new.write(f"{area} {name}\n")
    with tempfile.TemporaryFile(dir=settings.DATA_DIR) as file:
        for chunk in archive.read(member):
            file.write(chunk)
        file.seek(0)
        storage.save(name, File(file, name=name))


def _take_away(new: Any) -> None:
    new.seek(0)
    for line in new:
        area, name = line.split()
        with contextlib.suppress(OSError):
            storages[area].delete(name)


def _unpacked(archive: Archive, member: Member, scratch: Path) -> Path:
    """The bundle as a file, its objects in the repository already, which no branch shows yet."""
    bundle = scratch / BUNDLE
    with bundle.open("wb") as file:
        for chunk in archive.read(member):
            file.write(chunk)
    path = settings.MODEL_REPOSITORY
    if not (path / "HEAD").exists():
        path.mkdir(parents=True, exist_ok=True)
        _git("init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(path))
    _git("bundle", "unbundle", str(bundle))
    return bundle


def _git(*arguments: str) -> None:
    """Raises NotRestored with what git said."""
    repository = Repository(settings.MODEL_REPOSITORY)
    done = subprocess.run(
        ["git", *arguments],
        env=repository.environment,
        cwd=repository.path,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotRestored(f"git {arguments[0]} failed in {repository.path}: {done.stderr.strip()[:300]}")


def _after(manifest: dict[str, Any], say: Say) -> None:
    """The database is the restored one: bring it up to this code, and forget the workers of the old site."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        say("The migrations that came since …")
        call_command("migrate", verbosity=0, interactive=False)
    Worker.objects.all().delete()
    told = {name: manifest[name] for name in ("site", "began_at", "commit")}
    audit(None, "site.restore", f"backup of {manifest['began_at']}", after={**told, "by": os.environ.get("USER", "")})
