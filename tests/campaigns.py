"""Campaigns that go on where they ended: each row is kept in a file as soon as it is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


def filled(
    file: Path, kind: type[T], count: int, one: Callable[[int], T], until: float = float("inf")
) -> list[T]:
    """Rows of a file, filled up to so many, or until then by the monotonic clock; `one` makes the nth."""
    lines = file.read_bytes().splitlines() if file.exists() else []
    rows = [msgspec.json.decode(line, type=kind) for line in lines]
    while len(rows) < count and time.monotonic() < until:
        rows.append(one(len(rows) + 1))
        with file.open("ab") as kept:
            kept.write(msgspec.json.encode(rows[-1]) + b"\n")
    return rows
