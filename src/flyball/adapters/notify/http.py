"""JSON over HTTP to those who are told. No address, header or body of a request is in an error or a log."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec

from flyball.adapters.secrets import Secret
from flyball.units import Seconds

LARGEST = 4 * 2**20
"""Bytes of one answer."""
LONGEST = 300
"""Characters of an answer that a message repeats."""
TIMEOUT: Seconds = 10.0
WAIT: Seconds = 30.0
"""Where it is told to wait, and not how long."""
_LOCAL: Mapping[str, None] = dict.fromkeys(("all://127.0.0.1", "all://[::1]", "all://localhost"))
_USER = re.compile(r"(?<=://)[^/\s@]+@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


class NotifyError(Exception):
    """Something could not be told; `wait`: seconds until it may be tried again, where they said so."""

    def __init__(
        self, place: str, problem: str, mend: str, *, status: int | None = None, wait: Seconds = 0.0
    ) -> None:
        self.status, self.wait = status, wait
        answered = "" if status is None else f" answered {status}"
        super().__init__(f"{place}{answered}: {problem}. {mend}.")


class Http:
    """Requests to one place, which `place` names in messages."""

    def __init__(
        self,
        place: str,
        url: str,
        *,
        ca_file: Path | None = None,
        timeout: Seconds = TIMEOUT,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """`url`: scheme, host, port and perhaps a path; `ca_file`: PEM, instead of the system's authorities;
        `transport`: in place of the network, for tests. ValueError."""
        self.place, self._timeout = place, timeout
        self._url, self._path = _split(place, url)
        if not timeout > 0:
            raise ValueError(f"the timeout of {place} is {timeout:g}: it is seconds above 0")
        verify = _trust(ca_file) if self._url.startswith("https:") else False
        self._http = httpx2.Client(verify=verify, timeout=timeout, mounts=_LOCAL, transport=transport)

    def close(self) -> None:
        """End its connections."""
        self._http.close()

    def send(
        self,
        method: str,
        path: str = "",
        body: object = None,
        token: Secret | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The answer where it is a success, else NotifyError."""
        sent = {"Accept": "application/json", **(headers or {})}
        if token is not None:
            if not token.reveal().isascii() or " " in token.reveal():
                raise NotifyError(self.place, "its token is not printable ASCII", "Give the token alone")
            sent["Authorization"] = f"Bearer {token.reveal()}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        content = None if body is None else msgspec.json.encode(body)
        # A webhook's path is its secret: as the target of the request it is in no log of the library.
        target = {"target": (self._path + path or "/").encode()}
        until, late = time.monotonic() + self._timeout, "there was no answer in time"
        try:
            with self._http.stream(
                method, self._url, content=content, headers=sent, extensions=target, follow_redirects=False
            ) as answer:
                data = bytearray()
                for piece in answer.iter_bytes():
                    data += piece
                    if time.monotonic() > until:
                        raise NotifyError(self.place, late, "See its log, or allow more time")
                    if len(data) > LARGEST:
                        raise NotifyError(self.place, "its answer is too long", "Is it the right address")
        except httpx2.TimeoutException:
            raise NotifyError(self.place, late, "See whether it is up, or allow more time") from None
        except (httpx2.HTTPError, UnicodeError) as error:
            problem = f"it is not reached ({type(error).__name__})"
            raise NotifyError(self.place, problem, "See its address, certificate and network") from None
        if answer.is_success:
            return bytes(data)
        status = answer.status_code
        wait = _wait(answer.headers.get("Retry-After")) if status in (403, 429, 503) else 0.0
        said = token.hidden_in(shown(data)) if token is not None else shown(data)
        if len(self._path) > 1:
            said = said.replace(self._path, "***")
        raise NotifyError(
            self.place, said or "it does not say why", mend_of(status), status=status, wait=wait
        )

    def ask(self, kind: Any, method: str, path: str, **more: Any) -> Any:
        """As `send`, with the answer decoded into a type."""
        data = self.send(method, path, **more)
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            problem = "its answer cannot be understood"
            raise NotifyError(self.place, problem, "Is it the right address") from None


def shown(data: bytes | bytearray | str) -> str:
    """Text of others as a message repeats it: without control characters, and short."""
    text = data if isinstance(data, str) else data[: 8 * LONGEST].decode(errors="replace")
    text = _CONTROL.sub(" ", text).strip().rstrip(".")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def bare(url: str) -> str:
    """An address without credentials, for messages."""
    return _USER.sub("", url)


def mend_of(status: int) -> str:
    """What to do about a status."""
    match status:
        case 401 | 403:
            return "Give a token that may do this, and see that it has not expired"
        case 404 | 405 | 410:
            return "See the address, and whether the token may see what is there"
        case 429:
            return "It is tried again later"
        case 300 | 301 | 302 | 303 | 307 | 308:
            return "Give the address to which it leads"
    return "See its log" if status >= 500 else "See the address and the settings"


def token_of(path: Path | None, place: str) -> Secret | None:
    """The token in a file, read anew as it may rotate; or NotifyError."""
    if path is None:
        return None
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "it is not UTF-8"
        mend = "Give a file that this user may read"
        raise NotifyError(place, f"its token, {path}, cannot be read ({problem})", mend) from None
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        mend = "Write the token and nothing else into it"
        raise NotifyError(place, f"the file {path} holds no token: printable ASCII without spaces", mend)
    return Secret(text)


def _split(place: str, url: str) -> tuple[str, str]:
    """Scheme and authority, and the path. ValueError, which does not repeat the address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"the address of {place} is not one. Write it as https://host/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not url.isascii():
        raise ValueError(f"the address of {place} does not begin with http:// or https:// and a host")
    if parts.username is not None or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise ValueError(f"the address of {place} holds more than host, port and path")
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise ValueError(f"{ca_file}: the authorities cannot be read ({problem}). Give a PEM file") from None


def _wait(said: str | None) -> Seconds:
    try:
        return min(max(float(said or WAIT), 0.0), 3600.0)
    except ValueError:
        return WAIT
