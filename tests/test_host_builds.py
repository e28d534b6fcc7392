"""deploy/host builds releases from archives of commits, keeps few, and takes what a push hands over."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import receiving
import releases
from machine import Refused

from tests.fake_host import Fake

OLD, NEW, OTHER = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"
COMMIT = NEW + "0" * 28


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    """Makes what `git archive` makes, of files that hold nothing."""

    def make(commit: str = COMMIT, **sizes: int) -> Path:
        path = tmp_path / "archive.tar.gz"
        files = {"requirements/worker.txt": 1, "requirements/torch.txt": 1, **sizes}
        with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT, pax_headers={"comment": commit}) as tar:
            for name, size in files.items():
                info = tarfile.TarInfo(name)
                info.size = size
                tar.addfile(info, io.BytesIO(bytes(size)))
        return path

    return make


def unpacking(fake: Fake) -> None:
    """Let the fake's `tar` leave the files that a release needs."""
    done = fake.attempt

    def attempt(*argv: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        if argv[0] == "tar":
            for name in ("worker", "torch"):
                path = options["cwd"] / f"requirements/{name}.txt"
                path.parent.mkdir(exist_ok=True)
                path.write_text(name)
        return done(*argv, **options)

    fake.attempt = attempt  # type: ignore[method-assign]


def left(fake: Fake) -> list[str]:
    """What lies in the folders of releases, packages and archives."""
    return sorted(str(path.relative_to(fake.home)) for path in fake.home.glob("*/*"))


def test_a_release_is_built_by_the_one_user_and_checked_as_the_other(fake: Fake, archive: Callable[..., Path]) -> None:
    unpacking(fake)
    releases.build(fake, NEW, archive())
    (venv,) = fake.venvs.iterdir()
    assert left(fake) == [f"archives/{NEW}.tar.gz", f"releases/{NEW}", f"venvs/{venv.name}"]
    assert (fake.releases / NEW / ".venv").readlink() == venv
    assert f"give .{NEW} to serving-site-build" in fake.did
    checks = [line.partition("manage.py ")[2] for line in fake.did if "manage.py" in line]
    assert checks == ["check --deploy --fail-level WARNING", "makemigrations --check --dry-run", "check_migrations"]
    fake.did.clear()
    releases.build(fake, NEW, archive())
    assert fake.did == []


@pytest.mark.parametrize("part", ["tar", "-m pip install", "check --deploy", "check_migrations", "chown -hR root:root"])
def test_a_build_that_fails_leaves_no_release(fake: Fake, archive: Callable[..., Path], part: str) -> None:
    unpacking(fake)
    fake.fails[part] = "the reason"
    with pytest.raises(Refused, match="the reason"):
        releases.build(fake, NEW, archive())
    assert [one for one in left(fake) if not one.startswith("venvs/")] == []
    assert all((venv / releases.DONE).exists() for venv in fake.venvs.glob("*"))


def test_an_archive_of_something_else_is_refused(fake: Fake, archive: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(Refused, match=f"holds the commit {OLD}, not {NEW}"):
        releases.build(fake, NEW, archive(OLD + "0" * 28))
    with pytest.raises(Refused, match="too large: at most 150 MB"):
        releases.build(fake, NEW, archive(bomb=releases.MAX_UNPACKED_BYTES + 1))
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(Refused, match="no archive of a release"):
        releases.build(fake, NEW, tmp_path / "text")
    whole = archive().read_bytes()
    (tmp_path / "half").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Refused, match="no archive of a release"):
        releases.build(fake, NEW, tmp_path / "half")
    for name in ("../../etc", "AAAAAAAAAAAA", "", f"{NEW}\n"):
        with pytest.raises(Refused, match="is no release"):
            releases.build(fake, name, archive())
    assert left(fake) == []


def test_a_full_disk_is_said_before_anything_is_written(
    fake: Fake, archive: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=5 * 1024**2))
    with pytest.raises(Refused, match=r"The disk is too full to build: 5 MB are free .*`serving-site prune`"):
        releases.build(fake, NEW, archive())
    assert left(fake) == []


def test_pruning_spares_what_runs_and_what_ran_before(fake: Fake) -> None:
    fake.built(OLD, NEW, OTHER)
    fake.point("current", NEW)
    fake.point("previous", OLD)
    (fake.releases / f".{OTHER}").mkdir()
    (fake.venvs / "worker-unused").mkdir(parents=True)
    assert releases.prune(fake, 0) == "Removed 1 releases and 1 sets of packages."
    assert left(fake) == [f"releases/{OLD}", f"releases/{NEW}"]


def test_one_change_at_a_time_and_the_second_hears_of_the_first(fake: Fake) -> None:
    with (
        fake.lock("serving-site switch"),
        pytest.raises(Refused, match=r"This host is busy: serving-site switch \(process \d+\)"),
        fake.lock("a push"),
    ):
        pass
    with fake.lock("a push"):
        pass


def test_a_wrong_file_of_settings_is_named(fake: Fake) -> None:
    fake.host_conf.write_text('UNITS="web robot"\n')
    with pytest.raises(Refused, match="UNITS names 'robot': expected web, worker, train"):
        _ = fake.units
    fake.site_env.write_text("# kept\nA='x y'\nB=z\n")
    assert {name: fake.site_environment()[name] for name in "AB"} == {"A": "x y", "B": "z"}
    fake.site_env.write_text("A=1\nnonsense\n")
    with pytest.raises(Refused, match="line 2: expected NAME=value"):
        fake.site_environment()


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (b"GET / HTTP/1.1\n", "something else"),
        (b'{"release": "../../../etc", "bytes": 3}\nabc', "is no release"),
        (json.dumps({"release": NEW, "bytes": 2**40}).encode() + b"\n", "at most 256 MB"),
        (json.dumps({"release": NEW, "bytes": 9}).encode() + b"\nabc", "before the code was here whole"),
        (json.dumps({"release": NEW, "bytes": 3}).encode() + b"\nabc", "no archive of a release"),
    ],
)
def test_what_a_hook_must_not_say_is_refused(
    fake: Fake, said: bytes, verdict: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(said)))
    receiving.receive(fake)
    lines = capsys.readouterr().out.splitlines()
    assert verdict in lines[0]
    assert lines[-1] == "refused"
    assert left(fake) == []


def test_only_root_may_use_it(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Refused, match="is for root"):
        fake.needs_root()
