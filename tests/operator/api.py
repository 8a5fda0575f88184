"""An API server in memory, with the ways that count: versions, generations, conflicts, statuses apart."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from flyball.adapters.kubernetes.api import Api, Event
from flyball.adapters.kubernetes.errors import Conflict, Gone, NotFound, Unreachable

Document = dict[str, Any]


class Path(NamedTuple):
    """A path, taken apart."""

    plural: str
    namespace: str
    name: str
    status: bool


class Happened(NamedTuple):
    """One event, as the watch of a kind tells it."""

    version: int
    type: Any
    plural: str
    object: Document


class Server:
    """What `Api` can do, on objects in memory. Safe to use from several threads.

    `live`: watches wait for more; else they end where there is nothing more to tell.
    """

    def __init__(self, live: bool = False) -> None:
        self.writes: list[str] = []
        """Those that changed something, as "METHOD path"."""
        self.asked: list[str] = []
        """All that were asked for."""
        self.before: Callable[[str, str], None] = lambda method, path: None
        """Called ahead of each write."""
        self.away = False
        self.address = "http://memory"
        self._live = live
        self._objects: dict[tuple[str, str, str], Document] = {}
        self._version = self._uids = self._oldest = 0
        self._happened: list[Happened] = []
        self._lock = threading.Condition(threading.RLock())

    def api(self) -> Api:
        return cast(Api, self)

    # ---- as `Api` ----------------------------------------------------------------------------------

    def get(self, path: str, kind: type[Any]) -> Any:
        with self._lock:
            return _decoded(self._found("GET", path), kind)

    def items(self, path: str, kind: type[Any], **more: object) -> list[Any]:
        return self.listed(path, kind)[0]

    def listed(self, path: str, kind: type[Any], *, selector: str = "") -> tuple[list[Any], str]:
        self._reached("GET", path)
        at = _path(path)
        with self._lock:
            found = [one for key, one in sorted(self._objects.items()) if _within(key[0], key[1], at)]
            return [_decoded(one, kind) for one in found], str(self._version)

    def watch(
        self,
        path: str,
        kind: type[Any],
        version: str,
        *,
        selector: str = "",
        opened: Callable[[], None] = lambda: None,
    ) -> Iterator[Event[Any]]:
        self._reached("GET", path)
        at, seen = _path(path), int(version)
        if seen < self._oldest:
            raise Gone("GET", path, 410, "Expired", "too old resource version")
        opened()
        while True:
            with self._lock:
                fresh = [one for one in self._happened if one.version > seen]
                if not fresh:
                    if not self._live:
                        return
                    self._lock.wait(0.05)
                    if self.away:
                        raise Unreachable(self.address, "GET", path, "it is away")
            for one in fresh:
                seen = one.version
                if _within(one.plural, one.object["metadata"]["namespace"], at):
                    yield Event(one.type, _decoded(one.object, kind))

    def post(self, path: str, body: Mapping[str, object], kind: type[Any], **params: str) -> Any:
        self._begin("POST", path)
        at, made = _path(path), copy.deepcopy(dict(body))
        made["metadata"] = {"namespace": at.namespace} | cast(Document, made["metadata"])
        key = (at.plural, at.namespace, made["metadata"]["name"])
        with self._lock:
            if key in self._objects:
                raise Conflict("POST", path, 409, "AlreadyExists", "")
            self._uids += 1
            made["metadata"] |= {"uid": f"uid-{self._uids}", "generation": 1}
            made["metadata"].setdefault("finalizers", [])
            made.pop("status", None)
            return _decoded(self._keep("POST", path, key, "ADDED", made), kind)

    def put(self, path: str, body: Mapping[str, object], kind: type[Any], **params: str) -> Any:
        return self._changed("PUT", path, lambda there: dict(body), kind, body)

    def patch(self, path: str, body: Mapping[str, object], kind: type[Any], **params: str) -> Any:
        return self._changed("PATCH", path, lambda there: _merged(there, body), kind, body)

    def delete(self, path: str, uid: str = "") -> None:
        self._begin("DELETE", path)
        at = _path(path)
        key = (at.plural, at.namespace, at.name)
        with self._lock:
            there = self._objects.get(key)
            if there is not None and uid not in ("", there["metadata"]["uid"]):
                raise Conflict("DELETE", path, 409, "Conflict", "the UID in the precondition is another")
            if there is not None and there["metadata"].get("finalizers"):
                about = there["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}
                self._keep("DELETE", path, key, "MODIFIED", there | {"metadata": about})
                return
            gone = self._objects.pop(key, None)
            if gone is not None:
                self._tell("DELETE", path, "DELETED", at.plural, copy.deepcopy(gone))

    # ---- for tests ---------------------------------------------------------------------------------

    def document(self, path: str) -> Document:
        """An object as it is, or NotFound."""
        with self._lock:
            return copy.deepcopy(self._found("GET", path))

    def forget(self) -> None:
        """What happened so far; watches from before are told so."""
        with self._lock:
            self._oldest = self._version
            self._happened = []

    # ---- kept --------------------------------------------------------------------------------------

    def _begin(self, method: str, path: str) -> None:
        self._reached(method, path)
        self.before(method, path)
        with self._lock:
            self.asked.append(f"{method} {path}")

    def _reached(self, method: str, path: str) -> None:
        if self.away:
            raise Unreachable(self.address, method, path, "it is away")

    def _found(self, method: str, path: str) -> Document:
        self._reached(method, path)
        at = _path(path)
        try:
            return self._objects[at.plural, at.namespace, at.name]
        except KeyError:
            raise NotFound(method, path, 404, "NotFound", f"{at.plural} {at.name} not found") from None

    def _changed(
        self,
        method: str,
        path: str,
        change: Callable[[Document], Document],
        kind: type[Any],
        body: Mapping[str, object],
    ) -> Any:
        self._begin(method, path)
        at, about = _path(path), cast(Document, body.get("metadata") or {})
        with self._lock:
            there = self._found(method, path)
            for field in ("resourceVersion", "uid"):
                if about.get(field, there["metadata"][field]) != there["metadata"][field]:
                    raise Conflict(method, path, 409, "Conflict", "the object has been modified")
            wanted, made = change(copy.deepcopy(there)), copy.deepcopy(there)
            if at.status:
                made["status"] = copy.deepcopy(wanted.get("status") or {})
            else:
                made["spec"] = copy.deepcopy(wanted.get("spec"))
                labels = wanted["metadata"].get("labels")
                made["metadata"] |= {"labels": dict(labels)} if labels else {}
                made["metadata"]["finalizers"] = wanted["metadata"].get("finalizers") or []
                made["metadata"]["generation"] += made["spec"] != there.get("spec")
            if made == there:
                return _decoded(there, kind)
            key = (at.plural, at.namespace, at.name)
            if "deletionTimestamp" in made["metadata"] and not made["metadata"]["finalizers"]:
                self._objects.pop(key)
                self._tell(method, path, "DELETED", at.plural, made)
                return _decoded(made, kind)
            return _decoded(self._keep(method, path, key, "MODIFIED", made), kind)

    def _keep(self, method: str, path: str, key: tuple[str, str, str], type: str, made: Document) -> Document:
        self._objects[key] = made
        self._tell(method, path, type, key[0], made)
        return made

    def _tell(self, method: str, path: str, type: str, plural: str, made: Document) -> None:
        self._version += 1
        made["metadata"]["resourceVersion"] = str(self._version)
        self.writes.append(f"{method} {path}")
        self._happened.append(Happened(self._version, type, plural, copy.deepcopy(made)))
        self._lock.notify_all()


def _path(text: str) -> Path:
    root, *parts = text.strip("/").split("/")
    parts = parts[2:] if root == "apis" else parts[1:]  # group and version, or version
    namespace = ""
    if parts[0] == "namespaces":
        namespace, parts = parts[1], parts[2:]
    plural, name, status = (*parts, "", "")[:3]
    return Path(plural, namespace, name, status == "status")


def _within(plural: str, namespace: str, at: Path) -> bool:
    return plural == at.plural and at.namespace in ("", namespace)


def _decoded(one: Document, kind: type[Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(one), type=kind)


def _merged(there: Document, patch: Mapping[str, object]) -> Document:
    """RFC 7386; the version that it must have is no change."""
    made = dict(there)
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        elif isinstance(value, Mapping):
            below = made.get(key)
            made[key] = _merged(below if isinstance(below, dict) else {}, value)
        else:
            made[key] = value
    return made
