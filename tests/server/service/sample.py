"""A small service to try the shell with."""

from __future__ import annotations

import threading
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery

from flyball.server.service.answers import Refusal, answer
from flyball.server.service.exchange import note
from flyball.server.service.service import Limits, Service
from flyball.server.service.telemetry import telemetry_of
from flyball.server.service.work import body_of, worked
from flyball.wire.errors import WireError


class Gate:
    """Work that waits until the test opens it."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def pass_through(self) -> str:
        """Say that it has come, and wait."""
        self.entered.release()
        assert self.open.wait(60.0)
        return "through"


def sample(gate: Gate | None = None, limits: Limits | None = None, ready: list[str] | None = None) -> Service:
    """Routes of every kind that services have."""
    gate = gate or Gate()

    @post("/echo", status_code=200)
    async def echo(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Answers how many bytes came."""
        body = await body_of(request)
        return answer({"bytes": len(body)})

    @post("/plan", status_code=200)
    async def plan(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Records a plan."""

        def work() -> int:
            note(thread=threading.current_thread().name)
            return len(body)

        body = await body_of(request)
        servers = await worked(request, work)
        telemetry_of(request).plan(solver="greedy", seconds=0.25, servers=servers, unserved=1)
        telemetry_of(request).state({"servers": servers})
        return answer({"servers": servers})

    @get("/wait")
    async def wait(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Works until it may end."""
        return answer({"message": await worked(request, gate.pass_through)})

    @get("/things/{name:str}")
    async def thing(name: FromPath[str], fault: FromQuery[str] = "") -> Response[bytes]:
        """What is wrong in every way."""
        if fault == "wire":
            raise WireError("body", "is not what it should be", path="servers[0].load", value=-1)
        if fault == "own":
            raise RuntimeError("a secret that no client sees")
        if fault == "absent":
            raise Refusal(404, f"thing {name} not found")
        return answer({"name": name})

    return Service(
        "sample",
        "The sample",
        "A service to try the shell with.",
        (echo, plan, wait, thing),
        ready=lambda: ready[0] if ready else "",
        limits=limits or Limits(),
    )
