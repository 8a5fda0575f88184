"""One object capped, or given back, as its note says: by server-side apply, and only what was read."""

from __future__ import annotations

from typing import Any

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.governed import DEPLOYMENT, STATEFUL_SET, Kind
from flyball.adapters.kubernetes.listing import AUTOSCALERS, SCALED_OBJECTS
from flyball.adapters.kubernetes.power_original import (
    HPA_MAXIMUM,
    MANAGER,
    MAXIMUM,
    ORIGINAL,
    PARALLELISM,
    PAUSE,
    REPLICAS,
    WROTE,
    Document,
    Knob,
    Note,
    annotations_of,
    handed_back,
    is_edited,
    note_of,
    noted,
    users,
    writers,
)
from flyball.adapters.kubernetes.template import pointer
from flyball.adapters.kubernetes.write import Writer

REPLICA_SET = Kind("apps", "v1", "replicasets", "ReplicaSet")
JOB = Kind("batch", "v1", "jobs", "Job")
STOPPED = "autoscaling.keda.sh/paused"
PLAIN = {kind.name: kind for kind in (DEPLOYMENT, STATEFUL_SET, REPLICA_SET, JOB)}
"""What is scaled itself where nothing scales it: by /scale, or by a Job's parallelism."""


class Place(msgspec.Struct, frozen=True):
    """An object that says how many replicas there may be."""

    kind: Kind
    namespace: str
    name: str

    @property
    def path(self) -> str:
        """Of the object."""
        return self.kind.path(self.namespace, self.name)

    @property
    def words(self) -> str:
        """In sentences."""
        return f"{self.kind.name} {self.namespace}/{self.name}"

    def knob(self, pauses: bool) -> Knob:
        """By which it is capped."""
        if self.kind == SCALED_OBJECTS:
            return PAUSE if pauses else MAXIMUM
        return {AUTOSCALERS: HPA_MAXIMUM, JOB: PARALLELISM}.get(self.kind, REPLICAS)


class Wish(msgspec.Struct, frozen=True):
    """What is to hold."""

    knob: Knob
    most: int
    now: int
    """Replicas asked for: a pause that begins gives no more."""


def least(document: Document, knob: Knob) -> int:
    """Below what a field cannot go."""
    spec = document.get("spec") or {}
    own = {MAXIMUM: "minReplicaCount", PAUSE: "minReplicaCount", HPA_MAXIMUM: "minReplicas"}.get(knob)
    low = int(spec.get(own) or 0) if own else 0
    return max(low, 1) if knob in (MAXIMUM, HPA_MAXIMUM) else low


