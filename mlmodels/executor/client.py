"""The worker's side of executors: start a server, load versions, run items, kill.

Everything here distrusts the child: frames are bounded, every wait has a deadline, every output is
held against the version's signature, and nothing is unpickled. Thread-safe throughout.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from mlmodels.executor import answers, frames
from mlmodels.executor.outcomes import (
    TRACE_CHARACTERS,
    Item,
    Limits,
    LoadFailed,
    Run,
    RunFailed,
    ServerFailed,
    safe_text,
)
from mlmodels.executor.process import ServerProcess, is_readable, peak_mb

ARCHITECTURES = ("mlmodels.architectures",)
HEADER_BYTES = 64 * 1024  # of an answer, on top of what its items may take
CHILD_KINDS = frozenset(("raised", "out_of_memory", "bad_output"))

log = logging.getLogger("mlmodels.executor")


class ExecutorServer:
    """Loads versions, each in a child of one server process that is restarted when it dies."""

    def __init__(
        self,
        architectures: Sequence[str] = ARCHITECTURES,
        limits: Limits | None = None,
        *,
        exported_programs: bool = False,
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        """`exported_programs`: also load artifacts that run code of their own (see `exported`).

        `on_restart` is called when a process has died and another is started.
        """
        self.architectures = tuple(architectures)
        self.exported_programs = exported_programs
        self.on_restart = on_restart
        self.limits = limits or Limits()
        self._lock = threading.Lock()
        self._process: ServerProcess | None = None
        self._closed = threading.Event()

    def start(self) -> ExecutorServer:
        """Start the process now rather than at the first load. Raises ServerFailed."""
        self._running()
        return self

    def close(self) -> None:
        """End the process and every child. Nothing can be loaded afterwards.

        Whoever stops does not wait for a process that is just being started: that one ends as soon as it has.
        """
        self._closed.set()
        if self._lock.acquire(timeout=self.limits.kill_s):
            try:
                if self._process is not None:
                    self._process.close()
            finally:
                self._lock.release()

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.alive else None

    @property
    def sandbox_level(self) -> str:
        """What its children reach on this host, from "base+namespaces" to "none"."""
        return self._process.sandbox_level if self._process else "unknown"

    @property
    def sandbox_missing(self) -> list[str]:
        """One reason for every part of the sandbox that this host refuses."""
        return self._process.sandbox_missing if self._process else []

    def load(self, manifest: bytes, weights_path: str) -> Executor:
        """A child that holds this version. The caller has checked both hashes.

        Raises LoadFailed when the version cannot be loaded, ServerFailed when nothing can.
        """
        expected = answers.signature_of(manifest)
        process = self._running()
        deadline = time.monotonic() + self.limits.load_s
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                key, pid = process.spawn(theirs)
        except BaseException:
            ours.close()
            raise
        executor = Executor(process, key, pid, ours, expected, self.limits)
        executor.load(manifest, weights_path, deadline)
        return executor

    def _running(self) -> ServerProcess:
        with self._lock:
            if self._closed.is_set():
                raise ServerFailed("The executor server is closed.")
            if self._process is None or not self._process.alive:
                if self._process is not None:
                    log.warning("executor server died, starting another")
                    self.on_restart()
                    self._process.close()
                self._process = ServerProcess(self.architectures, self.limits, exported_programs=self.exported_programs)
                if self._closed.is_set():
                    self._process.close()
                    raise ServerFailed("The executor server is closed.")
            return self._process

    def __enter__(self) -> ExecutorServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Executor:
    """One loaded version in a child of its own. One run at a time; others wait their turn."""

    def __init__(
        self,
        process: ServerProcess,
        key: int,
        pid: int,
        connection: socket.socket,
        expected: Mapping[str, Any],
        limits: Limits,
    ) -> None:
        self.pid = pid
        self.load_ms = 0.0
        self.device = "cpu"
        self.sandbox_level = "unknown"
        self._process = process
        self._key = key
        self._connection = connection
        self._signature = expected
        self._limits = limits
        self._busy = threading.Lock()
        self._ended = False
        self._killed = False

    @property
    def alive(self) -> bool:
        """False once the child is gone, also when nobody has asked it anything since."""
        if self._is_over():
            return False
        # Between runs a living child says nothing, so whatever has arrived is its end.
        if not self._busy.acquire(blocking=False):
            return True
        try:
            return not self._is_over() and not is_readable(self._connection)
        finally:
            self._busy.release()

    def predict(self, items: Sequence[Item], deadline_s: float) -> Run:
        """One outcome per item. Raises RunFailed, at the latest shortly after `deadline_s`."""
        with self._busy:
            if self._is_over():
                raise RunFailed("killed" if self._killed else "died", "The executor has ended.")
            deadline = time.monotonic() + deadline_s
            return self._run(items, deadline)

    def _is_over(self) -> bool:
        return self._ended or self._killed

    @property
    def peak_mb(self) -> float | None:
        """The most memory it has held since its load began, the libraries that all children share among it."""
        return peak_mb(self.pid)

    def kill(self) -> None:
        """End the child now, from any thread; a run in it raises RunFailed("killed")."""
        self._killed = True
        self._process.end(self._key)

    def close(self) -> None:
        """End the child and give back its memory and its descriptor."""
        self.kill()
        with self._busy:
            self._end()

    def _end(self) -> dict[str, int]:
        """Kill, bury, close. The caller holds `_busy`. Returns how the child ended."""
        if self._ended:
            return {}
        self._ended = True
        status = self._process.end(self._key)
        self._connection.close()
        return status

    def _run(self, items: Sequence[Item], deadline: float) -> Run:
        started = time.perf_counter()
        question, pictures = answers.question_for(items)
        bounds = frames.Bounds(
            header=HEADER_BYTES + len(items) * self._limits.output_bytes,
            blobs=pictures * self._limits.preview_bytes,
        )
        try:
            frames.send(self._connection, question, deadline)
            answer = frames.receive(self._connection, bounds, deadline)
        except frames.Late:
            raise self._failure("timeout", "The model did not answer in time.") from None
        except frames.Gone:
            raise self._failure("died", "The model's process died") from None
        except frames.Broken as error:
            raise self._failure("bad_output", f"The model's answer was refused: {error}.") from None
        return self._checked(answer, len(items), (time.perf_counter() - started) * 1000)

    def _failure(self, kind: str, message: str) -> RunFailed:
        """End the child and say how the run failed."""
        status = self._end()
        if self._killed:
            return RunFailed("killed", "The run was stopped on purpose.")
        if kind == "died":
            message = f"{message} {answers.ended_how(status)}."
        log.warning("executor run failed: %s: %s", kind, message)
        return RunFailed(kind, message, status.get("signal") if kind == "died" else None)

    def _checked(self, answer: frames.Frame, count: int, wall_ms: float) -> Run:
        """The run that `answer` tells of, after it has been held against the signature."""
        if "failed" in answer.header:
            raise self._told_failure(answer.header)
        try:
            outcomes = answers.outcomes_in(answer, count, self._signature)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            if isinstance(error, ValueError):
                sentence = safe_text(error, 500)
            else:
                sentence = "The model's answer is malformed."
            raise RunFailed("bad_output", sentence) from None
        said = answer.header.get("compute_ms")
        compute_ms = said if isinstance(said, float) and 0 <= said <= wall_ms else wall_ms
        return Run(outcomes, compute_ms)

    def _told_failure(self, header: Mapping[str, Any]) -> RunFailed:
        kind = header["failed"] if header["failed"] in CHILD_KINDS else "bad_output"
        message = safe_text(header.get("message", ""))
        trace = safe_text(header.get("trace", ""), TRACE_CHARACTERS)
        log.warning("executor run failed: %s: %s\n%s", kind, message, trace)
        if kind == "out_of_memory":
            self._end()  # whatever the model has hoarded goes with its child
        return RunFailed(kind, message)

    def load(self, manifest: bytes, weights_path: str, deadline: float) -> None:
        """Let the child load, once, before anything else. Raises LoadFailed; the child is gone then."""
        order = {"weights": weights_path, "limits": dataclasses.asdict(self._limits)}
        bounds = frames.Bounds(header=HEADER_BYTES, blobs=0)
        with self._busy:
            try:
                frames.send(self._connection, frames.pack(order, [manifest]), deadline)
                header = frames.receive(self._connection, bounds, deadline).header
                if "loaded" not in header:
                    code, sentence = header["refused"]
                    raise LoadFailed(safe_text(code, 40), safe_text(sentence))
                self.device = safe_text(header["loaded"], 20)
                self.sandbox_level = safe_text(header["sandbox"], 100)
                self.load_ms = float(header["load_ms"])
            except frames.Late:
                self._end()
                raise LoadFailed("timeout", "Loading this version took too long.") from None
            except frames.Broken:
                told = answers.ended_how(self._end())
                raise LoadFailed("died", f"The process died while loading {told}.") from None
            except (KeyError, TypeError, ValueError):
                self._end()
                raise LoadFailed("died", "The process gave a malformed answer.") from None
            except BaseException:
                self._end()
                raise
