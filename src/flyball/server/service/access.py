"""Who may ask: whoever has a token; without tokens, whoever is no foreign page in somebody's browser."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from flyball.server.guard import LOOPBACK
from flyball.server.service.answers import JSON
from flyball.server.service.exchange import reply
from flyball.server.service.telemetry import message_of

OPEN = ("/healthz", "/readyz", "/docs", "/openapi.json")
"""Paths that are answered to everybody, with what lies below: what the service offers is no secret."""
LARGEST = 64 * 1024
"""Bytes of a file of tokens."""
TOKEN = re.compile(rb"[!-~]+")


class Tokens:
    """The tokens in a file, one a line, `#` before a comment; a changed file holds from the next request on.

    ValueError where the file has none at the start. Later the last good ones stay.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: bytes | str = b""
        self._digests: tuple[bytes, ...] = ()
        problem = self._renew()
        if problem:
            raise ValueError(problem)

    def holds(self, token: bytes, log: FilteringBoundLogger) -> bool:
        """Whether it is one of them, in a time that does not tell how nearly."""
        problem = self._renew()
        if problem:
            log.error("tokens", problem=f"{problem} Until then the tokens read before stay valid")
        elif problem is None:
            log.info("tokens", read=len(self._digests))
        digest, found = _digest(token), False
        for each in self._digests:
            found |= hmac.compare_digest(each, digest)
        return found

    def _renew(self) -> str | None:
        """Take in a changed file: None if it was, "" if there is nothing new, else what is wrong."""
        try:
            with self.path.open("rb") as file:
                seen: bytes | str = file.read(LARGEST + 1)
        except OSError as error:
            seen = f"{self.path}: the tokens cannot be read ({error.strerror}). Mend the file."
        if seen == self._seen:
            return ""
        self._seen = seen
        if isinstance(seen, str):
            return seen
        lines = [line.strip() for line in seen.splitlines()]
        tokens = [line for line in lines if line and not line.startswith(b"#")]
        if len(seen) > LARGEST:
            return f"{self.path}: larger than {LARGEST:,} bytes. Keep the tokens that are in use."
        if not tokens:
            return f"{self.path}: holds no token. Write one on a line of its own."
        for number, line in enumerate(lines, 1):
            if line in tokens and not TOKEN.fullmatch(line):
                return f"{self.path}: line {number}: a token is printable ASCII without spaces. Write it so."
        self._digests = tuple(_digest(token) for token in tokens)
        return None


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


class Access(msgspec.Struct, frozen=True):
    """Who may ask: holders of a token; without tokens, `hosts` are the names to ask for (None: any)."""

    tokens: Tokens | None = None
    hosts: frozenset[str] | None = frozenset(LOOPBACK)


def guarded(app: ASGIApp, access: Access, log: FilteringBoundLogger) -> ASGIApp:
    """The app, for those who may ask."""

    async def gate(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            return  # there are no WebSockets here
        if not _is_open(scope["path"]):
            headers = _Headers(scope)
            if access.tokens is not None:
                if not access.tokens.holds(headers.token(), log):
                    words = "a valid token is asked for: send the header 'Authorization: Bearer ...'"
                    await reply(send, 401, message_of(words), JSON, {"WWW-Authenticate": "Bearer"})
                    return
            elif problem := foreign(headers.get, access.hosts):
                await reply(send, 403, message_of(problem), JSON)
                return
        await app(scope, receive, send)

    return gate


def _is_open(path: str) -> bool:
    return any(path == each or path.startswith(f"{each}/") for each in OPEN)


class _Headers:
    def __init__(self, scope: HTTPScope) -> None:
        self._pairs = scope["headers"]

    def get(self, name: str) -> str | None:
        wanted = name.encode()
        return next((value.decode("latin-1") for key, value in self._pairs if key == wanted), None)

    def token(self) -> bytes:
        scheme, _, token = (self.get("authorization") or "").partition(" ")
        return token.strip().encode("latin-1") if scheme.lower() == "bearer" else b""


def foreign(header: Callable[[str], str | None], hosts: frozenset[str] | None) -> str:
    """Why a request looks like a foreign page's, or ""; of all methods, as Inferno's GET changes things."""
    host = header("host") or ""
    if hosts is not None and _hostname(host) not in hosts:
        return f"this service is not served as '{host}': ask for it as {' or '.join(sorted(hosts))}"
    site, origin = header("sec-fetch-site"), header("origin")
    if site not in (None, "same-origin", "none"):
        return "requests are not taken from other pages; a tool, or this service's own page, may ask"
    if origin is not None and _netloc(origin) != host.lower():
        return f"requests are not taken from other pages (Origin is '{origin}', Host is '{host}')"
    return ""


def unproven(header: Callable[[str], str | None]) -> bool:
    """Whether a browser asks and does not say for whom: over plain HTTP, it does so for this machine only.

    What it says at all is judged at the door; of its Referer a page can hide the origin, but not forge it.
    """
    if any(header(name) is not None for name in ("sec-fetch-site", "origin", "authorization")):
        return False
    if not (header("user-agent") or "").startswith("Mozilla/"):
        return False
    return _netloc(header("referer") or "") != (header("host") or "").lower()


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
