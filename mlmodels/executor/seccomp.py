"""The seccomp filter of a child: a short program that the kernel runs before every system call.

Sockets, other processes and changes to files are refused with EPERM whatever the arguments
(syscalls.py). A few calls are needed and dangerous; those are looked at more closely here:
threads but no processes, signals to itself only, files for reading only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from mlmodels.executor.syscalls import Machine, machine

LOAD, JUMP_EQUAL, JUMP_ANY_BIT, JUMP_AT_LEAST, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
NOT_IMPLEMENTED = 0x00050000 | errno.ENOSYS
NUMBER_AT, AUDIT_AT, ARGUMENTS_AT = 0, 4, 16
X32_BIT = 0x40000000  # the second numbering of system calls on x86_64

CLONE_THREAD = 0x00010000
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# F_SETSIG and its like let the kernel send any signal to any process of this user.
FCNTL_SIGNALS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX
IOCTL_ESCAPES = (0x5412, 0x541C, 0x8901, 0x8902)  # TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP
# Undoing what the server set up: death signal, dumpable, memory map, tracer, subreaper.
PRCTL_UNDOING = (1, 4, 35, 36, 0x59616D61)

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2

Instruction = tuple[int, int, int, int]


def install(*, writable_devices: bool) -> None:
    """Close the filter over the calling thread and all it will start. Raises OSError.

    `writable_devices` leaves open(2) for writing to Landlock, as CUDA needs its device nodes.
    """
    here = machine()
    if here is None:
        raise OSError(errno.ENOSYS, "no table of system calls for this processor")
    instructions = program(here, own_pid=os.getpid(), writable_devices=writable_devices)
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = _Program(len(instructions), ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "seccomp was refused")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def program(here: Machine, *, own_pid: int, writable_devices: bool) -> list[Instruction]:
    """The filter as (operation, jump if true, jump if false, constant) instructions."""
    calls = here.examined
    lines: list[Instruction] = [
        (LOAD, 0, 0, AUDIT_AT),
        (JUMP_EQUAL, 1, 0, here.audit),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
        (JUMP_AT_LEAST, 0, 1, X32_BIT),
        (RETURN, 0, 0, REFUSE),
    ]
    for number in here.refused:
        lines += _when(number, [(RETURN, 0, 0, REFUSE)])
    # The C library falls back to clone and openat, whose arguments a filter can read.
    for name in ("clone3", "openat2"):
        lines += _when(calls[name], [(RETURN, 0, 0, NOT_IMPLEMENTED)])
    lines += _when(calls["clone"], _allowed_with_bit(0, CLONE_THREAD))
    lines += _when(calls["kill"], _allowed_if(0, (own_pid,)))
    lines += _when(calls["tgkill"], _allowed_if(0, (own_pid,)))
    lines += _when(calls["prlimit64"], _allowed_if(0, (0, own_pid)))
    lines += _when(calls["fcntl"], _refused_if(1, FCNTL_SIGNALS))
    lines += _when(calls["ioctl"], _refused_if(1, IOCTL_ESCAPES))
    lines += _when(calls["prctl"], _refused_if(0, PRCTL_UNDOING))
    if not writable_devices:
        lines += _when(calls["openat"], _refused_with_bit(2, WRITING))
        if "open" in calls:
            lines += _when(calls["open"], _refused_with_bit(1, WRITING))
    return [*lines, (RETURN, 0, 0, ALLOW)]


def _when(number: int, then: list[Instruction]) -> list[Instruction]:
    """`then` must end by returning: it may have loaded an argument over the call's number."""
    return [(JUMP_EQUAL, 0, len(then), number), *then]


def _argument(index: int) -> Instruction:
    return (LOAD, 0, 0, ARGUMENTS_AT + 8 * index)  # the low half: flags, commands and pids


def _allowed_if(index: int, values: tuple[int, ...]) -> list[Instruction]:
    return _one_of(index, values, found=ALLOW, otherwise=REFUSE)


def _refused_if(index: int, values: tuple[int, ...]) -> list[Instruction]:
    return _one_of(index, values, found=REFUSE, otherwise=ALLOW)


def _one_of(index: int, values: tuple[int, ...], found: int, otherwise: int) -> list[Instruction]:
    tests = [(JUMP_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)]
    return [_argument(index), *tests, (RETURN, 0, 0, otherwise), (RETURN, 0, 0, found)]


def _allowed_with_bit(index: int, bits: int) -> list[Instruction]:
    return [
        _argument(index),
        (JUMP_ANY_BIT, 1, 0, bits),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]


def _refused_with_bit(index: int, bits: int) -> list[Instruction]:
    return [
        _argument(index),
        (JUMP_ANY_BIT, 1, 0, bits),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
