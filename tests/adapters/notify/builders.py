"""Topics, and servers on loopback that are told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flyball.power.tell import Governed, News, news_of
from flyball.spec.power import Domain, Level, Policy, WorkloadRef
from flyball.spec.power_plan import DomainState, PowerAction, Recommendation

DOMAINS = (
    Domain("hall", "Site"),
    Domain("row-a", "Row", parent="hall"),
    Domain("rack-7", "Rack", parent="row-a"),
    Domain("rack-8", "Rack", parent="row-a"),
)
POLICY = Policy("chat", namespace="prod", outputs=("alertmanager", "slack", "gitops"))
GOVERNED = {
    "llama": Governed("prod", WorkloadRef("ScaledObject", "llama"), least=1, most=6),
    "mistral": Governed("prod", WorkloadRef("Deployment", "mistral")),
}


def state(level: Level = "shed", watts: float = 9_500.0, domain: str = "rack-7", **more: Any) -> DomainState:
    return DomainState(domain, level, watts, True, 10_000.0, **more)


def advice(after: int = 3, domain: str = "rack-7", expires: float = 1e9, **more: Any) -> Recommendation:
    action = PowerAction("replicas", "llama", 5, after, 1_400.0, 90.0)
    given = {"policy": "prod/chat", "level": "shed", "actions": (action,), "reason": "over its budget"} | more
    return Recommendation(domain=domain, expires=expires, **given)


def news(
    now: float = 0.0, states: tuple[DomainState, ...] = (), advised: tuple[Recommendation, ...] = ()
) -> News:
    return news_of("slack", DOMAINS, states, advised, (POLICY,), now, GOVERNED)


class Request:
    """One that came."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: Any) -> None:
        self.method, self.path, self.headers, self.body = method, path, headers, body


Answer = tuple[int, Any, dict[str, str]]
"""Status, JSON or text, headers."""


class Fake:
    """A server on loopback: what came, and a function that answers."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.answer, self.requests, self.url = answer, list[Request](), ""

    def bodies(self, path: str = "") -> list[Any]:
        return [r.body for r in self.requests if path in r.path]


@contextmanager
def fake(answer: Callable[[Request], Answer] = lambda r: (200, "ok", {})) -> Iterator[Fake]:
    told = Fake(answer)

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(data) if data else None
            request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            told.requests.append(request)
            status, said, headers = told.answer(request)
            raw = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PATCH = _any  # noqa: N815

        def log_message(self, *given: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
