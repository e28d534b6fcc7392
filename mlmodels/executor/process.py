"""One executor server process as its worker sees it: start, ask, end. No torch here."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from mlmodels.executor import sandbox
from mlmodels.executor.outcomes import Limits, ServerFailed, safe_text
from mlmodels.executor.server import PACKET_BYTES

REPOSITORY = Path(__file__).resolve().parents[2]
# Where a host keeps its GPU and its libraries; nothing else of the worker's environment passes.
PASSED_ON = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "TZ")

log = logging.getLogger("mlmodels.executor")


class ServerProcess:
    """A started server and the one end of its control socket. Thread-safe."""

    def __init__(self, architectures: Sequence[str], limits: Limits, *, exported_programs: bool = False) -> None:
        """Start it and wait until it has imported everything. Raises ServerFailed."""
        self.limits = limits
        self._lock = threading.Lock()
        self._keys = 0
        self._broken = False
        sandbox.hide_from_other_processes()  # this worker, from the children it is about to have
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-P", "-m", "mlmodels.executor",
                 "--architectures", ",".join(architectures),
                 *(["--exported-programs"] if exported_programs else [])],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=environment(limits), cwd="/",
                close_fds=True, start_new_session=True,
            )  # fmt: skip
        self.sandbox_level, self.sandbox_missing = self._await_ready()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self._broken and self._process.poll() is None

    def spawn(self, connection: socket.socket) -> tuple[int, int]:
        """Fork a child that speaks through `connection`. Returns its key and its pid."""
        with self._lock:
            self._keys += 1
            reply = self._ask({"spawn": self._keys}, [connection.fileno()])
            key = self._keys
        if "pid" not in reply:
            raise ServerFailed(f"The executor server cannot fork ({reply.get('failed')}).")
        return key, int(reply["pid"])

    def end(self, key: int) -> dict[str, int]:
        """Kill the child and wait for it: {"signal": n} or {"exit": n}; {} if nobody knows.

        When this returns the child is gone, or the whole server is being killed with it.
        """
        try:
            with self._lock:
                return self._ask({"end": key}, [])
        except ServerFailed:
            return {}

    def close(self) -> None:
        """End the server and all of its children."""
        with self._lock:
            self._broken = True
            self._control.close()
        try:
            self._process.wait(self.limits.kill_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        if self._broken:
            raise ServerFailed("The executor server has ended.")
        try:
            socket.send_fds(self._control, [orjson.dumps(request)], descriptors)
            return self._receive(self.limits.kill_s)
        except (OSError, ValueError) as error:
            # Out of step or gone: its children die with it, and the next load starts another.
            self._broken = True
            self._process.kill()
            raise ServerFailed("The executor server does not answer.") from error

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        self._control.settimeout(timeout_s)
        text = self._control.recv(PACKET_BYTES)
        if not text:
            raise ConnectionError("closed")
        return dict(orjson.loads(text))

    def _await_ready(self) -> tuple[str, list[str]]:
        try:
            hello = self._receive(self.limits.start_s)
        except (OSError, ValueError):
            hello = {"failed": "it ended, or took too long to import its architectures"}
        if "ready" not in hello:
            self._process.kill()
            self.close()
            raise ServerFailed(f"The executor server did not start: {safe_text(hello.get('failed'), 500)}.")
        missing = [safe_text(reason, 200) for reason in hello["missing"]]
        log.info("executor server started, sandbox level %s", hello["sandbox"])
        for reason in missing:
            log.warning("executor sandbox without %s", reason)
        return safe_text(hello["sandbox"], 100), missing


def environment(limits: Limits) -> dict[str, str]:
    """All that an executor server is told: where Python finds this code, and how many threads.

    One arena and no idle BLAS threads: the server must have one thread when it forks.
    """
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {
        **passed,
        "PATH": os.defpath,
        "PYTHONPATH": str(REPOSITORY),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(limits.threads),
        "MKL_NUM_THREADS": str(limits.threads),
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }


def is_readable(connection: socket.socket) -> bool:
    """Whether something, or the end, has arrived. False for a closed socket object."""
    with contextlib.suppress(ValueError, OSError):
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(0))
    return False


def deadline_in(seconds: float) -> float:
    return time.monotonic() + seconds


def peak_mb(pid: int) -> float | None:
    """The most memory that a living process has held, in MB; None where the kernel does not say."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
