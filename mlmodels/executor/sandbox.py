"""What a child gives up before it reads a byte that a stranger wrote.

`enter` closes what the machine allows and reports the level reached; it never claims more. The
base level is: no_new_privs, no capabilities, resource limits, the seccomp filter and Landlock.
Namespaces come on top where the host allows them.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlmodels.executor import landlock, seccomp
from mlmodels.executor.outcomes import Limits

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
CAPABILITY_VERSION_3 = 0x20080522
LAST_CAPABILITY = 63
NEW_USER_AND_NETWORK = 0x10000000 | 0x40000000
KILLED_FIRST, KILLED_VERY_FIRST = 500, 800  # out-of-memory scores of the server and a child
PACKAGES = ("site-packages", "dist-packages")
PAGE = resource.getpagesize()

SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
SYSTEM_FACTS = ("/dev/null", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")
CUDA_FACTS = ("/proc/driver/nvidia", "/proc/devices", "/proc/modules", "/sys/devices", "/sys/bus/pci",
              "/sys/module", "/usr/local/nvidia", "/usr/local/cuda")  # fmt: skip
CUDA_DEVICES = "nvidia*"  # nodes and one folder of nodes


@dataclass(frozen=True)
class Reached:
    """The level that a child reached, and one sentence for each part that is missing."""

    level: str
    missing: list[str] = field(default_factory=list)


def enter(readable: Iterable[str], limits: Limits, *, cuda: bool) -> Reached:
    """Close this process, which must have one thread and nothing open that it may not use.

    Afterwards it reads only Python, libraries and `readable`, writes nothing, starts no process
    and opens no socket, as far as `level` says.
    """
    missing: list[str] = []
    done = {
        name: _attempt(name, step, missing)
        for name, step in (
            ("no_new_privs", no_new_privileges),
            ("namespaces", new_namespaces),
            ("capabilities", drop_capabilities),
            ("resource limits", lambda: limit_resources(limits, memory=not cuda)),
            ("Landlock", lambda: close_files(readable, cuda=cuda)),
            ("seccomp", lambda: seccomp.install(writable_devices=cuda)),
        )
    }
    return Reached(_level(done), missing)


def _attempt(name: str, step: Callable[[], None], missing: list[str]) -> bool:
    try:
        step()
    except (OSError, ValueError) as error:
        missing.append(f"{name}: {error}")
        return False
    return True


def _level(done: dict[str, bool]) -> str:
    always = done["no_new_privs"] and done["capabilities"] and done["resource limits"]
    if always and done["Landlock"] and done["seccomp"]:
        return "base+namespaces" if done["namespaces"] else "base"
    if done["seccomp"]:
        return "seccomp only"
    return "landlock only" if done["Landlock"] else "none"


def no_new_privileges() -> None:
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def new_namespaces() -> None:
    """A user namespace without rights and a network without interfaces."""
    _check(_libc().unshare(NEW_USER_AND_NETWORK), "unshare")


def drop_capabilities() -> None:
    """Root keeps its files but loses its privileges; for anybody else this changes nothing."""
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(LAST_CAPABILITY + 1):
        _libc().prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused unless privileged: fine
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _check(_libc().capset(header, nothing), "capset")


def limit_resources(limits: Limits, *, memory: bool) -> None:
    """Bound this process. Memory counts on top of what the fork has mapped already.

    CUDA reserves address space far beyond any memory, so `memory` is False with it.
    """
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, limits.open_files),
    ):
        resource.setrlimit(what, (most, most))
    if memory:
        most = mapped_bytes() + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * PAGE


def close_files(readable: Iterable[str], *, cuda: bool) -> None:
    devices = [str(path) for path in Path("/dev").glob(CUDA_DEVICES)] if cuda else []
    facts = (*SYSTEM_FACTS, *CUDA_FACTS) if cuda else SYSTEM_FACTS
    landlock.restrict([*_python(), *SYSTEM_LIBRARIES, *facts, *readable], devices)


def _python() -> list[str]:
    """The standard library and the installed packages; never a whole prefix, which can be "/usr"."""
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.update(entry for entry in sys.path if Path(entry).name in PACKAGES)
    folders.update(str(Path(prefix, "lib")) for prefix in (sys.prefix, sys.base_prefix))
    return sorted(folders)


def source_paths(modules: Sequence[str]) -> list[str]:
    """What architecture code is made of: this package's own source and the named modules."""
    paths = [str(Path(__file__).resolve().parents[1])]
    for name in modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file:
            source = Path(file)
            paths.append(str(source.parent if source.name.startswith("__init__.") else source))
    return paths


def die_with_parent(parent: int) -> None:
    """Be killed when the thread that forked this process ends; exit now if it already has."""
    _prctl(PR_SET_PDEATHSIG, 9)
    if os.getppid() != parent:
        os._exit(0)


def hide_from_other_processes() -> None:
    """No other process of this user may trace this one or read its memory and environment."""
    _prctl(PR_SET_DUMPABLE, 0)


def prefer_as_victim(score: int) -> None:
    """Let the kernel's out-of-memory killer take this process before the worker."""
    _prctl(PR_SET_DUMPABLE, 1)  # the file below belongs to root while a process is hidden
    try:
        Path("/proc/self/oom_score_adj").write_text(str(score), "ascii")
    except OSError:
        pass  # a stricter host forbids it; the memory limit above still holds
    finally:
        hide_from_other_processes()


def _prctl(option: int, argument: int) -> None:
    _check(_libc().prctl(option, argument, 0, 0, 0), f"prctl {option}")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
