"""Inferno's six kinds as they stand in the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.objects import Metadata, Read
from flyball.adapters.kubernetes.watch import Watch
from flyball.units import Seconds
from flyball.wire.kinds import inferno
from flyball.wire.kinds.documents import Objects
from flyball.wire.kinds.inferno_objects import Document, Ref


class Stored(Read, frozen=True):
    """An object of our kinds; what stands in it is read by `wire`."""

    metadata: Metadata = Metadata()
    spec: Any = None
    status: dict[str, Any] = msgspec.field(default_factory=dict)


KINDS = {
    definition.kind: Kind(definition.group, inferno.VERSION, definition.plural, definition.kind)
    for definition in inferno.DEFINITIONS
}
FIELDS = {
    "Accelerator": "accelerators",
    "Model": "models",
    "ServiceClass": "service_classes",
    "Server": "servers",
    "Capacity": "capacities",
    "Optimizer": "optimizers",
}
"""Of `Objects`, by kind."""
LEFT_BEHIND = "inferno.platform.ai/finalizer"
"""The original's controller puts it on objects; where it is gone, nobody else would take it off."""


class Kinds:
    """Watches all six. `changed` is called with the kind and name of whatever changed."""

    def __init__(self, api: Api, changed: Callable[[Ref], None], namespace: str = "") -> None:
        self.watches = {name: watch_of(api, kind, changed, namespace) for name, kind in KINDS.items()}

    def start(self) -> None:
        """Begin to list and to watch."""
        for watch in self.watches.values():
            watch.start()

    def stop(self) -> None:
        """Begin nothing more."""
        for watch in self.watches.values():
            watch.stop()

    def wait(self, limit: Seconds) -> bool:
        """Wait until all kinds were listed; whether they were."""
        return all(watch.wait(limit) for watch in self.watches.values())

    @property
    def synced(self) -> bool:
        """Whether all kinds were listed once."""
        return all(watch.synced for watch in self.watches.values())

    @property
    def problem(self) -> str:
        """Why what is known may be old; "": it is not."""
        return next((watch.problem for watch in self.watches.values() if watch.problem), "")

    def get(self, ref: Ref) -> Stored | None:
        """One object; None: there is none."""
        return self.watches[ref.kind].get((ref.namespace, ref.name))

    def all(self, kind: str, namespace: str | None = None) -> tuple[Stored, ...]:
        """All of a kind, or those of a namespace."""
        return self.watches[kind].all(namespace)

    def namespaces(self) -> tuple[str, ...]:
        """Those in which there is any object."""
        found = {one.metadata.namespace for watch in self.watches.values() for one in watch.all()}
        return tuple(sorted(found))

    def objects(self, namespace: str) -> Objects:
        """All of a namespace, as `wire` reads them."""
        return objects_of({ref_of(kind, one): one for kind in FIELDS for one in self.all(kind, namespace)})


def watch_of(api: Api, kind: Kind, changed: Callable[[Ref], None], namespace: str) -> Watch[Stored]:
    """A watch that tells which object changed."""
    return Watch(api, kind, Stored, lambda key: changed(Ref(kind.name, *key)), namespace=namespace)


def objects_of(found: Mapping[Ref, Stored]) -> Objects:
    """Objects as `wire` reads them."""
    return Objects(
        **{
            field: tuple(document(one) for ref, one in found.items() if ref.kind == kind)
            for kind, field in FIELDS.items()
        }
    )


def document(one: Stored) -> Document:
    """An object as `wire` reads it."""
    about = {"namespace": one.metadata.namespace, "name": one.metadata.name}
    return {"metadata": about, "spec": one.spec}


def ref_of(kind: str, one: Stored) -> Ref:
    """As messages name it."""
    return Ref(kind, one.metadata.namespace, one.metadata.name)
