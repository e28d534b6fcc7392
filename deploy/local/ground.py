"""What private servers stand on: one temporary folder, one keeper, users and ports of their own."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.local.keeper import Keeper, is_alive

START_TIMEOUT_S = 60.0
TOOL_TIMEOUT_S = 60.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Missing(Exception):
    """A server's programs are not on this machine."""


class Ground:
    """The temporary folder and the keeper that a set of private servers stands on."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="serving-site-services-"))
        self.directory.chmod(0o711)  # a server's own user passes through and lists nothing
        self.keeper = Keeper(self.directory)

    def folder(self, name: str, user: str | None) -> Path:
        """A new folder that only `user` can enter."""
        path = self.directory / name
        path.mkdir(mode=0o700)
        if user:
            shutil.chown(path, user, user)
        return path

    def close(self) -> None:
        """End the servers and remove the folder."""
        self.keeper.close()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on at this moment, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def server_user(name: str) -> str | None:
    return name if os.geteuid() == 0 else None


def run_tool(argv: Sequence[str | Path], env: dict[str, str], user: str | None, stdin: str = "") -> str:
    """Run a server's own tool to its end; raises RuntimeError with what it said."""
    done = subprocess.run(
        [str(part) for part in argv],
        env=env,
        cwd="/",
        input=stdin,
        text=True,
        capture_output=True,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        timeout=TOOL_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{Path(argv[0]).name} {argv[1]} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def wait_until(answers: Callable[[], bool], pid: int, log: Path, name: str) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while not answers():
        if not is_alive(pid) or time.monotonic() > end:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"{name} did not start; the end of its log:\n{tail}")
        time.sleep(0.05)
