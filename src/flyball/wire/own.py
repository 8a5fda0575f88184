"""Flyball's own fleet document: `kind: Fleet` in YAML or JSON, and back.

Written for people: times and rates carry their unit, targets read as they are spoken (`p95<1s`), what
may be left out has a default. What is not known is refused with the nearest known names, because a
misspelt target that is passed over is a promise nobody keeps.

`accelerators` and `profiles` are given in the document, or come from the catalogue that it names; then
those of the document stand beside or replace them (an accelerator may replace its price alone).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import cast, get_args

import msgspec

from flyball.spec.accelerator import Accelerator, PowerCurve
from flyball.spec.fleet import Fleet, SaturationPolicy, Settings, SolverName
from flyball.spec.profile import ChunkedTiming, FlatTiming, IterationTiming, PhaseTiming, Profile, Timing
from flyball.spec.server import NO_ALLOCATION, Allocation, Load, Server
from flyball.spec.service_class import Metric, ModelTargets, ServiceClass, Target
from flyball.wire.errors import WireError, child
from flyball.wire.fields import Fields, parse_flag, parse_name, parse_text
from flyball.wire.quantities import (
    format_duration,
    format_rate,
    format_target,
    parse_count,
    parse_duration,
    parse_number,
    parse_rate,
    parse_target,
    parse_throughput,
    parse_tokens,
)

API_VERSION = "flyball/v1"
MAX_BATCH = 65_536
EVERY_MODEL = "*"

_METRICS: tuple[Metric, ...] = get_args(Metric)
_TIMINGS: dict[str, type[Timing]] = {
    "iteration": IterationTiming,
    "flat": FlatTiming,
    "phase": PhaseTiming,
    "chunked": ChunkedTiming,
}
_HARDWARE = ("apiVersion", "kind", "accelerators", "profiles")


class Catalogue(msgspec.Struct, frozen=True):
    """Accelerators and profiles that a fleet document may take by the catalogue's name."""

    name: str
    accelerators: tuple[Accelerator, ...] = ()
    profiles: tuple[Profile, ...] = ()
    priced: str = ""
    """When the prices were looked up: they are for planning, a document overrides them."""


def is_own(doc: object) -> bool:
    """Whether a document says that it is Flyball's own fleet."""
    return isinstance(doc, dict) and doc.get("kind") == "Fleet"


def fleet_from_own(doc: object, where: str, catalogue: Catalogue | None = None) -> Fleet:
    """Read a `kind: Fleet` document; `catalogue` is there for documents that ask for it. Or WireError."""
    fields = Fields(doc, where, "", (*_HARDWARE, "catalogue", "classes", "capacity", "servers", "settings"))
    _check_head(fields, "Fleet")
    accelerators, profiles = _hardware(fields, _asked_for(fields, catalogue))
    models = {p.model for p in profiles}
    classes = fields.each("classes", _service_class, lambda c: c.name, models=models)
    capacity = fields.read("capacity", _capacity, None, types={a.type for a in accelerators})
    server = partial(
        _server,
        models=models,
        classes={c.name for c in classes},
        accelerators={a.name: a for a in accelerators},
        units={(p.model, p.accelerator): p.accelerator_count for p in profiles},
    )
    return Fleet(
        accelerators=accelerators,
        profiles=profiles,
        service_classes=classes,
        servers=fields.each("servers", server, lambda s: s.name),
        capacity=capacity or {},
        settings=_settings(fields.values.get("settings", {}), where, "settings", capacity is None),
    )


def catalogue_from_own(doc: object, where: str) -> Catalogue:
    """Read a `kind: Catalogue` document: accelerators and profiles, as in a fleet. Or WireError."""
    fields = Fields(doc, where, "", (*_HARDWARE, "name", "priced"))
    _check_head(fields, "Catalogue")
    name, priced = fields.read("name", parse_text), fields.read("priced", parse_text, "")
    return Catalogue(name, *_hardware(fields, Catalogue(name)), priced)


