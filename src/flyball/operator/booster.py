"""ModelBoosters kept in step with their children: created, changed, pruned, taken over, and told of.

One look is at one ModelBooster: what it should have (pure, `boosting`) against what is there. Children of
others are never touched. Status: Initialized when the children exist, Active when the ModelServing is
Available, Failed with the cause while there is one; reasons are Kthena's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError, ClusterError, NotFound
from flyball.boosting.adopt import adopted, needs_replacing, settled
from flyball.boosting.errors import BoosterError
from flyball.boosting.expand import expand
from flyball.boosting.settings import Images, Settings
from flyball.operator.booster_kinds import (
    BOOSTER,
    CHILDREN,
    SERVING,
    BoosterKinds,
    Child,
    Key,
    Place,
    StoredBooster,
    failures,
)
from flyball.operator.conditions import Document, Holds, conditions, differs
from flyball.operator.reconciler import moment
from flyball.operator.writes import Fence, Leads
from flyball.units import Seconds
from flyball.wire.errors import WireError
from flyball.wire.kthena import WORKLOAD_API
from flyball.wire.kthena_booster import ModelBooster, read_booster

MANAGER = "flyball-booster"
REPLICAS = "flyball.dev/replicas"
"""Annotation of a ModelServing: what the ModelBooster asked for when it was last written."""
UNSEEN: Seconds = 10.0
"""So long a child that was just made is taken for there although its event has not come."""
CONTENDED: Seconds = 120.0
"""So long this one stands back after another controller wrote a status."""
REFUSALS = frozenset({400, 403, 422})
"""Statuses of an API server to which asking again changes nothing."""

Told = Callable[[StoredBooster, str, str, bool], None]
"""Of a ModelBooster: reason, message, whether it is a warning."""


class Problem(Exception):
    """Why a ModelBooster has not all of its children; told in its status."""


class Boosters:
    """Looks at ModelBoosters, each by one thread at a time."""

    def __init__(
        self,
        api: Api,
        lease: Leads | None,
        kinds: BoosterKinds,
        images: Callable[[], Images] = Images,
        settings: Callable[[], Settings] = Settings,
        *,
        told: Told = lambda stored, reason, message, warning: None,
        wall: Callable[[], str] = moment,
        now: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self._api, self._lease, self._kinds = api, lease, kinds
        self._images, self._settings, self._told = images, settings, told
        self._wall, self._now = wall, now
        self._lock = threading.Lock()
        self._made: dict[Place, tuple[Child, Seconds]] = {}
        self.writes = 0

    def look(self, key: Key) -> Seconds | None:
        """Make one ModelBooster right; returns after how many seconds to look again. ClusterError."""
        stored = self._kinds.boosters.get(key)
        if stored is None or stored.metadata.deletion_timestamp is not None:
            return None  # its children go with it: the garbage collector sees to that
        if (other := self._contender(stored)) is not None:
            self._told(stored, "Contended", f"{other} writes its status, too: this one stands back", True)
            return CONTENDED
        fence = Fence(self._lease)
        try:
            notes = self._children(stored, fence)
        except (WireError, BoosterError, Problem) as error:
            self._status(stored, fence, str(error), ())
            return None
        except ApiError as error:
            if error.status not in REFUSALS:
                raise
            self._status(stored, fence, str(error), ())
            return CONTENDED
        self._status(stored, fence, "", notes)
        return None

    # ---- children --------------------------------------------------------------------------------

    def _children(self, stored: StoredBooster, fence: Fence) -> tuple[str, ...]:
        """Have them as they should be; returns what is worth telling."""
        if missing := self._kinds.missing:
            raise Problem(f"the cluster does not serve {' and '.join(missing)}: install Kthena's definitions")
        booster = read_booster(document(stored), f"ModelBooster {'/'.join(_key(stored))}")
        children = expand(booster, self._images(), self._settings())
        wanted = children.documents()
        scaled = children.policy is not None
        for one in wanted:
            self._child(stored, booster, one, scaled, fence)
        names = {(one["kind"], one["metadata"]["name"]) for one in wanted}
        for kind, child in self._kinds.owned(stored.metadata.uid):
            if (kind, child.metadata.name) not in names and child.metadata.deletion_timestamp is None:
                self._delete(kind, child, fence)
        return children.notes

    def _child(
        self, stored: StoredBooster, booster: ModelBooster, wanted: Document, scaled: bool, fence: Fence
    ) -> None:
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        there = self._there(kind, stored.metadata.namespace, name)
        asked = str(wanted["spec"].get("replicas", "")) if kind == SERVING.name else ""
        if there is None:
            self._apply(_noted(wanted, asked), stored, fence)
            return
        if there.owner != stored.metadata.uid:
            owner = f"ModelBooster {there.owner_name}" if there.owner else "somebody else"
            raise Problem(
                f"{kind} {name} is there and belongs to {owner}: it is left alone. Rename one of them"
            )
        if there.metadata.deletion_timestamp is not None:
            raise Problem(f"{kind} {name} is being deleted: it is made anew when it is gone")
        existing = {"kind": kind, **there.document()}
        if reason := needs_replacing(existing, wanted):
            self._told(stored, "Replaced", f"{kind} {name} is made anew: {reason}", False)
            self._delete(kind, there, fence)
            self._apply(_noted(wanted, asked), stored, fence)
            return
        # What the booster asks for counts when it asks for something new; else it is left to who scales.
        before = there.metadata.annotations.get(REPLICAS)
        keeps = bool(asked) and (scaled or before in (None, asked))
        fitted = adopted(existing, wanted, keep_replicas=keeps)
        if not settled(existing, fitted) or (asked and before != asked):
            self._apply(_noted(fitted, asked), stored, fence)

    def _there(self, kind: str, namespace: str, name: str) -> Child | None:
        place = (kind, namespace, name)
        seen = self._kinds.children[kind].get((namespace, name))
        with self._lock:
            made, at = self._made.get(place, (None, 0.0))
            if made is None:
                return seen
            if (seen is not None and seen.metadata.uid == made.metadata.uid) or self._now() - at > UNSEEN:
                del self._made[place]
                return seen
            return made if seen is None else seen

    def _apply(self, wanted: Document, stored: StoredBooster, fence: Fence) -> None:
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        fence.check()
        path = CHILDREN[kind].path(stored.metadata.namespace, name)
        made = self._api.apply(path, wanted, Child, MANAGER)
        self.writes += 1
        with self._lock:
            self._made[kind, stored.metadata.namespace, name] = made, self._now()

    def _delete(self, kind: str, one: Child, fence: Fence) -> None:
        fence.check()
        about = one.metadata
        self._api.delete(CHILDREN[kind].path(about.namespace, about.name), uid=about.uid)
        self.writes += 1
        with self._lock:
            self._made.pop((kind, about.namespace, about.name), None)

    # ---- status ----------------------------------------------------------------------------------

    def _status(self, stored: StoredBooster, fence: Fence, problem: str, notes: tuple[str, ...]) -> None:
        before = stored.status
        generation = stored.metadata.generation
        had = {one["type"]: one["status"] for one in before.get("conditions") or []}
        found = list(self._holds(stored, problem, notes, had))
        made: Document = {"conditions": conditions(before.get("conditions"), found, generation, self._wall())}
        done = not problem
        made["observedGeneration"] = generation if done else before.get("observedGeneration", 0)
        same = not differs(before.get("conditions"), made["conditions"])
        if same and before.get("observedGeneration", 0) == made["observedGeneration"]:
            return
        for one in found:
            was: Document = next((c for c in before.get("conditions") or [] if c["type"] == one.type), {})
            if (was.get("status"), was.get("message")) == (one.word, one.message):
                continue
            if one.type == "Failed" and (one.status or was):
                self._told(stored, one.reason, one.message, bool(one.status))
            elif one.type == "Active" and one.status:
                self._told(stored, one.reason, one.message, False)
        self._write(stored, made, fence)

    def _holds(
        self, stored: StoredBooster, problem: str, notes: tuple[str, ...], had: dict[str, str]
    ) -> list[Holds]:
        """Initialized, Active and Failed as they are now."""
        if problem:
            return [
                Holds("Active", False, "ModelProcessing", "ModelBooster not ready yet"),
                Holds("Failed", True, "ModelAbnormal", problem),
            ]
        found = [Holds("Initialized", True, "ModelCreating", "ModelBooster initialized")]
        broken: list[str] = []
        available = True
        for kind, one in self._kinds.owned(stored.metadata.uid):
            if kind == SERVING.name:
                available = available and _available(one)
                broken += failures(self._kinds.pods_of((one.metadata.namespace, one.metadata.name)))
        available = available and bool(self._servings(stored))
        said = "ModelBooster is ready" if available else "ModelBooster not ready yet"
        more = "; ".join((*broken[:3], *notes))
        if more:
            said += f": {more}"
        reason = "ModelAvailable" if available else "ModelProcessing"
        found.append(Holds("Active", available, reason, said))
        fatal = [text for text in broken if "Unschedulable" not in text]
        if fatal and not available:
            found.append(Holds("Failed", True, "ModelAbnormal", "; ".join(fatal[:3])))
        elif "Failed" in had:
            found.append(Holds("Failed", False, "ModelRecovered", ""))
        return found

    def _servings(self, stored: StoredBooster) -> list[Child]:
        return [one for kind, one in self._kinds.owned(stored.metadata.uid) if kind == SERVING.name]

    def _write(self, stored: StoredBooster, status: Document, fence: Fence) -> None:
        fence.check()
        about = stored.metadata
        body: dict[str, object] = {
            "apiVersion": WORKLOAD_API,
            "kind": BOOSTER.name,
            "metadata": {
                "name": about.name,
                "namespace": about.namespace,
                "uid": about.uid,
                "resourceVersion": about.resource_version,
            },
            "status": status,
        }
        path = BOOSTER.path(about.namespace, about.name, "status")
        try:
            there = self._api.put(path, body, StoredBooster, fieldManager=MANAGER)
        except NotFound:
            return  # it went meanwhile
        self.writes += 1
        self._kinds.boosters.seen(there)

    def _contender(self, stored: StoredBooster) -> str | None:
        """Who else wrote the status a short while ago; None: nobody did."""
        wrote = [one for one in stored.metadata.managed_fields if one.subresource == "status"]
        own = max((one.time for one in wrote if one.manager == MANAGER), default="")
        others = [one for one in wrote if one.manager != MANAGER and one.time > own]
        at = self._api.date or 0.0
        for one in others:
            if own and at - _seconds(one.time) < CONTENDED:
                return one.manager
        return None


def document(stored: StoredBooster) -> Document:
    """A ModelBooster as `wire` reads it."""
    about = stored.metadata
    return {
        "apiVersion": WORKLOAD_API,
        "kind": BOOSTER.name,
        "metadata": {
            "name": about.name,
            "namespace": about.namespace,
            "uid": about.uid,
            "generation": about.generation,
            "labels": about.labels,
            "annotations": about.annotations,
        },
        "spec": stored.spec,
    }


def _noted(wanted: Document, asked: str) -> Document:
    """With the replicas that were asked for as annotation."""
    if not asked:
        return wanted
    about = wanted["metadata"]
    return {**wanted, "metadata": {**about, "annotations": {**about.get("annotations", {}), REPLICAS: asked}}}


def _available(one: Child) -> bool:
    found = one.status.get("conditions") or []
    return any(c.get("type") == "Available" and c.get("status") == "True" for c in found)


def _key(stored: StoredBooster) -> Key:
    return stored.metadata.namespace, stored.metadata.name


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


class _Data(msgspec.Struct, frozen=True):
    data: dict[str, str] = {}


IMAGES = {
    "model_serving_downloader_image": "downloader",
    "model_serving_runtime_image": "runtime",
}
"""Keys of Kthena's ConfigMap, and what of `Images` they are."""
CONFIG = "model-booster-controller-config"


