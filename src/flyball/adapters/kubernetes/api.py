"""The API server, in the few verbs that the loop needs, decoded into our own small structs.

`lightkube` reads kubeconfigs and authenticates; its models are left aside, as every field that they require
and a server lacks is an error, and as most of what they decode is not wanted.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

import httpx2
import msgspec
from lightkube.config.client_adapter import Client, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.exceptions import ConfigError

from flyball.adapters.kubernetes.again import again
from flyball.adapters.kubernetes.errors import ApiError, Conflict, Gone, NoCluster, NotFound, Unreachable
from flyball.units import Seconds

PAGE = 500
"""Objects asked for at once."""
TIMEOUT: Seconds = 10.0
WATCHED: Seconds = 240.0
"""So long a watch goes on at most, before it is begun again where it ended."""
SILENCE: Seconds = 90.0
"""A watch without any word for so long is broken: the API server sends a bookmark every minute."""
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
EDIT = "application/json-patch+json"
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises where bytes are not what they should be."""

T = TypeVar("T")
_BUILDING = threading.Lock()


class _Meta(msgspec.Struct, frozen=True):
    continues: str = msgspec.field(default="", name="continue")
    version: str = msgspec.field(default="", name="resourceVersion")


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""
    code: int = 0


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class Event(msgspec.Struct, Generic[T], frozen=True):
    """Something that happened to an object; a bookmark tells but the version."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: T


class Api:
    """One API server. Safe to use from several threads."""

    def __init__(
        self,
        kubeconfig: Path | None = None,
        context: str | None = None,
        timeout: Seconds = TIMEOUT,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """`kubeconfig`: None: KUBECONFIG, then the service account of the pod, then the user's; `timeout`:
        for one request, its answer included; `transport`: in place of the network, for tests. NoCluster."""
        try:
            found = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_env()
            config = found.get(context)
            if config is None:
                raise ConfigError(f"there is no context '{context}' in it")
            self.namespace = config.namespace
            self.address = config.cluster.server
            self.requests = 0
            """Sent so far."""
            self.date: float | None = None
            """Unix time by the API server's clock, when it last answered; None: it did not say."""
            self._timeout = timeout
            self._client = Client(config, ConnectionParams(httpx2.Timeout(timeout), transport=transport))
        except (ConfigError, OSError, ValueError, KeyError) as error:
            where = str(kubeconfig or os.environ.get("KUBECONFIG") or "the user's kubeconfig")
            raise NoCluster(where, str(error)) from error

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def get(self, path: str, kind: type[T]) -> T:
        """One object. NotFound, ApiError."""
        return cast(T, self._decode(path, self._send("GET", path), kind))

    def items(
        self,
        path: str,
        kind: type[T],
        *,
        selector: str = "",
        fields: str = "",
        cached: bool = False,
        until: Seconds = -math.inf,
    ) -> list[T]:
        """All objects of a collection. `cached`: as the server's cache has them, which is cheaper; `until`:
        as long, of the monotonic clock, it is asked again where the server is busy or away."""
        params: dict[str, str] = {"labelSelector": selector, "fieldSelector": fields}
        # The cache answers whole lists only.
        params |= {"resourceVersion": "0"} if cached else {"limit": str(PAGE)}
        found: list[T] = []
        while True:
            answer = again(lambda: self._send("GET", path, params=params), until)
            page = self._decode(path, answer, kind, True)
            found += page.items
            if not page.metadata.continues:
                return found
            params["continue"] = page.metadata.continues

    def listed(self, path: str, kind: type[T], *, selector: str = "") -> tuple[list[T], str]:
        """All objects of a collection in one answer, and the version to watch from."""
        params = {"labelSelector": selector}  # without a version it is never older than what was seen before
        page = self._decode(path, self._send("GET", path, params=params), kind, True)
        return page.items, page.metadata.version

    def watch(
        self,
        path: str,
        kind: type[T],
        version: str,
        *,
        selector: str = "",
        opened: Callable[[], None] = lambda: None,
    ) -> Iterator[Event[T]]:
        """What happens to the objects of a collection after a version, until the server ends it.

        `opened`: called when the server begins to answer. Gone: the version is too old. ClusterError, also
        where it was silent for too long.
        """
        params = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
        params |= {"timeoutSeconds": f"{WATCHED:.0f}", "labelSelector": selector}
        asked = {k: v for k, v in params.items() if v}
        decoder, of_object = _decoder(_Event, False), _decoder(cast(Hashable, kind), False)
        self.requests += 1
        try:
            limits = httpx2.Timeout(self._timeout, read=SILENCE)
            with self._client.stream("GET", path, params=asked, timeout=limits) as answer:
                if not answer.is_success:
                    raise _refused("GET", path, answer.status_code, answer.read())
                opened()
                for line in answer.iter_lines():
                    event = decoder.decode(line)
                    if event.type == "ERROR":
                        raise _refused("GET", path, 0, event.object)
                    yield Event(event.type, of_object.decode(event.object))
        except UNREADABLE as error:
            raise ApiError("GET", path, 200, "Unreadable", str(error)) from error
        except (httpx2.HTTPError, httpx2.StreamError, OSError, ConfigError) as error:
            raise Unreachable(self.address, "GET", path, str(error) or type(error).__name__) from error

    def patch(self, path: str, body: Mapping[str, object], kind: type[T], **params: str) -> T:
        """Merge into an object; with metadata.resourceVersion in it only if nobody wrote since. Conflict."""
        content = msgspec.json.encode(body)
        return cast(T, self._decode(path, self._send("PATCH", path, content, MERGE, params), kind))

    def edit(self, path: str, operations: Sequence[Mapping[str, object]], kind: type[T], **params: str) -> T:
        """A JSON patch of an object. Conflict where one of its tests does not hold."""
        content = msgspec.json.encode(operations)
        try:
            return cast(T, self._decode(path, self._send("PATCH", path, content, EDIT, params), kind))
        except ApiError as error:
            # What no object could be is refused with the same status, and says that it is invalid.
            if error.status != 422 or " is invalid" in error.message:
                raise
            raise Conflict("PATCH", path, error.status, error.reason, error.message) from error

    def apply(
        self, path: str, body: Mapping[str, object], kind: type[T], manager: str, force: bool = True
    ) -> T:
        """Server-side apply."""
        params = {"fieldManager": manager, "force": "true" if force else "false"}
        return cast(
            T, self._decode(path, self._send("PATCH", path, msgspec.json.encode(body), APPLY, params), kind)
        )

    def put(self, path: str, body: Mapping[str, object], kind: type[T], **params: str) -> T:
        """Replace an object. Conflict."""
        content = msgspec.json.encode(body)
        return cast(T, self._decode(path, self._send("PUT", path, content, params=params), kind))

    def post(self, path: str, body: Mapping[str, object], kind: type[T], **params: str) -> T:
        """Make an object. Conflict where it exists."""
        content = msgspec.json.encode(body)
        return cast(T, self._decode(path, self._send("POST", path, content, params=params), kind))

    def delete(self, path: str, uid: str = "") -> None:
        """Delete an object, or nothing where it is not there. `uid`: only that one, else Conflict."""
        body = msgspec.json.encode({"preconditions": {"uid": uid}}) if uid else None
        try:
            self._send("DELETE", path, body)
        except NotFound:
            return

    def serves(self, group: str, version: str, plural: str) -> bool:
        """Whether the cluster has a kind."""
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            found = cast(dict[str, Any], self.get(root, dict))
        except NotFound:
            return False
        return any(one.get("name") == plural for one in found.get("resources", ()))

    def _send(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        kind: str = "application/json",
        params: Mapping[str, str] | None = None,
    ) -> bytes:
        self.requests += 1
        until = time.monotonic() + self._timeout
        body = bytearray()
        try:
            with self._client.stream(
                method,
                path,
                params={k: v for k, v in (params or {}).items() if v},
                content=content,
                headers={"Content-Type": kind} if content is not None else {},
            ) as answer:
                for piece in answer.iter_bytes():  # a timeout of the client's is for each piece
                    body += piece
                    if time.monotonic() > until:
                        problem = f"no whole answer within {self._timeout:g} s"
                        raise Unreachable(self.address, method, path, problem)
        except (httpx2.HTTPError, OSError, ConfigError) as error:
            raise Unreachable(self.address, method, path, str(error) or type(error).__name__) from error
        self.date = _date(answer.headers.get("Date", "")) or self.date
        if answer.is_success:
            return bytes(body)
        raise _refused(method, path, answer.status_code, bytes(body), answer.headers.get("Retry-After", ""))

    def _decode(self, path: str, content: bytes, kind: type[T], many: bool = False) -> Any:
        try:
            return _decoder(cast(Hashable, kind), many).decode(content)
        except UNREADABLE as error:
            raise ApiError("GET", path, 200, "Unreadable", str(error)) from error


def _refused(
    method: str, path: str, status: int, body: bytes | msgspec.Raw, retry_after: str = ""
) -> ApiError:
    """What the API server says instead; `status` 0: as its words have it."""
    try:
        said = _decoder(_Status, False).decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        said = _Status(bytes(body).decode(errors="replace")[:200])
    status = status or said.code
    error_type = {404: NotFound, 409: Conflict, 410: Gone}.get(status, ApiError)
    after = float(retry_after) if retry_after.isdecimal() else None
    return error_type(method, path, status, said.reason, said.message, after)


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except ValueError:
        return None


@cache
def _decoder(kind: Any, many: bool) -> msgspec.json.Decoder[Any]:
    """Of an object, or of a list of them."""
    # Two threads that meet a struct for the first time at once crash msgspec 0.22.
    with _BUILDING:
        if many:
            kind = msgspec.defstruct("List", [("metadata", _Meta, _Meta()), ("items", list[kind], [])])
        return msgspec.json.Decoder(kind)
