"""Building a release beside what runs, and removing old ones.

A release is unpacked, installed and compiled by a user that owns nothing that runs; then it belongs to root, and the
site can read it and not change it. Packages are shared by releases that pin the same ones: a change of code alone is
built in seconds.
"""

import hashlib
import shutil
import sys
import tarfile
import time
import zlib
from pathlib import Path

from machine import BUILD_USER, Machine, Refused, say

DONE = ".complete"
"""Stands in a folder of packages that was installed to its end."""
ROOM_BYTES = 200 * 1024**2
"""What must be free for a release; packages need more, which is asked for when they do."""
MAX_UNPACKED_BYTES = 150 * 1024**2
MAX_FILES = 20_000
"""More is no release of this site, however small its archive is."""
LEFT_BEHIND_S = 3600
"""An archive that is older and still has no name of its own belongs to nobody any more."""
PACKAGES_BYTES = {"web": 300 * 1024**2, "worker": 1600 * 1024**2, "train": 1900 * 1024**2}


def build(machine: Machine, name: str, archive: Path) -> None:
    """Make the release `name` of `archive` ready to be switched to; does nothing where it is.

    Raises Refused, leaving nothing, where the archive is another commit's, the disk is full, a package cannot be
    installed, or the release's own checks fail.
    """
    target = machine.release(name)
    if target.is_dir():
        say("unchanged")
        return
    started = time.monotonic()
    _judge(archive, name)
    room(machine.home, ROOM_BYTES)
    draft = machine.releases / f".{name}"
    try:
        _unpack(machine, archive, draft)
        venv = _packages(machine, draft)
        (draft / ".venv").symlink_to(venv)
        machine.attempt(venv / "bin/python", "-m", "compileall", "-q", ".", user=BUILD_USER, cwd=draft)
        machine.run("chown", "-hR", "root:root", draft)
        _check(machine, draft)
        draft.rename(target)
    except OSError as error:
        raise Refused(f"The release cannot be written: {error.strerror} ({error.filename}).") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _keep(machine, archive, name)
    say(f"Built {name} in {time.monotonic() - started:.0f} s.")


def _judge(archive: Path, name: str) -> None:
    """Raises Refused unless git made `archive` of the commit `name`, and it has a size that can be unpacked."""
    unpacked = files = 0
    try:
        with tarfile.open(archive) as tar:
            commit = tar.pax_headers.get("comment", "")
            if not commit.startswith(name):
                raise Refused(f"{archive} holds the commit {commit[:12] or 'of nobody'}, not {name}.")
            for member in tar:
                unpacked, files = unpacked + member.size, files + 1
                if unpacked > MAX_UNPACKED_BYTES or files > MAX_FILES:
                    raise Refused(
                        f"The release is too large: at most {MAX_UNPACKED_BYTES // 1024**2} MB in {MAX_FILES} files."
                    )
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise Refused(f"{archive} is no archive of a release: {error}.") from None


def room(folder: Path, wanted: int) -> None:
    """Raises Refused unless `wanted` bytes are free in `folder`."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise Refused(
            f"The disk is too full to build: {free // 1024**2} MB are free in {folder}, {wanted // 1024**2} MB are "
            "needed. `serving-site prune` removes old releases."
        )


def _unpack(machine: Machine, archive: Path, draft: Path) -> None:
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    machine.give(draft, BUILD_USER)
    with archive.open("rb") as file:
        machine.run("tar", "-xz", "--no-same-owner", user=BUILD_USER, cwd=draft, stdin=file)


def _packages(machine: Machine, release: Path) -> Path:
    """The virtual environment with what the release pins, shared with others that pin the same; made if need be."""
    names = [machine.role, *machine.extras]
    files = [release / "requirements" / f"{name}.txt" for name in names]
    torch = release / "requirements" / "torch.txt" if machine.role != "web" else None
    if missing := [file for file in [*files, torch] if file and not file.is_file()]:
        raise Refused(f"The release has no {missing[0].relative_to(release)}.")
    identity = hashlib.sha256(f"{sys.version} {machine.torch_index}".encode())
    for file in [*files, *([torch] if torch else [])]:
        identity.update(file.read_bytes())
    venv = machine.venvs / f"{'-'.join(names)}-{identity.hexdigest()[:12]}"
    if (venv / DONE).exists():
        return venv
    say(f"Installing the packages of requirements/{', '.join(one.name for one in files)} ...")
    room(machine.home, PACKAGES_BYTES[machine.role])
    shutil.rmtree(venv, ignore_errors=True)
    venv.mkdir(parents=True)
    machine.give(venv, BUILD_USER)
    try:
        machine.run("python3", "-m", "venv", venv, user=BUILD_USER)
        pip: list[str | Path] = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--no-cache-dir"]
        machine.run(
            *pip, "--require-hashes", *(one for file in files for one in ("--requirement", file)), user=BUILD_USER
        )
        if torch:
            index = ["--index-url", machine.torch_index] if machine.torch_index else []
            machine.run(*pip, *index, "--requirement", torch, user=BUILD_USER)
        machine.run("chown", "-hR", "root:root", venv)
        (venv / DONE).touch()
    except BaseException:
        shutil.rmtree(venv, ignore_errors=True)
        raise
    return venv


def _check(machine: Machine, release: Path) -> None:
    """The release's own checks, with this host's settings; the database of the running site is only read."""
    say("Checking ...")
    machine.manage(release, "check", "--deploy", "--fail-level", "WARNING")
    if "web" in machine.units:
        machine.manage(release, "makemigrations", "--check", "--dry-run")
        machine.manage(release, "check_migrations")


def _keep(machine: Machine, archive: Path, name: str) -> None:
    """The archive stays beside its release: hosts that are added later are given the same bytes."""
    kept = machine.archives / f"{name}.tar.gz"
    if archive.resolve() != kept.resolve():
        machine.archives.mkdir(mode=0o700, exist_ok=True)
        draft = kept.with_name(f".{kept.name}")
        shutil.copyfile(archive, draft)
        draft.chmod(0o600)
        draft.rename(kept)


def prune(machine: Machine, keep: int) -> str:
    """Remove all but the newest `keep` releases, the running one and the one before, and packages nobody uses.

    Also what a build left that was killed. Returns a sentence about it.
    """
    protected = {machine.named_by("current"), machine.named_by("previous")}
    found = sorted(machine.releases.glob("[0-9a-f]*"), key=lambda one: one.stat().st_mtime, reverse=True)
    gone = [one for one in found[max(keep, 0) :] if one.name not in protected]
    for one in gone:
        shutil.rmtree(one)
        machine.archives.joinpath(f"{one.name}.tar.gz").unlink(missing_ok=True)
    used = {(one / ".venv").resolve() for one in machine.releases.glob("[0-9a-f]*")}
    unused = [one for one in machine.venvs.iterdir() if one.resolve() not in used] if machine.venvs.is_dir() else []
    for one in (*unused, *machine.releases.glob(".*")):
        shutil.rmtree(one)
    for one in machine.archives.glob(".*"):
        if one.stat().st_mtime < time.time() - LEFT_BEHIND_S:
            one.unlink()
    return f"Removed {len(gone)} releases and {len(unused)} sets of packages."
