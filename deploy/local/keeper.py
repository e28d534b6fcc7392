"""Runs server processes for another process and leaves none behind, whatever happens to that one.

`Keeper` is the parent's side. It starts `python keeper.py DIRECTORY` in a session of its own (a Ctrl-C
in the terminal does not reach it) and asks it over a pipe to start servers. When that pipe closes, by
`close()` or because the parent was killed, the keeper ends every process that descends from it, runs what
was registered with `at_end()` and removes DIRECTORY. It needs the standard library only, and Linux.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 5.0
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_libc = ctypes.CDLL(None, use_errno=True)
_statuses: dict[int, int] = {}


class Keeper:
    """Starts the keeper process; `directory` belongs to it from then on and is removed with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        user: str | None = None,
        cwd: Path = Path("/"),
        end_signal: signal.Signals = signal.SIGKILL,
    ) -> int:
        """Start a process as `user` and return its pid. `end_signal` is what `close()` sends it first."""
        order = {
            "argv": list(argv),
            "env": dict(env),
            "log": str(log),
            "user": user,
            "cwd": str(cwd),
            "end": int(end_signal),
        }
        reply = self._ask(order)
        if "error" in reply:
            raise RuntimeError(f"cannot start {argv[0]}: {reply['error']}")
        return int(reply["pid"])

    def at_end(self, argv: Sequence[str]) -> None:
        """Have the keeper run this when everything that was started has ended, whatever becomes of this process."""
        self._ask({"at_end": list(argv)})

    def status(self, pid: int) -> int | None:
        """What a process ended with, as `subprocess` counts it (-9: killed by SIGKILL); None while it runs."""
        status: int | None = self._ask({"status": pid})["status"]
        return status

    def descendants(self) -> list[int]:
        """The pids of everything that runs below the keeper."""
        return descendants_of(self._process.pid)

    def close(self, timeout_s: float = 30) -> None:
        """End everything that was started and wait until it is gone."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait(timeout_s)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ask(self, order: Mapping[str, object]) -> Any:
        with self._lock:
            if self._process.stdin is None or self._process.stdout is None:
                raise RuntimeError("the keeper has no pipes")
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the keeper of the private servers has died")
        return json.loads(answer)


def is_alive(pid: int) -> bool:
    """Whether a process that a keeper started is there still, with its sockets and files.

    A zombie counts as alive: while its other threads exit, its sockets are open. The keeper reaps it at once.
    """
    return Path(f"/proc/{pid}").exists()


def wait_gone(pid: int, timeout_s: float = 30) -> None:
    """Wait until a process has ended; raises TimeoutError."""
    end = time.monotonic() + timeout_s
    while is_alive(pid):
        if time.monotonic() > end:
            raise TimeoutError(f"process {pid} is still there after {timeout_s:g} s")
        time.sleep(0.02)


def main(directory: str) -> None:
    """Serve orders from standard input until it closes, then clean up."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    adopt_orphans()
    parent = os.getppid()
    ends: dict[int, int] = {}
    last: list[list[str]] = []
    while line := _next_line(parent):
        order = json.loads(line)
        os.write(1, json.dumps(_answer(order, ends, last)).encode() + b"\n")
    _end_all(ends)
    for argv in last:
        subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    shutil.rmtree(directory, ignore_errors=True)


def adopt_orphans() -> None:
    """From now on, processes below this one whose parent dies become children of this one."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _answer(order: dict[str, Any], ends: dict[int, int], last: list[list[str]]) -> dict[str, object]:
    if "status" in order:
        return {"status": _statuses.get(order["status"])}
    if "at_end" in order:
        last.append(order["at_end"])
        return {}
    try:
        pid = _start(order)
    except (OSError, LookupError, subprocess.SubprocessError) as error:
        return {"error": str(error)}
    ends[pid] = order["end"]
    return {"pid": pid}


def _next_line(parent: int) -> bytes:
    """The next order; empty when the pipe closes or, should a fork of the parent hold it open, the parent is gone."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([0], [], [], 1.0)
        if ready:
            chunk = os.read(0, 1 << 16)
            if not chunk:
                return b""
            line += chunk
        elif os.getppid() != parent:
            return b""
    return line


def _start(order: dict[str, Any]) -> int:
    user = order["user"]
    with Path(order["log"]).open("ab") as log:
        child = subprocess.Popen(
            order["argv"],
            env=order["env"],
            cwd=order["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            preexec_fn=before_exec,  # noqa: PLW1509 - one thread here; for a SIGKILL of the keeper itself
        )
    child.returncode = 0  # _reap collects it; this keeps Popen from looking for it
    return child.pid


def before_exec() -> None:
    """In a child: answer INT, TERM and HUP as usual, and end when the parent does."""
    for number in ENDINGS:  # what is ignored would stay so in the server
        signal.signal(number, signal.SIG_DFL)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _statuses[pid] = os.waitstatus_to_exitcode(status)


def _end_all(ends: dict[int, int]) -> None:
    for pid, number in ends.items():
        _signal(pid, number)
    grace = time.monotonic() + GRACE_S
    while any(is_alive(pid) for pid in ends) and time.monotonic() < grace:
        time.sleep(0.02)
    while left := descendants_of(os.getpid()):
        for pid in left:
            _signal(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.02)


def _signal(pid: int, number: int) -> None:
    # A pid that has ended may have been given to a stranger: only descendants are signalled.
    if pid in descendants_of(os.getpid()):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def descendants_of(pid: int) -> list[int]:
    """Every process below one; orphans below the keeper come to it, their subreaper."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, ppid = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            children.setdefault(int(ppid), []).append(int(entry.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


if __name__ == "__main__":
    main(sys.argv[1])
