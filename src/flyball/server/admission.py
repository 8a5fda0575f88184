"""Admission webhooks over HTTP: what is about to be written, and whether it may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from litestar import Request, Response, post
from litestar.handlers import BaseRouteHandler

from flyball.server.service.answers import JSON
from flyball.server.service.service import Service
from flyball.server.service.work import body_of, worked
from flyball.wire.admission import Asked, Verdict, read_review, review_bytes

Rule = Callable[[Asked], Verdict]


def admission(rules: Mapping[str, Rule], ready: Callable[[], str] = lambda: "") -> Service:
    """A service that answers at each path by its rule.

    A rule that fails lets everything pass, with a warning: a fault of ours must not hold up a cluster.
    """
    return Service(
        name="webhook",
        title="Flyball: admission",
        about="Webhooks that the API server asks before it stores objects of Flyball's kinds.",
        handlers=tuple(_route(path, rule) for path, rule in rules.items()),
        ready=ready,
    )


def _route(path: str, rule: Rule) -> BaseRouteHandler:
    @post(path, status_code=200, name=path, include_in_schema=False)
    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        data = await body_of(request)

        def judged() -> bytes:
            asked = read_review(data)
            try:
                verdict = rule(asked)
            except Exception as error:
                request.app.state.telemetry.log.error("rule", path=path, error=repr(error))
                verdict = Verdict(warnings=(f"it was not checked: {type(error).__name__}: {error}",))
            return review_bytes(asked.uid, verdict)

        return Response(await worked(request, judged), media_type=JSON)

    return handle
