"""What a control law is: from a snapshot and its own memory to a decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from flyball.power.view import View
from flyball.spec.decision import Decision
from flyball.spec.power import Policy
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


@runtime_checkable
class Asking(Protocol):
    """A law that wants algorithms of power policies asked before it decides."""

    def asks(self, snapshot: Snapshot, memory: Any) -> Mapping[str, tuple[Policy, View]]:
        """What to ask, by policy; each with all that its algorithm may know."""
        ...


@dataclass(frozen=True)
class FunctionLaw:
    """A plain function `decide(snapshot, memory)`, or one with settings as a third parameter, as a law."""

    name: str
    decide: Callable[..., tuple[Decision, Any]]
    settings: tuple[object, ...] = ()
    """Handed on behind the memory."""
    period: Seconds = 15.0

    def __call__(self, snapshot: Snapshot, memory: Any) -> tuple[Decision, Any]:
        """What the function decides."""
        return self.decide(snapshot, memory, *self.settings)
