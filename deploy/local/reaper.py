"""Runs a command and ends whatever it leaves running: `python -m deploy.local.reaper COMMAND ...`.

The exit status is the command's. The tests run below it: their browsers, servers and the site's own processes are
gone when it returns, whatever happened to the tests.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from deploy.local import keeper
from deploy.local.keeper import adopt_orphans, before_exec, descendants_of

PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
GRACE_S = 3.0
KEEPER_S = 300.0
"""A keeper whose process has died ends its servers and removes their folder by itself; so long it may take."""


def main(argv: list[str]) -> int:
    """Run `argv` to its end, then wait a moment for what is left, then end that; says what it was."""
    adopt_orphans()
    # A terminal sends Ctrl-C to the command as well; what only this process gets is passed on, however early.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    child = subprocess.Popen(argv, preexec_fn=_start)  # noqa: PLW1509 - one thread here

    def pass_on(number: int, _: FrameType | None) -> None:
        os.kill(child.pid, number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    status = _wait_for(child.pid)
    for number in PASSED_ON:
        signal.signal(number, signal.SIG_IGN)
    _end_what_is_left()
    return status if status >= 0 else 128 - status


def _start() -> None:
    """In the child: hear every signal, and end when the parent does."""
    before_exec()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)


def _wait_for(wanted: int) -> int:
    """Reap children, adopted ones too, until `wanted` is among them; returns its exit status."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == wanted:
            return os.waitstatus_to_exitcode(status)


def _end_what_is_left() -> None:
    started = time.monotonic()
    said: set[int] = set()
    while _reap() and (left := descendants_of(os.getpid())):
        if time.monotonic() > started + GRACE_S:
            tidying = _kept(left) if time.monotonic() < started + KEEPER_S else set()
            for pid in set(left) - tidying:
                if pid not in said:
                    print(f"Ending a process that was left behind: {pid} {_command(pid)}", file=sys.stderr)
                said.add(pid)
                _kill(pid)
        time.sleep(0.05)


def _kept(pids: list[int]) -> set[int]:
    """The keepers among `pids`, and everything below them."""
    keepers = {pid for pid in pids if f" {keeper.__file__} " in _command(pid)}
    return keepers.union(*(descendants_of(pid) for pid in keepers))


def _reap() -> bool:
    """Collect what has ended; whether anything is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
