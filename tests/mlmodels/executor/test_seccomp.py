"""The filter's verdicts on both processors, by running it: this machine can try only one for real."""

import errno
import struct
from collections.abc import Sequence

import pytest

from mlmodels.executor import seccomp
from mlmodels.executor.syscalls import EXAMINED, REFUSED, Machine, machine

OWN_PID = 4242
PROCESSORS = ("x86_64", "aarch64")


def verdict(name: str, call: str, arguments: Sequence[int] = (), *, writable_devices: bool = False) -> str:
    here = machine(name)
    assert here is not None
    number = {**REFUSED, **EXAMINED}[call][PROCESSORS.index(name)]
    assert number is not None
    program = seccomp.program(here, own_pid=OWN_PID, writable_devices=writable_devices)
    return interpreted(program, struct.pack("=IIQ6Q", number, here.audit, 0, *arguments, *[0] * (6 - len(arguments))))


def interpreted(program: list[seccomp.Instruction], data: bytes) -> str:
    """What the kernel would do: the few operations that the filter is made of."""
    loaded, at = 0, 0
    while True:
        operation, if_true, if_false, constant = program[at]
        at += 1
        if operation == seccomp.RETURN:
            names = {seccomp.ALLOW: "allow", seccomp.KILL: "kill", seccomp.REFUSE: "refuse"}
            return names.get(constant) or errno.errorcode[constant & 0xFFFF]
        if operation == seccomp.LOAD:
            (loaded,) = struct.unpack_from("=I", data, constant)
            continue
        test = {
            seccomp.JUMP_EQUAL: loaded == constant,
            seccomp.JUMP_ANY_BIT: bool(loaded & constant),
            seccomp.JUMP_AT_LEAST: loaded >= constant,
        }[operation]
        at += if_true if test else if_false


@pytest.mark.parametrize("name", PROCESSORS)
def test_every_refused_call_is_refused(name: str) -> None:
    there = [call for call, numbers in REFUSED.items() if numbers[PROCESSORS.index(name)] is not None]
    assert {call: verdict(name, call) for call in there} == dict.fromkeys(there, "refuse")


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        ("clone", [0x00010000 | 0x100], "allow"),
        ("clone", [17], "refuse"),
        ("clone3", [], "ENOSYS"),
        ("openat2", [], "ENOSYS"),
        ("kill", [OWN_PID], "allow"),
        ("kill", [1], "refuse"),
        ("kill", [0], "refuse"),
        ("kill", [0xFFFFFFFF], "refuse"),
        ("tgkill", [OWN_PID], "allow"),
        ("tgkill", [1], "refuse"),
        ("prlimit64", [0], "allow"),
        ("prlimit64", [1], "refuse"),
        ("fcntl", [3, 8], "refuse"),
        ("fcntl", [3, 10], "refuse"),
        ("fcntl", [3, 15], "refuse"),
        ("fcntl", [3, 1], "allow"),
        ("ioctl", [0, 0x5412], "refuse"),
        ("ioctl", [0, 0x5401], "allow"),
        ("prctl", [1], "refuse"),
        ("prctl", [4], "refuse"),
        ("prctl", [15], "allow"),
        ("openat", [0, 0, 0], "allow"),
        ("openat", [0, 0, 1], "refuse"),
        ("openat", [0, 0, 2], "refuse"),
        ("openat", [0, 0, 0o100], "refuse"),
    ],
)
def test_examined_calls_are_judged_by_their_arguments(
    name: str, call: str, arguments: list[int], expected: str
) -> None:
    assert verdict(name, call, arguments) == expected


def test_with_a_gpu_opening_for_writing_is_left_to_landlock() -> None:
    assert verdict("x86_64", "openat", [0, 0, 2], writable_devices=True) == "allow"


def test_a_foreign_numbering_is_not_let_through() -> None:
    here = machine("x86_64")
    assert here is not None
    program = seccomp.program(here, own_pid=1, writable_devices=False)
    assert interpreted(program, struct.pack("=IIQ6Q", 0x40000000 | 41, here.audit, *[0] * 7)) == "refuse"
    assert interpreted(program, struct.pack("=IIQ6Q", 41, 0x40000003, *[0] * 7)) == "kill"


def test_no_number_stands_twice_and_an_unknown_processor_has_no_table() -> None:
    for name in PROCESSORS:
        here = machine(name)
        assert isinstance(here, Machine)
        numbers = [*here.refused, *here.examined.values()]
        assert len(numbers) == len(set(numbers))
    assert machine("riscv64") is None
