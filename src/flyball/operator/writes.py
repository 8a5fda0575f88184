"""Objects of our kinds written: by the leader only, only what was read, compared first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ClusterError
from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.objects import Metadata
from flyball.adapters.kubernetes.write import MANAGER
from flyball.operator.kinds import KINDS, Stored
from flyball.wire.kinds.inferno_objects import Document


class NotLeading(ClusterError):
    """Another process leads, so nothing is written."""

    passing = True


class Leads(Protocol):
    """Who may write."""

    @property
    def term(self) -> int | None:
        """Which time of leading it is; None: another process leads."""
        ...


class Fence:
    """What was begun in one term of leading may write in that term only."""

    def __init__(self, lease: Leads | None) -> None:
        """`lease` None: nobody else writes."""
        self._lease = lease
        self._term = None if lease is None else lease.term

    def check(self) -> None:
        """NotLeading where the term is over."""
        if self._lease is not None and (self._term is None or self._lease.term != self._term):
            raise NotLeading("this process does not lead")


class Writes:
    """Writes of one look at the cluster: those of a term that is over are refused."""

    def __init__(
        self,
        api: Api,
        lease: Leads | None,
        seen: Callable[[str, Stored], None],
        kinds: Mapping[str, Kind] = KINDS,
    ) -> None:
        """`lease` None: nobody else writes; `seen`: is told kind and object of each answer; `kinds`: those
        that are written, by name."""
        self._api, self._seen, self._fence, self._kinds = api, seen, Fence(lease), kinds
        self.count = 0

    def make(self, kind: str, namespace: str, body: Mapping[str, object]) -> Stored:
        """Make an object; Conflict: there is one of that name."""
        self._fence.check()
        there = self._api.post(self._kinds[kind].path(namespace), body, Stored, fieldManager=MANAGER)
        return self._told(kind, there)

    def remove(self, kind: str, one: Stored) -> None:
        """Delete an object, or nothing where it is not there; Conflict: it is another one now."""
        self._fence.check()
        self._api.delete(self._path(kind, one), one.metadata.uid)
        self.count += 1

    def status(self, kind: str, one: Stored, status: Document) -> Stored:
        """Replace a status; Conflict: somebody wrote since it was read."""
        body: dict[str, object] = {
            **head_of(self._kinds[kind], one.metadata),
            "status": {key: value for key, value in status.items() if value is not None},
        }
        return self._put(kind, f"{self._path(kind, one)}/status", body)

    def status_within(self, kind: str, one: Stored, status: Document) -> Stored:
        """Set a status in the object itself, of a kind that has no subresource for it; Conflict."""
        self._fence.check()
        body = {"metadata": {"resourceVersion": one.metadata.resource_version}, "status": dict(status)}
        return self._told(kind, self._api.patch(self._path(kind, one), body, Stored, fieldManager=MANAGER))

    def spec(self, kind: str, one: Stored, changes: Mapping[str, Any]) -> Stored:
        """Set fields of a spec; Conflict: somebody wrote since it was read."""
        self._fence.check()
        body: dict[str, object] = {
            "metadata": {"resourceVersion": one.metadata.resource_version},
            "spec": dict(changes),
        }
        there = self._api.patch(self._path(kind, one), body, Stored, fieldManager=MANAGER)
        return self._told(kind, there)

    def release(self, kind: str, one: Stored, finalizer: str) -> Stored:
        """Take a finalizer off; Conflict: somebody wrote since it was read. NotFound."""
        self._fence.check()
        others = [name for name in one.metadata.finalizers if name != finalizer]
        body = {"metadata": {"resourceVersion": one.metadata.resource_version, "finalizers": others}}
        there = self._api.patch(self._path(kind, one), body, Stored, fieldManager=MANAGER)
        return self._told(kind, there)

    def fresh(self, kind: str, one: Stored) -> Stored:
        """The same object as it is now; NotFound."""
        return self._api.get(self._path(kind, one), Stored)

    def _put(self, kind: str, path: str, body: Mapping[str, object]) -> Stored:
        self._fence.check()
        return self._told(kind, self._api.put(path, body, Stored, fieldManager=MANAGER))

    def _told(self, kind: str, there: Stored) -> Stored:
        self.count += 1
        self._seen(kind, there)
        return there

    def _path(self, kind: str, one: Stored) -> str:
        return self._kinds[kind].path(one.metadata.namespace, one.metadata.name)


def head_of(kind: Kind, metadata: Metadata) -> dict[str, object]:
    """What says which object is to be replaced, and as which it was read."""
    return {
        "apiVersion": f"{kind.group}/{kind.version}",
        "kind": kind.name,
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
        },
    }
