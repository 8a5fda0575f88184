"""A connection to a service: addresses, tokens, TLS, tries."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import httpx2
import msgspec

from flyball.client.errors import CallError, refused, unanswered
from flyball.client.operations import HEALTH, Operation
from flyball.client.read import read
from flyball.units import Seconds

T = TypeVar("T")
Body = msgspec.Struct | Mapping[str, Any] | bytes
"""A document: as a struct of `wire`, as a plain object, or as it is to be sent."""

CONNECT: Seconds = 10.0
TRIES = 4
PATIENCE: Seconds = 30.0
"""At most so long it waits before it tries again, if the service asks for that; for more it gives up."""
LARGEST = 64 * 1024
LOCAL: Mapping[str, None] = dict.fromkeys(("all://127.0.0.1", "all://[::1]", "all://localhost"))
"""No proxy stands between this machine and itself."""
_TOKEN = re.compile(r"[!-~]+")


class Client:
    """Calls of one service, from any thread. ValueError where an option makes no sense; else CallError.

    A busy service (503 with Retry-After) is asked again, up to `tries` times in all, where asking twice does
    no harm; what takes something away, or applies an allocation, is asked once.
    """

    operations: Mapping[str, Operation] = HEALTH

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        token_file: Path | str | None = None,
        ca: Path | str | None = None,
        verify: bool = True,
        timeout: Seconds = 120.0,
        tries: int = TRIES,
    ) -> None:
        """`token_file` is as for `flyball serve`, its first token counts and a changed file holds at once;
        `ca` is a PEM file of authorities to trust instead of the system's; `timeout` is for a silent service.
        """
        self.url = address_of(url)
        if token is not None and token_file is not None:
            raise ValueError("a token and a file of tokens: give one of the two")
        if not timeout > 0:
            raise ValueError(f"the timeout is {timeout:g}: it is seconds above 0")
        if tries < 1:
            raise ValueError(f"tries is {tries}: it is 1 or more")
        self._token = None if token is None else _checked(token, "the token")
        self._token_file = None if token_file is None else Path(token_file)
        self._timeout, self._tries = timeout, tries
        self._given_token()
        self._http = httpx2.Client(
            verify=trust_of(ca, verify) if self.url.startswith("https:") else False,
            timeout=httpx2.Timeout(timeout, connect=min(timeout, CONNECT)),
            mounts=LOCAL,
        )

    def close(self) -> None:
        """End its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def healthy(self) -> bool:
        """Whether the service lives: it can be reached, and says so."""
        return self._well("healthz")

    def ready(self) -> bool:
        """Whether the service can serve: not while it stops, or cannot be reached."""
        return self._well("readyz")

    def metrics(self) -> str:
        """Its metrics in Prometheus' text."""
        return self.call(HEALTH["metrics"]).decode("utf-8", "replace")

    def _well(self, operation: str) -> bool:
        try:
            self.call(HEALTH[operation])
        except CallError as error:
            if error.status is None or error.status >= 500:
                return False
            raise
        return True

    def _ask(self, kind: type[T], operation: str, *names: str, body: Body | None = None, **query: Any) -> T:
        asked = self.operations[operation]
        data = self.call(asked, *names, body=body, query=query)
        try:
            return read(data, kind)
        except ValueError as error:
            url = self._url(asked, names, {})
            mend = "Is this the right service, and nothing in between?"
            raise CallError(200, f"what it sent cannot be understood: {error}", url=url, mend=mend) from None

    def call(
        self,
        operation: Operation,
        *names: str,
        body: Body | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> bytes:
        """What the service answers, as it came; `query` without what is None or False."""
        url = self._url(operation, names, query or {})
        content = None if body is None else encoded(body)
        headers = {"Accept": "application/json, text/plain;q=0.9, */*;q=0.1"}
        if content is not None:
            plain = content.lstrip()[:1] in (b"{", b"[")
            headers["Content-Type"] = "application/json" if plain else "application/yaml"
        token = self._given_token()
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        method = "POST" if operation.body else "GET"
        most = self._tries if operation.repeats and operation.offered != "health" else 1
        for tries in range(1, most + 1):
            try:
                answer = self._http.request(method, url, content=content, headers=headers)
            except httpx2.HTTPError as error:
                raise unanswered(error, url, self._timeout) from None
            wait = _asked_wait(answer)
            if answer.is_success:
                return answer.content
            if wait is None or wait > PATIENCE or tries == most:
                break
            time.sleep(wait)
        raise refused(answer, url, operation, token=token is not None, tries=tries)

    def _url(self, operation: Operation, names: tuple[str, ...], query: Mapping[str, Any]) -> str:
        if len(names) != len(operation.names):
            raise ValueError(f"{operation.path} takes {' and '.join(operation.names) or 'no names'}")
        parts = [operation.path, *(_quoted(n, what) for n, what in zip(names, operation.names, strict=True))]
        asked = urlencode(
            {k: "true" if v is True else v for k, v in query.items() if v is not None and v is not False}
        )
        return f"{self.url}/{'/'.join(parts)}" + (f"?{asked}" if asked else "")

    def _given_token(self) -> str | None:
        return self._token if self._token_file is None else token_in(self._token_file)


def token_in(path: Path) -> str:
    """The first token of a file of tokens; or ValueError."""
    try:
        with path.open("rb") as file:
            lines = file.read(LARGEST).decode("utf-8", "replace").splitlines()
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise ValueError(f"{path}: the token cannot be read ({problem})") from None
    for line in map(str.strip, lines):
        if line and not line.startswith("#"):
            return _checked(line, f"{path}: the token")
    raise ValueError(f"{path}: holds no token. Write one on a line of its own")


def encoded(body: Body) -> bytes:
    """A document as bytes: JSON, unless it is bytes already."""
    if isinstance(body, bytes):
        return body
    return msgspec.json.encode(body if isinstance(body, msgspec.Struct) else dict(body))


def address_of(url: str) -> str:
    """The address of a service without a slash at its end; or ValueError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        httpx2.URL(url)
    except (ValueError, httpx2.InvalidURL) as error:
        raise ValueError(f"the address is '{url}': {error}. Write it as http://127.0.0.1:8080") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"the address is '{url}': it begins with http:// or https://, then comes a host")
    if parts.username is not None or parts.query or parts.fragment or port == 0:
        raise ValueError(
            "the address holds more than host, port and path: a user goes into a token, a query into the call"
        )
    return url.rstrip("/")


def _quoted(name: str, what: str) -> str:
    if not name:
        raise ValueError(f"the {what} is empty: give one")
    try:
        text = quote(name, safe="")
    except UnicodeEncodeError:
        raise ValueError(f"the {what} is {name!r}: it holds half a character") from None
    return text.replace(".", "%2E") if name in (".", "..") else text


def _checked(token: str, what: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"{what} is not printable ASCII without spaces")
    return token


def trust_of(ca: Path | str | None, verify: bool) -> ssl.SSLContext:
    """What is trusted: the system's authorities, or those of a PEM file, or all. Or ValueError."""
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise ValueError(f"{ca}: the authorities cannot be read ({problem}). Give a PEM file") from None
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _asked_wait(answer: httpx2.Response) -> Seconds | None:
    """How long a busy service asks to wait: Retry-After in seconds or as a date; None where it does not."""
    said = answer.headers.get("retry-after", "").strip()
    if answer.status_code != 503 or not said:
        return None
    if said.isdecimal() and len(said) < 10:
        return float(said)
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return None
    now = datetime.now(UTC)
    return max((moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds(), 0.0)
