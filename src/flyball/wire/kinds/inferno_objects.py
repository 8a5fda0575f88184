"""Inferno's kinds one by one: from an object, as the API gives it, to the shape of its document."""

from __future__ import annotations

from typing import Annotated, Any, cast, get_args

import msgspec
from msgspec import Meta, field

from flyball.spec.fleet import Settings, SolverName
from flyball.spec.service_class import Metric, Target
from flyball.units import Seconds
from flyball.wire.errors import WireError, child
from flyball.wire.inferno_in import settings_of
from flyball.wire.inferno_sections import Section
from flyball.wire.inferno_shapes import (
    AcceleratorShape,
    CapacityShape,
    ClassShape,
    OptimizerShape,
    ProfileShape,
    ServerShape,
    TargetShape,
)
from flyball.wire.inferno_system import MARKS, marks, unique
from flyball.wire.kinds.inferno_specs import Mode
from flyball.wire.quantities import parse_duration, parse_target

Document = dict[str, Any]
Entries = tuple[ProfileShape, ...]
METRICS: tuple[Metric, ...] = get_args(Metric)


class Ref(msgspec.Struct, frozen=True, order=True):
    """An object, as messages name it."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {'/'.join(part for part in (self.namespace, self.name) if part)}"


class Wishes(msgspec.Struct, frozen=True):
    """What Inferno's server data has no words for."""

    mode: Mode | None = None
    most: Annotated[int, Meta(ge=1, le=1_000_000)] | None = field(default=None, name="maxnumreplicas")
    accelerators: tuple[str, ...] = ()


class Asked(msgspec.Struct, frozen=True):
    """When to plan."""

    optimize: bool = False
    period: Annotated[float, Meta(ge=0, le=86_400)] = 0.0


class Choice(msgspec.Struct, frozen=True):
    """What Inferno's optimizer data has no words for."""

    solver: SolverName | None = None


class WrittenClass(msgspec.Struct, frozen=True):
    """A class as it is written: each model's slo-* and its targets."""

    shape: ClassShape
    targets: tuple[tuple[Target, ...], ...]
    deferrable: Seconds = 0.0


class WrittenServer(msgspec.Struct, frozen=True):
    """A server as it is written."""

    shape: ServerShape
    wishes: Wishes


def ref_of(kind: str, one: Document) -> Ref:
    """How messages name an object."""
    about = one.get("metadata") or {}
    return Ref(kind, str(about.get("namespace", "default")), str(about.get("name", "")))


def spec_of(ref: Ref, one: Document) -> Document:
    """The spec, which the original lets be absent. Or WireError."""
    spec = one.get("spec")
    if not isinstance(spec, dict):
        raise WireError(str(ref), "is missing", path="spec", mend="Write a spec")
    return spec


def name_of(ref: Ref, spec: object) -> str:
    """The name that others use: that in the spec, else the object's."""
    name = spec.get("name") if isinstance(spec, dict) else None
    return name if isinstance(name, str) and name else ref.name


def own_name(one: object) -> str:
    """The same of what was read."""
    if isinstance(one, WrittenClass | WrittenServer):
        return one.shape.name
    return str(one[0]) if isinstance(one, tuple) else ""


def accelerator_of(ref: Ref, spec: Document) -> AcceleratorShape:
    """An accelerator. Or WireError."""
    name = name_of(ref, spec)
    shape = Section(str(ref), "spec", {"type": name, **spec, "name": name}).read(AcceleratorShape)
    power = shape.power
    if power and power.idle > power.full:
        problem = f"idle is {power.idle:g} watts, allowed is at most full, {power.full:g}"
        raise WireError(str(ref), problem, path="spec.power", mend="Lower idle")
    if power and power.mid_power is not None and not power.idle <= power.mid_power <= power.full:
        problem = f"midPower is {power.mid_power:g} watts, allowed is from idle to full, "
        problem += f"{power.idle:g} to {power.full:g}"
        raise WireError(str(ref), problem, path="spec.power", mend="Leave it out for a straight line")
    if power and power.mid_util is not None:  # so near an end that the slope has no bound is the end
        power = msgspec.structs.replace(power, mid_util=round(power.mid_util, 6))
        shape = msgspec.structs.replace(shape, power=power)
    return shape


