"""This host: where things lie, what it is asked to run, and how programs are run on it. Standard library only."""

import contextlib
import fcntl
import grp
import os
import pwd
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SITE_USER = "serving-site"
BUILD_USER = "serving-site-build"
"""Runs what a release brings along while it is built: pip, the compiler of Python files. Owns nothing that runs."""
LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
RELEASE = re.compile(r"[0-9a-f]{12}")


class Refused(Exception):
    """It cannot be done, and nothing has changed; the message says why."""


class Machine:
    """The folders, files and programs of one host. `root` is / but in tests."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.home = root / "srv/serving-site"
        self.releases = self.home / "releases"
        self.venvs = self.home / "venvs"
        self.archives = self.home / "archives"
        self.site_env = root / "etc/serving-site/site.env"
        self.host_conf = root / "etc/serving-site/host.conf"
        self.upstream = root / "etc/nginx/serving-site/upstream.conf"
        self.sockets = root / "run/serving-site"
        self.lock_file = root / "run/serving-site.lock"

    def needs_root(self) -> None:
        """Raises Refused for anybody else."""
        if os.geteuid() != 0:
            raise Refused("serving-site is for root: it starts services and reads the site's secrets.")

    @property
    def units(self) -> list[str]:
        """What this host runs: some of web, worker, train, in the order in which they start."""
        asked = self._host_conf().get("UNITS", "").split()
        if unknown := set(asked) - {"web", "worker", "train"}:
            raise Refused(f"{self.host_conf}: UNITS names {min(unknown)!r}: expected web, worker, train.")
        return [unit for unit in ("web", "worker", "train") if unit in asked]

    @property
    def role(self) -> str:
        """Which pinned packages the host needs: web, worker or train, each holding the one before."""
        return self._host_conf().get("ROLE", "web")

    @property
    def torch_index(self) -> str:
        """The package index for torch alone, or nothing for pip's own."""
        return self._host_conf().get("TORCH_INDEX", "")

    @property
    def extras(self) -> list[str]:
        """Further files of pinned packages, such as s3."""
        return self._host_conf().get("EXTRAS", "").split()

    def _host_conf(self) -> dict[str, str]:
        return read_variables(self.host_conf)

    def site_environment(self) -> dict[str, str]:
        """The whole environment of the site's commands."""
        return {"PATH": PATH, "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1", **read_variables(self.site_env)}

    def release(self, name: str) -> Path:
        """The folder of the release `name`. Raises Refused where that is no release's name."""
        if not RELEASE.fullmatch(name):
            raise Refused(f"{name!r} is no release: expected the first twelve digits of a commit's id.")
        return self.releases / name

    def named_by(self, link: str) -> str | None:
        """Which release `current` or `previous` leads to."""
        try:
            name = (self.home / link).readlink().name
        except OSError:
            return None
        return name if self.releases.joinpath(name).is_dir() else None

    def point(self, link: str, release: str) -> None:
        """Let `current` or `previous` lead to `release`, in one step."""
        draft = self.home / f".{link}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(Path("releases") / release)
        draft.rename(self.home / link)

    @contextlib.contextmanager
    def lock(self, doing: str) -> Iterator[None]:
        """One change at a time; the second is told who is first. The lock ends with its process."""
        with self.lock_file.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise Refused(f"This host is busy: {file.read().strip() or 'somebody else changes it'}.") from None
            file.truncate(0)
            file.write(f"{doing} (process {os.getpid()})")
            file.flush()
            yield
            file.truncate(0)

    def run(self, *argv: str | Path, **options: Any) -> None:
        """Run a program to its end, as `attempt` does. Raises Refused with the end of what it said if it fails."""
        done = self.attempt(*argv, **options)
        if done.returncode != 0:
            said = "\n".join(f"    {line}" for line in done.stdout.strip().splitlines()[-12:])
            raise Refused(f"{shlex.join(map(str, argv[:4]))} failed (exit {done.returncode}):\n{said}")

    def attempt(
        self,
        *argv: str | Path,
        user: str = "",
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: IO[bytes] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end as `user` (default: as we are); its output is in `stdout`."""
        return subprocess.run(
            [str(one) for one in argv],
            cwd=cwd or "/",
            env={"PATH": PATH, "LC_ALL": "C.UTF-8", **(env or {})},
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            umask=0o022 if user != SITE_USER else 0o027,
            user=user or None,
            group=user or None,
            extra_groups=[] if user else None,
        )

    def give(self, folder: Path, user: str) -> None:
        """Make `user` the owner of an empty folder."""
        shutil.chown(folder, user, user)

    def manage(self, release: Path, *arguments: str) -> None:
        """Run manage.py of `release` as the site's user. Raises Refused with the end of what it said."""
        python = release / ".venv/bin/python"
        self.run(python, "manage.py", *arguments, user=SITE_USER, cwd=release, env=self.site_environment())

    def become_manage(self, arguments: list[str]) -> None:
        """Become manage.py of the running release, as the site's user; returns only by an exception."""
        current = self.named_by("current")
        if current is None:
            raise Refused("No release runs here yet.")
        environment, release = self.site_environment(), self.release(current)
        for name in ("TERM", "COLUMNS"):
            if name in os.environ:
                environment[name] = os.environ[name]
        os.chdir(release)
        os.umask(0o027)
        os.setgroups([])
        os.setgid(grp.getgrnam(SITE_USER).gr_gid)
        os.setuid(pwd.getpwnam(SITE_USER).pw_uid)
        python = str(release / ".venv/bin/python")
        os.execve(python, [python, "manage.py", *arguments], environment)


def read_variables(path: Path) -> dict[str, str]:
    """NAME=value lines, quotes taken off. Raises Refused with the line that is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path} cannot be read: {error}.") from None
    found = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise Refused(f"{path}, line {number}: expected NAME=value.")
        value = match[2].strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[match[1]] = value
    return found


def say(line: str) -> None:
    """Tell whoever waits, at once; nobody waits any more where a push was cut off."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        pass
