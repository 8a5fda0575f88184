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

from flyball.spec.accelerator import Accelerator
from flyball.spec.fleet import Fleet, SaturationPolicy, Settings, SolverName
from flyball.spec.server import NO_ALLOCATION, Allocation, Load, Server
from flyball.spec.service_class import Metric, ModelTargets, ServiceClass, Target
from flyball.wire.catalogue import (
    API_VERSION,
    HARDWARE,
    LIBRARY,
    MAX_BATCH,
    SAMPLE,
    Catalogue,
    accelerator_document,
    check_head,
    profile_document,
    read_hardware,
)
from flyball.wire.errors import WireError, child
from flyball.wire.fields import Fields, given, parse_flag, parse_list, parse_name, parse_text
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
from flyball.wire.streams import MAX_COV

EVERY_MODEL = "*"

_METRICS: tuple[Metric, ...] = get_args(Metric)


def is_own(doc: object) -> bool:
    """Whether a document says that it is Flyball's own fleet."""
    return isinstance(doc, dict) and doc.get("kind") == "Fleet"


def fleet_from_own(doc: object, where: str, catalogue: Catalogue | None = None) -> Fleet:
    """Read a `kind: Fleet` document; `catalogue` is there for documents that ask for it. Or WireError."""
    fields = Fields(doc, where, "", (*HARDWARE, "catalogue", "classes", "capacity", "servers", "settings"))
    check_head(fields, "Fleet")
    accelerators, profiles = read_hardware(fields, _asked_for(fields, catalogue))
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
    name = fields.read("catalogue", parse_name, known={catalogue.name, SAMPLE, LIBRARY}, what="catalogue")
    if name != catalogue.name:
        problem, mend = f"only {catalogue.name} is at hand here", f"Write catalogue: {catalogue.name}"
        raise WireError(fields.where, problem, path="catalogue", value=name, mend=mend)
    return catalogue


def _service_class(value: object, where: str, path: str, *, models: set[str]) -> ServiceClass:
    fields = Fields(value, where, path, ("name", "priority", "deferrable", "targets", "models"))
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
    deferrable = fields.read("deferrable", parse_duration, 0.0)
    return ServiceClass(fields.read("name", parse_text), priority, tuple(promises), deferrable)


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
    load_keys = ("rate", "in", "out", "throughput", "arrivalCov", "serviceCov", "inCov", "outCov")
    limits = ("min", "maxBatch", "queue", "keepAccelerator", "accelerators", "current")
    fields = Fields(value, where, path, ("name", "model", "class", *load_keys, *limits))
    model = fields.read("model", parse_name, known=models, what="profiled model")
    load = Load(
        arrival_rate=fields.read("rate", parse_rate, 0.0),
        in_tokens=fields.read("in", parse_tokens, 0.0),
        out_tokens=fields.read("out", parse_tokens, 0.0),
        throughput=fields.read("throughput", parse_rate, 0.0),
        arrival_cov=fields.read("arrivalCov", parse_number, 0.0),
        service_cov=fields.read("serviceCov", parse_number, 0.0),
        in_cov=fields.read("inCov", parse_number, 0.0, high=MAX_COV),
        out_cov=fields.read("outCov", parse_number, 0.0, high=MAX_COV),
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
        accelerators=fields.read("accelerators", _accelerators, (), known=accelerators),
        current=fields.read(
            "current", _current, NO_ALLOCATION, model=model, accelerators=accelerators, units=units
        ),
    )


def _accelerators(
    value: object, where: str, path: str, *, known: Mapping[str, Accelerator]
) -> tuple[str, ...]:
    names = parse_list(value, where, path)
    return tuple(
        parse_name(name, where, child(path, i), known=known, what="accelerator")
        for i, name in enumerate(names)
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
    fields = Fields(
        value, where, path, ("solver", "saturation", "holdHours", "coldStart", "spare", *flags, "note")
    )
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
        spare=fields.read("spare", parse_number, default.spare, what="replicas"),
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
        "accelerators": [accelerator_document(a) for a in fleet.accelerators],
        "profiles": [profile_document(p) for p in fleet.profiles],
        "classes": [_class_document(c) for c in fleet.service_classes],
        "servers": [_server_document(s) for s in fleet.servers],
        "settings": _settings_document(fleet),
    }
    if fleet.capacity or not fleet.settings.unlimited:
        document["capacity"] = dict(fleet.capacity)
    return document


def _class_document(service_class: ServiceClass) -> dict[str, object]:
    document: dict[str, object] = {"name": service_class.name, "priority": service_class.priority}
    if service_class.deferrable:
        document["deferrable"] = format_duration(service_class.deferrable)
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
    document = given(
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
            "inCov": load.in_cov,
            "outCov": load.out_cov,
            "min": server.min_replicas,
            "maxBatch": server.max_batch_size,
            "keepAccelerator": server.keep_accelerator,
            "accelerators": list(server.accelerators),
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
    } | given(
        {
            "spare": settings.spare,
            "unlimited": settings.unlimited and bool(fleet.capacity),
            "heterogeneous": settings.heterogeneous,
            "delayedBestEffort": settings.delayed_best_effort,
            "note": settings.note,
        }
    )
