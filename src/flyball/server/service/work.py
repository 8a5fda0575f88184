"""Bodies are read within limits; what computes runs in threads, so many at once, first come first."""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from litestar import Request

from flyball.server.service.answers import Refusal
from flyball.server.service.exchange import Exchange, current
from flyball.units import Seconds
from flyball.wire.text import SIZE_LIMIT

T = TypeVar("T")
PATIENCE: Seconds = 2.0
"""So long a body that is too large is read on, unseen, so that its sender comes to hear the answer."""
LONGEST_RETRY: Seconds = 60.0


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use, a container's share counted; at least 1."""
    there = len(os.sched_getaffinity(0))
    try:
        share, period = quota.read_text().split()
        return max(1, min(there, math.ceil(int(share) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return there


class Limits(msgspec.Struct, frozen=True):
    """What one service takes: bytes of a body, seconds for it to come, requests at work at once and in line.

    `held` bounds the bodies of all requests under way together, in bytes.
    """

    body: int = SIZE_LIMIT
    receive: Seconds = 30.0
    at_once: int = msgspec.field(default_factory=cores)
    waiting: int = 256
    held: int = 8 * SIZE_LIMIT


class Holding:
    """Counts the bytes of all bodies that are in memory, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0

    def take(self, size: int, exchange: Exchange) -> None:
        """Count what came, until the request ends. Or Refusal 503."""
        if self.held + size > self.limit:
            raise Refusal(
                503,
                f"requests under way hold the {self.limit:,} bytes that they may. Try again",
                headers={"Retry-After": "1", "Connection": "close"},
            )
        if not exchange.held:
            exchange.at_end.append(lambda: self._give_back(exchange))
        self.held += size
        exchange.held += size

    def _give_back(self, exchange: Exchange) -> None:
        self.held -= exchange.held
        exchange.held = 0


class Gone(Exception):
    """The client has hung up; nobody waits for the answer."""


class Workers:
    """Runs functions in threads: `at_once` at a time, up to `waiting` more in line; the next is refused."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self.at_once, self.waiting = at_once, waiting
        self._free = at_once
        self._line: deque[asyncio.Future[None]] = deque()
        self._usual: Seconds = 0.1

    @property
    def in_line(self) -> int:
        """How many wait for their turn."""
        return len(self._line)

    @property
    def at_work(self) -> int:
        """How many run."""
        return self.at_once - self._free

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises. Or Refusal 503 where too many wait; Gone where the client leaves."""
        await self._turn()
        return await self._begin(work)

    def _begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Start a thread of its own, which does not keep a process alive that has to end."""
        loop, began = asyncio.get_running_loop(), time.monotonic()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def tell(result: T | None, error: BaseException | None) -> None:
            # The place is free when the thread has ended, not when its waiter was cancelled.
            self._usual += 0.2 * (time.monotonic() - began - self._usual)
            self._next()
            if future.done():
                return
            if error is not None:  # a future does not take StopIteration
                future.set_exception(RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            result, error = None, None
            try:
                result = context.run(work)
            except BaseException as raised:
                error = raised
            with suppress(RuntimeError):  # the loop has ended: nobody listens any more
                loop.call_soon_threadsafe(tell, result, error)

        try:
            threading.Thread(target=run, name="flyball-work", daemon=True).start()
        except RuntimeError:  # no more threads
            self._next()
            raise
        return future

    async def _turn(self) -> None:
        if self._free and not self._line:
            self._free -= 1
            return
        if len(self._line) >= self.waiting:
            wait = min(max(math.ceil(self._usual * (len(self._line) + 1) / self.at_once), 1), LONGEST_RETRY)
            raise Refusal(
                503,
                f"{self.at_work} requests are at work and {self.in_line} wait. Try again in {wait:g} s",
                headers={"Retry-After": f"{wait:g}"},
            )
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(place)
        exchange = current()
        left = asyncio.ensure_future(exchange.gone.wait()) if exchange is not None else None
        try:
            both: list[asyncio.Future[Any]] = [place] if left is None else [place, left]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not place.done():
                raise Gone
        except BaseException:
            if place.done():
                self._next()
            else:
                self._line.remove(place)
            raise
        finally:
            if left is not None:
                left.cancel()

    def _next(self) -> None:
        """Hand a place that has become free to who waits longest."""
        if self._line:
            self._line.popleft().set_result(None)
        else:
            self._free += 1


async def worked(request: Request[Any, Any, Any], work: Callable[[], T]) -> T:
    """What `work` returns or raises, run by the workers of the service that the request came to."""
    workers: Workers = request.app.state.workers
    return await workers.run(work)


async def body_of(request: Request[Any, Any, Any]) -> bytes:
    """The whole body. Or Refusal: 413 too large, 408 too slow, 503 no memory for it; Gone."""
    limits: Limits = request.app.state.limits
    try:
        async with asyncio.timeout(limits.receive):
            return await _received(request, limits)
    except TimeoutError:
        raise Refusal(
            408, f"the body did not come within {limits.receive:g} s", headers={"Connection": "close"}
        ) from None


async def _received(request: Request[Any, Any, Any], limits: Limits) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limits.body:
        # With "Expect: 100-continue" nothing has been sent yet, and nothing will be.
        await _too_large(request, limits, patient=request.headers.get("expect", "").lower() != "100-continue")
    holding: Holding = request.app.state.holding
    exchange = current()
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size > limits.body:
            parts.clear()
            await _too_large(request, limits, patient=more)
        if exchange is not None and part:
            holding.take(len(part), exchange)
        parts.append(part)
    return b"".join(parts)


async def _too_large(request: Request[Any, Any, Any], limits: Limits, patient: bool) -> None:
    """Refuse; but let the sender finish first, within reason, or it sees a broken connection, no words."""
    if patient:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                read = 0
                while read < limits.body:
                    message: Any = await request.receive()
                    read += len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        break
    raise Refusal(
        413,
        f"the body is larger than the limit of {limits.body:,} bytes. Split it",
        headers={"Connection": "close"},
    )