class PlaceWriter:
    """Writes of one cycle to objects that say how many replicas there may be."""

    def __init__(self, api: Api, writer: Writer) -> None:
        self._api, self._writer = api, writer

    def read(self, place: Place) -> Document:
        """An object as it is. ClusterError, Left."""
        return self._writer.send(lambda: self._api.get(place.path, dict[str, Any]))

    def settle(self, place: Place, there: Document, wish: Wish | None) -> tuple[bool, str]:
        """Cap it, or give it back; whether it is ours then, and what could not be. ClusterError, Left."""
        note = note_of(annotations_of(there))
        if wish is not None and wish.knob is MAXIMUM and users(there, PAUSE) is not None:
            wish = msgspec.structs.replace(wish, knob=PAUSE)  # where its user paused it, no maximum counts
        if note is not None and (wish is None or wish.knob != note.knob):
            # Between two levers it is as its user has it, for the time of a request.
            there, note = self.give_back(place, there, note), None
        if wish is None:
            return False, ""
        knob, user = wish.knob, users(there, wish.knob)
        low, bound = least(there, knob), knob.number(user)
        most = max(wish.most if note or knob is not PAUSE else min(wish.most, wish.now), low)
        problem = "" if wish.most >= low else _too_low(place, there, wish, low)
        if knob is MAXIMUM and annotations_of(there).get(STOPPED) == "true":
            problem = (
                f"{place.words} is paused by its user, so that KEDA heeds no maximum: it keeps what it has. "
                f"Remove the annotation {STOPPED}, or write {PAUSE.path[-1]} instead"
            )
        if bound is not None and bound <= most:
            if note is not None:
                self.give_back(place, there, note)
            return False, problem
        is_held = note is not None and note.wrote == most and not is_edited(there, note)
        if not is_held or knob.number(knob.of(there)) != most:
            self._cap(place, there, _note(there, knob, most, note))
        return True, problem

    def _cap(self, place: Place, there: Document, note: Note) -> None:
        knob = note.knob
        body: Document = {
            "apiVersion": f"{place.kind.group}/{place.kind.version}",
            "kind": place.kind.name,
            "metadata": {
                "name": place.name,
                "namespace": place.namespace,
                "uid": there["metadata"]["uid"],  # what is gone by then is not made anew
                "resourceVersion": _version(there),
                "annotations": noted(there, note),
            },
        }
        if knob is not REPLICAS:
            body = _merged(body, knob.written(note.wrote))
        made = self._writer.send(lambda: self._api.apply(place.path, body, dict[str, Any], MANAGER))
        if knob is REPLICAS:
            self._scale(place, made, note.wrote)

    def _scale(self, place: Place, there: Document, replicas: int) -> None:
        if REPLICAS.of(there) == replicas:
            return
        body = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {
                "name": place.name,
                "namespace": place.namespace,
                "resourceVersion": _version(there),
            },
            "spec": {"replicas": replicas},
        }
        path = f"{place.path}/scale"
        self._writer.send(lambda: self._api.put(path, body, dict[str, Any], fieldManager=MANAGER))

    def give_back(self, place: Place, there: Document, note: Note) -> Document:
        """Have it as its user wants it, with nothing of ours; the object then. ClusterError, Left."""
        knob, absent = note.knob, False
        if is_edited(there, note):
            note = msgspec.structs.replace(note, user=None)  # whoever wrote it since has it already
        elif note.user is None:
            absent = True
        elif knob is REPLICAS:
            self._scale(place, there, int(note.user))
            there = self.read(place)
        else:
            there = self._edit(place, there, {"op": "replace", "path": _at(knob), "value": note.user})
        operations: list[dict[str, object]] = [
            {"op": "replace", "path": "/metadata/managedFields", "value": handed_back(there, note)},
        ]
        operations += [
            {"op": "remove", "path": pointer("metadata", "annotations", key)}
            for key in (ORIGINAL, WROTE)
            if key in annotations_of(there)
        ]
        if absent and knob.of(there) is not None:
            operations.append({"op": "remove", "path": _at(knob)})
        return self._edit(place, there, *operations)

    def _edit(self, place: Place, there: Document, *operations: dict[str, object]) -> Document:
        test: dict[str, object] = {
            "op": "test",
            "path": "/metadata/resourceVersion",
            "value": _version(there),
        }

        def edit() -> Document:
            return self._api.edit(place.path, [test, *operations], dict[str, Any], fieldManager=MANAGER)

        return self._writer.send(edit)


def _note(there: Document, knob: Knob, most: int, note: Note | None) -> Note:
    """The note for a cap of `most`: what is there now is its user's, but where that is our own."""
    if note is not None and not is_edited(there, note):
        return msgspec.structs.replace(note, wrote=most)
    manager, operation = next(iter(writers(there, knob)), ("", ""))
    return Note(knob.name, most, knob.of(there), manager, operation)


def _too_low(place: Place, there: Document, wish: Wish, low: int) -> str:
    own = (there.get("spec") or {}).get("minReplicaCount" if place.kind == SCALED_OBJECTS else "minReplicas")
    mend = "lower that" if own else "the lever pause takes it further" if wish.knob is MAXIMUM else ""
    why = f"its minimum is {own}" if own else f"{wish.knob.name} cannot be less"
    return (
        f"{place.words} is to have {wish.most} replicas at most and gets {low}: {why}{mend and ': ' + mend}"
    )


def _merged(one: Document, other: Document) -> Document:
    made = dict(one)
    for key, value in other.items():
        below = made.get(key)
        made[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return made


def _at(knob: Knob) -> str:
    return pointer(*knob.path)


def _version(there: Document) -> str:
    return str(there["metadata"]["resourceVersion"])
