"""A backup of one install, restored in another one with an other database, folder and name: everything agrees."""

import contextlib
import io
import json
import os
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from PIL import Image

from serving_site.keeping.archive import Archive
from tests.installs import Install
from tests.keeping.conftest import rewritten
from tests.processes import Process, Web
from tests.rows import ended, query

ROWS = (
    "SELECT id, status, inputs, outputs, label FROM predictions_prediction ORDER BY id",
    "SELECT id, username, password FROM accounts_user ORDER BY id",
    "SELECT id, state, weights_sha256 FROM mlmodels_modelversion ORDER BY id",
    "SELECT id, number, reason FROM mlmodels_release ORDER BY id",
    "SELECT app, name FROM django_migrations ORDER BY app, name",
)
Make = Callable[[], Install]


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (12, 9), level).save(file, "PNG")
    return file.getvalue()


@dataclass
class Site:
    """A running site with something in it."""

    install: Install
    web: Web
    workers: list[Process]
    keys: list[uuid.UUID]

    def stop(self) -> None:
        for process in (self.web, *self.workers):
            process.stop()

    def rows(self) -> list[list[dict[str, Any]]]:
        return rows(self.install)


def rows(install: Install) -> list[list[dict[str, Any]]]:
    return [query(install, text) for text in ROWS]


@pytest.fixture(scope="module", params=["embedded", "distributed"])
def new_install(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes installs of one kind."""
    with contextlib.ExitStack() as closing:

        def make() -> Install:
            if request.param == "embedded":
                install = Install.embedded()
            else:
                servers = request.getfixturevalue("rabbitmq"), request.getfixturevalue("postgres")
                install = Install.distributed_on(*servers)
            closing.callback(install.close)
            return install

        yield make


def filled(install: Install) -> Site:
    """Its site started, with a model of numbers, one of pictures, and answers of both."""
    web, workers = install.start()
    install.serve(["ok", "picture"])
    alice = install.log_in(web)
    keys = [alice.submit("zoo-ok", x=str(one)) for one in (-1, 0.5, 2)]
    keys.append(alice.submit_file("zoo-picture", "x", "bright.png", png(200)))
    for key in keys:
        assert ended(install, key)["status"] == "succeeded"
    return Site(install, web, workers, keys)


@pytest.fixture(scope="module")
def site(new_install: Make) -> Site:
    return filled(new_install())


@pytest.fixture(scope="module")
def backup(site: Site) -> Path:
    """Made while the site runs."""
    repository = site.install.folder / "data" / "models.git"
    commit = [
        ["init", "--quiet", "--bare", "--initial-branch=main", str(repository)],
        ["-C", str(repository), "commit-tree", "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "-m", "first"],
    ]
    subprocess.run(["git", *commit[0]], check=True)
    subprocess.run(["git", "-C", str(repository), "hash-object", "-t", "tree", "-w", "/dev/null"], check=True)
    who = {f"GIT_{role}_{what}": "x@y" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    made = subprocess.run(["git", *commit[1]], check=True, capture_output=True, text=True, env={**os.environ, **who})
    subprocess.run(["git", "-C", str(repository), "update-ref", "refs/heads/main", made.stdout.strip()], check=True)
    return Path(json.loads(site.install.manage("backup", "--json"))["path"])


def refusal(install: Install, *arguments: str, path: str = "") -> str:
    with pytest.raises(AssertionError) as error:
        install.manage(*arguments, PATH=path or install.environment["PATH"])
    (sentence,) = re.findall("^CommandError: (.*)", str(error.value), re.MULTILINE)
    return str(sentence)


def test_what_is_restored_elsewhere_is_the_same_and_answers_the_same(
    site: Site, backup: Path, new_install: Make, tmp_path: Path
) -> None:
    assert backup.stat().st_mode & 0o777 == 0o600
    assert backup.parent.stat().st_mode & 0o777 == 0o700
    other = new_install()
    assert refusal(other, "restore", str(backup)).startswith(
        "This site is not empty: 0 models, 0 predictions, 4 people."
    )
    other.manage("restore", str(backup), "--replace")
    assert rows(other) == site.rows()
    tip = ["git", "-C", str(other.folder / "data" / "models.git"), "log", "--format=%s", "main"]
    assert subprocess.run(tip, check=True, capture_output=True, text=True).stdout == "first\n"

    web, _ = other.start()
    for slug in ("zoo-ok", "zoo-picture"):
        report = json.loads(other.manage("replay", slug, "--last", "10", "--alone", "--json"))
        assert (report["rows"], report["agree"], report["gone"]) == (3 if slug == "zoo-ok" else 1, report["rows"], 0)
        assert report["alone_identical"] == report["alone_rows"]
    alice = other.log_in(web)
    page = alice.get(f"/predictions/{site.keys[-1]}/").text
    (address,) = set(re.findall(r'src="(/files/[0-9a-f-]{36}/)"', page))
    assert Image.open(io.BytesIO(alice.read(address))).size == (12, 9)
    assert ended(other, alice.submit("zoo-ok", x="3"))["status"] == "succeeded"
    assert "The site runs: " in refusal(other, "restore", str(backup), "--replace")


def test_a_site_without_tables_takes_a_backup_as_it_is(site: Site, backup: Path, new_install: Make) -> None:
    other = new_install()
    if other.is_embedded:
        (other.folder / "data" / "site.sqlite3").unlink()
    else:
        with psycopg.connect(other.environment["DATABASE_URL"]) as connection:
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    other.manage("restore", str(backup))
    assert rows(other) == site.rows()


def test_a_database_that_cannot_be_loaded_changes_nothing(site: Site, backup: Path, new_install: Make) -> None:
    """Its hash is right and its second half is missing: the database itself finds it, when the files are there."""
    with Archive(backup) as archive:
        dump = next(member for member in archive.members() if member.name.startswith("database"))
        half = b"".join(archive.read(dump))[: dump.size // 2]
    other = new_install()
    before = rows(other)
    sentence = refusal(other, "restore", str(rewritten(backup, database=half)), "--replace")
    assert re.match("pg_restore failed: |psql failed: |SQLite cannot load the backup: ", sentence), sentence
    assert rows(other) == before
    assert [path for path in (other.folder / "data").rglob("files/*/*/*") if path.is_file()] == []


@pytest.mark.parametrize("new_install", ["distributed"], indirect=True)
def test_no_program_is_given_a_password_on_its_command_line(site: Site, new_install: Make, tmp_path: Path) -> None:
    for name in ("pg_dump", "pg_restore", "psql"):
        spy = tmp_path / name
        spy.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/log\nexec /usr/bin/{name} "$@"\n')
        spy.chmod(0o755)
    spied = f"{tmp_path}:{site.install.environment['PATH']}"
    path = json.loads(site.install.manage("backup", "--json", PATH=spied))["path"]
    new_install().manage("restore", path, "--replace", PATH=spied)
    log = (tmp_path / "log").read_text()
    assert {line.split()[0] for line in log.splitlines()} == {"pg_dump", "pg_restore", "psql"}
    secret = urlsplit(site.install.environment["DATABASE_URL"]).password
    assert secret
    assert secret not in log


@pytest.mark.parametrize("new_install", ["distributed"], indirect=True)
def test_a_host_without_the_programs_is_told_which_package_brings_them(site: Site, tmp_path: Path) -> None:
    sentence = refusal(site.install, "backup", path=str(tmp_path))
    assert sentence == "pg_dump is not installed here (Debian: postgresql-client)."
