"""The API server in memory, with server-side apply, owners, kinds not served, and others that write."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flyball.adapters.kubernetes.errors import ApiError, Conflict, NotFound
from tests.operator.api import Document, Server, _decoded, _path

Leaf = tuple[str, ...]
Key = tuple[str, str, str]
KINDS = {"modelboosters": "ModelBooster"}


class Applying(Server):
    """As Kubernetes does it: who applied a field owns it, until somebody else sets another value."""

    def __init__(self) -> None:
        super().__init__()
        self.date = 0.0
        self.unserved: set[str] = set()
        """Plurals."""
        self.refuses: Callable[[str, str, Document], tuple[int, str] | None] = lambda method, path, body: None
        """Status and message of a write that is refused."""
        self._applied: dict[Key, set[Leaf]] = {}
        self._others: dict[Key, set[Leaf]] = {}

    # ---- as `Api` ----------------------------------------------------------------------------------

    def listed(self, path: str, kind: type[Any], *, selector: str = "") -> tuple[list[Any], str]:
        self._served("GET", path)
        return super().listed(path, kind, selector=selector)

    def watch(self, path: str, kind: type[Any], version: str, **more: Any) -> Iterator[Any]:
        self._served("GET", path)
        return super().watch(path, kind, version, **more)

    def post(self, path: str, body: Mapping[str, Any], kind: type[Any], **params: str) -> Any:
        self._served("POST", path)
        self._refused("POST", path, body)
        made = super().post(path, body, dict)
        at = _path(path)
        with self._lock:
            self._others[at.plural, at.namespace, made["metadata"]["name"]] = set(_fields(made))
        return _decoded(made, kind)

    def apply(
        self, path: str, body: Mapping[str, Any], kind: type[Any], manager: str, force: bool = True
    ) -> Any:
        self._served("PATCH", path)
        self._begin("PATCH", path)
        self._refused("PATCH", path, body)
        at, about = _path(path), body["metadata"]
        key = (at.plural, at.namespace, at.name)
        wanted = _fields(body)
        with self._lock:
            there = self._found("PATCH", path)
            for field in ("resourceVersion", "uid"):
                if about.get(field, there["metadata"][field]) != there["metadata"][field]:
                    raise Conflict("PATCH", path, 409, "Conflict", "the object has been modified")
            if body["kind"] == "ModelRoute" and there["spec"]["modelName"] != body["spec"]["modelName"]:
                raise ApiError("PATCH", path, 422, "Invalid", "modelName is immutable")
            gone = self._applied.get(key, set()) - set(wanted) - self._others.get(key, set())
            made = _set(copy.deepcopy(there), wanted, gone)
            self._applied[key] = set(wanted)
            made["metadata"]["generation"] += made["spec"] != there["spec"]
            if made == there:
                return _decoded(there, kind)
            return _decoded(self._keep("PATCH", path, key, "MODIFIED", made), kind)

    def edit(self, path: str, operations: Sequence[Mapping[str, Any]], kind: type[Any], **more: str) -> Any:
        self._begin("PATCH", path)
        test, replace = operations
        with self._lock:
            there = self._found("PATCH", path)
            if there["metadata"]["resourceVersion"] != test["value"]:
                raise Conflict("PATCH", path, 409, "Conflict", "the object has been modified")
            made = {**there, "spec": copy.deepcopy(replace["value"])}
            return _decoded(self._stored(path, made), kind)

    def put(self, path: str, body: Mapping[str, Any], kind: type[Any], **params: str) -> Any:
        self._refused("PUT", path, body)
        super().put(path, body, dict, **params)
        with self._lock:
            there = self._found("PUT", path)
            self._managed(there, params.get("fieldManager", "somebody"))
            return _decoded(there, kind)

    def delete(self, path: str, uid: str = "") -> None:
        with self._lock:
            there = self._objects.get(_path(path)[:3])
            if there is not None and uid not in ("", there["metadata"]["uid"]):
                raise Conflict("DELETE", path, 409, "Conflict", "uid mismatch")
        super().delete(path)

    # ---- for tests ---------------------------------------------------------------------------------

    def user(self, path: str, change: Callable[[Document], object], manager: str = "kubectl") -> None:
        """Somebody else reads and writes."""
        with self._lock:
            there = self._found("PUT", path)
            made = copy.deepcopy(there)
            change(made)
            key = _path(path)[:3]
            before, after = _fields(there), _fields(made)
            changed = {leaf for leaf in after if before.get(leaf, Ellipsis) != after[leaf]}
            self._others.setdefault(key, set()).update(changed)
            self._applied.setdefault(key, set()).difference_update(changed)
            if made.get("status") != there.get("status"):
                self._managed(made, manager)
            if made != there:
                self._stored(path, made)

    def objects(self, *plurals: str) -> list[Document]:
        """All of some kinds."""
        with self._lock:
            return [copy.deepcopy(one) for key, one in sorted(self._objects.items()) if key[0] in plurals]

    def collect(self) -> bool:
        """Take away what belongs to nobody any more; whether there was something."""
        with self._lock:
            alive = {one["metadata"]["uid"] for one in self._objects.values()}
            gone = []
            for key, one in self._objects.items():
                owners = one["metadata"].get("ownerReferences") or []
                if owners and not any(owner["uid"] in alive for owner in owners):
                    gone.append(key)
            for key in gone:
                self._tell("GC", "", "DELETED", key[0], self._objects.pop(key))
            return bool(gone)

    def _managed(self, one: Document, manager: str) -> None:
        wrote = [each for each in one["metadata"].get("managedFields", ()) if each["manager"] != manager]
        for each in wrote:  # as a field is taken from them
            each["time"] = _moment(self.date)
        wrote.append({"manager": manager, "subresource": "status", "time": _moment(self.date)})
        one["metadata"]["managedFields"] = wrote

    def _stored(self, path: str, made: Document) -> Document:
        key = _path(path)[:3]
        made["metadata"]["generation"] += made.get("spec") != self._objects[key].get("spec")
        return self._keep("PUT", path, key, "MODIFIED", made)

    def _served(self, method: str, path: str) -> None:
        if _path(path).plural in self.unserved:
            raise NotFound(method, path, 404, "NotFound", "the server could not find the requested resource")

    def _refused(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        if said := self.refuses(method, path, dict(body)):
            raise ApiError(method, path, said[0], "Refused", said[1])


def _moment(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _fields(body: Mapping[str, Any]) -> dict[Leaf, Any]:
    """What is said, by path; a list is one thing."""
    about = body["metadata"]
    said = {
        "kind": body.get("kind"),
        "apiVersion": body.get("apiVersion"),
        "metadata": {key: about.get(key) or {} for key in ("labels", "annotations")},
        "spec": body.get("spec") or {},
    }
    if owners := about.get("ownerReferences"):
        said["metadata"]["ownerReferences"] = owners
    found: dict[Leaf, Any] = {}

    def walk(value: Any, path: Leaf) -> None:
        if isinstance(value, Mapping) and (value or len(path) < 2):
            for key, one in value.items():
                walk(one, (*path, key))
        else:
            found[path] = copy.deepcopy(value)

    walk(said, ())
    return {leaf: value for leaf, value in found.items() if value is not None and value != {}}


def _set(made: Document, wanted: Mapping[Leaf, Any], gone: Any) -> Document:
    for *above, name in gone:
        holder: Any = made
        for step in above:
            holder = holder.get(step, {}) if isinstance(holder, dict) else {}
        if isinstance(holder, dict):
            holder.pop(name, None)
    for (*above, name), value in wanted.items():
        holder = made
        for step in above:
            holder = holder.setdefault(step, {})
        holder[name] = copy.deepcopy(value)
    return made
