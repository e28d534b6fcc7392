"""Engineers with clones of a site's repository, the repository with its hooks, and an SSH server on loopback."""

import getpass
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local.ground import free_ports
from deploy.local.keeper import is_alive, wait_gone
from tests import zoo
from tests.installs import Install
from tests.processes import wait_until
from tests.rows import query
from tests.session import GROUND, REPOSITORY

TABLES = ("mlmodel", "modelversion", "versioncheck", "evaluation", "delivery", "release")
PUSH_S = 120
PRIVILEGE_SEPARATION = Path("/run/sshd")
INSTALL = REPOSITORY / "deploy" / "git-hooks" / "install"


class Server:
    """The bare repository of an install, made by deploy/git-hooks/install. Its hooks find a torch that cannot load."""

    def __init__(self, install: Install, path: Path | None = None, *options: str, **more: str) -> None:
        self.install = install
        self.path = path or Path(install.environment["DATA_DIR"]) / "models.git"
        self.folder = Path(tempfile.mkdtemp(prefix="pushing-", dir=GROUND.directory))
        no_torch = self.folder / "no-torch"
        no_torch.mkdir()
        (no_torch / "torch.py").write_text("raise ImportError('a hook needs no torch')")
        variables = {**install.environment, "PYTHONPATH": str(no_torch), **more}
        self.env_file = self.folder / "site.env"
        self.env_file.touch(mode=0o600)
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        self.said = self.install_hooks(*options)

    def install_hooks(self, *options: str) -> str:
        command: list[str | Path] = [INSTALL, self.path, "--env-file", self.env_file, *options]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def hook_pids(self, name: str) -> list[int]:
        """The processes that run the site's side of a hook of this repository now."""
        wanted = ["receive_push", name, "--repository", str(self.path)]
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[2:6] == wanted:
                found.append(int(entry.name))
        return found

    def kill_hook(self, name: str) -> None:
        """SIGKILL it as soon as it is there."""
        wait_until(lambda: bool(self.hook_pids(name)), 30, f"{name} did not start")
        for pid in self.hook_pids(name):
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not is_alive(pid) or not self.hook_pids(name), 10)  # noqa: B023 - waits here

    def everything(self) -> dict[str, Any]:
        """All that a push may leave: rows, stored files, objects and refs of the repository."""
        rows = {table: query(self.install, f"SELECT count(*) AS n FROM mlmodels_{table}")[0]["n"] for table in TABLES}
        stored = Path(self.install.environment["DATA_DIR"]) / "files" / "artifacts"
        return {
            **rows,
            "files": sorted(path.name for path in stored.rglob("*") if path.is_file()),
            "objects": sorted(str(path) for path in (self.path / "objects").rglob("*") if path.is_file()),
            "refs": git(self.path, "for-each-ref"),
        }

    def last_refusal(self) -> dict[str, Any]:
        (row,) = query(
            self.install,
            "SELECT target, after FROM accounts_auditevent WHERE action = 'push.refused' ORDER BY id DESC LIMIT 1",
        )
        after = row["after"] if isinstance(row["after"], dict) else json.loads(row["after"])
        return {"target": row["target"], **after}


class Pushed:
    """How a `git push` ended: its status, and its output without the prefix that git puts before the hooks' lines."""

    def __init__(self, status: int, output: str) -> None:
        self.status = status
        self.text = "\n".join(line.removeprefix("remote: ").rstrip() for line in output.splitlines())

    def __repr__(self) -> str:
        return f"status {self.status}:\n{self.text}"


