"""What if, on a running fleet: the plan for what is seen now, with and without a change."""

from __future__ import annotations

import msgspec

from flyball.decide.aim import Planned, plan_of
from flyball.decide.cycle import fleets_now
from flyball.decide.memory import Memory
from flyball.decide.what_if import change
from flyball.spec.snapshot import Snapshot
from flyball.spec.steering import Steering


class Imagined(msgspec.Struct, frozen=True):
    """The plan as it would be made now, and the one with the change."""

    before: Planned
    after: Planned


def imagine(snapshot: Snapshot, memory: Memory | None, steering: Steering, text: str) -> Imagined:
    """Plan what is seen now, as it is and with a change such as `load*2`. WhatIfError: it cannot be read."""
    now = fleets_now(snapshot, memory, steering)
    full, lean = (change(fleet, text) for fleet in now)
    return Imagined(plan_of(*now), plan_of(full, lean))