def _check_head(fields: Fields, kind: str) -> None:
    fields.read("kind", parse_name, known=(kind,), what="kind here")
    fields.read("apiVersion", parse_name, API_VERSION, known=(API_VERSION,), what="version")


def _asked_for(fields: Fields, catalogue: Catalogue | None) -> Catalogue:
    if "catalogue" not in fields.values:
        return Catalogue("")
    if catalogue is None:
        raise WireError(
            fields.where,
            "no catalogue is at hand here",
            path="catalogue",
            value=fields.values["catalogue"],
            mend="Write accelerators and profiles into the document",
        )
    fields.read("catalogue", parse_name, known=(catalogue.name,), what="catalogue")
    return catalogue


def _hardware(fields: Fields, base: Catalogue) -> tuple[tuple[Accelerator, ...], tuple[Profile, ...]]:
    accelerators = {a.name: a for a in base.accelerators}
    own = fields.each("accelerators", _accelerator, lambda a: a.name, base=accelerators)
    accelerators |= {a.name: a for a in own}
    profiles = {(p.model, p.accelerator): p for p in base.profiles}
    given = fields.each("profiles", _profile, lambda p: f"{p.model} on {p.accelerator}", known=accelerators)
    profiles |= {(p.model, p.accelerator): p for p in given}
    return tuple(accelerators.values()), tuple(profiles.values())


def _accelerator(value: object, where: str, path: str, *, base: Mapping[str, Accelerator]) -> Accelerator:
    fields = Fields(value, where, path, ("name", "type", "cards", "price", "memory", "bandwidth", "power"))
    name = fields.read("name", parse_text)
    default = base.get(name, Accelerator(name, type=name))
    return Accelerator(
        name=name,
        type=fields.read("type", parse_text, default.type),
        multiplicity=fields.read("cards", parse_count, default.multiplicity, low=1),
        cost=fields.read("price", parse_number, default.cost, what="dollars per hour of one unit"),
        memory_gb=fields.read("memory", parse_number, default.memory_gb, what="GB of one unit"),
        bandwidth_gbs=fields.read("bandwidth", parse_number, default.bandwidth_gbs, what="GB/s of one unit"),
        power=fields.read("power", _power, default.power),
    )


def _power(value: object, where: str, path: str) -> PowerCurve:
    fields = Fields(value, where, path, ("idle", "mid", "midAt", "full"))
    idle, mid, full = (
        fields.read(key, parse_number, what="watts of one unit") for key in ("idle", "mid", "full")
    )
    share = fields.read("midAt", parse_number, PowerCurve().mid_util, high=1.0, what="a utilization")
    return PowerCurve(idle=idle, full=full, mid_power=mid, mid_util=share)


def _profile(value: object, where: str, path: str, *, known: Mapping[str, Accelerator]) -> Profile:
    kinds = sorted({name for kind in _TIMINGS.values() for name in kind.__struct_fields__})
    common = ("model", "accelerator", "units", "maxBatch", "atTokens", "kvTokens", "source", "timing")
    fields = Fields(value, where, path, (*common, *kinds))
    timing = fields.read("timing", parse_name, "iteration", known=_TIMINGS, what="timing")
    form = _TIMINGS[timing]
    parameters = {p: fields.read(p, parse_duration, positive=p == "alpha") for p in form.__struct_fields__}
    for key in kinds:
        if key in fields.values and key not in parameters:
            problem = f"the {timing} timing has {', '.join(parameters)}"
            mend = f"Leave {key} out, or say timing: {' or '.join(_TIMINGS)}"
            raise WireError(where, problem, path=child(path, key), value=fields.values[key], mend=mend)
    return Profile(
        model=fields.read("model", parse_text),
        accelerator=fields.read("accelerator", parse_name, known=known, what="accelerator"),
        timing=form(**parameters),
        accelerator_count=fields.read("units", parse_count, 1, low=1),
        max_batch_size=fields.read("maxBatch", parse_count, 256, low=1, high=MAX_BATCH),
        at_tokens=fields.read("atTokens", parse_count, 0),
        kv_tokens=fields.read("kvTokens", parse_count, 0),
        source=fields.read("source", parse_text, ""),
    )