class Engineer:
    """Somebody with a clone, and no settings of git but their own."""

    def __init__(self, url: str | Path, name: str = "erin", **environment: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=GROUND.directory))
        self.clone = self.home / "models"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": f"{name}@example.org",
            "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": f"{name}@example.org",
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C.UTF-8",
            **environment,
        }  # fmt: skip
        git(self.home, "clone", "--quiet", str(url), str(self.clone), environment=self.environment)
        self.git("checkout", "--quiet", "-B", "main")

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        return git(self.clone, *arguments, environment=self.environment, stdin=stdin)

    def write(self, architecture: str = "ok", **fields: Any) -> None:
        """A version of the zoo in the clone; `fields` change its manifest, and so make it another version."""
        zoo.artifact(self.clone, architecture)
        path = self.clone / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields, indent=1))

    def commit(self, subject: str = "A better one") -> str:
        self.git("add", "--all", ".")
        self.git("commit", "--quiet", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD").strip()

    def push(self, *refspecs: str) -> Pushed:
        return self.start_push(*refspecs)()

    def start_push(self, *refspecs: str) -> Callable[[], Pushed]:
        """Push in the background; call what is returned to wait for its end."""
        process = subprocess.Popen(
            ["git", "push", "origin", *(refspecs or ("main",))],
            cwd=self.clone, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

        def end() -> Pushed:
            output, _ = process.communicate(timeout=PUSH_S)
            return Pushed(process.returncode, output)

        return end


def git(folder: Path, *arguments: str, environment: dict[str, str] | None = None, stdin: bytes = b"") -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, input=stdin, capture_output=True, check=False, timeout=60
    )
    if done.returncode:
        raise AssertionError(f"git {arguments} exited {done.returncode}:\n{done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="replace")


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """Processes that do nothing meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


SSHD_CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserEnvironment SERVING_SITE_PUSHER
ForceCommand {shell} -c "$SSH_ORIGINAL_COMMAND"
"""


class SshServer:
    """sshd on a free port of 127.0.0.1, with keys of its own; whoever comes in gets git-shell and nothing more."""

    def __init__(self) -> None:
        self.folder = GROUND.folder("ssh", None)
        # The privilege-separation directory, which Debian makes when its own sshd starts; only root's server needs it.
        self.made_directory = os.geteuid() == 0 and not PRIVILEGE_SEPARATION.is_dir()
        if self.made_directory:
            PRIVILEGE_SEPARATION.mkdir(mode=0o755)
        (self.port,) = free_ports(1)
        self._key("host")
        self.authorized = self.folder / "authorized_keys"
        self.authorized.touch(mode=0o600)
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {(self.folder / 'host.pub').read_text()}")
        config = SSHD_CONFIG.format(port=self.port, folder=self.folder, shell=shutil.which("git-shell"))
        (self.folder / "sshd_config").write_text(config)
        argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "sshd_config")]
        self.log = self.folder / "sshd.log"
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        self.pid = GROUND.keeper.start(argv, env=environment, log=self.log, end_signal=signal.SIGTERM)
        wait_until(lambda: "Server listening" in self.log.read_text(), 10, self.log.read_text)

    def close(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        wait_gone(self.pid)
        if self.made_directory:
            PRIVILEGE_SEPARATION.rmdir()

    def url(self, repository: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{repository}"

    def way_in(self, name: str) -> dict[str, str]:
        """Let somebody in with a key of their own; returns the variables with which git uses it."""
        public = self._key(name)
        with self.authorized.open("a") as file:
            file.write(f'restrict,environment="SERVING_SITE_PUSHER={name}" {public}')
        options = f"-F /dev/null -i {self.folder}/{name} -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes"
        return {"GIT_SSH_COMMAND": f"ssh {options} -o UserKnownHostsFile={self.folder}/known_hosts"}

    def run(self, name: str, command: str) -> subprocess.CompletedProcess[str]:
        """What somebody's own command comes to."""
        way_in = self.way_in(name)["GIT_SSH_COMMAND"].split()
        argv = [*way_in, "-p", str(self.port), f"{getpass.getuser()}@127.0.0.1", command]
        return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)

    def _key(self, name: str) -> str:
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
        return path.with_suffix(".pub").read_text()
