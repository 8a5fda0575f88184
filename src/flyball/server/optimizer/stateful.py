"""Inferno's routes of the stateful service, which change the system; some by GET, as in the originals."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from litestar import get, post
from litestar.handlers import BaseRouteHandler

from flyball.server.optimizer import changes, examples
from flyball.server.optimizer.changes import Change, target_of
from flyball.server.optimizer.planning import BODY, Ask, Solution, ask_of, optimize
from flyball.server.optimizer.routes import (
    QUERY,
    REFUSALS,
    UNREADABLE,
    Answer,
    Web,
    names_in,
    operation,
    profile_of,
    sizes,
    solved,
    written,
)
from flyball.server.optimizer.store import Store
from flyball.server.service.access import unproven
from flyball.server.service.answers import Refusal, answer
from flyball.server.service.describe import Message, describe, or_null
from flyball.server.service.telemetry import telemetry_of
from flyball.server.service.work import body_of, worked
from flyball.wire.inferno_sections import Section, section_of
from flyball.wire.inferno_shapes import (
    AcceleratorData,
    AcceleratorShape,
    CapacityData,
    CapacityShape,
    ClassShape,
    ModelData,
    OptimizerShape,
    ProfileShape,
    ServerData,
    ServerShape,
    ServiceClassData,
    Shape,
    TargetShape,
)
from flyball.wire.inferno_system import models_of, servers_of, unique, without_zero
from flyball.wire.plans import SolutionDocument
from flyball.wire.text import decode

Read = Callable[[object], tuple[Change, Shape]]
"""A document to the change that it asks for, and what is echoed. Or WireError."""
LONGEST_NAME = 512


def changing(store: Store, usual: Ask) -> tuple[BaseRouteHandler, ...]:
    """The routes that change the system."""
    return (*_setting(store), *_by_get(store), _targets(store), _optimize(store, usual))


def _setting(store: Store) -> tuple[BaseRouteHandler, ...]:
    def take(path: str, kind: type[Shape], summary: str, example: object, read: Read) -> BaseRouteHandler:
        described = describe(
            body=kind,
            answer=kind,
            example=example,
            answered=example,
            refusals={400: UNREADABLE, 404: "There is nothing of the name that it belongs to."},
        )

        @post(
            path,
            status_code=200,
            summary=summary,
            tags=["Change"],
            description="What is absent stays as it is. The body is echoed.",
            operation_id=operation(path),
            operation_class=described,
        )
        async def set_it(request: Web) -> Answer:
            data = await body_of(request)

            def work() -> object:
                change, echo = read(decode(data, BODY))
                _, after = store.change(change)
                return written(echo, after)

            document = await worked(request, work)
            telemetry_of(request).state(sizes(store.system))
            return answer(document)

        return set_it

    return (
        take("/setAccelerators", AcceleratorData, "Set accelerators",
             {"accelerators": [examples.ACCELERATOR]}, read_accelerators),
        take("/addAccelerator", AcceleratorShape, "Set one accelerator", examples.ACCELERATOR,
             read_accelerator),
        take("/setCapacities", CapacityData, "Set the cards of types", {"count": [examples.COUNT]},
             read_capacities),
        take("/setCapacity", CapacityShape, "Set the cards of one type", examples.COUNT, read_capacity),
        take("/setModels", ModelData, "Set models on accelerators", {"models": [examples.PROFILE]},
             read_models),
        take("/addModelAcceleratorPerf", ProfileShape, "Set one model on one accelerator; the model is there",
             examples.PROFILE, read_profile),
        take("/setServiceClasses", ServiceClassData, "Set service classes",
             {"serviceClasses": [examples.SERVICE_CLASS]}, read_classes),
        take("/setServers", ServerData, "Set servers", {"servers": [examples.SERVER]}, read_servers),
        take("/addServer", ServerShape, "Set one server", examples.SERVER, read_server),
    )  # fmt: skip


def read_accelerators(doc: object) -> tuple[Change, Shape]:
    """{"accelerators": [...]}."""
    section = section_of(doc, BODY, "accelerators")
    given = unique(section, ((a.name, a) for a in section.rows(AcceleratorShape)))
    return changes.set_accelerators(given.values()), AcceleratorData(tuple(given.values()))


def read_accelerator(doc: object) -> tuple[Change, Shape]:
    """One accelerator."""
    given = Section(BODY, "", doc).read(AcceleratorShape)
    return changes.set_accelerators([given]), given


def read_capacities(doc: object) -> tuple[Change, Shape]:
    """{"count": [...]}."""
    section = section_of(doc, BODY, "count")
    given = unique(section, ((c.type, c) for c in section.rows(CapacityShape)))
    return changes.set_capacities(given.values()), CapacityData(tuple(given.values()))


def read_capacity(doc: object) -> tuple[Change, Shape]:
    """One type with its count."""
    given = Section(BODY, "", doc).read(CapacityShape)
    return changes.set_capacities([given]), given


def read_models(doc: object) -> tuple[Change, Shape]:
    """{"models": [...]}."""
    given = models_of(section_of(doc, BODY, "models"))
    rows = tuple(entry for model in given.values() for entry in model.values())
    return changes.set_models(given), ModelData(rows)


def read_profile(doc: object) -> tuple[Change, Shape]:
    """One entry of model data."""
    given = Section(BODY, "", doc).read(ProfileShape)
    return changes.add_profile(given), given


def read_classes(doc: object) -> tuple[Change, Shape]:
    """{"serviceClasses": [...]}."""
    section = section_of(doc, BODY, "serviceClasses")
    given = unique(section, ((c.name, c) for c in section.rows(ClassShape)))
    return changes.set_classes(given.values()), ServiceClassData(tuple(given.values()))


def read_servers(doc: object) -> tuple[Change, Shape]:
    """{"servers": [...]}."""
    given = servers_of(section_of(doc, BODY, "servers"))
    return changes.set_servers(given), ServerData(tuple(given.values()))


def read_server(doc: object) -> tuple[Change, Shape]:
    """One server."""
    given = without_zero(Section(BODY, "", doc).read(ServerShape))
    return changes.set_servers({given.name: given}), given


def _by_get(store: Store) -> tuple[BaseRouteHandler, ...]:
    def make(
        path: str, kind: Any, summary: str, ask: Callable[..., Change], echo: Callable[..., object]
    ) -> BaseRouteHandler:
        """`echo` shows something of the system before the change; behind it stand the names in the path."""
        described = describe(
            answer=kind,
            refusals={
                400: "A name or a number makes no sense.",
                403: "A foreign page in a browser asks.",
                404: "It is not there.",
            },
        )

        @get(
            path,
            summary=summary,
            tags=["Change"],
            operation_id=operation(path),
            operation_class=described,
            sync_to_thread=True,
        )
        def change_it(request: Web) -> Answer:
            if unproven(request.headers.get):
                raise Refusal(
                    403,
                    "a browser changes nothing here unless this service's own page asks, at /docs. A tool "
                    "that calls itself Mozilla sends the header Origin, with this service's address",
                )
            names = [_name(name) for name in names_in(request, path)]
            before, _ = store.change(ask(*names))
            telemetry_of(request).state(sizes(store.system))
            return answer(written(echo(before, *names), before))

        return change_it

    return (
        make("/removeAccelerator/{name:path}", AcceleratorShape, "Take an accelerator out",
             changes.remove_accelerator, lambda s, name: s.accelerators[name]),
        make("/removeCapacity/{type:path}", CapacityShape, "Take the cards of a type out",
             changes.remove_capacity, lambda s, kind: CapacityShape(kind, s.capacity[kind])),
        make("/addModel/{name:path}", str, "Add a model; one that is there loses its entries",
             changes.add_model, lambda s, name: name),
        make("/removeModel/{name:path}", str, "Take a model out", changes.remove_model, lambda s, name: name),
        make("/removeModelAcceleratorPerf/{name:str}/{acc:path}", ProfileShape,
             "Take a model on one accelerator out", changes.remove_profile, profile_of),
        make("/addServiceClass/{name:str}/{priority:path}", ClassShape,
             "Add a service class without targets; one that is there loses its targets",
             lambda name, priority: changes.set_classes([empty_class(name, priority)]),
             lambda s, name, priority: empty_class(name, priority)),
        make("/removeServiceClass/{name:path}", ClassShape, "Take a service class out",
             changes.remove_class, lambda s, name: s.service_classes[name]),
        make("/removeServiceClassModelTarget/{name:str}/{model:path}", TargetShape,
             "Take the targets of a model out of a class", changes.remove_target, target_of),
        make("/removeServer/{name:path}", ServerShape, "Take a server out",
             changes.remove_server, lambda s, name: s.servers[name]),
        make("/applyAllocation", str, "Make current what the last optimization desired, for every server",
             lambda: changes.apply_desired, lambda s: "Done"),
    )  # fmt: skip


def empty_class(name: str, priority: str) -> ClassShape:
    """A class as a path names it. Or Refusal."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", priority):
        raise Refusal(400, f"service class priority {priority} invalid")
    return ClassShape(name, changes.priority_of(int(priority)))


