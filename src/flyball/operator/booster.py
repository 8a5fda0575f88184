"""ModelBoosters kept in step with their children: created, changed, pruned, taken over, and told of.

One look is at one ModelBooster: what it should have (pure, `boosting`) against what is there. Children of
others are never touched. Status: Initialized when the children exist, Active when the ModelServing is
Available, Failed with the cause while there is one; reasons are Kthena's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError, Conflict, NotFound
from flyball.boosting.adopt import adopted, needs_replacing, same, settled
from flyball.boosting.errors import BoosterError
from flyball.boosting.expand import expand
from flyball.boosting.sized import Choice
from flyball.operator.booster_around import Around
from flyball.operator.booster_kinds import (
    BOOSTER,
    CHILDREN,
    SERVING,
    BoosterKinds,
    Child,
    Key,
    Place,
    StoredBooster,
)
from flyball.operator.booster_status import CONTENDED, MANAGER, Found, contender, status_of
from flyball.operator.conditions import Document
from flyball.operator.reconciler import moment
from flyball.operator.writes import Fence, Leads, head_of
from flyball.units import Seconds
from flyball.wire.errors import WireError
from flyball.wire.kthena import WORKLOAD_API
from flyball.wire.kthena_booster import ModelBooster, read_booster

REPLICAS = "flyball.dev/replicas"
"""Annotation of a ModelServing: what the ModelBooster asked for when it was last written."""
REFUSALS = frozenset({400, 403, 405, 413, 422})
"""Statuses of an API server to which asking again changes nothing."""
INVALID = 422
LATER: Seconds = 120.0
"""So long until what was refused is asked again all the same."""
PATIENCE: Seconds = 5.0
"""What fails for so long is told, although it may pass."""

Told = Callable[[StoredBooster, str, str, bool], None]
"""Of a ModelBooster: reason, message, whether it is a warning."""


class Problem(Exception):
    """Why a ModelBooster has not all of its children; told in its status."""


class Waits(Exception):
    """For what a ModelBooster waits that comes by itself."""


class Left(Exception):
    """The ModelBooster has gone."""


class Right(msgspec.Struct, frozen=True):
    """What a look was based on; where that is the same, the children are as they should be."""

    uid: str
    generation: int
    labels: dict[str, str]
    annotations: dict[str, str]
    around: Around
    children: dict[Place, tuple[str, str]]
    """Their uids and versions."""
    notes: tuple[str, ...]


class Boosters:
    """Looks at ModelBoosters, each by one thread at a time."""

    def __init__(
        self,
        api: Api,
        lease: Leads | None,
        kinds: BoosterKinds,
        around: Callable[[], Around],
        *,
        sizing: Callable[[ModelBooster, Mapping[str, str]], ModelBooster] = lambda booster, serving: booster,
        told: Told = lambda stored, reason, message, warning: None,
        wall: Callable[[], str] = moment,
        now: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        """`lease` None: nobody else writes; `sizing`: fills in what a booster lacks, with the annotations of
        its ModelServing."""
        self._sizing = sizing
        self._api, self._lease, self._kinds, self._around, self._told = api, lease, kinds, around, told
        self._wall, self._now = wall, now
        # Two threads that meet a struct for the first time at once crash msgspec 0.22.
        msgspec.json.Decoder(ModelBooster)
        msgspec.json.Decoder(Choice)
        self._lock = threading.Lock()
        self._right: dict[Key, Right] = {}
        self._failing: dict[Key, Seconds] = {}
        self._said: dict[Key, Document] = {}
        self.writes = 0

    def look(self, key: Key) -> Seconds | None:
        """Make one ModelBooster right; returns after how many seconds to look again. ClusterError."""
        stored = self._kinds.boosters.get(key)
        if stored is None or stored.metadata.deletion_timestamp is not None:
            self._right.pop(key, None)  # its children go with it: the garbage collector sees to that
            self._failing.pop(key, None)
            self._said.pop(key, None)
            return None
        if other := contender(stored, self._said.get(key), self._api.date or 0.0):
            self._told(stored, "Contended", f"{other} writes its status, too: this one stands back", True)
            return CONTENDED
        fence = Fence(self._lease)
        try:
            self._children(stored, fence)
        except Left:
            return None
        except Waits as why:
            self._status(stored, fence, Found(waits=str(why)))
        except (WireError, BoosterError, Problem) as error:
            self._status(stored, fence, Found(problem=str(error)))
        except ApiError as error:
            if error.status in REFUSALS:
                self._status(stored, fence, Found(problem=str(error)))
                return LATER
            if not isinstance(error, Conflict | NotFound):
                since = self._failing.setdefault(key, self._now())
                if self._now() - since >= PATIENCE:
                    self._status(stored, fence, Found(problem=str(error)))
            raise
        else:
            self._status(stored, fence, Found(notes=self._right[key].notes))
        self._failing.pop(key, None)
        return None

    # ---- children --------------------------------------------------------------------------------

    def _children(self, stored: StoredBooster, fence: Fence) -> None:
        """Have them as they should be, and remember what that was based on."""
        around, about = self._around(), stored.metadata
        if around.missing:
            raise Problem(
                f"the cluster does not serve {' and '.join(around.missing)}: install Kthena's definitions"
            )
        if self._is_right(stored, around):
            return
        booster = read_booster(document(stored), f"ModelBooster {'/'.join(_key(stored))}")
        booster = self._sizing(booster, self._said_by_serving(about.uid))
        children = expand(booster, around.images, around.settings)
        scaled = children.policy is not None
        found: dict[Place, tuple[str, str]] = {}
        for one in children.documents():
            place = (one["kind"], about.namespace, one["metadata"]["name"])
            there = self._child(place, stored, booster, one, scaled, fence)
            found[place] = there.metadata.uid, there.metadata.resource_version
        for kind, child in self._kinds.owned(about.uid):
            if (kind, about.namespace, child.metadata.name) not in found:
                self._delete(kind, child, fence)
        self._right[_key(stored)] = Right(
            about.uid, about.generation, about.labels, about.annotations, around, found, children.notes
        )

    def _said_by_serving(self, uid: str) -> Mapping[str, str]:
        owned = self._kinds.owned(uid)
        return next((one.metadata.annotations for kind, one in owned if kind == SERVING.name), {})

    def _is_right(self, stored: StoredBooster, around: Around) -> bool:
        about, right = stored.metadata, self._right.get(_key(stored))
        if right is None or (right.uid, right.generation) != (about.uid, about.generation):
            return False
        if right.labels != about.labels or right.annotations != about.annotations or right.around != around:
            return False
        for place, version in right.children.items():
            there = self._kinds.child(place)
            if there is None or (there.metadata.uid, there.metadata.resource_version) != version:
                return False
        owned = self._kinds.owned(about.uid)
        return all((kind, about.namespace, one.metadata.name) in right.children for kind, one in owned)

    def _child(
        self,
        place: Place,
        stored: StoredBooster,
        booster: ModelBooster,
        wanted: Document,
        scaled: bool,
        fence: Fence,
    ) -> Child:
        """Have one as it should be; returns it as it then is."""
        kind, _, name = place
        there = self._kinds.child(place)
        asked = str(wanted["spec"].get("replicas", "")) if kind == SERVING.name else ""
        if there is None:
            self._still_there(stored)
            return self._create(_noted(wanted, asked), fence)
        if there.owner != stored.metadata.uid:
            self._foreign(place, there, stored)
        if there.metadata.deletion_timestamp is not None:
            raise Waits(f"{kind} {name} is being deleted: it is made anew when it is gone")
        existing = {"kind": kind, **there.document()}
        if reason := needs_replacing(existing, wanted):
            self._told(stored, "Replaced", f"{kind} {name} is made anew: {reason}", False)
            self._delete(kind, there, fence)
            raise Waits(f"{kind} {name} is made anew")
        # What the booster asks for counts when it asks for something new; else it is left to who scales.
        before = there.metadata.annotations.get(REPLICAS)
        keeps = bool(asked) and (scaled or before in (None, asked))
        fitted = adopted(existing, wanted, keep_replicas=keeps)
        if settled(existing, fitted) and (not asked or before == asked):
            return there
        if same(existing, fitted):  # to the letter: a spec that only says the same restarts pods, too
            fitted = {**fitted, "spec": existing["spec"]}
        try:
            made = self._apply(_noted(fitted, asked), there, fence)
        except ApiError as error:
            if error.status != INVALID:
                raise
            # An apply leaves null where somebody else wrote into what is not wanted any more.
            made = self._apply(_noted(fitted, asked), self._replace(there, fitted, fence), fence)
        if same({"kind": kind, **made.document()}, fitted):
            return made
        # Fields that somebody else wrote, or that it was made with, outlive an apply without them.
        return self._replace(made, fitted, fence)

    def _foreign(self, place: Place, there: Child, stored: StoredBooster) -> NoReturn:
        """Why an object is left alone; when it changes or goes, the booster is looked at again."""
        kind, _, name = place
        self._kinds.tell(place, _key(stored))
        if there.owner and there.owner_name == stored.metadata.name:
            raise Waits(f"{kind} {name} is of the ModelBooster that was here before, and goes with it")
        owner = f"ModelBooster {there.owner_name}" if there.owner else "somebody else"
        raise Problem(f"{kind} {name} is there and belongs to {owner}: it is left alone. Rename one of them")

    def _still_there(self, stored: StoredBooster) -> None:
        """Left where a booster went whose children go: those must not be made again."""
        if not stored.status.get("observedGeneration"):
            return  # it is new
        about = stored.metadata
        try:
            there = self._api.get(BOOSTER.path(about.namespace, about.name), StoredBooster).metadata
        except NotFound:
            raise Left from None
        if there.uid != about.uid or there.deletion_timestamp is not None:
            raise Left

    def _create(self, wanted: Document, fence: Fence) -> Child:
        """Conflict where it is there after all: an apply would take over what somebody else just made."""
        fence.check()
        kind = wanted["kind"]
        path = CHILDREN[kind].path(wanted["metadata"]["namespace"])
        return self._wrote(kind, self._api.post(path, wanted, Child, fieldManager=MANAGER))

    def _apply(self, wanted: Document, there: Child, fence: Fence) -> Child:
        fence.check()
        kind, about = wanted["kind"], wanted["metadata"]
        # Only what was read: somebody may have scaled it since.
        version = {"uid": there.metadata.uid, "resourceVersion": there.metadata.resource_version}
        wanted = {**wanted, "metadata": {**about, **version}}
        path = CHILDREN[kind].path(about["namespace"], about["name"])
        return self._wrote(kind, self._api.apply(path, wanted, Child, MANAGER))

    def _replace(self, there: Child, wanted: Document, fence: Fence) -> Child:
        fence.check()
        kind, about = wanted["kind"], there.metadata
        path = CHILDREN[kind].path(about.namespace, about.name)
        operations = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": about.resource_version},
            {"op": "replace", "path": "/spec", "value": wanted["spec"]},
        ]
        return self._wrote(kind, self._api.edit(path, operations, Child, fieldManager=MANAGER))

    def _wrote(self, kind: str, there: Child) -> Child:
        self._kinds.wrote(kind, there)
        self._count()
        return there

    def _delete(self, kind: str, one: Child, fence: Fence) -> None:
        fence.check()
        about = one.metadata
        self._api.delete(CHILDREN[kind].path(about.namespace, about.name), uid=about.uid)
        self._count()

    def _count(self) -> None:
        with self._lock:
            self.writes += 1

    # ---- status ----------------------------------------------------------------------------------

    def _status(self, stored: StoredBooster, fence: Fence, found: Found) -> None:
        right = self._right.get(_key(stored))
        if not found.problem and right is not None:
            servings = [self._kinds.child(place) for place in right.children if place[0] == SERVING.name]
            there = tuple(one for one in servings if one is not None)
            broken = [
                text
                for one in there
                for text in self._kinds.failures((one.metadata.namespace, one.metadata.name))
            ]
            found = msgspec.structs.replace(found, servings=there, broken=tuple(broken))
        made = status_of(stored, found, self._wall())
        if made is None:
            return
        status, new = made
        if self._write(stored, status, fence):
            for one in new:
                self._told(stored, one.reason, one.message, one.type == "Failed" and bool(one.status))

    def _write(self, stored: StoredBooster, status: Document, fence: Fence) -> bool:
        """Whether it was there still."""
        fence.check()
        about = stored.metadata
        body = head_of(BOOSTER, about) | {"status": status}
        path = BOOSTER.path(about.namespace, about.name, "status")
        try:
            there = self._api.put(path, body, StoredBooster, fieldManager=MANAGER)
        except NotFound:
            return False
        self._count()
        self._said[_key(stored)] = there.status
        self._kinds.boosters.seen(there)
        return True


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


def _key(stored: StoredBooster) -> Key:
    return stored.metadata.namespace, stored.metadata.name
