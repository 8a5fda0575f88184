"""What a cap is written over: the field, its user's value, and who had written it. Pure.

The note lies on the object itself, so that whoever leads next can give all back. A value of which somebody
else is a writer, or that is not ours at all, is its user's newest word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from flyball.adapters.kubernetes.labels import OURS
from flyball.adapters.kubernetes.owners import GITOPS

MANAGER = "flyball-power"
ORIGINAL = f"{OURS}power-original"
"""The annotation with the replicas that its user allows, for people and for `PowerWorkload.most`."""
WROTE = f"{OURS}power-wrote"
"""The annotation with the note."""
PAUSED = "autoscaling.keda.sh/paused-replicas"
TRACKED = "argocd.argoproj.io/tracking-id"
FLUX = ("kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/")
"""Prefixes of the labels with which Flux says what it made."""

Document: TypeAlias = dict[str, Any]
Value: TypeAlias = int | str | None
"""As written; None: absent."""


class Knob(msgspec.Struct, frozen=True):
    """A field that says how many replicas there are, or may be."""

    name: str
    path: tuple[str, ...]
    is_text: bool = False
    absent: int | None = None
    """What holds where it is not written; None: nothing."""

    def of(self, document: Mapping[str, Any]) -> Value:
        """What is written."""
        found: Any = document
        for part in self.path:
            found = (found or {}).get(part)
        return found if isinstance(found, int | str) else None

    def number(self, value: Value) -> int | None:
        """What holds where this is written; None: no bound, also where it is no number."""
        if value is None:
            return self.absent
        return int(value) if isinstance(value, int) or value.isdecimal() else None

    def written(self, value: int | str) -> Document:
        """As a part of an object."""
        made: Any = str(value) if self.is_text else value
        for part in reversed(self.path):
            made = {part: made}
        return dict(made)


MAXIMUM = Knob("maxReplicaCount", ("spec", "maxReplicaCount"), absent=100)
PAUSE = Knob("paused-replicas", ("metadata", "annotations", PAUSED), is_text=True)
HPA_MAXIMUM = Knob("maxReplicas", ("spec", "maxReplicas"))
REPLICAS = Knob("replicas", ("spec", "replicas"), absent=1)
PARALLELISM = Knob("parallelism", ("spec", "parallelism"), absent=1)
KNOBS = {knob.name: knob for knob in (MAXIMUM, PAUSE, HPA_MAXIMUM, REPLICAS, PARALLELISM)}


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a cap was written over."""

    field: str
    wrote: int
    user: Value = None
    manager: str = ""
    operation: str = ""
    """Who had written it, and how; empty: nobody says so."""

    @property
    def knob(self) -> Knob:
        """Where it is."""
        return KNOBS[self.field]


def noted(document: Mapping[str, Any], note: Note) -> dict[str, str]:
    """The annotations that go with a cap."""
    bounds = [note.knob.number(note.user)]
    if note.knob == PAUSE:
        bounds.append(MAXIMUM.number(MAXIMUM.of(document)))
    most = min((bound for bound in bounds if bound is not None), default=note.wrote)
    return {ORIGINAL: str(most), WROTE: msgspec.json.encode(note).decode()}


class Unreadable(ValueError):
    """A note that nobody can read; the message says what to do."""


def note_of(annotations: Mapping[str, str]) -> Note | None:
    """The note on an object, or none. Unreadable."""
    text = annotations.get(WROTE)
    if text is None:
        return None
    try:
        note = msgspec.json.decode(text, type=Note)
        note.knob.number(note.user)
    except (msgspec.MsgspecError, KeyError) as error:
        raise Unreadable(
            f"its annotation {WROTE} is {text[:80]!r}, which cannot be read ({error}): "
            "write its replicas as they should be, and remove the annotation"
        ) from None
    return note


def users(document: Mapping[str, Any], knob: Knob) -> Value:
    """What the user of an object wants, whatever of ours stands there now. Unreadable."""
    value, note = knob.of(document), note_of(annotations_of(document))
    if note is None or note.knob != knob or is_edited(document, note):
        return value
    return note.user


def is_edited(document: Mapping[str, Any], note: Note) -> bool:
    """Whether somebody wrote over what we wrote."""
    if writers(document, note.knob):
        return True
    mine = any(e.get("manager") == MANAGER and _has(e.get("fieldsV1"), note.knob) for e in managed(document))
    # Where it is ours alone, a note of another number is one of which the write did not come to pass.
    return not mine and note.knob.number(note.knob.of(document)) != note.wrote


def writers(document: Mapping[str, Any], knob: Knob) -> tuple[tuple[str, str], ...]:
    """Who else says that they wrote a field: manager and operation."""
    found = []
    for entry in managed(document):
        if entry.get("manager") != MANAGER and _has(entry.get("fieldsV1"), knob):
            found.append((str(entry.get("manager")), str(entry.get("operation"))))
    return tuple(found)


def handed_back(document: Mapping[str, Any], note: Note | None = None) -> list[Document]:
    """Who wrote which fields, without us: the field of a note is again of whoever had written it."""
    # None at all would not be taken as that.
    kept = [entry for entry in managed(document) if entry.get("manager") != MANAGER] or [{}]
    if note is None or note.user is None:
        return kept
    for number, entry in enumerate(kept):
        if (entry.get("manager"), entry.get("operation")) == (note.manager, note.operation):
            fields = _with(entry.get("fieldsV1") or {}, note.knob.path)
            kept[number] = {**entry, "fieldsV1": fields}
            break
    return kept


def gitops_of(document: Mapping[str, Any]) -> str:
    """The tool that sets an object back to what git says; "": none."""
    metadata = document.get("metadata") or {}
    if TRACKED in (metadata.get("annotations") or {}):
        return "Argo CD"
    if any(label.startswith(FLUX) for label in metadata.get("labels") or {}):
        return "Flux"
    by = (str(entry.get("manager")) for entry in managed(document) if not entry.get("subresource"))
    return next((GITOPS[name] for name in by if name in GITOPS), "")


def managed(document: Mapping[str, Any]) -> list[Document]:
    """Who wrote which fields."""
    return list((document.get("metadata") or {}).get("managedFields") or [])


def annotations_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Of an object."""
    return dict((document.get("metadata") or {}).get("annotations") or {})


def _has(fields: Any, knob: Knob) -> bool:
    for part in knob.path:
        fields = (fields or {}).get(f"f:{part}")
    return fields is not None


def _with(fields: Mapping[str, Any], path: tuple[str, ...]) -> Document:
    first, rest = f"f:{path[0]}", path[1:]
    below = fields.get(first) or {}
    return {**fields, first: _with(below, rest) if rest else below}
