"""What a control law is: from a snapshot and its own memory to a decision."""

from __future__ import annotations

from typing import Protocol, TypeVar

from flyball.spec.decision import Decision
from flyball.spec.snapshot import Snapshot
from flyball.units import Seconds

M = TypeVar("M")


class Law(Protocol[M]):
    """A pure function with parameters: no clock, no I/O, no chance; the time is the snapshot's."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    @property
    def period(self) -> Seconds:
        """How often it wants to decide."""
        ...

    def __call__(self, snapshot: Snapshot, memory: M | None) -> tuple[Decision, M]:
        """The decision, and what to remember until the next one; None: it begins."""
        ...
