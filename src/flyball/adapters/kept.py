"""A document kept in a file: read at the start, written whole after each change, by one process at a time."""

from __future__ import annotations

import fcntl
import os
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Generic, TypeVar

import msgspec

from flyball.adapters.whole import write_whole

T = TypeVar("T")


class StateFileError(ValueError):
    """A file that cannot be used; the message says why and what to do."""


class _Head(msgspec.Struct, frozen=True):
    kind: str
    version: int


class KeptFile(ABC, Generic[T]):
    """Takes the file for this process until `close`. Or StateFileError.

    A subclass says what its document is called, and how a value becomes a struct, and that one a value again.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    what: ClassVar[str]
    """The file, in messages: "state of an optimizer"."""
    afresh: ClassVar[str]
    """What begins without it, in messages: "an empty system"."""
    document: ClassVar[Any]
    """A struct that begins with `kind` and `version`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._target = Path(os.path.realpath(path))  # by whatever name, it is one file with one lock
        self._lock = self._taken()

    @abstractmethod
    def of_document(self, document: Any) -> T:
        """The value in a document. Or ValueError."""

    @abstractmethod
    def to_document(self, value: T) -> msgspec.Struct:
        """The document of a value."""

    def read(self) -> T | None:
        """What was kept last; None where nothing was. Or StateFileError: it is never passed over."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(f"cannot be read ({error.strerror})", "Let this user read it") from None
        try:
            head = msgspec.json.decode(data, type=_Head)  # first: another version may look quite different
            if (head.kind, head.version) != (self.kind, self.version):
                problem = (
                    f"is {head.kind} of version {head.version}, not {self.kind} of version {self.version}"
                )
                raise self._error(problem, "Name another file, or use the program that wrote it")
            return self.of_document(msgspec.json.decode(data, type=self.document))
        except StateFileError:
            raise
        except (ValueError, RecursionError) as error:  # of msgspec, and of text that is no UTF-8
            mend = f"Restore a copy, or move it away to begin with {self.afresh}"
            raise self._error(f"is no {self.what} ({error})", mend) from None

    def write(self, value: T) -> None:
        """Keep a value, on the disk when this returns. Or OSError: then the file holds the one before."""
        write_whole(self.path, msgspec.json.encode(self.to_document(value)), self._part.name)

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