class Surroundings:
    """What an expansion depends on beside the ModelBooster: images from a ConfigMap, and the kinds served.

    Read at most once in `every` seconds; what cannot be read stays as it was.
    """

    def __init__(
        self,
        api: Api,
        kinds: BoosterKinds,
        namespace: str,
        *,
        every: Seconds = 60.0,
        now: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self._path = f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG}"
        self._api, self._kinds, self._every, self._now = api, kinds, every, now
        self._read: Seconds | None = None
        self._known = Images()
        self._lock = threading.Lock()

    def images(self) -> Images:
        """As the ConfigMap says, else Kthena's own."""
        with self._lock:
            if self._read is None or self._now() - self._read >= self._every:
                self._read = self._now()
                self._known = self._fresh()
            return self._known

    def _fresh(self) -> Images:
        try:
            said: dict[str, Any] = self._api.get(self._path, _Data).data
        except NotFound:
            return Images()
        except ClusterError:
            return self._known
        given = {field: said[key].strip() for key, field in IMAGES.items() if said.get(key, "").strip()}
        return Images(**given)

    def settings(self) -> Settings:
        """Which kinds there are."""
        if self._kinds.children["AutoscalingPolicy"].absent:
            return Settings(None)
        bound = not self._kinds.children["AutoscalingPolicyBinding"].absent
        return Settings("v0.4" if bound else "v1")
