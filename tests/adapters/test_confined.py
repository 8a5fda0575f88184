"""The filter of system calls, run through a machine of its own: what it denies, and what it lets pass."""

from __future__ import annotations

import errno
import struct

import pytest

from flyball.adapters.confined import (
    ALLOW,
    CLONE,
    CLONE3,
    ERRNO,
    KILL,
    MACHINES,
    PRLIMIT64,
    SYSTEM_CALLS,
    program,
)

DENIED = ERRNO | errno.EPERM
OTHERS = (0, 1, 9, 12, 60, 93, 99, 231, 500)
"""Numbers of read, write, mmap and others, in either machine."""


def verdict(code: bytes, number: int, machine: int, *arguments: int) -> int:
    """What `struct sock_filter` in `code` says of a call."""
    lines = list(struct.iter_unpack("=HBBI", code))
    data = struct.pack("=iIQ6Q", number, machine, 0, *arguments, *[0] * (6 - len(arguments)))
    at, a = 0, 0
    while True:
        operation, yes, no, value = lines[at]
        at += 1
        if operation == 0x20:
            (a,) = struct.unpack_from("=I", data, value)
        elif operation == 0x06:
            return int(value)
        else:
            test = {0x15: a == value, 0x35: a >= value, 0x45: bool(a & value)}[operation]
            at += yes if test else no


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_denied(name: str) -> None:
    column, machine = MACHINES[name]
    code = program(column, machine)
    numbers = {pair[column] for pair in SYSTEM_CALLS.values()} - {None}
    assert len(numbers) > 40
    for number in numbers:
        assert verdict(code, number, machine) == DENIED  # type: ignore[arg-type]
    for number in OTHERS:
        assert number in numbers or verdict(code, number, machine) == ALLOW
    assert verdict(code, 0x40000000 + 57, machine) == DENIED
    assert verdict(code, 0, machine + 1) == KILL
    assert len(code) // 8 <= 4096  # the kernel takes no more


@pytest.mark.parametrize("name", MACHINES)
def test_threads_are_fine_and_processes_are_not(name: str) -> None:
    column, machine = MACHINES[name]
    code = program(column, machine)
    assert verdict(code, CLONE3[column], machine) == ERRNO | errno.ENOSYS
    assert verdict(code, CLONE[column], machine, 0x003D0F00) == ALLOW
    assert verdict(code, CLONE[column], machine, 0x01200011) == DENIED


@pytest.mark.parametrize("name", MACHINES)
def test_limits_are_read_and_not_set(name: str) -> None:
    column, machine = MACHINES[name]
    code = program(column, machine)
    assert verdict(code, PRLIMIT64[column], machine, 0, 7, 0, 4096) == ALLOW
    for new in (4096, 1 << 32, 0x7FFF00000000):
        assert verdict(code, PRLIMIT64[column], machine, 0, 7, new, 0) == DENIED
