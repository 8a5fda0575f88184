"""Inferno's system: what its documents say, by name, in their own words and units.

An immutable value, from which a fleet is made (`inferno_in`) and which is written again (`inferno_write`).

The generation is that of the model data: flat alpha and beta (G1), decodeParms and prefillParms (G2),
perfParms (G3). Where no model says it, slo-ttw or avgLength means G1. What two readers could take
differently is refused: parts of two generations, one name with two meanings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

import msgspec

from flyball.spec.fleet import Generation
from flyball.wire.inferno_sections import Section
from flyball.wire.inferno_shapes import (
    AcceleratorShape,
    AllocationShape,
    CapacityShape,
    ClassShape,
    LoadShape,
    OptimizerShape,
    ProfileShape,
    ServerShape,
)

K = TypeVar("K")
T = TypeVar("T")
Sections = Mapping[str, Section]

NEWEST: Generation = "G3"
ABSENT = Section()
NOWHERE: Sections = MappingProxyType({})
"""Of a system that comes from no document."""
_ZERO = (AllocationShape(), AllocationShape(load=LoadShape()))
MARKS = {"G1": "alpha, beta", "G2": "decodeParms, prefillParms", "G3": "perfParms"}


class System(msgspec.Struct, frozen=True):
    """Accelerators, models, classes, servers, capacity, and how to plan."""

    generation: Generation | None = None
    """The last one that the content showed; None: nothing has shown one yet."""
    accelerators: dict[str, AcceleratorShape] = {}
    models: dict[str, dict[str, ProfileShape]] = {}
    """By model, then accelerator; a model may be known before any accelerator."""
    service_classes: dict[str, ClassShape] = {}
    servers: dict[str, ServerShape] = {}
    capacity: dict[str, int] = {}
    optimizer: OptimizerShape = OptimizerShape()


def system_of(sections: Sections) -> System:
    """The system of a document's sections; or WireError."""
    accelerators = sections.get("accelerators", ABSENT)
    classes = sections.get("serviceclasses", ABSENT)
    count = sections.get("count", ABSENT)
    optimizer = sections.get("optimizer", ABSENT)
    models = models_of(sections.get("models", ABSENT))
    system = System(
        accelerators=unique(accelerators, ((a.name, a) for a in accelerators.rows(AcceleratorShape))),
        models=models,
        service_classes=unique(classes, ((c.name, c) for c in classes.rows(ClassShape))),
        servers=servers_of(sections.get("servers", ABSENT)),
        capacity=unique(count, ((c.type, c.count) for c in count.rows(CapacityShape))),
        optimizer=OptimizerShape() if optimizer.value is None else optimizer.read(OptimizerShape),
    )
    return msgspec.structs.replace(system, generation=shown_generation(system, sections))


def models_of(section: Section) -> dict[str, dict[str, ProfileShape]]:
    """Entries of model data by model and accelerator; or WireError."""
    entries = unique(section, (((p.name, p.acc), p) for p in section.rows(ProfileShape)))
    models: dict[str, dict[str, ProfileShape]] = {}
    for (model, accelerator), entry in entries.items():
        models.setdefault(model, {})[accelerator] = entry
    return models


def servers_of(section: Section) -> dict[str, ServerShape]:
    """Servers by name. Or WireError."""
    return unique(section, ((s.name, without_zero(s)) for s in section.rows(ServerShape)))


def without_zero(server: ServerShape) -> ServerShape:
    """The server without a desired allocation where it is Go's zero value: it never had one."""
    if server.desired_alloc in _ZERO:
        return msgspec.structs.replace(server, desired_alloc=None)
    return server


def unique(section: Section, items: Iterable[tuple[K, T]], below: str = "") -> dict[K, T]:
    """Items by key: the same twice is taken once, two that differ are refused."""
    found: dict[K, T] = {}
    for index, (key, item) in enumerate(items):
        first = found.setdefault(key, item)
        if first is not item and first != item:
            name = " on ".join(key) if isinstance(key, tuple) else str(key)
            place = f"{below}[{index}]"
            raise section.error(f'"{name}" stands here twice, and differs', place, "Keep one of the two")
    return found


def shown_generation(system: System, sections: Sections = NOWHERE) -> Generation | None:
    """The one generation of all that shows one, else the one before; WireError for two in one system."""
    section = sections.get("models", Section("the system", "models"))
    generation: Generation | None = None
    for index, entry in enumerate(entries(system)):
        for mark in marks(entry):
            if generation is not None and mark != generation:
                problem = f"{MARKS[mark]} ({mark}) beside {MARKS[generation]} ({generation}) in one fleet"
                raise section.error(problem, f"[{index}]", "Keep the parameters of one generation")
            generation = mark
    if generation is not None:
        return generation
    waits = any(target.wait for c in system.service_classes.values() for target in c.model_targets)
    loads = [s.current_alloc.load for s in system.servers.values() if s.current_alloc]
    if waits or any(load and load.avg_length for load in loads):
        return "G1"
    means = any(target.ttft for c in system.service_classes.values() for target in c.model_targets)
    if means or any(load and load.avg_out_tokens for load in loads):
        return NEWEST if system.generation in (None, "G1") else system.generation
    return system.generation


def entries(system: System) -> Iterable[ProfileShape]:
    """Every entry of its model data."""
    return (entry for model in system.models.values() for entry in model.values())


def marks(entry: ProfileShape) -> list[Generation]:
    """The generations whose parameters an entry has."""
    found: list[Generation] = []
    if entry.alpha is not None or entry.beta is not None:
        found.append("G1")
    if entry.decode_parms is not None or entry.prefill_parms is not None:
        found.append("G2")
    if entry.perf_parms is not None:
        found.append("G3")
    return found
