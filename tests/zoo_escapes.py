"""What a sandboxed model must not be able to do, each as something to try. False or OSError: refused."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def _fork(params: Mapping[str, Any]) -> None:
    if os.fork() == 0:
        os._exit(0)


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


def _connect_unix(params: Mapping[str, Any]) -> None:
    socket.socket(socket.AF_UNIX).connect(params["unix_socket"])


def _connect_tcp(params: Mapping[str, Any]) -> None:
    socket.create_connection(("127.0.0.1", params["port"]), 1)


def _libc(number: int, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _signal_through_socket(params: Mapping[str, Any]) -> None:
    import fcntl

    fcntl.fcntl(3, fcntl.F_SETOWN, params["pid"])


def _steal_limits(params: Mapping[str, Any]) -> None:
    import resource

    resource.prlimit(params["pid"], resource.RLIMIT_CORE, (0, 0))


def _share_memory(params: Mapping[str, Any]) -> None:
    shared = Path(f"/dev/shm/zoo-{os.getpid()}")
    shared.write_text("x")
    shared.unlink()


def _has_capability(params: Mapping[str, Any]) -> bool:
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capget(header, sets)
    return any(sets)


def _escape_death(params: Mapping[str, Any]) -> None:
    if ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) < 0:
        raise OSError("refused")


ATTEMPTS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "own source": lambda p: bool(_read(p["source"])),
    "own weights": lambda p: bool(_read(p["weights"])),
    "network": _connect_tcp,
    "udp socket": lambda p: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "unix socket": _connect_unix,
    "socket pair": lambda p: socket.socketpair(),
    "environment of the parent": lambda p: _read(f"/proc/{p['pid']}/environ"),
    "memory of the parent": lambda p: _read(f"/proc/{p['pid']}/maps"),
    "environment of the server": lambda p: _read(f"/proc/{os.getppid()}/environ"),
    "database": lambda p: _read(p["database"]),
    "another upload": lambda p: _read(p["upload"]),
    "list uploads": lambda p: os.listdir(os.path.dirname(p["upload"])),
    "accounts of the host": lambda p: _read("/etc/passwd"),
    "write a new file": lambda p: Path(p["upload"] + ".new").write_text("x"),
    "write its weights": lambda p: os.open(p["weights"], os.O_RDWR),
    "delete a file": lambda p: os.unlink(p["upload"]),
    "rename a file": lambda p: os.rename(p["upload"], p["upload"] + ".moved"),
    "change a mode": lambda p: os.chmod(p["upload"], 0o777),
    "shared memory": _share_memory,
    "exec": lambda p: os.execv("/bin/true", ["true"]),
    "fork": _fork,
    "signal the parent": lambda p: os.kill(p["pid"], 0),
    "signal the server": lambda p: os.kill(os.getppid(), signal.SIGTERM),
    "signal through the socket": _signal_through_socket,
    "limits of the parent": _steal_limits,
    "priority of the parent": lambda p: os.setpriority(os.PRIO_PROCESS, p["pid"], 10),
    "outlive the server": _escape_death,
    "be traced": lambda p: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 1,
    "keep a capability": _has_capability,
    "trace the parent": lambda p: _libc({"x86_64": 101}.get(os.uname().machine, 117), 16, p["pid"]),
    "io_uring": lambda p: _libc(425, 1, 0),
    "secret in the environment": lambda p: "ZOO_SECRET" in os.environ,
    "open descriptors": lambda p: any(_is_open(number) for number in range(4, 64)),
    "django": lambda p: "django" in sys.modules,
}  # fmt: skip
MUST_WORK = ("own source", "own weights")


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
