"""The executor server: imports torch once and forks one sandboxed child per load.

Its control socket carries one JSON message per packet, always question and answer:
  (start)                   -> {"ready": true, "sandbox": .., "missing": [..]} or {"failed": ..}
  {"spawn": key} + one fd   -> {"pid": n}   the child speaks through that descriptor
  {"end": key}              -> {"exit": n} or {"signal": n}   kills it if it still lives
It has one thread and runs no forward: a fork after torch has started threads hangs the child.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

import orjson

from mlmodels.executor import sandbox
from mlmodels.executor.outcomes import EXPORTED_PROGRAM, Limits, safe_text

PACKET_BYTES = 64 * 1024
TICK_MS = 1000
KEPT_STATUSES = 1000
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)


def main(control: socket.socket, modules: Sequence[str], *, exported_programs: bool) -> None:
    """Serve until `control` closes or the worker that started this process is gone."""
    parent = os.getppid()
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    sandbox.prefer_as_victim(sandbox.KILLED_FIRST)
    try:
        registry = load_registry(modules, exported_programs=exported_programs)
    except Exception as error:  # noqa: BLE001 -- told to the worker, whose sentence it becomes
        control.send(orjson.dumps({"failed": safe_text(f"{type(error).__name__}: {error}", 500)}))
        return
    gc.collect()
    gc.freeze()  # what is shared with children stays out of their collector, so it stays shared
    reached = probe(modules)
    try:
        control.send(orjson.dumps({"ready": True, **reached}))
    except BrokenPipeError:  # the worker was told to stop meanwhile
        return
    Server(control, modules, registry, parent).serve()


def load_registry(modules: Sequence[str], *, exported_programs: bool) -> dict[str, Any]:
    """The architectures of all `modules` together, by name; later ones win. With exported programs only if allowed."""
    import mlmodels.executor.child  # noqa: F401 -- torch, PIL and safetensors, before any fork
    from mlmodels.executor import exported
    from mlmodels.executor.program import Program

    registry: dict[str, Any] = {}
    for name in modules:
        registry |= importlib.import_module(name).REGISTRY
    registry.pop(EXPORTED_PROGRAM, None)
    if exported_programs:
        exported.prepare()
        registry[EXPORTED_PROGRAM] = Program
    return registry


def probe(modules: Sequence[str]) -> dict[str, Any]:
    """What level a child of this host reaches, found by closing one and asking it."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            from mlmodels.executor.child import close_sandbox

            reached = close_sandbox(modules, Limits(), [])
            os.write(write, orjson.dumps({"sandbox": reached.level, "missing": reached.missing}))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        text = answer.read(PACKET_BYTES)
    os.waitpid(pid, 0)
    return dict(orjson.loads(text)) if text else {"sandbox": "none", "missing": ["the probe died"]}


class Server:
    """The loop around the control socket, and the children that it has not yet buried."""

    def __init__(self, control: socket.socket, modules: Sequence[str], registry: dict[str, Any], parent: int) -> None:
        self.control = control
        self.modules = modules
        self.registry = registry
        self.parent = parent
        self.pid = os.getpid()
        self.living: dict[int, int] = {}  # key of the worker -> pid
        self.statuses: dict[int, int] = {}  # key -> status of one that has ended by itself

    def serve(self) -> None:
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        while os.getppid() == self.parent:
            if poll.poll(TICK_MS) and not self._answer_one():
                break
            self._reap()
        for pid in self.living.values():
            os.kill(pid, signal.SIGKILL)
        for pid in self.living.values():
            os.waitpid(pid, 0)

    def _answer_one(self) -> bool:
        """Handle one request; False when the worker is gone."""
        try:
            text, descriptors, _, _ = socket.recv_fds(self.control, PACKET_BYTES, 1)
            if not text:
                return False
            request = orjson.loads(text)
            if "spawn" in request:
                reply = self._spawn(request["spawn"], descriptors[0])
            else:
                reply = self._end(request["end"])
            self.control.send(orjson.dumps(reply))
        except OSError:
            return False
        return True

    def _spawn(self, key: int, descriptor: int) -> dict[str, Any]:
        try:
            pid = os.fork()
            if pid == 0:
                self._become_child(descriptor)
        except OSError as error:
            return {"failed": safe_text(error, 200)}
        finally:
            os.close(descriptor)
        self.living[key] = pid
        return {"pid": pid}

    def _become_child(self, descriptor: int) -> None:
        """Never returns: whatever happens, a child must not come back into the server's loop."""
        status = 70
        try:
            sandbox.die_with_parent(self.pid)
            sandbox.prefer_as_victim(sandbox.KILLED_VERY_FIRST)
            sys.dont_write_bytecode = True
            connection = socket.socket(fileno=_close_all_but(descriptor))
            from mlmodels.executor import child

            child.serve(connection, self.registry, self.modules)
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        finally:
            os._exit(status & 0xFF)

    def _end(self, key: int) -> dict[str, Any]:
        """Kill and bury the child. One that has just ended by itself keeps its own status."""
        pid = self.living.pop(key, None)
        if pid is None:
            return _described(self.statuses.pop(key, None))
        os.kill(pid, signal.SIGKILL)
        return _described(os.waitpid(pid, 0)[1])

    def _reap(self) -> None:
        for key, pid in list(self.living.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                del self.living[key]
                self.statuses[key] = status
        while len(self.statuses) > KEPT_STATUSES:
            self.statuses.pop(next(iter(self.statuses)))


def _described(status: int | None) -> dict[str, Any]:
    if status is None:
        return {}
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return {"exit": os.WEXITSTATUS(status)}


def _close_all_but(descriptor: int) -> int:
    """Leave three null devices and the child's socket, which becomes descriptor 3."""
    for standard in (0, 1, 2):
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, standard)
    if descriptor != 3:
        os.dup2(descriptor, 3, inheritable=False)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    return 3
