"""Inferno's documents and systems to a fleet, for its three generations.

Defaults are Go's zero values but for these: multiplicity 1, accCount 1, class Free, priority 100.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import msgspec

from flyball.spec.accelerator import Accelerator, PowerCurve
from flyball.spec.fleet import Fleet, Generation, SaturationPolicy, Settings
from flyball.spec.profile import ChunkedTiming, FlatTiming, PhaseTiming, Profile, Timing
from flyball.spec.server import NO_ALLOCATION, Allocation, Load, Server
from flyball.spec.service_class import ModelTargets, ServiceClass, Target
from flyball.units import from_cents, from_ms, from_per_minute
from flyball.wire.inferno_sections import Section, sections_of_documents, sections_of_system
from flyball.wire.inferno_shapes import (
    AcceleratorShape,
    AllocationShape,
    ClassShape,
    DecodeShape,
    LoadShape,
    OptimizerShape,
    PerfShape,
    PowerShape,
    PrefillShape,
    ProfileShape,
    ServerShape,
    TargetShape,
)
from flyball.wire.inferno_system import (
    ABSENT,
    MARKS,
    NEWEST,
    NOWHERE,
    Sections,
    System,
    entries,
    marks,
    system_of,
    unique,
)

DEFAULT_CLASS = "Free"
LAST_PRIORITY = 100
WAIT_QUANTILE = 0.95
"""slo-ttw bounds this quantile of an exponential wait, so the mean wait stays below slo-ttw / 2.9957."""
CPLEX_NOTE = "useCplex: solved with HiGHS instead"
CAPACITY_NOTE = "no capacity was given: taken as unlimited"

NO_LOAD = Load()
_POLICIES: tuple[SaturationPolicy, ...] = get_args(SaturationPolicy)


def fleet_from_system(doc: object, where: str) -> Fleet:
    """Read one system document, with or without its outer `system`; `{}` is an empty fleet. Or WireError."""
    return _checked(sections_of_system(doc, where))


def fleet_from_documents(docs: Mapping[str, object], servers: bool = True) -> Fleet:
    """Read documents by name, one section each or one system document; or WireError.

    A section's own file wins over the system document. Without capacity among single files the fleet is
    unlimited, and the settings say so: what is not known must not mean none. `servers`: whether server data
    must be there; where they come from elsewhere they need not.
    """
    sections, is_system = sections_of_documents(docs, servers)
    fleet = _checked(sections)
    if "count" in sections or is_system:
        return fleet
    note = "; ".join(filter(None, (fleet.settings.note, CAPACITY_NOTE)))
    settings = msgspec.structs.replace(fleet.settings, unlimited=True, note=note)
    return msgspec.structs.replace(fleet, settings=settings)


def system_from(doc: object, where: str) -> tuple[System, Fleet]:
    """Read one system document as it is, and as a fleet. Or WireError."""
    sections = sections_of_system(doc, where)
    system = system_of(sections)
    _check_parameters(system, sections)
    return system, fleet_of(system, sections)


def fleet_of(system: System, sections: Sections = NOWHERE) -> Fleet:
    """The fleet of a system; `sections` say in errors where things stand. Or WireError.

    An entry without parameters is no profile, but in generation 3, which learns them as it goes.
    """
    generation = system.generation or NEWEST
    learned = [entry for entry in entries(system) if generation == "G3" or marks(entry)]

    def section(name: str) -> Section:
        return sections.get(name) or Section("the system", name)

    return Fleet(
        generation=generation,
        accelerators=tuple(
            _accelerator(a, section("accelerators"), i) for i, a in enumerate(system.accelerators.values())
        ),
        profiles=tuple(profile_of(entry, generation) for entry in learned),
        service_classes=tuple(
            _service_class(c, generation, section("serviceclasses"), i)
            for i, c in enumerate(system.service_classes.values())
        ),
        servers=tuple(
            server_of(s, generation, section("servers"), i) for i, s in enumerate(system.servers.values())
        ),
        capacity=dict(system.capacity),
        settings=settings_of(system.optimizer),
    )


def _checked(sections: Sections) -> Fleet:
    system = system_of(sections)
    _check_parameters(system, sections)
    return fleet_of(system, sections)


def _check_parameters(system: System, sections: Sections) -> None:
    """Only generation 3 learns parameters as it goes."""
    generation = system.generation or NEWEST
    for index, entry in enumerate(entries(system)):
        if generation != "G3" and not marks(entry):
            mend = f"Add {MARKS[generation]}, or take the entry out"
            raise sections.get("models", ABSENT).error("has no parameters", f"[{index}]", mend)


def _accelerator(shape: AcceleratorShape, section: Section, index: int) -> Accelerator:
    return Accelerator(
        name=shape.name,
        type=shape.type,
        multiplicity=shape.multiplicity,
        cost=from_cents(shape.cost),
        memory_gb=shape.mem_size,
        bandwidth_gbs=shape.mem_bw,
        power=_power(shape.power, section, f"[{index}].power") if shape.power else None,
    )


def _power(shape: PowerShape, section: Section, below: str) -> PowerCurve | None:
    if shape.idle > shape.full:
        problem = f"idle ({shape.idle:g} W) over full ({shape.full:g} W)"
        raise section.error(problem, below, "Write idle at most as high as full")
    if shape.full == 0:  # Go writes zeros where no power was given
        return None
    mid_util = 0.5 if shape.mid_util is None else shape.mid_util
    straight = shape.idle + (shape.full - shape.idle) * mid_util
    mid_power = straight if shape.mid_power is None else shape.mid_power
    return PowerCurve(idle=shape.idle, full=shape.full, mid_power=mid_power, mid_util=mid_util)


def profile_of(shape: ProfileShape, generation: Generation) -> Profile:
    """A model on an accelerator."""
    return Profile(
        model=shape.name,
        accelerator=shape.acc,
        timing=_timing(shape, generation),
        accelerator_count=max(shape.acc_count, 1),
        max_batch_size=shape.max_batch_size,
        at_tokens=shape.at_tokens,
    )


def _timing(shape: ProfileShape, generation: Generation) -> Timing:
    if generation == "G1":
        return FlatTiming(alpha=from_ms(shape.alpha or 0.0), beta=from_ms(shape.beta or 0.0))
    if generation == "G2":
        decode, prefill = shape.decode_parms or DecodeShape(), shape.prefill_parms or PrefillShape()
        return PhaseTiming(
            alpha=from_ms(decode.alpha),
            beta=from_ms(decode.beta),
            gamma=from_ms(prefill.gamma),
            delta=from_ms(prefill.delta),
        )
    perf = shape.perf_parms or PerfShape()
    return ChunkedTiming(alpha=from_ms(perf.alpha), beta=from_ms(perf.beta), gamma=from_ms(perf.gamma))


def _service_class(shape: ClassShape, generation: Generation, section: Section, index: int) -> ServiceClass:
    below = f"[{index}].modelTargets"
    models = unique(
        section,
        (
            (target.model, _model_targets(target, generation, section, f"{below}[{i}]"))
            for i, target in enumerate(shape.model_targets)
        ),
        below,
    )
    priority = shape.priority if 1 <= shape.priority <= LAST_PRIORITY else LAST_PRIORITY
    return ServiceClass(name=shape.name, priority=priority, models=tuple(models.values()))


def _model_targets(shape: TargetShape, generation: Generation, section: Section, below: str) -> ModelTargets:
    if generation == "G1" and shape.ttft:
        raise section.error("slo-ttft in a fleet of generation 1", below, "Write slo-ttw")
    if generation != "G1" and shape.wait:
        problem = f"slo-ttw in a fleet of generation {generation[1]}"
        raise section.error(problem, below, "Write slo-ttft: it includes the wait and the first token")
    targets = (
        Target(metric="itl", limit=from_ms(shape.itl)),
        Target(metric="ttft", limit=from_ms(shape.ttft)),
        Target(metric="wait", limit=from_ms(shape.wait), quantile=WAIT_QUANTILE),
    )
    limiting = tuple(target for target in targets if target.limit > 0)
    return ModelTargets(model=shape.model, targets=limiting, throughput=shape.throughput)


def server_of(shape: ServerShape, generation: Generation, section: Section, index: int) -> Server:
    """A server, from row `index` of a section. Or WireError."""
    current = shape.current_alloc
    return Server(
        name=shape.name,
        model=shape.model,
        service_class=shape.service_class or DEFAULT_CLASS,
        load=_load(current.load, generation, section, index) if current and current.load else NO_LOAD,
        keep_accelerator=shape.keep_accelerator,
        min_replicas=shape.min_num_replicas,
        max_batch_size=shape.max_batch_size,
        max_queue_size=shape.max_queue_size if generation == "G3" else None,
        current=_allocation(current, generation) if current else NO_ALLOCATION,
    )


def _load(shape: LoadShape, generation: Generation, section: Section, index: int) -> Load:
    if generation == "G1":
        if shape.avg_in_tokens or shape.avg_out_tokens:
            problem = "avgInTokens or avgOutTokens in a fleet of generation 1"
            raise section.error(problem, f"[{index}].currentAlloc.load", "Write avgLength")
        return Load(
            arrival_rate=from_per_minute(shape.arrival_rate),
            out_tokens=_output(shape.avg_length),
            arrival_cov=shape.arrival_cov,
            service_cov=shape.service_cov,
        )
    if shape.avg_length:
        problem = f"avgLength in a fleet of generation {generation[1]}"
        raise section.error(problem, f"[{index}].currentAlloc.load", "Write avgInTokens and avgOutTokens")
    return Load(
        arrival_rate=from_per_minute(shape.arrival_rate),
        in_tokens=shape.avg_in_tokens,
        out_tokens=_output(shape.avg_out_tokens),
        throughput=from_per_minute(shape.throughput) if generation == "G3" else 0.0,
    )


def _output(tokens: float) -> float:
    """A request that is answered has one token at least; 0 says that nothing is known, less is an error."""
    return max(tokens, 1.0) if tokens > 0 else tokens


def _allocation(shape: AllocationShape, generation: Generation) -> Allocation:
    return Allocation(
        accelerator=shape.accelerator,
        replicas=shape.num_replicas,
        max_batch_size=shape.max_batch,
        cost=from_cents(shape.cost),
        itl=from_ms(shape.itl_average),
        ttft=from_ms(shape.wait_average if generation == "G1" else shape.ttft_average),
    )


def settings_of(shape: OptimizerShape) -> Settings:
    """How to plan."""
    return Settings(
        solver="exact" if shape.milp_solver or shape.use_cplex else "auto",
        unlimited=shape.unlimited,
        heterogeneous=shape.heterogeneous,
        delayed_best_effort=shape.delayed_best_effort,
        # Any other word means None, as in the original.
        saturation_policy=next((p for p in _POLICIES if p == shape.saturation_policy), "None"),
        note=CPLEX_NOTE if shape.use_cplex else "",
    )
