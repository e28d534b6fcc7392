"""The child that trains, as its keeper sees it: started with nothing of ours but a folder, heard line by line, killed.

Everything here distrusts it a little: lines are bounded, and of what it writes to standard error the end is kept. No
Django, no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from mlmodels.executor.outcomes import safe_text
from mlmodels.executor.process import PASSED_ON, REPOSITORY

LINE_BYTES = 64 * 1024
LOG_CHARACTERS = 20_000
TICK_S = 0.25
KILL_S = 5.0

Message = dict[str, Any]


class Child:
    """A training in a process group of its own. The thread that makes it must outlive it: the child dies with it."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        python = [sys.executable, "-P", "-m"]
        self._lock = threading.Lock()
        self._log = b""
        self._process = subprocess.Popen(
            [*python, "mlmodels.training.leash", str(os.getpid()), *python, "mlmodels.training", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=folder, env=environment(folder), close_fds=True, process_group=0,
        )  # fmt: skip

    @property
    def log(self) -> str:
        """The end of what it wrote that is not progress."""
        return safe_text(self._log.decode("utf-8", "replace")[-LOG_CHARACTERS:], LOG_CHARACTERS)

    def messages(self) -> Iterator[Message | None]:
        """What it says, in order, and None at least every 0.25 s, so that its keeper can look up; ends with it."""
        lines = _Lines()
        with selectors.DefaultSelector() as selector:
            selector.register(_opened(self._process.stdout), selectors.EVENT_READ, lines.add)
            selector.register(_opened(self._process.stderr), selectors.EVENT_READ, self._note)
            while selector.get_map():
                ready = selector.select(TICK_S)
                for key, _ in ready:
                    data = os.read(key.fd, LINE_BYTES)
                    key.data(data)
                    if not data:
                        selector.unregister(key.fileobj)
                for line in lines.taken():
                    message = _message(line)
                    if message is None:
                        self._note(line + b"\n")
                    else:
                        yield message
                if not ready and self._has_ended():  # whatever holds its pipes open is not the child
                    return
                yield None

    def end(self) -> int:
        """Kill what is left of its group, bury it, close its pipes; what it ended with, as `subprocess` counts."""
        if not self._has_ended():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_S)  # both pipes are closed: it is about to end
        self.kill()
        with self._lock:
            status = self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            _opened(pipe).close()
        return status

    def kill(self) -> None:
        """Kill its whole group now, from any thread, also twice."""
        with self._lock:
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _has_ended(self) -> bool:
        """Whether it is over; it stays unburied, so that its group can still be named."""
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _note(self, data: bytes) -> None:
        self._log = (self._log + data)[-4 * LOG_CHARACTERS :]


class _Lines:
    """Bytes in, whole lines out; a line that is too long is left out."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_too_long = False

    def add(self, data: bytes) -> None:
        self._rest += data

    def taken(self) -> list[bytes]:
        *whole, self._rest = self._rest.split(b"\n")
        if whole and self._is_too_long:
            self._is_too_long = False
            whole = whole[1:]
        if len(self._rest) > LINE_BYTES:
            self._rest, self._is_too_long = b"", True
        return [line for line in whole if len(line) <= LINE_BYTES]


def _message(line: bytes) -> Message | None:
    """The JSON object that a line holds, if it does."""
    try:
        message = json.loads(line, parse_constant=lambda _: None)  # no NaN: a database may refuse it
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _opened(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # asked for at the start
    return pipe


def environment(folder: Path) -> dict[str, str]:
    """All that the child is told: where Python finds this code, its folder, and how many threads it may use."""
    threads = str(len(os.sched_getaffinity(0)))
    return {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "PATH": os.defpath,
        "PYTHONPATH": str(REPOSITORY),
        "LC_ALL": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }
