"""Landlock: from here on this process opens only what is named, for reading.

The kernel's three calls have no wrapper in the standard library. An older kernel knows fewer
rights; the ruleset asks for all that the running one knows.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG = 1
PATH_BENEATH = 1

READ_FILE, READ_DIR = 1 << 2, 1 << 3
WRITE_FILE, IOCTL_DEVICE = 1 << 1, 1 << 15
FIRST_RIGHTS = (1 << 13) - 1
RIGHTS_ADDED_BY = {2: 1 << 13, 3: 1 << 14, 5: IOCTL_DEVICE}  # refer, truncate, ioctl_dev
NETWORK_SINCE, TCP = 4, 0b11
SCOPES_SINCE, SIGNALS_AND_ABSTRACT_SOCKETS = 6, 0b11


def version() -> int:
    """What the running kernel offers; 0 when Landlock is off or refused."""
    return max(0, int(_libc().syscall(CREATE_RULESET, None, 0, VERSION_FLAG)))


def restrict(readable: Iterable[str], devices: Iterable[str] = ()) -> int:
    """Close the file system but for `readable` (trees or files) and `devices` (read and write).

    Paths that do not exist are left out. Returns the kernel's Landlock version; raises OSError.
    Requires no_new_privs; holds for the calling thread and all that it starts later.
    """
    abi = version()
    if not abi:
        raise OSError("Landlock is not available")
    ruleset = _create(abi)
    try:
        for path in readable:
            _allow(ruleset, path, READ_FILE | READ_DIR)
        for path in devices:
            # A rule may not name a right that the ruleset does not handle.
            _allow(ruleset, path, READ_FILE | READ_DIR | WRITE_FILE | _rights(abi) & IOCTL_DEVICE)
        _check(_libc().syscall(RESTRICT_SELF, ruleset, 0), "restrict")
    finally:
        os.close(ruleset)
    return abi


def _create(abi: int) -> int:
    network = TCP if abi >= NETWORK_SINCE else 0
    scopes = SIGNALS_AND_ABSTRACT_SOCKETS if abi >= SCOPES_SINCE else 0
    size = 24 if abi >= SCOPES_SINCE else 16 if abi >= NETWORK_SINCE else 8
    attributes = ctypes.create_string_buffer(struct.pack("=QQQ", _rights(abi), network, scopes))
    return _check(_libc().syscall(CREATE_RULESET, attributes, size, 0), "create")


def _rights(abi: int) -> int:
    rights = FIRST_RIGHTS
    for since, right in RIGHTS_ADDED_BY.items():
        rights |= right if abi >= since else 0
    return rights


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not Path(path).is_dir():
            rights &= ~READ_DIR
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, handle))
        _check(_libc().syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0), path)
    finally:
        os.close(handle)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)} ({what})")
    return int(result)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