def _service_class(value: object, where: str, path: str, *, models: set[str]) -> ServiceClass:
    fields = Fields(value, where, path, ("name", "priority", "targets", "models"))
    promises: list[ModelTargets] = []
    default = ModelTargets(EVERY_MODEL)
    if "targets" in fields.values:
        default = fields.read("targets", _promise, base=default)
        promises.append(default)
    own = fields.values.get("models", {})
    below = child(path, "models")
    if not isinstance(own, dict):
        raise WireError(where, "allowed is an object of model names", path=below, value=own)
    for model, promise in own.items():
        parse_name(model, where, child(below, model), known=models, what="profiled model")
        promises.append(
            _promise(promise, where, child(below, model), base=msgspec.structs.replace(default, model=model))
        )
    priority = fields.read("priority", parse_count, 100, low=1, high=100)
    return ServiceClass(fields.read("name", parse_text), priority, tuple(promises))


def _promise(value: object, where: str, path: str, *, base: ModelTargets) -> ModelTargets:
    """What one model is promised; a metric that is not named keeps what `base` promises."""
    fields = Fields(value, where, path, (*_METRICS, "throughput"))
    targets: list[Target] = []
    for metric in _METRICS:
        kept = tuple(t for t in base.targets if t.metric == metric)
        targets += fields.read(metric, _targets, kept, metric=metric)
    return ModelTargets(
        base.model, tuple(targets), fields.read("throughput", parse_throughput, base.throughput)
    )


def _targets(value: object, where: str, path: str, *, metric: Metric) -> tuple[Target, ...]:
    if value == "none":
        return ()
    if not isinstance(value, list):
        return (parse_target(value, metric, where, path),)
    return tuple(parse_target(item, metric, where, child(path, i)) for i, item in enumerate(value))


def _capacity(value: object, where: str, path: str, *, types: set[str]) -> dict[str, int]:
    if not isinstance(value, dict):
        raise WireError(
            where,
            "allowed is an object of cards by type, such as {H100: 64}",
            path=path,
            value=value,
            mend="Leave capacity out where it has no limit",
        )
    for name in value:
        parse_name(name, where, child(path, name), known=types, what="type of card")
    return {name: parse_count(cards, where, child(path, name)) for name, cards in value.items()}


def _server(
    value: object,
    where: str,
    path: str,
    *,
    models: set[str],
    classes: set[str],
    accelerators: Mapping[str, Accelerator],
    units: Mapping[tuple[str, str], int],
) -> Server:
    load_keys = ("rate", "in", "out", "throughput", "arrivalCov", "serviceCov")
    limits = ("min", "maxBatch", "queue", "keepAccelerator", "current")
    fields = Fields(value, where, path, ("name", "model", "class", *load_keys, *limits))
    model = fields.read("model", parse_name, known=models, what="profiled model")
    load = Load(
        arrival_rate=fields.read("rate", parse_rate, 0.0),
        in_tokens=fields.read("in", parse_tokens, 0.0),
        out_tokens=fields.read("out", parse_tokens, 0.0),
        throughput=fields.read("throughput", parse_rate, 0.0),
        arrival_cov=fields.read("arrivalCov", parse_number, 0.0),
        service_cov=fields.read("serviceCov", parse_number, 0.0),
    )
    if load.arrival_rate > 0 and load.out_tokens == 0:
        problem = "requests that ask for no tokens are no load"
        raise WireError(
            where, problem, path=child(path, "out"), mend="Say how many tokens come out, as out: 300"
        )
    return Server(
        name=fields.read("name", parse_text),
        model=model,
        service_class=fields.read("class", parse_name, known=classes, what="class"),
        load=load,
        keep_accelerator=fields.read("keepAccelerator", parse_flag, False),
        min_replicas=fields.read("min", parse_count, 0),
        max_batch_size=fields.read("maxBatch", parse_count, 0, high=MAX_BATCH),
        max_queue_size=fields.read("queue", _queue, None),
        current=fields.read(
            "current", _current, NO_ALLOCATION, model=model, accelerators=accelerators, units=units
        ),
    )


