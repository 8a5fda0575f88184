"""What the stateful optimizer does to its system: each change gives a new system, the old one stays.

As in the original, setting merges by name and never removes what is absent; adding replaces.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from msgspec.structs import replace

from flyball.server.service.answers import Refusal
from flyball.wire.inferno_in import LAST_PRIORITY, fleet_of
from flyball.wire.inferno_shapes import (
    AcceleratorShape,
    AllocationShape,
    CapacityShape,
    ClassShape,
    PartShape,
    ProfileShape,
    ServerShape,
    TargetShape,
)
from flyball.wire.inferno_system import System, shown_generation

T = TypeVar("T")
P = TypeVar("P", bound=PartShape)
Change = Callable[[System], System]
MOST, MOST_RATE = 1e12, 1e9
"""Of any figure and of an arrival rate, as the shapes have it."""
FIGURES = ("cost", "itl_average", "ttft_average", "wait_average")


def checked(system: System, **given: Any) -> System:
    """The system with its generation, where it can be planned with all that was given. Or WireError."""
    generation = shown_generation(system)
    if generation != system.generation:
        system = replace(system, generation=generation)
        fleet_of(system)
    else:
        fleet_of(System(generation=generation, **given))
    return system


def set_accelerators(given: Iterable[AcceleratorShape]) -> Change:
    """Add accelerators, or replace them."""
    new = {a.name: a for a in given}
    return lambda system: checked(replace(system, accelerators=system.accelerators | new), accelerators=new)


def remove_accelerator(name: str) -> Change:
    """Take an accelerator out. Or Refusal."""
    return lambda system: replace(system, accelerators=without(system.accelerators, name, "accelerator"))


def set_capacities(given: Iterable[CapacityShape]) -> Change:
    """Set the cards of types; other types stay."""
    new = {c.type: c.count for c in given}
    return lambda system: replace(system, capacity=system.capacity | new)


def remove_capacity(kind: str) -> Change:
    """Take the capacity of a type out: it has none then. Or Refusal."""
    return lambda system: replace(system, capacity=without(system.capacity, kind, "accelerator type"))


def set_models(given: Mapping[str, Mapping[str, ProfileShape]]) -> Change:
    """Add entries of model data, or replace them."""

    def change(system: System) -> System:
        merged = {name: {**system.models.get(name, {}), **entries} for name, entries in given.items()}
        return checked(replace(system, models=system.models | merged), models=merged)

    return change


def add_model(name: str) -> Change:
    """Add a model without any entry; one that is there loses its entries."""
    return lambda system: replace(system, models=system.models | {name: {}})


def remove_model(name: str) -> Change:
    """Take a model out with its entries. Or Refusal."""
    return lambda system: replace(system, models=without(system.models, name, "model"))


def add_profile(entry: ProfileShape) -> Change:
    """Add one entry of a model that is there. Or Refusal."""

    def change(system: System) -> System:
        found(system.models, entry.name, "model")
        return set_models({entry.name: {entry.acc: entry}})(system)

    return change


def remove_profile(model: str, accelerator: str) -> Change:
    """Take one entry of a model out. Or Refusal."""

    def change(system: System) -> System:
        left = without(found(system.models, model, "model"), accelerator, "accelerator")
        return replace(system, models=system.models | {model: left})

    return change


def set_classes(given: Iterable[ClassShape]) -> Change:
    """Add service classes, or replace them."""

    new = {c.name: replace(c, priority=priority_of(c.priority)) for c in given}
    return lambda system: checked(
        replace(system, service_classes=system.service_classes | new), service_classes=new
    )


def remove_class(name: str) -> Change:
    """Take a service class out. Or Refusal."""
    return lambda system: replace(
        system, service_classes=without(system.service_classes, name, "service class")
    )


def add_targets(given: ClassShape) -> Change:
    """Add targets to a class that is there, or replace them. Or Refusal."""

    def change(system: System) -> System:
        present = found(system.service_classes, given.name, "service class")
        if present.priority != given.priority:
            raise Refusal(400, f"inconsistent specs: svcName={given.name} ; svcPrio={given.priority}")
        targets = {t.model: t for t in (*present.model_targets, *given.model_targets)}
        return set_classes([replace(present, model_targets=tuple(targets.values()))])(system)

    return change


def remove_target(name: str, model: str) -> Change:
    """Take the target of a model out of a class. Or Refusal."""

    def change(system: System) -> System:
        present = found(system.service_classes, name, "service class")
        left = without({t.model: t for t in present.model_targets}, model, "model")
        return set_classes([replace(present, model_targets=tuple(left.values()))])(system)

    return change


def set_servers(given: Mapping[str, ServerShape]) -> Change:
    """Add servers, or replace them."""
    new = dict(given)
    return lambda system: checked(replace(system, servers=system.servers | new), servers=new)


def remove_server(name: str) -> Change:
    """Take a server out. Or Refusal."""
    return lambda system: replace(system, servers=without(system.servers, name, "server"))


def desire(planned: System, allocations: Mapping[str, AllocationShape]) -> Change:
    """Note what a plan gives to servers; those that were changed since `planned` are left as they are."""

    def change(system: System) -> System:
        same = {
            name: replace(system.servers[name], desired_alloc=storable(allocation))
            for name, allocation in allocations.items()
            if name in system.servers and system.servers[name] is planned.servers.get(name)
        }
        return replace(system, servers=system.servers | same)

    return change


def storable(given: AllocationShape) -> AllocationShape:
    """An allocation with its numbers cut to what can be read again: a plan's may be beyond, or infinite."""
    load = given.load
    if load is not None and not (abs(load.arrival_rate) <= MOST_RATE and abs(load.throughput) <= MOST):
        load = replace(
            load, arrival_rate=_cut(load.arrival_rate, MOST_RATE), throughput=_cut(load.throughput, MOST)
        )
        given = replace(given, load=load)
    if all(_fits(part) for part in (given, *given.mix)):
        return given
    return replace(_part_cut(given), mix=tuple(_part_cut(part) for part in given.mix))


def _fits(part: PartShape) -> bool:
    return all(abs(getattr(part, name)) <= MOST for name in FIGURES)


def _part_cut(part: P) -> P:
    return replace(part, **{name: _cut(getattr(part, name), MOST) for name in FIGURES})


def _cut(value: float, most: float) -> float:
    return 0.0 if math.isnan(value) else min(max(value, -most), most)


def apply_desired(system: System) -> System:
    """Make current what is desired. A server that never had an allocation keeps what it has."""
    applied = {
        name: replace(server, current_alloc=server.desired_alloc)
        for name, server in system.servers.items()
        if server.desired_alloc is not None
    }
    return replace(system, servers=system.servers | applied)


def priority_of(asked: int) -> int:
    """The priority of a class; outside 1 to 100 it is 100."""
    return asked if 1 <= asked <= LAST_PRIORITY else LAST_PRIORITY


def target_of(system: System, name: str, model: str) -> TargetShape:
    """The target of a class for a model. Or Refusal."""
    targets = found(system.service_classes, name, "service class").model_targets
    return found({t.model: t for t in targets}, model, "model")


def found(items: Mapping[str, T], name: str, what: str) -> T:
    """The item of that name; Refusal 404 where there is none."""
    if name not in items:
        raise Refusal(404, f"{what} {name} not found")
    return items[name]


def without(items: Mapping[str, T], name: str, what: str) -> dict[str, T]:
    """The items without that one; Refusal 404 where there is none."""
    found(items, name, what)
    return {key: item for key, item in items.items() if key != name}
