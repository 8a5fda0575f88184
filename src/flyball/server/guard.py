"""Who may ask: only this machine's own names, and changes only from the page itself."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler

LOOPBACK = ("127.0.0.1", "localhost", "::1")
READS = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """A guard of routes; `hosts` are the names under which the page is served, None: any."""

    def __init__(self, hosts: Collection[str] | None = LOOPBACK) -> None:
        self.hosts = None if hosts is None else frozenset(hosts)

    def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """PermissionDeniedException for a strange host, or for a change that another page asks for."""
        host = connection.headers.get("host", "")
        if self.hosts is not None and urlsplit(f"//{host}").hostname not in self.hosts:
            raise PermissionDeniedException(f"the page is not served as '{host}'")
        if connection.scope.get("method") in READS:
            return
        origin, site = connection.headers.get("origin"), connection.headers.get("sec-fetch-site")
        if site not in (None, "same-origin") or (origin is not None and urlsplit(origin).netloc != host):
            raise PermissionDeniedException("changes are taken from this page only, not from another one")
        if origin is None and site is None:
            raise PermissionDeniedException("a change must say where it comes from (the header Origin)")


def with_headers(response: Response[Any]) -> Response[Any]:
    """The headers that every answer has."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def by_htmx(request: Request[Any, Any, Any]) -> bool:
    """Whether a script of the page asks, which wants a fragment and no page."""
    return request.headers.get("hx-request") == "true"
