"""What operators see: metrics of requests and plans, and one log line for each request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from importlib.metadata import version as version_of
from typing import Any

import msgspec
from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder
from structlog.contextvars import bound_contextvars
from structlog.typing import FilteringBoundLogger

from flyball.server.service.answers import INDENT, JSON
from flyball.server.service.exchange import Exchange, note, reply
from flyball.server.service.log import logger_of
from flyball.units import Seconds

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
HUNG_UP = 499
"""The status, in log and metrics, of a request whose client left before the answer."""
PATH_SHOWN = 200
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Routes that are asked for every few seconds: a line only where they fail."""


class Telemetry:
    """The metrics and the log of one service; both are its own, so that several can live in one process."""

    def __init__(self, service: str, log: FilteringBoundLogger | None = None) -> None:
        self.service = service
        self.log = logger_of(service, "off") if log is None else log
        self.registry = registry = CollectorRegistry()
        by_route = ("service", "method", "route")
        self._requests = Counter(
            "flyball_http_requests", "Requests answered.", (*by_route, "status"), registry=registry
        )
        self._seconds = Histogram(
            "flyball_http_request_seconds",
            "Time from a request's head to the end of its answer.",
            by_route,
            buckets=BUCKETS,
            registry=registry,
        )
        self._in_progress = Gauge(
            "flyball_http_requests_in_progress", "Requests under way.", ("service",), registry=registry
        ).labels(service)
        self._plan_seconds = Histogram(
            "flyball_plan_seconds", "Time that a plan took.", ("solver",), buckets=BUCKETS, registry=registry
        )
        self._servers = Gauge("flyball_plan_servers", "Servers in the last plan.", registry=registry)
        self._unserved = Gauge(
            "flyball_plan_unserved_servers",
            "Servers without an allocation in the last plan.",
            registry=registry,
        )
        self._objects = Gauge(
            "flyball_state_objects", "Objects that the service holds.", ("kind",), registry=registry
        )
        Info("flyball_build", "What runs here.", registry=registry).info({"version": version_of("flyball")})
        ProcessCollector(registry=registry)

    def plan(self, *, solver: str, seconds: Seconds, servers: int, unserved: int) -> None:
        """Record a plan, and note it for the request's log line."""
        self._plan_seconds.labels(solver).observe(seconds)
        self._servers.set(servers)
        self._unserved.set(unserved)
        note(solver=solver, plan_seconds=round(seconds, 6), servers=servers, unserved=unserved)

    def state(self, objects: Mapping[str, int]) -> None:
        """Record how many objects of each kind the service holds."""
        for kind, number in objects.items():
            self._objects.labels(kind).set(number)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics and their media type: Prometheus' text, or OpenMetrics where it is asked for."""
        try:
            encoder, kind = choose_encoder(accept)
        except (TypeError, ValueError):  # it trips over a version that is no number
            encoder, kind = choose_encoder("")
        return encoder(self.registry), kind

    def fault(self, error: BaseException, exchange_id: str) -> bytes:
        """The traceback goes into the log; the answer's body names the request only."""
        self.log.error("fault", exc_info=error)
        words = f"a fault of Flyball itself; its log has more under the request id {exchange_id}"
        return message_of(words)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The app, measured and logged; it always answers."""

        async def measured(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            exchange = Exchange(scope, receive, send)
            began = time.perf_counter()
            self._in_progress.inc()
            with bound_contextvars(request_id=exchange.id):
                try:
                    await exchange.begin()
                    await app(scope, exchange.receive, exchange.send)
                except asyncio.CancelledError:  # the server has waited long enough for the end
                    self.log.error("cut off", why="the service had to stop")
                    await self._say(exchange, 503, message_of("the service had to stop before this was done"))
                except Exception as error:
                    await self._say(exchange, 500, self.fault(error, exchange.id))
                finally:
                    await exchange.end()
                    self._in_progress.dec()
                    self._tell(scope, exchange, time.perf_counter() - began)

        return measured

    async def _say(self, exchange: Exchange, status: int, body: bytes) -> None:
        if exchange.status:
            raise RuntimeError("the answer had begun when it failed")  # the connection is closed upon this
        await reply(exchange.send, status, body, JSON)

    def _tell(self, scope: Any, exchange: Exchange, seconds: Seconds) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = scope.get("path_template") or "none"
        status = HUNG_UP if exchange.lost or not exchange.status else exchange.status
        self._requests.labels(self.service, method, route, str(status)).inc()
        self._seconds.labels(self.service, method, route).observe(seconds)
        if route in QUIET and status < 400:
            return
        client = scope.get("client")
        facts = {
            **exchange.facts,
            "method": method,
            "path": scope.get("raw_path", b"").decode("ascii", "backslashreplace")[:PATH_SHOWN],
            "route": route,
            "status": status,
            "seconds": round(seconds, 6),
            "received": exchange.received,
            "sent": exchange.sent,
            "client": client[0] if client else "",
        }
        (self.log.error if status == 500 else self.log.info)("request", **facts)


def message_of(words: str) -> bytes:
    """`{"message": ...}` in the form of all answers."""
    return msgspec.json.format(msgspec.json.encode({"message": words}), indent=INDENT)


def telemetry_of(request: Request[Any, Any, Any]) -> Telemetry:
    """The telemetry of the service that the request came to."""
    telemetry: Telemetry = request.app.state.telemetry
    return telemetry
