"""One request and its answer under way: the id, the facts, and whether anybody still waits for it."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from litestar.types import HTTPScope, Receive, Send

GIVEN_ID = re.compile(rb"[!-~]{1,128}")
ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""Headers of every answer that does not say otherwise."""

_CURRENT: ContextVar[Exchange] = ContextVar("flyball_exchange")


class Exchange:
    """What is counted and noted about one request; wraps the ways in and out of it."""

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        given = next((value for name, value in headers if name == b"x-request-id"), b"")
        self.id = given.decode() if GIVEN_ID.fullmatch(given) else uuid.uuid4().hex
        self.facts: dict[str, object] = {}
        self.status = 0
        self.received = self.sent = self.held = 0
        self.lost = self.complete = False
        self.at_end: list[Callable[[], None]] = []
        self.gone = asyncio.Event()
        """Set when the client has hung up (or has its whole answer)."""
        self._receive, self._send = receive, send
        self._empty = not any(name in (b"content-length", b"transfer-encoding") for name, _ in headers)
        self._first: Any = None
        self._ended = False
        self._watch: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Make it the current one; where no body comes, look out for the end at once."""
        _CURRENT.set(self)
        if self._empty:
            self._first = await self.receive()

    async def receive(self) -> Any:
        """The next part of the body; after the last one, the end of the connection."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._ended:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        message: Any = await self._receive()
        if message["type"] == "http.disconnect":
            self._ended = True
            self.gone.set()
            return message
        self.received += len(message.get("body", b""))
        if not message.get("more_body", False):
            self._ended = True
            self._watch = asyncio.create_task(self._until_gone())
        return message

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone.set()

    async def send(self, message: Any) -> None:
        """A part of the answer, with the headers of every answer."""
        if self.gone.is_set() and not self.complete:
            self.lost = True
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            named = {name.lower() for name, _ in headers}
            headers += [(name, value) for name, value in ALWAYS if name not in named]
            headers.append((b"x-request-id", self.id.encode()))
            message = {**message, "headers": headers}
        else:
            self.sent += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        await self._send(message)

    async def end(self) -> None:
        """No longer look out for the client, and give back what it held."""
        for each in self.at_end:
            each()
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch


def current() -> Exchange | None:
    """The exchange that the running code works for, where it works for one."""
    return _CURRENT.get(None)


def note(**facts: object) -> None:
    """Facts for the request's line in the log, such as `servers=27`; from its threads as well."""
    exchange = current()
    if exchange is not None:
        exchange.facts.update(facts)


async def reply(
    send: Send, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None
) -> None:
    """Answer below Litestar, where there is no route yet."""
    pairs = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in pairs.items()],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
