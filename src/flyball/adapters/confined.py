"""What a process gives up for good before it runs code of others: limits, further processes, network, files.

Three layers. Resource limits hold on every Unix. A filter of system calls (seccomp) takes away new processes,
sockets, signals to others and what changes their limits or their place on the machine. Landlock leaves files
of certain folders to be read and nothing else; processes under it cannot look into their parents either.
Neither of the last two needs a privilege, and neither can be undone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
from collections.abc import Iterable
from pathlib import Path

SYSTEM_CALLS: dict[str, tuple[int | None, int | None]] = {
    # x86_64, aarch64; None: there is none of that name.
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "socket": (41, 198),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "setrlimit": (160, 164),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
}
CLONE, CLONE3, PRLIMIT64 = (56, 220), (435, 435), (302, 261)
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column above, and how the kernel calls it."""
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
OTHERS = ("/usr/share/zoneinfo", "/dev/urandom")

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER = 22, 38, 2
KILL, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
LOAD, EQUAL, AT_LEAST, BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
CLONE_THREAD, X32 = 0x00010000, 0x40000000
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
READ_FILE, READ_DIR = 1 << 2, 1 << 3


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_char_p))


def limit(memory: int, cpu: int, files: int = 64) -> None:
    """Bytes of address space, seconds of CPU, open files; no byte written to a file, and no core dump."""
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def confine(readable: Iterable[str]) -> tuple[str, ...]:
    """Take away all else that can be taken away; says in a few words each what cannot be here."""
    lacks = []
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        lacks.append("privileges can be gained")
    if not _only_read(libc, (*readable, *LIBRARIES, *OTHERS)):
        lacks.append("files are not shut off (no Landlock in this kernel)")
    if not _filtered(libc):
        lacks.append("processes and network are not shut off (no seccomp filter here)")
    return tuple(lacks)


def _only_read(libc: ctypes.CDLL, paths: Iterable[str]) -> bool:
    version = libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    rights = ctypes.c_uint64((1 << {1: 13, 2: 14}.get(version, 15)) - 1)
    rules = libc.syscall(LANDLOCK_CREATE, ctypes.byref(rights), ctypes.c_size_t(8), 0)
    if rules < 0:
        return False
    for path in dict.fromkeys(paths):
        try:
            there = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = READ_FILE | READ_DIR if Path(path).is_dir() else READ_FILE
        libc.syscall(LANDLOCK_ADD, rules, 1, struct.pack("=Qi", allowed, there), 0)
        os.close(there)
    refused = libc.syscall(LANDLOCK_RESTRICT, rules, 0)
    os.close(rules)
    return bool(refused == 0)


def _filtered(libc: ctypes.CDLL) -> bool:
    system = os.uname()
    if system.sysname != "Linux" or system.machine not in MACHINES:
        return False
    code = program(*MACHINES[system.machine])
    return bool(libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(_Filter(len(code) // 8, code)), 0, 0) == 0)


def program(column: int, machine: int) -> bytes:
    """The filter as the kernel's own small machine reads it: `struct sock_filter`, 8 bytes each.

    It reads `struct seccomp_data`: number at 0, machine at 4, arguments from 16 on, 8 bytes each.
    """

    def line(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    denied = line(RETURN, ERRNO | errno.EPERM)
    allowed = line(RETURN, ALLOW)
    parts = [line(LOAD, 4), line(EQUAL, machine, 1), line(RETURN, KILL), line(LOAD, 0)]
    parts += [line(AT_LEAST, X32, 0, 1), denied]  # a second set of numbers for the same calls
    for numbers in SYSTEM_CALLS.values():
        if (number := numbers[column]) is not None:
            parts += [line(EQUAL, number, 0, 1), denied]
    # C libraries fall back to clone, whose flags can be looked at: threads are fine.
    parts += [line(EQUAL, CLONE3[column], 0, 1), line(RETURN, ERRNO | errno.ENOSYS)]
    parts += [
        line(EQUAL, CLONE[column], 0, 4),
        line(LOAD, 16),
        line(BITS, CLONE_THREAD, 0, 1),
        allowed,
        denied,
    ]
    # Limits may be read, which is where no new ones are pointed at.
    parts += [line(EQUAL, PRLIMIT64[column], 0, 6), line(LOAD, 32), line(EQUAL, 0, 0, 3), line(LOAD, 36)]
    parts += [line(EQUAL, 0, 0, 1), allowed, denied]
    return b"".join((*parts, allowed))