def _queue(value: object, where: str, path: str) -> int | None:
    return None if value == "unbounded" else parse_count(value, where, path)


def _current(
    value: object,
    where: str,
    path: str,
    *,
    model: str,
    accelerators: Mapping[str, Accelerator],
    units: Mapping[tuple[str, str], int],
) -> Allocation:
    """What runs now; where its cost is not given it is that of the replicas."""
    fields = Fields(value, where, path, ("accelerator", "replicas", "maxBatch", "cost", "itl", "ttft"))
    accelerator = fields.read("accelerator", parse_name, known=accelerators, what="accelerator")
    replicas = fields.read("replicas", parse_count)
    cost = accelerators[accelerator].cost * units.get((model, accelerator), 1) * replicas
    return Allocation(
        accelerator=accelerator,
        replicas=replicas,
        max_batch_size=fields.read("maxBatch", parse_count, 0, high=MAX_BATCH),
        cost=fields.read("cost", parse_number, cost, what="dollars per hour"),
        itl=fields.read("itl", parse_duration, 0.0),
        ttft=fields.read("ttft", parse_duration, 0.0),
    )


def _settings(value: object, where: str, path: str, without_capacity: bool) -> Settings:
    flags = ("unlimited", "heterogeneous", "delayedBestEffort")
    fields = Fields(value, where, path, ("solver", "saturation", "holdHours", "coldStart", *flags, "note"))
    default = Settings()
    unlimited = fields.read("unlimited", parse_flag, without_capacity)
    if without_capacity and not unlimited:
        raise WireError(
            where, "is missing, and unlimited is false", path="capacity", mend="Say how many cards"
        )
    solver = fields.read("solver", parse_name, default.solver, known=get_args(SolverName), what="solver")
    policies = get_args(SaturationPolicy)
    policy = fields.read("saturation", parse_name, default.saturation_policy, known=policies, what="policy")
    return Settings(
        solver=cast(SolverName, solver),
        unlimited=unlimited,
        heterogeneous=fields.read("heterogeneous", parse_flag, default.heterogeneous),
        delayed_best_effort=fields.read("delayedBestEffort", parse_flag, default.delayed_best_effort),
        saturation_policy=cast(SaturationPolicy, policy),
        hold_hours=fields.read("holdHours", parse_number, default.hold_hours, low=0.01, what="hours"),
        cold_start=fields.read("coldStart", parse_duration, default.cold_start),
        note=fields.read("note", parse_text, default.note),
    )


def own_document(fleet: Fleet) -> dict[str, object]:
    """Write a fleet of Flyball's own generation; read again, it is the same fleet. Or WireError."""
    if fleet.generation != "flyball":
        raise WireError(
            "fleet",
            f"generation {fleet.generation} has rules of its own that a fleet document cannot say",
            mend="Give the fleet the generation flyball first",
        )
    document: dict[str, object] = {
        "apiVersion": API_VERSION,
        "kind": "Fleet",
        "accelerators": [_accelerator_document(a) for a in fleet.accelerators],
        "profiles": [_profile_document(p) for p in fleet.profiles],
        "classes": [_class_document(c) for c in fleet.service_classes],
        "servers": [_server_document(s) for s in fleet.servers],
        "settings": _settings_document(fleet),
    }
    if fleet.capacity or not fleet.settings.unlimited:
        document["capacity"] = dict(fleet.capacity)
    return document


