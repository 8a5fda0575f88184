"""From the objects of one namespace, Inferno's kinds, to a fleet.

An object that cannot be read is left out with its error and does not make the others unusable; a server that
needs it is told so. The models of a namespace are of one generation: that which most of them show.
As Inferno's system document a fleet is written by `wire.inferno.system_document`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from flyball.spec.fleet import Fleet, Settings
from flyball.spec.service_class import ModelTargets, ServiceClass
from flyball.units import Seconds
from flyball.wire.errors import WireError
from flyball.wire.inferno_in import CAPACITY_NOTE, fleet_of
from flyball.wire.inferno_system import System
from flyball.wire.kinds.inferno_fitting import (
    fitting_class,
    fitting_model,
    fitting_server,
    generation_of,
)
from flyball.wire.kinds.inferno_objects import (
    Asked,
    Document,
    Ref,
    WrittenClass,
    accelerator_of,
    capacity_of,
    class_of,
    model_of,
    name_of,
    optimizer_of,
    own_name,
    ref_of,
    spec_of,
    written_server,
)
from flyball.wire.kinds.inferno_specs import Mode

T = TypeVar("T")


class Objects(msgspec.Struct, frozen=True):
    """The objects of one namespace, as the API gives them."""

    accelerators: tuple[Document, ...] = ()
    models: tuple[Document, ...] = ()
    service_classes: tuple[Document, ...] = ()
    servers: tuple[Document, ...] = ()
    capacities: tuple[Document, ...] = ()
    optimizers: tuple[Document, ...] = ()


class Governed(msgspec.Struct, frozen=True):
    """A server's object, and what of it is not for the plan but for who carries it out."""

    ref: Ref
    mode: Mode | None = None
    max_replicas: int | None = None


class Namespace(msgspec.Struct, frozen=True):
    """A namespace as it was read."""

    fleet: Fleet
    errors: dict[Ref, str] = {}
    """Objects that are left out, and why."""
    servers: dict[str, Governed] = {}
    """By their names in the fleet."""
    blocked: dict[str, str] = {}
    """By the server's name: what it needs and is not there, or was left out."""
    optimizer: Ref | None = None
    """Whose settings these are."""
    optimize: bool = False
    """Whether a plan is asked for."""
    period: Seconds = 0.0
    """0: only on demand."""


def read_namespace(objects: Objects, optimizer: str = "") -> Namespace:
    """The fleet of a namespace; `optimizer` names the object whose settings hold, else the first by name."""
    return _Reader(objects).read(optimizer)


