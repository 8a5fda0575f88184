"""Inferno's routes of the stateless service: what plans, and what shows the system of the last request."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, get_args
from urllib.parse import unquote

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import OpenAPIType, Schema
from msgspec.structs import replace

from flyball.server.optimizer.changes import desire, found, target_of
from flyball.server.optimizer.examples import SYSTEM
from flyball.server.optimizer.planning import (
    LONGEST,
    Ask,
    Solution,
    ask_of,
    optimize_one,
)
from flyball.server.optimizer.store import Store
from flyball.server.service.answers import answer
from flyball.server.service.describe import describe, or_null
from flyball.server.service.telemetry import telemetry_of
from flyball.server.service.work import body_of, worked
from flyball.spec.fleet import SolverName
from flyball.wire.inferno_shapes import (
    AcceleratorShape,
    CapacityData,
    CapacityShape,
    ClassShape,
    ModelData,
    ProfileShape,
    ServerData,
    ServerShape,
    ServiceClassData,
    Shape,
    SystemDocument,
    TargetShape,
)
from flyball.wire.inferno_system import NEWEST, System
from flyball.wire.inferno_write import document_of
from flyball.wire.plans import SolutionDocument

Web = Request[Any, Any, Any]
Answer = Response[bytes]
Find = Callable[..., object]
"""What a route shows of a system, by the names in its path: shapes, names, or a list of them. Or Refusal."""

UNREADABLE = "The body cannot be read, or says what makes no sense."


def reading(store: Store) -> tuple[BaseRouteHandler, ...]:
    """The routes that show the system."""

    def view(path: str, kind: Any, summary: str, find: Find) -> BaseRouteHandler:
        described = describe(
            answer=kind, refusals={404: "There is none of that name."} if "{" in path else {}
        )

        @get(
            path,
            summary=summary,
            tags=["Show"],
            operation_id=operation(path),
            operation_class=described,
            sync_to_thread=True,
        )
        def show(request: Web) -> Answer:
            system = store.system
            return answer(written(find(system, *names_in(request, path)), system))

        return show

    return (
        view("/getAccelerators", list[AcceleratorShape], "All accelerators",
             lambda s: list(s.accelerators.values())),
        view("/getAccelerator/{name:path}", AcceleratorShape, "One accelerator",
             lambda s, name: found(s.accelerators, name, "accelerator")),
        view("/getCapacities", CapacityData, "The cards of each type", capacities),
        view("/getCapacity/{type:path}", CapacityShape, "The cards of one type",
             lambda s, kind: CapacityShape(kind, found(s.capacity, kind, "capacity for"))),
        view("/getModels", list[str], "The names of all models", lambda s: list(s.models)),
        view("/getModel/{name:path}", ModelData, "One model on each accelerator",
             lambda s, name: ModelData(tuple(found(s.models, name, "model").values()))),
        view("/getServiceClasses", ServiceClassData, "All service classes",
             lambda s: ServiceClassData(tuple(s.service_classes.values()))),
        view("/getServiceClass/{name:path}", ClassShape, "One service class",
             lambda s, name: found(s.service_classes, name, "service class")),
        view("/getServiceClassModelTarget/{name:str}/{model:path}", TargetShape,
             "What a class promises for a model", target_of),
        view("/getServers", ServerData, "All servers", lambda s: ServerData(tuple(s.servers.values()))),
        view("/getServer/{name:path}", ServerShape, "One server",
             lambda s, name: found(s.servers, name, "server")),
        view("/getModelAcceleratorPerf/{name:str}/{acc:path}", ProfileShape, "One model on one accelerator",
             profile_of),
    )  # fmt: skip


def optimizing(store: Store, usual: Ask) -> BaseRouteHandler:
    """POST /optimizeOne: a whole system, planned."""

    @post(
        "/optimizeOne",
        status_code=200,
        summary="Plan a whole system",
        tags=["Plan"],
        description="The system stands in the request, and becomes the one that the other routes show.",
        operation_id="optimizeOne",
        operation_class=describe(
            body=SystemDocument,
            query=QUERY,
            answer=or_null(SolutionDocument),
            example=SYSTEM,
            answered=optimize_one(msgspec.json.encode(SYSTEM), Ask()).document,
            refusals=REFUSALS,
        ),
    )
    async def optimize_whole(request: Web) -> Answer:
        ask = ask_of(request.query_params, usual)
        data = await body_of(request)

        def work() -> Solution:
            solution = optimize_one(data, ask)
            fresh = desire(solution.system, solution.allocations)(solution.system)
            store.change(lambda old: replace(fresh, generation=fresh.generation or old.generation))
            return solution

        return solved(request, store, await worked(request, work))

    return optimize_whole


QUERY = {
    "solver": (
        Schema(type=OpenAPIType.STRING, enum=list(get_args(SolverName))),
        "Instead of what the settings ask for; greedy is the original's choice.",
    ),
    "explain": (Schema(type=OpenAPIType.BOOLEAN), "Answer the whole plan too, with its reasons."),
    "budget": (
        Schema(type=OpenAPIType.NUMBER, minimum=0, maximum=LONGEST),
        "Seconds at most that the solver takes; not above what the service allows.",
    ),
}
REFUSALS = {
    400: UNREADABLE,
    404: "Generation 3, and not one server can be given anything.",
    503: "Too many requests wait.",
}


def solved(request: Web, store: Store, solution: Solution) -> Answer:
    """The answer to a request that planned; counted, and noted in the log."""
    plan, document = solution.plan, solution.document
    telemetry = telemetry_of(request)
    unserved = sorted(s.server for s in plan.servers if s.status == "unserved")
    telemetry.plan(
        solver=plan.solver, seconds=plan.seconds, servers=len(plan.servers), unserved=len(unserved)
    )
    telemetry.state(sizes(store.system))
    if plan.generation == "G3" and unserved and not solution.allocations:
        message = f"optimization error: no feasible allocation for servers: [{', '.join(unserved)}]"
        return answer({"message": message} | {k: v for k, v in document.items() if k != "allocations"}, 404)
    return answer(document)


def sizes(system: System) -> dict[str, int]:
    """How much a system holds."""
    return {
        "accelerators": len(system.accelerators),
        "models": len(system.models),
        "service_classes": len(system.service_classes),
        "servers": len(system.servers),
    }


def written(value: object, system: System) -> object:
    """A shape, or a list of them, as a document in the words of the system's generation."""
    if isinstance(value, Shape):
        return document_of(value, system.generation or NEWEST)
    return [written(each, system) for each in value] if isinstance(value, list) else value


def capacities(system: System) -> CapacityData:
    """The cards of each type."""
    return CapacityData(tuple(CapacityShape(kind, count) for kind, count in system.capacity.items()))


def profile_of(system: System, model: str, accelerator: str) -> ProfileShape:
    """The entry of a model on an accelerator. Or Refusal."""
    return found(found(system.models, model, "model"), accelerator, "accelerator")


def operation(path: str) -> str:
    """The operation of a path: its first word."""
    return path.split("/")[1]


def names_in(request: Web, path: str) -> list[str]:
    """The names behind the first word of a path, as many as its pattern has.

    A name with a slash may come as %2F. Where it comes as it is, it is a model's: the longer part.
    """
    names = re.findall(r"{(\w+)", path)
    raw: bytes = request.scope["raw_path"]
    parts = raw.decode("ascii", "replace").strip("/").split("/")[1:]
    more = len(parts) - len(names)
    if names and more > 0:
        long = names.index("model") if "model" in names else 0
        parts[long : long + more + 1] = ["/".join(parts[long : long + more + 1])]
    return [unquote(part) for part in parts[: len(names)]]
