"""A Prometheus, or what answers like one: queries over HTTP, from any thread."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec

from flyball.adapters.prometheus.errors import PrometheusError, mend_of, shown
from flyball.units import Seconds

L = TypeVar("L")

TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""Tried where no file is named, if the address is https: a pod shows its token to no one in the clear."""
LARGEST = 512 * 2**20
"""Bytes of one answer."""
_LOCAL: Mapping[str, None] = dict.fromkeys(("all://127.0.0.1", "all://[::1]", "all://localhost"))
"""No proxy stands between this machine and itself."""


class Sample(msgspec.Struct, Generic[L], frozen=True, gc=False, rename={"labels": "metric"}):
    """One element of an instant vector."""

    labels: L
    value: tuple[float, float]
    """Unix seconds of the evaluation, and the value; it may be NaN or infinite."""


class Series(msgspec.Struct, frozen=True, rename={"labels": "metric", "points": "values"}):
    """One element of a range vector."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


class Vector(msgspec.Struct, Generic[L], frozen=True):
    """The answer to a query at one instant."""

    samples: list[Sample[L]]
    warnings: tuple[str, ...] = ()


class Matrix(msgspec.Struct, frozen=True):
    """The answer to a query over a range."""

    series: list[Series]
    warnings: tuple[str, ...] = ()


class _Loose(msgspec.Struct, frozen=True):
    """As `Sample` and `Series` in one, where a value is none that can be decoded at once ("+Inf")."""

    metric: msgspec.Raw
    value: tuple[float, str] | None = None
    values: list[tuple[float, str]] | None = None


class _Said(msgspec.Struct, frozen=True):
    status: str = ""
    error: str = ""


class Prometheus:
    """Queries of one Prometheus. ValueError where an option makes no sense; else PrometheusError.

    `token_file` is read for every request; `ca_file` is a PEM file of authorities to trust instead of the
    system's; `insecure` trusts anyone; `timeout` is for one query, its answer included.
    """

    def __init__(
        self,
        url: str,
        token_file: Path | str | None = None,
        ca_file: Path | str | None = None,
        insecure: bool = False,
        timeout: Seconds = 10.0,
    ) -> None:
        self.url = _address(url)
        if not timeout > 0:
            raise ValueError(f"the timeout is {timeout:g}: it is seconds above 0")
        self.timeout = timeout
        secure = self.url.startswith("https:")
        self._token_file = Path(token_file) if token_file is not None else None
        self._default_token = secure and token_file is None
        self._http = httpx2.Client(
            verify=_trust(ca_file, insecure) if secure else False,
            timeout=timeout,
            mounts=_LOCAL,
            headers={"Accept": "application/json"},
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

    def query(
        self,
        expr: str,
        at: float | None = None,
        labels: type[L] = dict[str, str],  # type: ignore[assignment]
        timeout: Seconds | None = None,
    ) -> Vector[L]:
        """The vector that an expression has at an instant (Unix seconds; None: now). Or PrometheusError.

        `labels` is the type that labels become; a struct decodes faster than a dict.
        """
        options = {} if at is None else {"time": repr(at)}
        data = self._get("query", expr, options, timeout)
        samples, warnings = self._read(data, expr, "vector", Sample[labels])  # type: ignore[valid-type]
        return Vector(samples, warnings)

    def query_range(
        self, expr: str, start: float, end: float, step: Seconds, timeout: Seconds | None = None
    ) -> Matrix:
        """The series of an expression between two instants, both included. Or PrometheusError."""
        options = {"start": repr(start), "end": repr(end), "step": repr(step)}
        data = self._get("query_range", expr, options, timeout)
        return Matrix(*self._read(data, expr, "matrix", Series))

    def _get(self, path: str, expr: str, options: Mapping[str, str], timeout: Seconds | None) -> bytearray:
        limit = self.timeout if timeout is None else min(timeout, self.timeout)
        if not limit > 0:
            raise self._error("there is no time left for it", "Allow more time", expr)
        until = time.monotonic() + limit
        token = self._token()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        # So that it stops reckoning what nobody waits for any more.
        asked = {"query": expr, "timeout": f"{max(round(limit * 1000), 1)}ms", **options}
        late = f"no answer within {limit:g} s"
        try:
            with self._http.stream(
                "GET", f"{self.url}/api/v1/{path}", params=asked, headers=headers, timeout=limit
            ) as answer:
                body = bytearray()
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > LARGEST:
                        raise self._error(f"its answer is larger than {LARGEST:,} bytes", "Select less", expr)
                    if time.monotonic() > until:
                        raise self._error(late, "Allow more time, or shorten the window", expr)
        except httpx2.TimeoutException:
            raise self._error(late, "Allow more time, or shorten the window", expr) from None
        except httpx2.HTTPError as error:
            raise self._error(*_unreached(error), expr) from None
        if answer.is_success:
            return body
        problem = _said(body) or "it does not say why"
        raise self._error(
            problem, mend_of(answer.status_code, token=token is not None), expr, answer.status_code
        )

    def _read(self, data: bytearray, expr: str, kind: str, item: Any) -> tuple[list[Any], tuple[str, ...]]:
        try:
            # Values stand in quotes; this makes numbers of them at once.
            answer = decoder(item, strict=False).decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            answer = self._slowly(data, expr, kind, item)
        if answer.status != "success" or answer.data.resultType != kind:
            raise self._strange(data, expr, kind)
        return answer.data.result, tuple(answer.warnings)

    def _slowly(self, data: bytearray, expr: str, kind: str, item: Any) -> Any:
        """Decode what has "+Inf" in it, which Python reads and msgspec does not."""
        try:
            loose = decoder(_Loose, strict=True).decode(data)
            name, values = ("value", "value") if kind == "vector" else ("values", "values")
            found = []
            for each in loose.data.result:
                raw = getattr(each, values)
                points = (
                    (raw[0], float(raw[1])) if kind == "vector" else [(at, float(text)) for at, text in raw]
                )
                found.append(
                    msgspec.convert({"metric": msgspec.json.decode(each.metric), name: points}, item)
                )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, TypeError):
            raise self._strange(data, expr, kind) from None
        return msgspec.structs.replace(loose, data=msgspec.structs.replace(loose.data, result=found))

    def _strange(self, data: bytearray, expr: str, kind: str) -> PrometheusError:
        problem = _said(data)
        if problem:
            return self._error(problem, mend_of(400, token=False), expr, 200)
        mend = f"Is this Prometheus, and is a {kind} what was asked for"
        return self._error("its answer cannot be understood", mend, expr, 200)

    def _token(self) -> str | None:
        path = self._token_file or (TOKEN_FILE if self._default_token else None)
        if path is None:
            return None
        try:
            token = path.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            if self._token_file is None:
                return None
            problem = getattr(error, "strerror", None) or str(error)
            mend = "Give a file that this user may read"
            raise self._error(f"its token, {path}, cannot be read ({problem})", mend) from None
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            if self._token_file is None:
                return None
            mend = "Write the token and nothing else into it"
            raise self._error(f"the file {path} holds no token: printable ASCII without spaces", mend)
        return token

    def _error(self, problem: str, mend: str, asked: str = "", status: int | None = None) -> PrometheusError:
        return PrometheusError(self.url, problem, mend, asked=asked, status=status)


class _Data(msgspec.Struct, Generic[L], frozen=True):
    resultType: str  # noqa: N815
    result: list[L]


class _Answer(msgspec.Struct, Generic[L], frozen=True):
    status: str
    data: _Data[L]
    warnings: list[str] = []


_BUILDING = threading.Lock()


@cache
def decoder(item: Any, *, strict: bool) -> msgspec.json.Decoder[Any]:
    """Of an answer with such items; `strict`: numbers in quotes are none."""
    # Two threads that meet a struct for the first time at once crash msgspec 0.22.
    with _BUILDING:
        return msgspec.json.Decoder(_Answer[item], strict=strict)


_SAID = msgspec.json.Decoder(_Said)


def _said(data: bytearray) -> str:
    """The words of an error; "" where there are none."""
    try:
        return shown(_SAID.decode(data).error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _unreached(error: httpx2.HTTPError) -> tuple[str, str]:
    said = shown(str(error)) or type(error).__name__
    if isinstance(error, httpx2.ConnectError):
        return f"it cannot be reached ({said})", "Start it, or correct the address"
    return f"the connection ended before the answer did ({said})", "See the address, and its log"


def _address(url: str) -> str:
    example = "Write it as http://prometheus.monitoring:9090"
    try:
        parts = urlsplit(url)
        port = parts.port
        httpx2.URL(url)
    except (ValueError, httpx2.InvalidURL) as error:
        raise ValueError(f"the address of Prometheus is '{url}': {error}. {example}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(
            f"the address of Prometheus is '{url}': it begins with http:// or https://. {example}"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"the address of Prometheus holds more than host, port and path. {example}")
    return url.rstrip("/")


def _trust(ca_file: Path | str | None, insecure: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise ValueError(f"{ca_file}: the authorities cannot be read ({problem}). Give a PEM file") from None
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
