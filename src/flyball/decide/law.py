"""Flyball's own decision in the shape that all laws have."""

from __future__ import annotations

import msgspec

from flyball.decide.cycle import LAW, decide
from flyball.decide.memory import Memory
from flyball.decide.power import Ask, asks
from flyball.spec.decision import Decision
from flyball.spec.snapshot import Snapshot
from flyball.spec.steering import Steering
from flyball.units import Seconds


class Flyball(msgspec.Struct, frozen=True):
    """`decide` with its settings."""

    steering: Steering = Steering()

    @property
    def name(self) -> str:
        """flyball."""
        return LAW

    @property
    def period(self) -> Seconds:
        """Of the cycle."""
        return self.steering.period

    def asks(self, snapshot: Snapshot, memory: Memory | None) -> dict[str, Ask]:
        """What algorithms of power policies are asked before it decides."""
        return asks(snapshot, memory)

    def __call__(self, snapshot: Snapshot, memory: Memory | None) -> tuple[Decision, Memory]:
        """Decide one cycle."""
        return decide(snapshot, memory, self.steering)
