"""Flyball's own route: a fleet in any form, planned and explained."""

from __future__ import annotations

from litestar import post
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import OpenAPIType, Schema

from flyball.server.optimizer import examples
from flyball.server.optimizer.planning import Ask, ask_of, own_plan
from flyball.server.optimizer.routes import QUERY, UNREADABLE, Answer, Web
from flyball.server.service.answers import answer
from flyball.server.service.describe import describe, or_null
from flyball.server.service.telemetry import telemetry_of
from flyball.server.service.work import body_of, worked
from flyball.wire.plans import Planned

WHAT_IF = "Plan with changes, such as load*2 or capacity[A100]=16; `before` is then the plan without them."


def planning(usual: Ask) -> BaseRouteHandler:
    """POST /v1/plan."""

    @post(
        "/v1/plan",
        status_code=200,
        summary="Plan a fleet, with the reasons",
        tags=["Plan"],
        description="The fleet is a document of Flyball's own form or of Inferno's, JSON or YAML. Nothing is "
        "kept.",
        operation_id="plan",
        operation_class=describe(
            body={
                "type": "object",
                "description": "`kind: Fleet`, or a system document of Inferno.",
            },
            query={name: QUERY[name] for name in ("solver", "budget")}
            | {"what_if": (Schema(type=OpenAPIType.STRING), WHAT_IF)},
            answer=or_null(Planned),
            example=examples.SYSTEM,
            refusals={400: UNREADABLE, 503: "Too many requests wait."},
        ),
    )
    async def plan(request: Web) -> Answer:
        ask = ask_of(request.query_params, usual)
        what_if = request.query_params.get("what_if")
        data = await body_of(request)
        made = await worked(request, lambda: own_plan(data, what_if, ask))
        unserved = sum(s.status == "unserved" for s in made.plan.servers)
        telemetry_of(request).plan(
            solver=made.plan.solver,
            seconds=made.plan.seconds,
            servers=len(made.plan.servers),
            unserved=unserved,
        )
        return answer(made)

    return plan
