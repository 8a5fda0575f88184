"""Serve a service until it is told to end."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import msgspec
import uvicorn
from litestar import Litestar

from flyball.report.sentences import printable
from flyball.server.guard import LOOPBACK
from flyball.server.service.access import Access, Tokens
from flyball.server.service.connection import Connection
from flyball.server.service.log import How, logger_of, with_others
from flyball.server.service.service import Service, app_of
from flyball.server.service.telemetry import Telemetry
from flyball.server.service.tls import Certificate
from flyball.units import Seconds

DONE, WRONG = 0, 2
HEAD_SIZE = 64 * 1024
"""Bytes of a request's head."""
KEEP_ALIVE: Seconds = 30.0
BACKLOG = 512


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how to serve; ValueError where a value makes no sense.

    `drain` is how long it goes on accepting when it has turned unready, until balancers have noticed; `grace`
    how long requests under way may then take.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    log: How = "auto"
    drain: Seconds = 0.0
    grace: Seconds = 25.0

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("the host is empty: 127.0.0.1 is this machine only, 0.0.0.0 every address of it")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"the port is {self.port}: a port is a number from 0 (any free one) to 65535")
        if (self.certificate is None) != (self.key is None):
            there, missing = ("certificate", "key") if self.key is None else ("key", "certificate")
            raise ValueError(f"a {there} without a {missing}: TLS wants both, each in a PEM file")
        if self.log not in get_args(How):
            raise ValueError(f"the log is '{self.log}': it is one of {', '.join(get_args(How))}")
        for name, value in (("drain", self.drain), ("grace", self.grace)):
            if not (math.isfinite(value) and 0 <= value <= 3600):
                raise ValueError(f"{name} is {value:g}: it is seconds, from 0 to 3600")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


class Serving:
    """A service on its socket: it listens when it is made, and answers while `run` runs.

    ValueError where the socket, the tokens or the certificate cannot be had.
    """

    def __init__(self, service: Service, options: Options) -> None:
        log = logger_of(service.name, options.log)
        tokens = None if options.token_file is None else Tokens(options.token_file)
        hosts = frozenset({*LOOPBACK, options.host}) if options.local else None
        self.certificate = None
        if options.certificate is not None and options.key is not None:
            self.certificate = Certificate(options.certificate, options.key)
        self.telemetry = Telemetry(service.name, log)
        self.app = app_of(service, Access(tokens, hosts), self.telemetry)
        self._server = _Server(self.app, self.certificate, self.telemetry, options)
        self._socket = listening(options.host, options.port)
        host = f"[{options.host}]" if ":" in options.host else options.host
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if self.certificate else 'http'}://{host}:{self.port}/"

    def run(self) -> None:
        """Answer until `stop`, or until SIGTERM or SIGINT where this is the main thread."""
        try:
            self._server.run([self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Turn unready, then end; what is under way may end first. A second time: end at once."""
        self._server.stop()


class _Server(uvicorn.Server):
    def __init__(
        self, app: Litestar, certificate: Certificate | None, telemetry: Telemetry, options: Options
    ) -> None:
        self._app, self._options = app, options
        self._stop_at: float | None = None

        async def renew() -> None:
            if certificate is None:
                return
            problem = await asyncio.to_thread(certificate.renew)
            if problem:
                telemetry.log.error("certificate", problem=f"{problem}. The one before stays in use")
            elif problem is None:
                telemetry.log.info("certificate", read=str(certificate.certificate))

        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                interface="asgi3",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                h11_max_incomplete_event_size=HEAD_SIZE,
                timeout_keep_alive=int(KEEP_ALIVE),
                timeout_graceful_shutdown=math.ceil(options.grace),
                ssl_context_factory=(lambda *_: certificate.context) if certificate else None,
                callback_notify=renew,
                timeout_notify=1,
            )
        )

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.stop()  # and the signal is dealt with: not raised again at the end

    def stop(self) -> None:
        if self._stop_at is not None:
            self._stop_at, self.force_exit = 0.0, True
            return
        self._stop_at = time.monotonic() + self._options.drain
        self._app.state.stopping = True

    async def on_tick(self, counter: int) -> bool:
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)


def serve(service: Service, options: Options) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    try:
        serving = Serving(service, options)
    except ValueError as error:
        _say(f"flyball: {error}")
        return WRONG
    print(
        f"The {service.name} is at {serving.url} (Ctrl-C ends it); what it offers: {serving.url}docs",
        flush=True,
    )
    if warning := warning_of(options):
        _say(f"flyball: warning: {warning}")
    with with_others(serving.telemetry.log):
        serving.telemetry.log.info("serving", url=serving.url)
        serving.run()
        serving.telemetry.log.info("ended")
    return DONE


def warning_of(options: Options) -> str:
    """What whoever starts it so should know, or ""."""
    if options.local:
        return ""
    if options.token_file is None:
        return f"whoever reaches {options.host} may use the service, as no tokens are asked for"
    return "" if options.certificate else "tokens travel readable, as there is no certificate"


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Or ValueError that says why there is none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ValueError(f"the host '{host}' is not known here ({error.strerror}). Name an address") from None
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    # With its protocol named, or asyncio leaves Nagle's algorithm on, and answers wait 40 ms for an ACK.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ValueError(
            f"port {port} on {host} cannot be had ({error.strerror}). Name another, or 0 for any free one"
        ) from None
    return sock


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _say(text: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError):
            print(printable(text), file=sys.stderr, flush=True)
