"""Fleets from files: a directory, one file, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from flyball.spec.fleet import Fleet
from flyball.wire.errors import WireError
from flyball.wire.read import CatalogueSource, fleet_from
from flyball.wire.text import SIZE_LIMIT, decode

STANDARD_INPUT = Path("-")
SUFFIXES = (".json", ".yaml", ".yml")


def read_fleet(path: Path, catalogue: CatalogueSource = None, servers: bool = True) -> Fleet:
    """Read a directory of documents, one file, or `-`, standard input; whatever goes wrong is a WireError.

    `servers`: whether Inferno's server data must be there.
    """
    where = "standard input" if path == STANDARD_INPUT else str(path)
    try:
        if path == STANDARD_INPUT:
            if sys.stdin is None:
                raise WireError(where, "is closed", mend="Give a file, or pipe the document in")
            return fleet_from({where: _read(sys.stdin.buffer, where)}, catalogue, servers)
        if not path.is_dir():
            return fleet_from({where: _read_file(path, where)}, catalogue, servers)
        files = sorted(
            f for f in path.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith(".")
        )
        if not files:
            mend = "Give a directory with Inferno's files or a Flyball fleet"
            raise WireError(where, f"no file in it ends in {', '.join(SUFFIXES)}", mend=mend)
        return fleet_from({str(file): _read_file(file, str(file)) for file in files}, catalogue, servers)
    except OSError as error:
        raise _unreadable(where, error) from None


def _read_file(path: Path, where: str) -> object:
    try:
        with path.open("rb") as file:
            return _read(file, where)
    except FileNotFoundError:
        raise WireError(where, "there is no such file or directory", mend="Correct the path") from None
    except (OSError, ValueError) as error:
        if isinstance(error, WireError):
            raise
        raise _unreadable(where, error) from None


def _read(file: BinaryIO, where: str) -> object:
    return decode(file.read(SIZE_LIMIT + 1), where)


def _unreadable(where: str, error: Exception) -> WireError:
    problem = getattr(error, "strerror", None) or str(error)
    return WireError(where, f"cannot be read ({problem})", mend="Give a file that this user may read")