def _given(document: dict[str, object]) -> dict[str, object]:
    """Without what is 0, empty or none, where that is what leaving out means."""
    return {key: value for key, value in document.items() if value}


def _accelerator_document(accelerator: Accelerator) -> dict[str, object]:
    curve = accelerator.power
    watts = curve and {
        "idle": curve.idle,
        "mid": curve.mid_power,
        "midAt": curve.mid_util,
        "full": curve.full,
    }
    return _given(
        {
            "name": accelerator.name,
            "type": accelerator.type,
            "cards": accelerator.multiplicity,
            "price": accelerator.cost,
            "memory": accelerator.memory_gb,
            "bandwidth": accelerator.bandwidth_gbs,
            "power": watts,
        }
    )


def _profile_document(profile: Profile) -> dict[str, object]:
    timing = next(name for name, form in _TIMINGS.items() if isinstance(profile.timing, form))
    return _given(
        {
            "model": profile.model,
            "accelerator": profile.accelerator,
            "units": profile.accelerator_count,
            "timing": timing,
            **{key: format_duration(value) for key, value in msgspec.structs.asdict(profile.timing).items()},
            "maxBatch": profile.max_batch_size,
            "atTokens": profile.at_tokens,
            "kvTokens": profile.kv_tokens,
            "source": profile.source,
        }
    )


def _class_document(service_class: ServiceClass) -> dict[str, object]:
    document: dict[str, object] = {"name": service_class.name, "priority": service_class.priority}
    default = next((m for m in service_class.models if m.model == EVERY_MODEL), None)
    if default:
        document["targets"] = _promise_document(default, ModelTargets(EVERY_MODEL))
    own = {
        m.model: _promise_document(m, default or ModelTargets(EVERY_MODEL))
        for m in service_class.models
        if m is not default
    }
    return document | ({"models": own} if own else {})


def _promise_document(promise: ModelTargets, base: ModelTargets) -> dict[str, object]:
    document: dict[str, object] = {}
    for metric in _METRICS:
        targets = [format_target(t) for t in promise.targets if t.metric == metric]
        if targets:
            document[metric] = targets if len(targets) > 1 else targets[0]
        elif any(t.metric == metric for t in base.targets):
            document[metric] = "none"
    if promise.throughput != base.throughput:
        document["throughput"] = promise.throughput
    return document


def _server_document(server: Server) -> dict[str, object]:
    load, current = server.load, server.current
    document = _given(
        {
            "name": server.name,
            "model": server.model,
            "class": server.service_class,
            "rate": load.arrival_rate and format_rate(load.arrival_rate),
            "in": load.in_tokens,
            "out": load.out_tokens,
            "throughput": load.throughput and format_rate(load.throughput),
            "arrivalCov": load.arrival_cov,
            "serviceCov": load.service_cov,
            "min": server.min_replicas,
            "maxBatch": server.max_batch_size,
            "keepAccelerator": server.keep_accelerator,
        }
    )
    if server.max_queue_size is not None:
        document["queue"] = server.max_queue_size
    if current != NO_ALLOCATION:
        document["current"] = {
            "accelerator": current.accelerator,
            "replicas": current.replicas,
            "maxBatch": current.max_batch_size,
            "cost": current.cost,
            "itl": format_duration(current.itl),
            "ttft": format_duration(current.ttft),
        }
    return document


def _settings_document(fleet: Fleet) -> dict[str, object]:
    settings = fleet.settings
    return {
        "solver": settings.solver,
        "saturation": settings.saturation_policy,
        "holdHours": settings.hold_hours,
        "coldStart": format_duration(settings.cold_start),
    } | _given(
        {
            "unlimited": settings.unlimited and bool(fleet.capacity),
            "heterogeneous": settings.heterogeneous,
            "delayedBestEffort": settings.delayed_best_effort,
            "note": settings.note,
        }
    )
