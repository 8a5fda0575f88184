"""Decisions: the moves of one cycle, and why each is made or held back."""

from __future__ import annotations

from typing import Literal

import msgspec

from flyball.spec.known import Known
from flyball.spec.plan import Option, Plan
from flyball.spec.power_plan import PowerPlan
from flyball.units import DollarsPerHour, RequestsPerSecond, Seconds

Cause = Literal[
    "steady",  # what it has is what it needs
    "demand",  # the load asks for another number
    "latency",  # latencies as measured pass a target, or requests queue
    "cheaper",  # another accelerator serves it at less cost
    "capacity",  # cards came or went, or a higher priority needs them
    "targets",  # the promise or the fleet's data changed
    "start",  # nothing was known before
    "power",  # there are no watts for what it has
    "threshold",  # a law without a model: its signal passed a threshold
]

Guard = Literal[
    "no_data",  # demand or latency absent, stale or contradictory: nothing shrinks
    "saturation",  # requests queue or latencies pass: one more, and nothing shrinks
    "stabilisation",  # fewer were wanted only for a short time
    "patience",  # another accelerator would be better, only for a short time so far
    "reversal",  # it grew a short while ago, and the load has not fallen since
    "step",  # at most so many at once
    "blast_radius",  # too many servers would change at once
    "hand_over",  # the old accelerator stays until the new one is ready
    "cards",  # cards are not free yet
    "power",  # there are no watts for it
    "deferral",  # its requests may wait until there are more watts
]


class Order(msgspec.Struct, frozen=True, gc=False):
    """How many replicas a server is to have on one accelerator; 0: none."""

    server: str
    accelerator: str
    replicas: int
    max_batch_size: int = 0


class Hold(msgspec.Struct, frozen=True, gc=False):
    """What a guard changed: it wanted `wanted` replicas, it got another number, until `until` at least."""

    guard: Guard
    wanted: int
    allowed: int
    until: Seconds | None = None


class Step(msgspec.Struct, frozen=True):
    """One server in one cycle."""

    server: str
    orders: tuple[Order, ...]
    """All accelerators on which it has or is to have replicas."""
    was: tuple[Order, ...] = ()
    """What had been asked for before (ready and pending)."""
    cause: Cause = "steady"
    demand: RequestsPerSecond = 0.0
    """Provided for: the larger of measured and forecast."""
    offered: RequestsPerSecond | None = None
    """Measured; None: not known."""
    metric: str = ""
    statistic: str = ""
    limit: Seconds = 0.0
    value: Seconds = 0.0
    """The target that makes the number necessary, and what it would become without the change."""
    goal: Option | None = None
    """What the plan says that it should have in the end."""
    next_best: Option | None = None
    holds: tuple[Hold, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything is to be done."""
        return {(o.accelerator, o.replicas) for o in self.orders if o.replicas} != {
            (o.accelerator, o.replicas) for o in self.was if o.replicas
        }


class Decision(msgspec.Struct, frozen=True):
    """What a law decides in one cycle."""

    law: str
    time: Seconds
    steps: tuple[Step, ...] = ()
    """In order of name; a server that is absent is left alone."""
    cost: DollarsPerHour = 0.0
    """Of all that is ordered."""
    plan: Plan | None = None
    """The goal, where the law makes one."""
    planned: bool = False
    """Whether the plan is new in this cycle."""
    notes: tuple[str, ...] = ()
    known: tuple[Known, ...] = ()
    """Of the profiles that are in use or were read, as of the last plan; in order of name."""
    power: PowerPlan | None = None
    """None: nobody looks at power."""