def _rows(ref: Ref, spec: Document, key: str, more: Document | None = None) -> Section:
    """The objects of a list in the spec, each with more fields."""
    value = spec.get(key)
    if isinstance(value, list):
        value = [{**row, **(more or {})} if isinstance(row, dict) else row for row in value]
    return Section(str(ref), f"spec.{key}", value)


def model_of(ref: Ref, spec: Document) -> tuple[str, Entries]:
    """A model's name and its entries, each of one generation. Or WireError."""
    name = name_of(ref, spec)
    rows = _rows(ref, spec, "data", {"name": name})
    entries = tuple(unique(rows, ((p.acc, p) for p in rows.rows(ProfileShape))).values())
    for index, entry in enumerate(entries):
        found = marks(entry)
        if len(found) > 1:
            problem = f"{MARKS[found[1]]} ({found[1]}) beside {MARKS[found[0]]} ({found[0]})"
            raise rows.error(problem, f"[{index}]", "Keep the parameters of one generation")
    return name, entries


def class_of(ref: Ref, spec: Document) -> WrittenClass:
    """A class of service. Or WireError."""
    rows = _rows(ref, spec, "data")
    shapes = tuple(rows.rows(TargetShape))
    targets = [_targets(ref, row, i) for i, row in enumerate(cast(list[Document], rows.value or ()))]
    unique(rows, ((s.model, (s, t)) for s, t in zip(shapes, targets, strict=True)))
    head = {"name": name_of(ref, spec), "priority": spec.get("priority")}
    shape = Section(str(ref), "spec", head).read(ClassShape)
    asked = spec.get("deferrable")
    deferrable = 0.0 if asked is None else parse_duration(asked, str(ref), "spec.deferrable")
    return WrittenClass(msgspec.structs.replace(shape, model_targets=shapes), tuple(targets), deferrable)


def _targets(ref: Ref, row: Document, index: int) -> tuple[Target, ...]:
    path, given = f"spec.data[{index}].targets", row.get("targets") or {}
    if not isinstance(given, dict):
        raise WireError(str(ref), "expected an object {...}", path=path, value=given)
    return tuple(parse_target(given[m], m, str(ref), child(path, m)) for m in METRICS if m in given)


def written_server(ref: Ref, spec: Document) -> WrittenServer:
    """A server. Or WireError."""
    # What the last plan gave says nothing to the next one: it need not even be right.
    row = {key: value for key, value in spec.items() if key != "desiredAlloc"} | {"name": name_of(ref, spec)}
    section = Section(str(ref), "spec", row)
    shape, wishes = section.read(ServerShape), section.read(Wishes)
    if wishes.most is not None and wishes.most < shape.min_num_replicas:
        problem = f"allowed is at least minNumReplicas, {shape.min_num_replicas}"
        raise WireError(str(ref), problem, path="spec.maxNumReplicas", value=wishes.most, mend="Raise it")
    return WrittenServer(shape, wishes)


def capacity_of(ref: Ref, spec: Document) -> dict[str, int]:
    """Cards by type. Or WireError."""
    rows = _rows(ref, spec, "count")
    return unique(rows, ((c.type, c.count) for c in rows.rows(CapacityShape)))


def optimizer_of(ref: Ref, spec: Document) -> tuple[Settings, Asked]:
    """How to plan, and when. Or WireError."""
    asked = Section(str(ref), "spec", spec).read(Asked)
    data = spec.get("data") or {}
    if not isinstance(data, dict):
        raise WireError(str(ref), "expected an object {...}", path="spec.data", value=data)
    section = Section(str(ref), "spec.data.optimizer", data.get("optimizer") or {})
    settings, solver = settings_of(section.read(OptimizerShape)), section.read(Choice).solver
    if solver is not None:
        unlimited = settings.unlimited or solver == "unlimited"
        settings = msgspec.structs.replace(settings, solver=solver, unlimited=unlimited)
    return settings, asked
