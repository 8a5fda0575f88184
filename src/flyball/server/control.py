"""Inferno's control loop over HTTP: the collector, the actuator, and the controller's /invoke."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import BaseRouteHandler

from flyball.server.service.answers import JSON, Refusal, answer
from flyball.server.service.describe import describe
from flyball.server.service.service import Service
from flyball.server.service.work import Limits, body_of, worked
from flyball.wire.inferno_loop import SIZE_LIMIT, Collected, Update, collected_bytes, read_update


class ControlError(Exception):
    """What the cluster did not give or take."""


Ready = Callable[[], str]


def collector(collect: Callable[[], Collected], ready: Ready = lambda: "") -> Service:
    """GET /collect: servers, replicas and their workloads, as they are now. `collect` raises ControlError."""

    @get(
        "/collect",
        summary="What runs, under which load, and how it does",
        tags=["Loop"],
        operation_id="collect",
        operation_class=describe(answer=dict, refusals={404: "The cluster cannot be read."}),
    )
    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        def found() -> bytes:
            try:
                return collected_bytes(collect())
            except ControlError as error:
                raise Refusal(404, f"kube client: {error}") from None

        return Response(await worked(request, found), media_type=JSON)

    return Service(
        name="collector",
        title="Flyball: collector",
        about="What Inferno's control loop reads in each cycle. Rates are a minute, times milliseconds.",
        handlers=(handle,),
        ready=ready,
    )


def actuator(update: Callable[[Update], tuple[str, ...]], ready: Ready = lambda: "") -> Service:
    """POST /update: replicas as allocated. `update` says what it left undone, or raises ControlError."""

    @post(
        "/update",
        status_code=200,
        summary="Carry allocations out",
        description="Whatever has no allocation here is left alone.",
        tags=["Loop"],
        operation_id="update",
        operation_class=describe(
            body=dict,
            answer=str,
            refusals={400: "The body cannot be read.", 500: "The cluster does not take it."},
        ),
    )
    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        data = await body_of(request)

        def done() -> None:
            asked = read_update(data)
            try:
                update(asked)
            except ControlError as error:
                raise Refusal(500, str(error)) from None

        await worked(request, done)
        return answer("Done")

    return Service(
        name="actuator",
        title="Flyball: actuator",
        about="Carries allocations out on the workloads of a cluster.",
        handlers=(handle,),
        ready=ready,
        limits=Limits(body=SIZE_LIMIT),
    )


def invoked(invoke: Callable[[], str]) -> BaseRouteHandler:
    """GET /invoke: one cycle, now. `invoke` says what went wrong, or ""."""

    @get(
        "/invoke",
        summary="Run a cycle now",
        tags=["Loop"],
        operation_id="invoke",
        operation_class=describe(answer=str, refusals={404: "The cycle failed."}),
    )
    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        problem = await worked(request, invoke)
        if problem:
            raise Refusal(404, f"controller: {problem}")
        return answer("OK")

    return handle