def _name(name: str) -> str:
    if not 0 < len(name) <= LONGEST_NAME:
        raise Refusal(400, f"a name of {len(name)} characters: allowed are 1 to {LONGEST_NAME}")
    return name


def _targets(store: Store) -> BaseRouteHandler:
    @post(
        "/addServiceClassModelTargets",
        status_code=200,
        summary="Add targets to a class that is there",
        tags=["Change"],
        description="The priority must be that of the class. Refusals are bare texts, as in the original.",
        operation_id="addServiceClassModelTargets",
        operation_class=describe(
            body=ClassShape,
            answer=ClassShape,
            example=examples.SERVICE_CLASS,
            answered=examples.SERVICE_CLASS,
            refusals={400: UNREADABLE, 404: "There is no such class."},
            refused=Message | str,
        ),
    )
    async def add_targets(request: Web) -> Answer:
        data = await body_of(request)

        def work() -> object:
            given = Section(BODY, "", decode(data, BODY)).read(ClassShape)
            _, after = store.change(changes.add_targets(given))
            return written(after.service_classes[given.name], after)

        try:
            return answer(await worked(request, work))
        except Refusal as refusal:
            if refusal.status not in (400, 404):
                raise
            return answer(refusal.message, refusal.status)

    return add_targets


def _optimize(store: Store, usual: Ask) -> BaseRouteHandler:
    @post(
        "/optimize",
        status_code=200,
        summary="Plan the system that is kept",
        tags=["Plan"],
        description="The settings stand in the request.",
        operation_id="optimize",
        operation_class=describe(
            body=OptimizerShape,
            query=QUERY,
            answer=or_null(SolutionDocument),
            example=examples.OPTIMIZER,
            refusals=REFUSALS,
        ),
    )
    async def optimize_kept(request: Web) -> Answer:
        ask = ask_of(request.query_params, usual)
        data = await body_of(request)

        def work() -> Solution:
            kept = store.system
            solution = optimize(kept, data, ask)
            store.change(changes.desire(kept, solution.allocations))
            return solution

        return solved(request, store, await worked(request, work))

    return optimize_kept
