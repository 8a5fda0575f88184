"""A system kept in a file: read at the start, written whole after each change, by one process at a time."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from flyball.adapters.whole import write_whole
from flyball.wire.inferno_system import System

KIND, VERSION = "InfernoSystem", 1


class StateFileError(ValueError):
    """A state file that cannot be used; the message says why and what to do."""


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    version: int
    system: System


class StateFile:
    """Takes the file for this process until `close`. Or StateFileError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._target = Path(os.path.realpath(path))  # by whatever name, it is one file with one lock
        self._lock = self._taken()

    def read(self) -> System | None:
        """What was kept last; None where nothing was. Or StateFileError: it is never passed over."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(f"cannot be read ({error.strerror})", "Let this user read it") from None
        try:
            kept = msgspec.json.decode(data, type=_Kept)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            mend = "Restore a copy, or move it away to begin with an empty system"
            raise self._error(f"is no state of an optimizer ({error})", mend) from None
        if (kept.kind, kept.version) != (KIND, VERSION):
            problem = f"is {kept.kind} of version {kept.version}, not {KIND} of version {VERSION}"
            raise self._error(problem, "Name another file, or use the program that wrote it")
        return kept.system

    def write(self, system: System) -> None:
        """Keep a system, on the disk when this returns. Or OSError: then the file holds the one before."""
        write_whole(self.path, msgspec.json.encode(_Kept(KIND, VERSION, system)), self._part.name)

    def close(self) -> None:
        """Let another process have it."""
        self._lock.close()

    @property
    def _part(self) -> Path:
        return self._target.with_name(f".{self._target.name}.part")

    def _taken(self) -> BinaryIO:
        lock = self._target.with_name(self._target.name + ".lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = lock.open("ab")
        except OSError as error:
            raise self._error(f"{lock.name} cannot be made beside it ({error.strerror})", "") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise self._error(
                "is in use by another process", "End that one first, or name another file"
            ) from None
        with suppress(OSError):
            self._part.unlink()  # of a process that was killed while it wrote
        return file

    def _error(self, problem: str, mend: str) -> StateFileError:
        return StateFileError(f"{self.path}: {problem}." + (f" {mend}." if mend else ""))
