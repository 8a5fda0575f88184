"""An API server in memory that knows who wrote which field: as much of it as caps need."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import Conflict, NotFound
from flyball.adapters.kubernetes.governed import Kind

Document = dict[str, Any]
Leaf = tuple[str, ...]
NOBODYS = {("metadata", key) for key in ("name", "namespace", "uid", "resourceVersion", "managedFields")}


class Server:
    """Objects by path; what is at one path may be replaced only at the version that was read."""

    def __init__(self) -> None:
        self.objects: dict[str, Document] = {}
        self.writes: list[str] = []
        """Asked for by whoever uses it as `Api`, as "METHOD path"."""
        self.before: Callable[[str, str], None] = lambda method, path: None
        """Called ahead of each request."""
        self._versions = itertools.count(1)

    def api(self) -> Api:
        return cast(Api, self)

    # ---- for tests -------------------------------------------------------------------------------

    def make(self, kind: Kind, namespace: str, name: str, manager: str = "kubectl", **document: Any) -> str:
        path = kind.path(namespace, name)
        about = {"name": name, "namespace": namespace, "uid": f"uid-{name}", **document.pop("metadata", {})}
        self.objects[path] = {"metadata": about}
        made = {"metadata": about, **document}
        self._keep(path, made, manager, "Update")
        return path

    def edited(self, path: str, change: Document, manager: str = "kubectl-edit") -> None:
        self._keep(path, _merged(self.objects[path], change), manager, "Update")

    def owners(self, path: str, *leaf: str) -> set[tuple[str, str]]:
        entries = self.objects[path]["metadata"]["managedFields"]
        return {
            (e["manager"], e["operation"]) for e in entries if leaf in set(_leaves(_plain(e["fieldsV1"])))
        }

    def ours(self, path: str, manager: str = "flyball-power") -> set[Leaf]:
        entries = self.objects[path]["metadata"]["managedFields"]
        return {leaf for e in entries if e["manager"] == manager for leaf in _leaves(_plain(e["fieldsV1"]))}

    # ---- as `Api` --------------------------------------------------------------------------------

    def get(self, path: str, kind: type[Any]) -> Any:
        self.before("GET", path)
        return _decoded(self._at("GET", path), kind)

    def items(self, path: str, kind: type[Any], **more: Any) -> list[Any]:
        self.before("GET", path)
        root, plural = path.rsplit("/", 1)
        return [
            _decoded(one, kind)
            for key, one in sorted(self.objects.items())
            if key.startswith(root) and key.split("/")[-2] == plural
        ]

    def apply(
        self, path: str, body: Mapping[str, Any], kind: type[Any], manager: str, force: bool = True
    ) -> Any:
        self._begin("APPLY", path)
        there = copy.deepcopy(self._at("APPLY", path))
        self._same("APPLY", path, body["metadata"], there)
        wanted = {leaf: v for leaf, v in _leaves(body).items() if leaf[0] in ("metadata", "spec")}
        wanted = {leaf: v for leaf, v in wanted.items() if leaf[:2] not in NOBODYS}
        for leaf in self.ours(path, manager) - set(wanted):
            if self.owners(path, *leaf) == {(manager, "Apply")}:
                _put(there, leaf, None)
        for leaf, value in wanted.items():
            _put(there, leaf, value)
        return _decoded(self._keep(path, there, manager, "Apply", wanted), kind)

    def put(self, path: str, body: Mapping[str, Any], kind: type[Any], **params: str) -> Any:
        self._begin("PUT", path)
        assert path.endswith("/scale")
        path = path.removesuffix("/scale")
        there = copy.deepcopy(self._at("PUT", path))
        self._same("PUT", path, body["metadata"], there)
        there["spec"]["replicas"] = body["spec"]["replicas"]
        return _decoded(self._keep(path, there, params["fieldManager"], "Update"), kind)

    def edit(self, path: str, operations: Sequence[Mapping[str, Any]], kind: type[Any], **params: str) -> Any:
        self._begin("EDIT", path)
        there = copy.deepcopy(self._at("EDIT", path))
        for one in operations:
            leaf = tuple(p.replace("~1", "/").replace("~0", "~") for p in one["path"].split("/")[1:])
            if one["op"] == "test":
                if _find(there, leaf) != one["value"]:
                    raise Conflict("EDIT", path, 409, "Conflict", "a test has failed")
                continue
            assert _find(there, leaf) is not None, leaf
            assert (one["op"] == "remove") == (one.get("value") is None), one
            _put(there, leaf, one.get("value"))
        return _decoded(self._keep(path, there, params["fieldManager"], "Update"), kind)

    # ---- kept ------------------------------------------------------------------------------------

    def _begin(self, method: str, path: str) -> None:
        self.before(method, path)
        self.writes.append(f"{method} {path}")

    def _at(self, method: str, path: str) -> Document:
        if path not in self.objects:
            raise NotFound(method, path, 404, "NotFound", "it is not there")
        return self.objects[path]

    def _same(self, method: str, path: str, about: Mapping[str, Any], there: Document) -> None:
        for key in ("uid", "resourceVersion"):
            if about.get(key, there["metadata"].get(key)) != there["metadata"].get(key):
                raise Conflict(method, path, 409, "Conflict", "somebody wrote since")

    def _keep(
        self,
        path: str,
        made: Document,
        manager: str,
        operation: str,
        stated: Mapping[Leaf, Any] | None = None,
    ) -> Document:
        was = self.objects[path]
        before, after = _leaves(was), _leaves(made)
        changed = {
            leaf
            for leaf in {*before, *after}
            if before.get(leaf) != after.get(leaf) and leaf[:2] not in NOBODYS
        }
        owned: dict[tuple[str, str], set[Leaf]] = {}
        for entry in made["metadata"].get("managedFields", ()):
            if entry:
                leaves = set(_leaves(_plain(entry["fieldsV1"]))) - changed
                owned[entry["manager"], entry["operation"]] = leaves & set(after)
        mine = owned.setdefault((manager, operation), set())
        owned[manager, operation] = set(stated) if stated is not None else mine | (changed & set(after))
        made["metadata"]["managedFields"] = [
            {"manager": m, "operation": o, "fieldsV1": _fields(leaves)}
            for (m, o), leaves in owned.items()
            if leaves
        ]
        if made != was:
            made["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[path] = made
        return made


def _leaves(document: Mapping[str, Any], at: Leaf = ()) -> dict[Leaf, Any]:
    found: dict[Leaf, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            found |= _leaves(value, (*at, key))
        elif not (at == ("metadata",) and value == {}):
            found[*at, key] = value
    return found


def _fields(leaves: set[Leaf]) -> Document:
    made: Document = {}
    for leaf in leaves:
        below = made
        for part in leaf:
            below = below.setdefault(f"f:{part}", {})
    return made


def _plain(fields: Mapping[str, Any]) -> Document:
    return {key.removeprefix("f:"): _plain(value) for key, value in fields.items()}


def _find(document: Any, leaf: Leaf) -> Any:
    for part in leaf:
        document = document.get(part) if isinstance(document, dict) else None
    return document


def _put(document: Document, leaf: Leaf, value: Any) -> None:
    for part in leaf[:-1]:
        document = document.setdefault(part, {})
    if value is None:
        document.pop(leaf[-1], None)
    else:
        document[leaf[-1]] = value


def _merged(there: Document, change: Mapping[str, Any]) -> Document:
    made = copy.deepcopy(there)
    for leaf, value in _leaves(change).items():
        _put(made, leaf, value)
    return made


def _decoded(one: Document, kind: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(one), type=kind)
