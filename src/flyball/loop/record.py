"""Records: what a cycle saw, decided and did, complete enough to be decided again."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from flyball.spec.decision import Decision
from flyball.spec.snapshot import Snapshot
from flyball.units import Seconds


class Cycle(msgspec.Struct, frozen=True):
    """One pass of the loop."""

    time: Seconds
    """Wall-clock time, seconds since 1970."""
    law: str
    settings: bytes
    """The law itself, as msgpack: its name and parameters; empty where it is a function."""
    snapshot: Snapshot
    decision: Decision | None = None
    """None: the law failed, and nothing was ordered."""
    refused: tuple[str, ...] = ()
    """What the actuator could not ask for."""
    errors: tuple[str, ...] = ()
    """Parts that failed or were too slow, and how."""
    seconds: Seconds = 0.0
    """What the decision took."""


class Recorder(Protocol):
    """Keeps cycles."""

    def record(self, cycle: Cycle, before: Any, gap: bool = False) -> int:
        """Keep one, and the memory that it was decided from; returns its number. `gap`: the one before is
        missing."""
        ...
