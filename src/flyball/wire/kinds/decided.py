"""From a plan to what is written into each Server object: desiredAlloc as Inferno has it, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from flyball.spec.fleet import Fleet
from flyball.spec.plan import Option, Plan
from flyball.units import to_cents, to_ms
from flyball.wire.inferno_out import ANSWER_DIGITS, allocations_of
from flyball.wire.inferno_shapes import PartShape
from flyball.wire.inferno_write import document_of

Document = dict[str, Any]
ALIKE = 1e-4
"""Figures that differ by a smaller share are the same: a load that is measured never stands still."""
WHOLE = ("avgLength", "avgInTokens", "avgOutTokens")
EXACT = ("numReplicas", "maxBatch")


class Decided(msgspec.Struct, frozen=True):
    """What was decided for one server, as its object has it; cents per hour, milliseconds."""

    reason: str
    desired: Document | None = None
    """None: it gets nothing, for want of anything that serves it."""
    binding: str = ""
    next_best: Document | None = None


def decided(fleet: Fleet, plan: Plan) -> dict[str, Decided]:
    """What a plan means for each of its servers, by the names in the fleet."""
    desired = desired_allocations(fleet, plan)
    return {
        s.server: Decided(
            reason=s.reason,
            desired=desired.get(s.server),
            binding=s.allocation.binding if s.allocation else "",
            next_best=option_document(s.next_best, fleet) if s.next_best else None,
        )
        for s in plan.servers
    }


def desired_allocations(fleet: Fleet, plan: Plan) -> dict[str, Document]:
    """The desiredAlloc of each server that gets one, as Inferno writes it.

    Without load a server keeps the name of its accelerator, with 0 replicas. Of a load that is divided it is
    the largest part.
    """
    held = {server.name: server.current.accelerator for server in fleet.servers}
    found = {}
    for name, shape in allocations_of(fleet, plan).items():
        if not shape.accelerator:
            shape = msgspec.structs.replace(shape, accelerator=held[name])
        document = document_of(msgspec.structs.replace(shape, mix=()), fleet.generation, ANSWER_DIGITS)
        found[name] = storable(document)
    return found


def unchanged(stored: object, new: object, field: str = "") -> bool:
    """Whether what is stored says the same, but for figures that differ by less than `ALIKE`."""
    if isinstance(stored, Mapping) and isinstance(new, Mapping):
        return stored.keys() == new.keys() and all(unchanged(stored[key], new[key], key) for key in new)
    if isinstance(stored, bool | str) or isinstance(new, bool | str) or field in EXACT:
        return stored == new
    if isinstance(stored, int | float) and isinstance(new, int | float):
        return math.isclose(stored, new, rel_tol=ALIKE)
    return stored == new


def option_document(option: Option, fleet: Fleet) -> Document:
    second = "wait_average" if fleet.generation == "G1" else "ttft_average"
    shape = PartShape(
        accelerator=option.accelerator,
        num_replicas=option.replicas,
        max_batch=option.max_batch_size,
        cost=to_cents(option.cost),
        itl_average=to_ms(option.itl),
        **{second: to_ms(option.ttft)},
    )
    return storable(document_of(shape, fleet.generation, ANSWER_DIGITS))


def storable(document: Document) -> Document:
    """As the schema has it: no null (a latency without bound), and means of tokens as whole numbers."""
    made: Document = {}
    for key, value in document.items():
        if isinstance(value, dict):
            made[key] = storable(value)
        elif value is not None:
            made[key] = round(value) if key in WHOLE else value
    return made
