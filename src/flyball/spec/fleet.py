"""The fleet: everything that a plan is made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from flyball.spec.accelerator import Accelerator
from flyball.spec.profile import Profile
from flyball.spec.server import Server
from flyball.spec.service_class import ServiceClass
from flyball.units import DollarsPerHour, Seconds

Generation = Literal["G1", "G2", "G3", "flyball"]
SolverName = Literal["auto", "exact", "greedy", "unlimited"]
SaturationPolicy = Literal["None", "PriorityExhaustive", "PriorityRoundRobin", "RoundRobin"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to plan."""

    solver: SolverName = "auto"
    unlimited: bool = False
    """Take no notice of capacity."""
    heterogeneous: bool = False
    """One server's load may be divided over several accelerators."""
    delayed_best_effort: bool = False
    """Best effort after all priorities instead of after each (greedy only)."""
    saturation_policy: SaturationPolicy = "None"
    """What to do with capacity that is left when a server cannot be served whole."""
    hold_hours: float = 0.5
    """Flyball's own objective: a switch is paid back over this long."""
    cold_start: Seconds = 120.0
    """How long a replica takes to become ready: old and new ones are paid side by side."""
    spare: float = 0.0
    """Replicas beside what the load needs, for every server: 1 is n+1 (Flyball's own form)."""
    note: str = ""
    """What was asked for and is done otherwise."""


class Fleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything known at one instant."""

    generation: Generation = "flyball"
    accelerators: tuple[Accelerator, ...] = ()
    profiles: tuple[Profile, ...] = ()
    service_classes: tuple[ServiceClass, ...] = ()
    servers: tuple[Server, ...] = ()
    capacity: dict[str, int] = {}
    """Cards by type; a type that is absent has none."""
    settings: Settings = Settings()


def replica_prices(fleet: Fleet) -> Callable[[str, str], DollarsPerHour]:
    """Dollars per hour of one replica of a model on an accelerator; 0 where that is not known."""
    # From behind, so that of two by one name the first counts.
    price = {a.name: a.cost for a in reversed(fleet.accelerators)}
    units = {(p.model, p.accelerator): max(p.accelerator_count, 1) for p in reversed(fleet.profiles)}
    return lambda model, accelerator: price.get(accelerator, 0.0) * units.get((model, accelerator), 1)


def with_solver(fleet: Fleet, solver: SolverName | None) -> Fleet:
    """The fleet to be planned by a certain solver; None: by the one that its settings ask for."""
    if solver is None:
        return fleet
    settings = msgspec.structs.replace(
        fleet.settings, solver=solver, unlimited=fleet.settings.unlimited or solver == "unlimited"
    )
    return msgspec.structs.replace(fleet, settings=settings)
