"""The process: the engines in step with the clock and the cluster, and their pages over HTTP."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qs, unquote

import msgspec
import uvicorn

from flyball.sandbox.engines.attainment import Attainment
from flyball.sandbox.engines.clock import EngineClock
from flyball.sandbox.engines.engines import Engines
from flyball.sandbox.engines.pages import router_page, targets_of
from flyball.sandbox.engines.watch import Seen
from flyball.spec.service_class import Metric, Target
from flyball.units import Seconds

STEP: Seconds = 0.2
LOOK: Seconds = 1.0
"""Of the wall's clock: how often the engines run on, and how often the cluster is looked at."""
HOST = "127.0.0.1"
BACKLOG = 512

TEXT = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json"

Message: TypeAlias = MutableMapping[str, Any]
Answer: TypeAlias = tuple[int, str, bytes]


class Health(msgspec.Struct, frozen=True):
    """How the process does. Ages and durations are of the wall's clock."""

    time: Seconds
    """Simulated."""
    speed: float
    looked: Seconds | None
    """Age of the last look at the cluster; None: there was none."""
    step: Seconds
    """How long the last step took; more than the time between two: it cannot keep up."""
    pods: int
    servers: int
    problem: str
    """Why the cluster cannot be seen now."""
    notes: tuple[str, ...]
    """What cannot be served or read, and why."""


class Report(msgspec.Struct, frozen=True):
    """What came of the requests, by server."""

    time: Seconds
    servers: tuple[Attainment, ...]


class Look(Protocol):
    """Looks at the cluster; may block. Any exception: it cannot be seen now."""

    def __call__(self) -> Seen: ...


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: object) -> None:
        self.should_exit = True  # and the signal is dealt with: not raised again at the end


class EngineService:
    """Serves the engines' pages on this machine; it listens when it is made."""

    def __init__(
        self,
        engines: Engines,
        clock: EngineClock,
        look: Look | None,
        port: int = 0,
        parent: int | None = None,
    ) -> None:
        """It ends with the process `parent`, if there is one. ValueError: the port cannot be had."""
        self._parent = parent
        self.engines, self._clock, self._look = engines, clock, look
        self._looked: float | None = None
        self._step = 0.0
        self._problem = "it was not looked at yet"
        self._notes: tuple[str, ...] = ()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((HOST, port))
            self._socket.listen(BACKLOG)
        except OSError as error:
            self._socket.close()
            raise ValueError(
                f"port {port} cannot be had ({error.strerror}). Name another, or 0 for any free one"
            ) from None
        self.address = f"{HOST}:{self._socket.getsockname()[1]}"
        self.url = f"http://{self.address}"
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)

    def run(self) -> None:
        """Answer until `stop`, or until SIGTERM or SIGINT where this is the main thread."""
        try:
            asyncio.run(self._run())
        finally:
            self._socket.close()

    def stop(self) -> None:
        """End soon."""
        self._server.should_exit = True

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._go_on())]
        if self._look is not None:
            tasks.append(asyncio.create_task(self._watch(self._look)))
        serving = asyncio.create_task(self._server.serve([self._socket]))
        try:
            done, _ = await asyncio.wait([serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a fault of ours ends the process, and is told
        finally:
            self.stop()
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(serving, *tasks)

    async def _go_on(self) -> None:
        while True:
            begin = time.monotonic()
            self.engines.advance(self._clock.now())
            self._step = time.monotonic() - begin
            if self._parent is not None and os.getppid() != self._parent:
                self.stop()
            await asyncio.sleep(max(STEP - self._step, 0.01))

    async def _watch(self, look: Look) -> None:
        while True:
            try:
                seen = await asyncio.to_thread(look)
            except (
                Exception
            ) as error:  # the API server is away, or talks nonsense: the pods stay as they were
                self._problem = f"{type(error).__name__}: {error}"
            else:
                self.engines.advance(self._clock.now())
                self.engines.sync(seen.pods, seen.workloads, seen.nodes, seen.killed)
                self._notes, self._problem, self._looked = seen.notes, "", time.monotonic()
            await asyncio.sleep(LOOK)

    # ---- pages ---------------------------------------------------------------------------------

    async def _app(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        status, kind, body = self.answer(
            scope["method"], scope["path"], scope["query_string"].decode("latin-1")
        )
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def answer(self, method: str, path: str, query: str = "") -> Answer:
        """Status, content type and body for a request."""
        if method not in ("GET", "HEAD"):
            return _wrong(405, f"{method} is not answered here; only GET is")
        match [unquote(part) for part in path.strip("/").split("/")]:
            case ["pods", namespace, pod, "metrics"]:
                try:
                    return 200, TEXT, self.engines.metrics(namespace, pod).encode()
                except KeyError:
                    return _wrong(404, f"nothing serves in the pod {pod} of the namespace {namespace}")
            case ["router", "metrics"]:
                return 200, TEXT, router_page(self.engines, self._clock.speed).encode()
            case ["targets"]:
                return _json(list(targets_of(self.engines, self.address)))
            case ["report"]:
                try:
                    return _json(self._report(query))
                except ValueError as error:
                    return _wrong(400, str(error))
            case ["healthz"]:
                return _json(self._health())
        pages = "/pods/NAMESPACE/POD/metrics, /router/metrics, /targets, /report and /healthz"
        return _wrong(404, f"there is no page {path}; there are {pages}")

    def _report(self, query: str) -> Report:
        asked = {key: values[-1] for key, values in parse_qs(query, keep_blank_values=True).items()}
        known = ("since", "until", "ttft", "itl", "e2e")
        for key in asked:
            if key not in known:
                raise ValueError(f"there is no parameter {key}; there are {', '.join(known)}")
        numbers = {key: _seconds(key, value) for key, value in asked.items()}
        metrics: tuple[Metric, ...] = ("ttft", "itl", "e2e")
        targets = tuple(Target(metric, numbers[metric]) for metric in metrics if metric in numbers)
        self.engines.advance(self._clock.now())
        servers = self.engines.report(numbers.get("since", 0.0), numbers.get("until"), targets)
        return Report(self.engines.time, servers)

    def _health(self) -> Health:
        unserved = (f"{pod.namespace}/{pod.name}: {note}" for pod, note in self.engines.notes.items())
        return Health(
            time=self.engines.time,
            speed=self._clock.speed,
            looked=None if self._looked is None else time.monotonic() - self._looked,
            step=self._step,
            pods=len(self.engines.pods),
            servers=len(self.engines.pools),
            problem=self._problem,
            notes=(*self._notes, *unserved),
        )


def _seconds(key: str, value: str) -> Seconds:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0.0 <= number < float("inf"):
        raise ValueError(f"{key} is '{value[:40]}': it is a number of seconds from 0")
    return number


def _json(value: object) -> Answer:
    return 200, JSON, msgspec.json.encode(value)


def _wrong(status: int, problem: str) -> Answer:
    return status, JSON, msgspec.json.encode({"error": problem})
