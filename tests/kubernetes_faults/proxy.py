"""A reverse proxy that disturbs: it answers itself, cuts, delays, loses and changes; and it records."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

TIMEOUT = 60.0
DROPPED = {"transfer-encoding", "content-length", "connection", "host", "accept-encoding"}


class Fault(NamedTuple):
    """What is done to one request."""

    status: int = 0
    """Over 0: answered without the server."""
    headers: dict[str, str] = {}  # noqa: RUF012
    body: bytes = b"{}"
    delay: float = 0.0
    """Seconds before anything else."""
    cut: bool = False
    """The connection ends before the server is asked."""
    lost: bool = False
    """The connection ends after the server was asked."""
    drip: float = 0.0
    """Over 0: seconds between one byte of the answer and the next."""
    change: Callable[[bytes], bytes] | None = None
    """Of the server's answer."""


class Passed(NamedTuple):
    """A request that the server has answered, whether or not the answer came back."""

    at: float
    """When it was handed on, by the monotonic clock."""
    method: str
    path: str
    sent: Any
    status: int
    body: Any
    """Decoded where it was a write."""

    @property
    def wrote(self) -> bool:
        """Whether it is a write that was done."""
        return self.method not in ("GET", "HEAD") and 200 <= self.status < 300


Plan = Callable[[str, str], Fault | None]
"""From method and path to what happens."""


def nothing(method: str, path: str) -> None:
    """Everything passes."""
    return


class Proxy:
    """Listens on loopback while it is open; `plan` may be replaced at any time."""

    def __init__(self, upstream: str, authority: Path | None = None) -> None:
        self.plan: Plan = nothing
        self.passed: list[Passed] = []
        self._host = urlsplit(upstream)
        self._trust = ssl.create_default_context(cafile=str(authority)) if authority else None
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True

            def _answer(self) -> None:
                proxy.answer(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        ).start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def faulty(self, plan: Plan) -> Iterator[None]:
        """A plan for as long as this lasts."""
        self.plan = plan
        try:
            yield
        finally:
            self.plan = nothing

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One request."""
        content = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        fault = self.plan(handler.command, handler.path) or Fault()
        if fault.delay:
            time.sleep(fault.delay)
        if fault.cut:
            handler.close_connection = True
            return
        if fault.status:
            self._send(handler, fault.status, fault.headers, fault.body, 0.0)
            return
        try:
            status, headers, body = self._forward(handler, content)
        except (OSError, http.client.HTTPException):
            handler.close_connection = True  # as the server itself would have it
            return
        if fault.lost:
            handler.close_connection = True
            return
        self._send(handler, status, headers, fault.change(body) if fault.change else body, fault.drip)

    def _forward(self, handler: BaseHTTPRequestHandler, content: bytes) -> tuple[int, dict[str, str], bytes]:
        host, port = str(self._host.hostname), self._host.port
        connection = (
            http.client.HTTPConnection(host, port, timeout=TIMEOUT)
            if self._trust is None
            else http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=self._trust)
        )
        try:
            headers = {key: value for key, value in handler.headers.items() if key.lower() not in DROPPED}
            at = time.monotonic()
            connection.request(handler.command, handler.path, content or None, headers)
            answer = connection.getresponse()
            body = answer.read()
            kept = {key: value for key, value in answer.getheaders() if key.lower() not in DROPPED}
        finally:
            connection.close()
        is_read = handler.command == "GET"
        sent = None if is_read or not content else json.loads(content)
        said = None if is_read else _decoded(body)
        self.passed.append(Passed(at, handler.command, handler.path, sent, answer.status, said))
        return answer.status, kept, body

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes, drip: float
    ) -> None:
        handler.send_response_only(status)
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for piece in (body[i : i + 1] for i in range(len(body))) if drip else (body,):
            handler.wfile.write(piece)
            if drip:
                handler.wfile.flush()
                time.sleep(drip)


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