class _Reader:
    """Reads kind by kind and keeps what went wrong."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.errors: dict[Ref, str] = {}
        self.lost: dict[tuple[str, str], str] = {}
        """By kind and the name that others use: what became of it."""

    def read(self, optimizer: str) -> Namespace:
        given = self.objects
        accelerators = self.each("Accelerator", given.accelerators, accelerator_of)
        models = self.each("Model", given.models, model_of)
        classes = self.each("ServiceClass", given.service_classes, class_of)
        servers = self.each("Server", given.servers, written_server)
        generation = generation_of(models, classes, servers)
        models = self.fitting(models, lambda ref, m: fitting_model(ref, m, generation))
        classes = self.fitting(classes, lambda ref, c: fitting_class(ref, c, generation))
        servers = self.fitting(servers, lambda ref, s: fitting_server(ref, s, generation))
        system = System(
            generation=generation,
            accelerators=self.named(accelerators, lambda a: a.name),
            models={k: {p.acc: p for p in m[1]} for k, m in self.named(models, lambda m: m[0]).items()},
            service_classes={k: c.shape for k, c in self.named(classes, lambda c: c.shape.name).items()},
            servers={k: s.shape for k, s in self.named(servers, lambda s: s.shape.name).items()},
            capacity=self.capacity(),
        )
        chosen, settings, asked = self.optimizer(optimizer)
        fleet = fleet_of(system)
        if not given.capacities:  # what is not known must not mean none
            note = "; ".join(filter(None, (settings.note, CAPACITY_NOTE)))
            settings = msgspec.structs.replace(settings, unlimited=True, note=note)
        fleet = _with_targets(fleet, tuple(c for ref, c in classes if ref not in self.errors))
        taken = {s.shape.name: (ref, s.wishes) for ref, s in servers if ref not in self.errors}
        only = {name: wishes.accelerators for name, (_, wishes) in taken.items()}
        fleet = msgspec.structs.replace(
            fleet,
            servers=tuple(msgspec.structs.replace(s, accelerators=only[s.name]) for s in fleet.servers),
            settings=settings,
        )
        return Namespace(
            fleet=fleet,
            errors=self.errors,
            servers={n: Governed(ref, wishes.mode, wishes.most) for n, (ref, wishes) in taken.items()},
            blocked=self.blocked(fleet),
            optimizer=chosen,
            optimize=asked.optimize,
            period=asked.period,
        )

    def each(
        self, kind: str, objects: Iterable[Document], read: Callable[[Ref, Document], T]
    ) -> list[tuple[Ref, T]]:
        """What can be read of a kind, in order of name."""
        found = []
        for one in sorted(objects, key=lambda o: ref_of(kind, o)):
            ref = ref_of(kind, one)
            try:
                found.append((ref, read(ref, spec_of(ref, one))))
            except WireError as error:
                self.leave_out(ref, str(error), name_of(ref, one.get("spec")))
        return found

    def fitting(self, found: list[tuple[Ref, T]], fit: Callable[[Ref, T], T]) -> list[tuple[Ref, T]]:
        """Those that fit the generation, in its words only."""
        kept = []
        for ref, one in found:
            try:
                kept.append((ref, fit(ref, one)))
            except WireError as error:
                self.leave_out(ref, str(error), own_name(one))
        return kept

    def named(self, found: list[tuple[Ref, T]], name: Callable[[T], str]) -> dict[str, T]:
        """By name; of two by one name the second is left out."""
        kept: dict[str, T] = {}
        first: dict[str, Ref] = {}
        for ref, one in found:
            own = name(one)
            if own in kept:
                problem = f"{first[own]} has this name already"
                error = WireError(str(ref), problem, path="spec.name", value=own, mend="Give it another")
                self.errors[ref] = str(error)
                continue
            kept[own], first[own] = one, ref
        return kept

    def leave_out(self, ref: Ref, message: str, name: str) -> None:
        self.errors[ref] = message
        self.lost[ref.kind, name] = message

    def capacity(self) -> dict[str, int]:
        counts = self.each("Capacity", self.objects.capacities, capacity_of)
        found: dict[str, int] = {}
        source: dict[str, Ref] = {}
        for ref, count in counts:
            twice = next((t for t, cards in count.items() if found.get(t, cards) != cards), None)
            if twice is not None:
                problem = (
                    f"{twice}: {source[twice]} has {found[twice]} of these cards, and this {count[twice]}"
                )
                error = WireError(str(ref), problem, path="spec.count", mend="Keep one of the two")
                self.errors[ref] = str(error)
                continue
            found |= count
            source |= dict.fromkeys(count, ref)
        return found

    def optimizer(self, name: str) -> tuple[Ref | None, Settings, Asked]:
        found = self.each("Optimizer", self.objects.optimizers, optimizer_of)
        for ref, (settings, asked) in found:
            if name in ("", ref.name):
                return ref, settings, asked
        return None, Settings(), Asked()

    def blocked(self, fleet: Fleet) -> dict[str, str]:
        models = {p.model for p in fleet.profiles}
        classes = {c.name for c in fleet.service_classes}
        found = {}
        for server in fleet.servers:
            for kind, name, known in (
                ("Model", server.model, models),
                ("ServiceClass", server.service_class, classes),
            ):
                if name not in known and server.name not in found:
                    absent = f"there is no {kind} of the name {name} with anything in it in this namespace"
                    found[server.name] = self.lost.get((kind, name), absent)
        return found


def _with_targets(fleet: Fleet, classes: Sequence[WrittenClass]) -> Fleet:
    """What Inferno's class data has no words for; targets go before the slo-* of the same latency."""
    deferrable = {c.shape.name: c.deferrable for c in classes}
    own = {
        (c.shape.name, shape.model): targets
        for c in classes
        for shape, targets in zip(c.shape.model_targets, c.targets, strict=True)
    }

    def promise(service_class: ServiceClass, model: ModelTargets) -> ModelTargets:
        more = own.get((service_class.name, model.model), ())
        kept = [t for t in model.targets if t.metric not in {m.metric for m in more}]
        return msgspec.structs.replace(model, targets=(*kept, *more))

    replaced = tuple(
        msgspec.structs.replace(
            c, models=tuple(promise(c, m) for m in c.models), deferrable=deferrable.get(c.name, 0.0)
        )
        for c in fleet.service_classes
    )
    return msgspec.structs.replace(fleet, service_classes=replaced)
