"""ModelBoosters, their children and the pods of these, as they stand in the cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.governed import Kind
from flyball.adapters.kubernetes.objects import Metadata, Read
from flyball.adapters.kubernetes.watch import Watch
from flyball.operator.booster_pods import BoostedPod, failure
from flyball.units import Seconds
from flyball.wire.kthena import NETWORKING, WORKLOAD

VERSION = "v1alpha1"
BOOSTER = Kind(WORKLOAD, VERSION, "modelboosters", "ModelBooster")
SERVING = Kind(WORKLOAD, VERSION, "modelservings", "ModelServing")
CHILDREN = {
    kind.name: kind
    for kind in (
        SERVING,
        Kind(NETWORKING, VERSION, "modelservers", "ModelServer"),
        Kind(NETWORKING, VERSION, "modelroutes", "ModelRoute"),
        Kind(WORKLOAD, VERSION, "autoscalingpolicies", "AutoscalingPolicy"),
        Kind(WORKLOAD, VERSION, "autoscalingpolicybindings", "AutoscalingPolicyBinding"),
    )
}
NEEDED = ("ModelServing", "ModelServer", "ModelRoute")
PODS = Kind("", "v1", "pods", "Pod")
SERVED_BY = "modelserving.volcano.sh/name"
"""Label of a pod: its ModelServing."""
UNSEEN: Seconds = 10.0
"""So long a child that was just written is taken for there although its event has not come."""

Key = tuple[str, str]
"""Namespace and name."""
Place = tuple[str, str, str]
"""Kind, namespace and name."""


class WroteStatus(Read, frozen=True):
    """Who wrote what, and when."""

    manager: str = ""
    subresource: str = ""
    time: str = ""


class OwnedMetadata(Metadata, frozen=True):
    """Metadata with owners as they are written."""

    owner_references: tuple[dict[str, Any], ...] = ()  # type: ignore[assignment]


class BoosterMetadata(OwnedMetadata, frozen=True):
    """The same, and who wrote the object."""

    managed_fields: tuple[WroteStatus, ...] = ()


class StoredBooster(Read, frozen=True):
    """A ModelBooster."""

    metadata: BoosterMetadata = BoosterMetadata()
    spec: Any = None
    status: dict[str, Any] = msgspec.field(default_factory=dict)


class Child(Read, frozen=True):
    """An object that a ModelBooster may own."""

    metadata: OwnedMetadata = OwnedMetadata()
    spec: dict[str, Any] = msgspec.field(default_factory=dict)
    status: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def owner(self) -> str:
        """Uid of the ModelBooster that owns it; "": none does."""
        return str(self._owner.get("uid", ""))

    @property
    def owner_name(self) -> str:
        """Its name."""
        return str(self._owner.get("name", ""))

    @property
    def _owner(self) -> dict[str, Any]:
        owners = self.metadata.owner_references
        return next((one for one in owners if one.get("kind") == BOOSTER.name), {})

    def document(self) -> dict[str, Any]:
        """As the pure functions compare it."""
        about = self.metadata
        return {
            "metadata": {
                "name": about.name,
                "namespace": about.namespace,
                "labels": about.labels,
                "annotations": about.annotations,
                "ownerReferences": list(about.owner_references),
            },
            "spec": self.spec,
        }


class BoosterKinds:
    """Watches them all. `changed` is called with namespace and name of the ModelBooster that it concerns."""

    def __init__(
        self,
        api: Api,
        changed: Callable[[Key], None],
        namespace: str = "",
        now: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self._changed, self._now = changed, now
        self._lock = threading.Lock()
        self._owners: dict[Place, tuple[str, str]] = {}
        self._owned: dict[str, set[Place]] = {}
        self._made: dict[Place, tuple[Child, Seconds]] = {}
        self._awaited: dict[Place, set[Key]] = {}
        self._broken: dict[Key, dict[str, str]] = {}
        self._serving_of: dict[Key, Key] = {}
        self.boosters = Watch(api, BOOSTER, StoredBooster, changed, namespace=namespace)
        self.children: dict[str, Watch[Child]] = {
            name: self._watch(api, kind, namespace) for name, kind in CHILDREN.items()
        }
        self.pods = Watch(api, PODS, BoostedPod, self._of_pod, namespace=namespace, selector=SERVED_BY)

    def _watch(self, api: Api, kind: Kind, namespace: str) -> Watch[Child]:
        def told(key: Key) -> None:
            place = (kind.name, *key)
            one = self.children[kind.name].get(key)
            with self._lock:
                made, _ = self._made.get(place, (None, 0.0))
                if made is not None and (one is None or not newer(made, one)):
                    del self._made[place]
                uid, before = self._owners.pop(place, ("", ""))
                self._forget(uid, place)
                after = ""
                if one is not None and one.owner:
                    self._owners[place] = uid, after = one.owner, one.owner_name
                    self._owned.setdefault(uid, set()).add(place)
                concerned = self._awaited.pop(place, set()) | {
                    (key[0], name) for name in (before, after) if name
                }
            for booster in concerned:
                self._changed(booster)

        return Watch(api, kind, Child, told, namespace=namespace)

    def _forget(self, uid: str, place: Place) -> None:
        places = self._owned.get(uid)
        if places is not None:
            places.discard(place)
            if not places:
                del self._owned[uid]

    def _of_pod(self, key: Key) -> None:
        pod = self.pods.get(key)
        reason = failure(pod) if pod is not None else ""
        serving = (key[0], pod.metadata.labels.get(SERVED_BY, "")) if pod is not None and reason else None
        with self._lock:
            before = self._serving_of.pop(key, None)
            said = self._broken[before].pop(key[1]) if before is not None else ""
            if before is not None and not self._broken[before]:
                del self._broken[before]
            if serving is not None:
                self._serving_of[key] = serving
                self._broken.setdefault(serving, {})[key[1]] = reason
        if (before, said) == (serving, reason):
            return
        for place in {one for one in (before, serving) if one is not None}:
            one = self.children[SERVING.name].get(place)
            if one is not None and one.owner_name:
                self._changed((key[0], one.owner_name))

    def start(self) -> None:
        """Begin to list and to watch."""
        for watch in self._all():
            watch.start()

    def stop(self) -> None:
        """Begin nothing more."""
        for watch in self._all():
            watch.stop()

    def _all(self) -> Iterable[Watch[Any]]:
        return (self.boosters, *self.children.values(), self.pods)

    @property
    def synced(self) -> bool:
        """Whether all that is needed was listed once, where the cluster has it."""
        return self.boosters.synced and all(watch.synced or watch.absent for watch in self._all())

    @property
    def missing(self) -> tuple[str, ...]:
        """Kinds that are needed and that the cluster does not serve."""
        return tuple(name for name in NEEDED if self.children[name].absent)

    def child(self, place: Place) -> Child | None:
        """An object that may be a child; as the answer to a write of our own has it, where that is newer."""
        kind, *key = place
        seen = self.children[kind].get((key[0], key[1]))
        with self._lock:
            made, at = self._made.get(place, (None, 0.0))
            if made is None:
                return seen
            if self._now() - at > UNSEEN:
                del self._made[place]
                return seen
        return made if seen is None or newer(made, seen) else seen

    def wrote(self, kind: str, one: Child) -> None:
        """Know a child as the answer to a write has it, before its event comes."""
        place = (kind, one.metadata.namespace, one.metadata.name)
        with self._lock:
            self._made[place] = one, self._now()
        seen = self.children[kind].get(place[1:])
        if seen is not None and not newer(one, seen):
            with self._lock:
                if self._made.get(place, (None, 0.0))[0] is one:
                    del self._made[place]

    def tell(self, place: Place, booster: Key) -> None:
        """Have a ModelBooster looked at when an object that it does not own changes or goes."""
        before = self.child(place)
        with self._lock:
            self._awaited.setdefault(place, set()).add(booster)
        if self.child(place) is not before:
            self._changed(booster)

    def owned(self, uid: str) -> list[tuple[str, Child]]:
        """The children of a ModelBooster that are not being deleted, with their kinds."""
        with self._lock:
            places = sorted(self._owned.get(uid, ()))
        found = [(place[0], self.child(place)) for place in places]
        return [
            (kind, one)
            for kind, one in found
            if one is not None and one.owner == uid and one.metadata.deletion_timestamp is None
        ]

    def failures(self, serving: Key) -> list[str]:
        """Why pods of a ModelServing do not run: "chat-0-leader-0: ImagePullBackOff"; by name."""
        with self._lock:
            found = sorted(self._broken.get(serving, {}).items())
        return [f"{name}: {reason}" for name, reason in found]


def newer(one: Child, than: Child) -> bool:
    """Whether it was stored later."""
    now, before = one.metadata.resource_version, than.metadata.resource_version
    return int(now) > int(before) if now.isdecimal() and before.isdecimal() else now != before
