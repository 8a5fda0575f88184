"""Inferno's documents to a fleet, for its three generations.

The generation is that of the model data: flat alpha and beta (G1), decodeParms and prefillParms (G2),
perfParms (G3). Where no model says it, slo-ttw or avgLength means G1 and all else G3. What two readers
could take differently is refused: parts of two generations, one name with two meanings.

Defaults are Go's zero values but for these: multiplicity 1, accCount 1, class Free, priority 100.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar, get_args

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
    CapacityShape,
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

T = TypeVar("T")

DEFAULT_CLASS = "Free"
LAST_PRIORITY = 100
WAIT_QUANTILE = 0.95
"""slo-ttw bounds this quantile of an exponential wait, so the mean wait stays below slo-ttw / 2.9957."""
CPLEX_NOTE = "useCplex: solved with HiGHS instead"
CAPACITY_NOTE = "no capacity was given: taken as unlimited"

NO_LOAD = Load()
_POLICIES: tuple[SaturationPolicy, ...] = get_args(SaturationPolicy)
_MARKS = {"G1": "alpha, beta", "G2": "decodeParms, prefillParms", "G3": "perfParms"}


def fleet_from_system(doc: object, where: str) -> Fleet:
    """Read one system document, with or without its outer `system`; `{}` is an empty fleet. Or WireError."""
    return _fleet(sections_of_system(doc, where))


def fleet_from_documents(docs: Mapping[str, object]) -> Fleet:
    """Read documents by name, one section each or one system document; or WireError.

    A section's own file wins over the system document. Without capacity among single files the fleet is
    unlimited, and the settings say so: what is not known must not mean none.
    """
    sections, is_system = sections_of_documents(docs)
    fleet = _fleet(sections)
    if "count" in sections or is_system:
        return fleet
    note = "; ".join(filter(None, (fleet.settings.note, CAPACITY_NOTE)))
    settings = msgspec.structs.replace(fleet.settings, unlimited=True, note=note)
    return msgspec.structs.replace(fleet, settings=settings)


def _fleet(sections: Mapping[str, Section]) -> Fleet:
    absent = Section()
    models = sections.get("models", absent)
    classes = sections.get("serviceclasses", absent)
    servers = sections.get("servers", absent)
    accelerators = sections.get("accelerators", absent)
    count = sections.get("count", absent)
    profile_shapes = models.rows(ProfileShape)
    class_shapes = classes.rows(ClassShape)
    server_shapes = servers.rows(ServerShape)
    generation = _generation(models, profile_shapes) or _generation_without_models(
        class_shapes, server_shapes
    )
    _check_parameters(models, profile_shapes, generation)
    return Fleet(
        generation=generation,
        accelerators=_unique(
            accelerators,
            (
                (a.name, _accelerator(a, accelerators, i))
                for i, a in enumerate(accelerators.rows(AcceleratorShape))
            ),
        ),
        profiles=_unique(models, (((p.name, p.acc), _profile(p, generation)) for p in profile_shapes)),
        service_classes=_unique(
            classes, ((c.name, _service_class(c, generation, classes, i)) for i, c in enumerate(class_shapes))
        ),
        servers=_unique(
            servers, ((s.name, _server(s, generation, servers, i)) for i, s in enumerate(server_shapes))
        ),
        capacity=dict(_unique(count, ((c.type, (c.type, c.count)) for c in count.rows(CapacityShape)))),
        settings=_settings(sections.get("optimizer", absent)),
    )


def _unique(section: Section, items: Iterable[tuple[object, T]], below: str = "") -> tuple[T, ...]:
    """Items by key: the same twice is taken once, two that differ are refused."""
    found: dict[object, T] = {}
    for index, (key, item) in enumerate(items):
        first = found.setdefault(key, item)
        if first is not item and first != item:
            name = " on ".join(key) if isinstance(key, tuple) else str(key)
            place = f"{below}[{index}]"
            raise section.error(f'"{name}" stands here twice, and differs', place, "Keep one of the two")
    return tuple(found.values())


def _generation(models: Section, profiles: list[ProfileShape]) -> Generation | None:
    """The one generation of all entries that have parameters; None where none has."""
    generation: Generation | None = None
    for index, profile in enumerate(profiles):
        for mark in _marks(profile):
            if generation is not None and mark != generation:
                problem = f"{_MARKS[mark]} ({mark}) beside {_MARKS[generation]} ({generation}) in one fleet"
                raise models.error(problem, f"[{index}]", "Keep the parameters of one generation")
            generation = mark
    return generation


def _check_parameters(models: Section, profiles: list[ProfileShape], generation: Generation) -> None:
    """Only generation 3 learns parameters as it goes."""
    for index, profile in enumerate(profiles):
        if generation != "G3" and not _marks(profile):
            mend = f"Add {_MARKS[generation]}, or take the entry out"
            raise models.error("has no parameters", f"[{index}]", mend)


def _marks(profile: ProfileShape) -> list[Generation]:
    marks: list[Generation] = []
    if profile.alpha is not None or profile.beta is not None:
        marks.append("G1")
    if profile.decode_parms is not None or profile.prefill_parms is not None:
        marks.append("G2")
    if profile.perf_parms is not None:
        marks.append("G3")
    return marks


def _generation_without_models(classes: list[ClassShape], servers: list[ServerShape]) -> Generation:
    waits = any(target.wait for c in classes for target in c.model_targets)
    lengths = any(
        s.current_alloc and s.current_alloc.load and s.current_alloc.load.avg_length for s in servers
    )
    return "G1" if waits or lengths else "G3"


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


def _profile(shape: ProfileShape, generation: Generation) -> Profile:
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
    models = _unique(
        section,
        (
            (target.model, _model_targets(target, generation, section, f"{below}[{i}]"))
            for i, target in enumerate(shape.model_targets)
        ),
        below,
    )
    priority = shape.priority if 1 <= shape.priority <= LAST_PRIORITY else LAST_PRIORITY
    return ServiceClass(name=shape.name, priority=priority, models=models)


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


def _server(shape: ServerShape, generation: Generation, section: Section, index: int) -> Server:
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
            out_tokens=shape.avg_length,
            arrival_cov=shape.arrival_cov,
            service_cov=shape.service_cov,
        )
    if shape.avg_length:
        problem = f"avgLength in a fleet of generation {generation[1]}"
        raise section.error(problem, f"[{index}].currentAlloc.load", "Write avgInTokens and avgOutTokens")
    return Load(
        arrival_rate=from_per_minute(shape.arrival_rate),
        in_tokens=shape.avg_in_tokens,
        out_tokens=shape.avg_out_tokens,
        throughput=from_per_minute(shape.throughput) if generation == "G3" else 0.0,
    )


def _allocation(shape: AllocationShape, generation: Generation) -> Allocation:
    return Allocation(
        accelerator=shape.accelerator,
        replicas=shape.num_replicas,
        max_batch_size=shape.max_batch,
        cost=from_cents(shape.cost),
        itl=from_ms(shape.itl_average),
        ttft=from_ms(shape.wait_average if generation == "G1" else shape.ttft_average),
    )


def _settings(section: Section) -> Settings:
    shape = OptimizerShape() if section.value is None else section.read(OptimizerShape)
    return Settings(
        solver="exact" if shape.milp_solver or shape.use_cplex else "auto",
        unlimited=shape.unlimited,
        heterogeneous=shape.heterogeneous,
        delayed_best_effort=shape.delayed_best_effort,
        # Any other word means None, as in the original.
        saturation_policy=next((p for p in _POLICIES if p == shape.saturation_policy), "None"),
        note=CPLEX_NOTE if shape.use_cplex else "",
    )
