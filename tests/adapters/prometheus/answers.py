"""A small HTTP server that answers queries as a test wants: itself, or by asking a real Prometheus."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

VECTOR = {"resultType": "vector", "result": []}


class Answer(NamedTuple):
    status: int
    body: bytes
    kind: str = "application/json"


Say = Callable[[str, str], Answer]
"""From the query, or the path where there is none, and the Authorization header, to an answer."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone away is what some tests are about."""


@contextmanager
def answering(say: Say) -> Iterator[str]:
    """The address of a server that says this."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = parse_qs(parts.query).get("query", [parts.path])[0]
            answer = say(asked, self.headers.get("Authorization", ""))
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def success(result: list[object], warnings: list[str] | None = None, kind: str = "vector") -> Answer:
    """What Prometheus answers."""
    said: dict[str, object] = {"status": "success", "data": {"resultType": kind, "result": result}}
    return Answer(200, json.dumps({**said, **({"warnings": warnings} if warnings else {})}).encode())


def sample(value: str, **labels: str) -> object:
    """One element of a vector."""
    return {"metric": labels, "value": [1000.0, value]}


def asking(url: str, query: str) -> Answer:
    """What a real Prometheus answers to a query."""
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=10.0) as answer:
            return Answer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read())
