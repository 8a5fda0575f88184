"""The service described: its OpenAPI document, and a page that shows it without anything from elsewhere."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath

from flyball.server.service.answers import Refusal

STATIC = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "docs.js": "text/javascript",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def docs() -> list[BaseRouteHandler]:
    """`/docs`, and what the page is made of; it asks for `/openapi.json`, which Litestar makes."""

    @get("/docs", include_in_schema=False, sync_to_thread=False)
    def page() -> Response[bytes]:
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}
        return Response(_file("docs.html"), headers=headers, media_type="text/html")

    @get("/docs/{name:str}", include_in_schema=False, sync_to_thread=False)
    def part(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
        if name not in STATIC:
            raise Refusal(404, f"there is no file '{name}'")
        data = _file(name)
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        kind = STATIC[name]
        if request.headers.get("if-none-match") == tag:
            return Response(b"", status_code=304, headers=headers, media_type=kind)
        return Response(data, headers=headers, media_type=kind)

    return [page, part]


def _file(name: str) -> bytes:
    return (resources.files("flyball.server.service") / "static" / name).read_bytes()
