"""A service: routes, and around them access, limits, metrics, logs, health and a page that describes it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as version_of
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, Router, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.handlers import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from flyball.server.service.access import Access, guarded
from flyball.server.service.answers import JSON, Refusal, answer, refusal
from flyball.server.service.docs import docs
from flyball.server.service.exchange import current
from flyball.server.service.telemetry import HUNG_UP, Telemetry
from flyball.server.service.work import Gone, Holding, Limits, Workers
from flyball.wire.errors import WireError

__all__ = ["Limits", "Service", "app_of"]

ABSENT = "404 page not found"
"""What the original services answer where there is no such route or verb."""


class Service(msgspec.Struct, frozen=True):
    """The routes of one service, and what must be known to run them; `ready` says why not, or ""."""

    name: str
    title: str
    about: str
    handlers: tuple[BaseRouteHandler | Router, ...]
    ready: Callable[[], str] = lambda: ""
    limits: Limits = msgspec.field(default_factory=Limits)


def app_of(service: Service, access: Access | None = None, telemetry: Telemetry | None = None) -> Litestar:
    """The service as an ASGI app; `app.state.stopping = True` turns it unready."""
    access = Access() if access is None else access
    telemetry = Telemetry(service.name) if telemetry is None else telemetry
    limits = service.limits
    state = State(
        {
            "telemetry": telemetry,
            "limits": limits,
            "workers": Workers(limits.at_once, limits.waiting),
            "holding": Holding(limits.held),
            "stopping": False,
        }
    )
    app = Litestar(
        [*service.handlers, *health(service), *docs()],
        state=state,
        exception_handlers={
            Refusal: refusal,
            WireError: _unreadable,
            NotFoundException: _absent,
            MethodNotAllowedException: _absent,
            HTTPException: _refused,
            Gone: _gone,
            Exception: _fault,
        },
        openapi_config=_described(service, access),
        logging_config=None,
        request_max_body_size=limits.body,
    )
    app.asgi_handler = telemetry.around(guarded(app.asgi_handler, access, telemetry.log))
    return app


def health(service: Service) -> list[BaseRouteHandler]:
    """Whether it lives, whether it can serve, and its metrics."""

    @get("/healthz", media_type=MediaType.TEXT, include_in_schema=False, sync_to_thread=False)
    def healthz() -> str:
        return "ok\n"

    @get("/readyz", media_type=MediaType.TEXT, include_in_schema=False, sync_to_thread=False)
    def readyz(request: Request[Any, Any, Any]) -> Response[str]:
        why_not = "stopping" if request.app.state.stopping else service.ready()
        return Response(
            f"{why_not or 'ok'}\n", status_code=503 if why_not else 200, media_type=MediaType.TEXT
        )

    @get("/metrics", include_in_schema=False, sync_to_thread=False)
    def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        telemetry: Telemetry = request.app.state.telemetry
        text, kind = telemetry.text(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": kind})

    return [healthz, readyz, metrics]


def _described(service: Service, access: Access) -> OpenAPIConfig:
    config = OpenAPIConfig(
        title=service.title,
        version=version_of("flyball"),
        description=service.about,
        openapi_router=Router(
            "/openapi.json", route_handlers=[], include_in_schema=False, after_request=_nothing_below
        ),
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        use_handler_docstrings=True,
    )
    if access.tokens is not None:
        scheme = SecurityScheme(type="http", scheme="bearer", description="One of the tokens of the service.")
        config.components = Components(security_schemes={"token": scheme})
        config.security = [{"token": []}]
    return config


def _nothing_below(response: Response[Any]) -> Response[Any]:
    """Litestar has a page of its own for what is not there below the document."""
    return _absent(None, NotFoundException()) if response.status_code == 404 else response


def _absent(_: Any, __: HTTPException) -> Response[str]:
    return Response(ABSENT, status_code=404, headers={"content-type": "text/plain"})


def _unreadable(_: Any, error: WireError) -> Response[bytes]:
    return answer({"message": str(error)}, 400)


def _refused(_: Any, error: HTTPException) -> Response[bytes]:
    return answer({"message": error.detail}, error.status_code)


def _gone(_: Any, __: Gone) -> Response[bytes]:
    return Response(b"", status_code=HUNG_UP)


def _fault(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    telemetry: Telemetry = request.app.state.telemetry
    exchange = current()
    return Response(
        telemetry.fault(error, exchange.id if exchange else "-"), status_code=500, media_type=JSON
    )
