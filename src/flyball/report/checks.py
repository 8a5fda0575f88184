"""A checklist: what is well, what is unwise, what is missing, each with its mend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

State = Literal["ok", "warning", "missing"]
STYLE: dict[State, str] = {"ok": "green", "warning": "yellow", "missing": "bold red"}


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at."""

    about: str
    state: State
    said: str
    mend: str = ""
    """A command, or what to do."""


class Checklist(msgspec.Struct, frozen=True):
    """All of them, in the order in which they are to be mended."""

    checks: tuple[Check, ...]
    ok: int
    warnings: int
    missing: int


def checklist(checks: Sequence[Check]) -> Checklist:
    """The checks, counted."""
    counts = [sum(one.state == state for one in checks) for state in ("ok", "warning", "missing")]
    return Checklist(tuple(checks), *counts)


def lines(made: Checklist) -> list[tuple[str, str]]:
    """Lines with their styles: state, what it is about, what was found; below it how to mend it."""
    width = max((len(one.about) for one in made.checks), default=0)
    found = []
    before = ""
    for one in made.checks:
        about = one.about if one.about != before else ""
        before = one.about
        found.append((f"{one.state:<8} {about:<{width}}  {one.said}", STYLE[one.state]))
        found += [(f"{'':<{9 + width}}    {text}", "") for text in one.mend.splitlines()]
    return found


def summary(made: Checklist) -> str:
    """How much of each; and what is to be done first."""
    counts = f"{made.ok} ok, {_count(made.warnings, 'warning')}, {made.missing} missing."
    first = next((one for one in made.checks if one.state == "missing"), None)
    if first is None:
        ready = "Flyball can govern this cluster" + ("; see the warnings." if made.warnings else ".")
        return f"{counts} {ready}"
    return f"{counts} First: {first.about}: {first.said}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
