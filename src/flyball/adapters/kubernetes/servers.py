"""Servers from workloads: which are variants of one, and in which class it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from flyball.adapters.kubernetes.engine import Engine
from flyball.adapters.kubernetes.governed import Rolling
from flyball.adapters.kubernetes.hardware import Place
from flyball.adapters.kubernetes.labels import NAME, OURS, Said
from flyball.adapters.kubernetes.listing import Listed
from flyball.adapters.kubernetes.objects import Pod, PodSpec
from flyball.spec.fleet import Fleet
from flyball.spec.server import Server
from flyball.spec.service_class import ModelTargets, ServiceClass, promise_of
from flyball.wire.fields import near_matches
from flyball.wire.inferno_in import LAST_PRIORITY


class Claim(msgspec.Struct, frozen=True):
    """One workload, read."""

    listed: Listed
    said: Said
    engine: Engine
    template: PodSpec
    pods: tuple[Pod, ...]
    model: str
    is_known: bool
    """Whether the model is."""
    place: Place
    problems: tuple[str, ...]
    rolling: Rolling | None = None
    owner: str = ""

    @property
    def namespace(self) -> str:
        return self.listed.workload.metadata.namespace

    @property
    def name(self) -> str:
        return self.listed.workload.metadata.name


def grouped(workloads: Sequence[Claim], notes: list[str]) -> dict[str, list[Claim]]:
    """Workloads by server: of one name and namespace, each on its own accelerator.

    Of two that cannot be variants of one server the older keeps the name.
    """
    groups: dict[str, list[Claim]] = {}
    for one in sorted(workloads, key=_age):
        name = one.said.name or one.name
        group = groups.setdefault(name, [])
        if not group or (not (clash := _clash(one, group)) and one.said.name):
            group.append(one)
            continue
        own = f"{one.namespace}/{one.name}"
        if own in groups:
            own = f"{one.namespace}/{one.listed.kind.plural}/{one.name}"
        groups[own] = [one]
        clash = clash or f"it is called so as {group[0].listed.kind.name} {group[0].name} is"
        notes.append(
            f"{one.listed.kind.name} {one.namespace}/{one.name} is a server of its own, {own}: {clash}. "
            f"Give it a label {NAME} of its own"
        )
    return {name: group for name, group in groups.items() if group}


def _age(one: Claim) -> tuple[str, str, str, str]:
    metadata = one.listed.workload.metadata
    return metadata.creation_timestamp or "", metadata.namespace, metadata.name, one.listed.kind.plural


def _clash(one: Claim, group: Sequence[Claim]) -> str:
    """Why a workload is no variant of a server."""
    first = group[0]
    if one.namespace != first.namespace:
        return f"the name {one.said.name or one.name} is taken in the namespace {first.namespace}"
    same = next((other for other in group if other.place.accelerator == one.place.accelerator), None)
    if same is not None:
        what = f"{one.said.name or one.name} on {same.place.accelerator}"
        return f"{same.listed.kind.name} {same.name} serves {what} too"
    return ""


def agreed(server: str, what: str, values: Iterable[str], notes: list[str]) -> str:
    """The first that is said; others are told."""
    said = list(dict.fromkeys(value for value in values if value))
    if len(said) > 1:
        notes.append(f"{server}: its workloads name {what} {' and '.join(said)}; {said[0]} counts. Keep one")
    return said[0] if said else ""


def classed(
    base: Fleet, servers: Sequence[Server], groups: Mapping[str, Sequence[Claim]], notes: list[str]
) -> tuple[tuple[ServiceClass, ...], tuple[Server, ...]]:
    """Classes, and servers in them: one with targets or a wait of its own has a class of its own."""
    known = {one.name: one for one in base.service_classes}
    own: list[ServiceClass] = []
    served: list[Server] = []
    for server in servers:
        name = server.service_class
        said = [one.said for one in groups[server.name]]
        targets = next((one.targets for one in said if one.targets), ())
        waits = next((one.deferrable for one in said if one.deferrable is not None), None)
        if targets and base.generation == "G1":
            notes.append(
                f"{server.name}: {OURS}ttft and itl are passed over: these data are of generation 1, which "
                "promises waits. Write slo-ttw into serviceclass-data.json"
            )
            targets = ()
        promise = promise_of(base.service_classes, name, server.model)
        if name not in known:
            notes.append(
                f"{server.name}: there is no class {name}"
                + ("" if targets else ", so it is not acted on")
                + f". {near_matches(name, known)}"
            )
        elif promise is None and not targets:
            notes.append(
                f"{server.name}: class {name} promises nothing for {server.model}, so it is not acted on. "
                f"Add the model to the class, or put {OURS}ttft on it"
            )
        if targets or (waits is not None and promise is not None):
            asked = {target.metric for target in targets}
            kept = [t for t in (promise.targets if promise else ()) if t.metric not in asked]
            models = (ModelTargets("*", (*targets, *kept), promise.throughput if promise else 0.0),)
            priority = known[name].priority if name in known else LAST_PRIORITY
            deferrable = known[name].deferrable if name in known and waits is None else waits or 0.0
            own.append(ServiceClass(f"{name} of {server.name}", priority, models, deferrable))
            server = replace(server, service_class=own[-1].name)
        served.append(server)
    return (*base.service_classes, *own), tuple(served)
