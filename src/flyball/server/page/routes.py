"""The live page and its fragments over HTTP. What takes long runs in threads, the loop goes on meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection
from importlib import resources
from typing import Annotated, Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, Router, get, post
from litestar.enums import RequestEncodingType
from litestar.exceptions import HTTPException, NotFoundException
from litestar.handlers import BaseRouteHandler
from litestar.params import Body, FromPath, FromQuery
from litestar.response import Redirect, ServerSentEvent, ServerSentEventMessage

from flyball.server.guard import LOOPBACK, Guard, by_htmx, with_headers
from flyball.server.page.live import Live, Nothing
from flyball.server.page.pages import Pages, names_of
from flyball.server.page.series import series
from flyball.units import Seconds

HEARTBEAT: Seconds = 10.0
STATIC = {
    "htmx.min.js": ("flyball.server.page", "text/javascript"),
    "live.js": ("flyball.server.page", "text/javascript"),
    "plots.js": ("flyball.server.page", "text/javascript"),
    "live.css": ("flyball.server.page", "text/css"),
    "icon.svg": ("flyball.server.page", "image/svg+xml"),
    "uPlot.iife.min.js": ("flyball.report", "text/javascript"),
    "uPlot.min.css": ("flyball.report", "text/css"),
}
Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]


def app_of(live: Live, ledger: str = "", hosts: Collection[str] = LOOPBACK) -> Litestar:
    """The page of one governed fleet. `ledger` is the file that replays are made from."""
    return Litestar(
        handlers(live, ledger),
        guards=[Guard(hosts)],
        after_request=with_headers,
        exception_handlers={HTTPException: _refused, Nothing: _absent},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=64 * 1024,
    )


def page_of(live: Live, ledger: str = "", hosts: Collection[str] | None = LOOPBACK) -> Router:
    """The same page as a part of a service, which has health of its own."""
    return Router(
        "/",
        route_handlers=[h for h in handlers(live, ledger) if "/healthz" not in h.paths],
        guards=[Guard(hosts)],
        after_request=with_headers,
        exception_handlers={HTTPException: _refused, Nothing: _absent},
        include_in_schema=False,
    )


def handlers(live: Live, ledger: str = "") -> list[BaseRouteHandler]:
    """Its routes."""
    pages = Pages(live, ledger)

    @get("/", media_type=MediaType.HTML, sync_to_thread=True)
    def fleet_page() -> str:
        return pages.fleet()

    @get("/servers/{name:path}", media_type=MediaType.HTML, sync_to_thread=True)
    def server_page(name: FromPath[str]) -> str:
        return pages.server(name.removeprefix("/"))

    @get("/fragments/fleet", media_type=MediaType.HTML, sync_to_thread=True)
    def fleet_cells() -> str:
        return pages.fleet_cells()

    @get("/fragments/server", media_type=MediaType.HTML, sync_to_thread=True)
    def server_cells(name: FromQuery[str]) -> str:
        return pages.server_cells(name)

    @get("/fragments/options", media_type=MediaType.HTML, sync_to_thread=True)
    def options(name: FromQuery[str]) -> str:
        return pages.options(name)

    @get("/series", media_type=MediaType.JSON, sync_to_thread=True)
    def lines(since: FromQuery[int] = 0, server: FromQuery[str] = "") -> bytes:
        found = series(live.board.views(since), live.board.moves(100, kinds=("world",)), server)
        return msgspec.json.encode(found)

    @get("/curves", media_type=MediaType.JSON, sync_to_thread=True)
    def curves(name: FromQuery[str]) -> bytes:
        return pages.curves(name)

    @get("/known", media_type=MediaType.JSON, sync_to_thread=True)
    def known(name: FromQuery[str]) -> bytes:
        return pages.known(name)

    @post("/what-if", media_type=MediaType.HTML, status_code=200, sync_to_thread=True)
    def what_if(request: Request[Any, Any, Any], data: Form) -> str:
        return pages.what_if(data, whole=not by_htmx(request))

    @post("/stage/speed", media_type=MediaType.HTML, status_code=200, sync_to_thread=True)
    def speed(request: Request[Any, Any, Any], data: Form) -> Response[Any]:
        try:
            live.set_speed(float(data.get("value", "")))
        except ValueError as error:
            raise HTTPException(str(error), status_code=400) from None
        return (
            Response(pages.speed(), media_type=MediaType.HTML)
            if by_htmx(request)
            else Redirect("/", status_code=303)
        )

    @post("/stage/event", media_type=MediaType.HTML, status_code=200, sync_to_thread=True)
    def event(request: Request[Any, Any, Any], data: Form) -> Response[Any]:
        name = data.get("name", "")
        try:
            name = "" if data.get("what") == "return_node" else name
            said = live.happen(data.get("what", ""), name, float(data.get("value", "")))
        except ValueError as error:
            raise HTTPException(str(error), status_code=400) from None
        return (
            Response(pages.world(said, name), media_type=MediaType.HTML)
            if by_htmx(request)
            else Redirect("/", status_code=303)
        )

    @get("/events")
    async def events() -> ServerSentEvent:
        return ServerSentEvent(_news(live))

    @get("/healthz", media_type=MediaType.TEXT, sync_to_thread=False)
    def healthz() -> str:
        return "ok\n"

    @get("/static/{name:str}", sync_to_thread=False)
    def static(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
        return _static(name, request.headers.get("if-none-match"))

    return [
        fleet_page, server_page, fleet_cells, server_cells, options, lines, curves, known, what_if, speed,
        event, events, healthz, static,
    ]  # fmt: skip


async def _news(live: Live) -> AsyncIterator[ServerSentEventMessage]:
    """An event at once, after each cycle and each change from a page; a comment where nothing happens."""
    rung = -1
    yield ServerSentEventMessage(retry=1000, comment="flyball")
    while not live.closing:
        now = await live.bell.heard(rung, HEARTBEAT)
        if live.closing:
            return
        if now == rung:
            yield ServerSentEventMessage(comment="still here")
            continue
        rung, view = now, live.board.last
        news = {
            "number": view.number if view else 0,
            "time": view.time if view else 0.0,
            "speed": live.stage.speed if live.stage else 1.0,
            "names": names_of(view),
        }
        yield ServerSentEventMessage(msgspec.json.encode(news).decode(), event="cycle", id=news["number"])  # type: ignore[arg-type]


def _static(name: str, known: str | None) -> Response[bytes]:
    if name not in STATIC:
        raise NotFoundException(f"there is no file '{name}'")
    package, kind = STATIC[name]
    data = (resources.files(package) / "static" / name).read_bytes()
    tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if known == tag:
        return Response(b"", status_code=304, headers=headers, media_type=kind)
    return Response(data, headers=headers, media_type=f"{kind}; charset=utf-8")


def _refused(_: Request[Any, Any, Any], error: HTTPException) -> Response[str]:
    """What was wrong, in words."""
    text = f"{error.detail}\n"
    return with_headers(Response(text, status_code=error.status_code, media_type=MediaType.TEXT))


def _absent(_: Request[Any, Any, Any], error: Nothing) -> Response[str]:
    return with_headers(Response(f"{error}\n", status_code=404, media_type=MediaType.TEXT))
