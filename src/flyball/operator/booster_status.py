"""What a ModelBooster's status says: Initialized, Active and Failed, by Kthena's reasons."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from flyball.operator.booster_kinds import Child, StoredBooster
from flyball.operator.booster_pods import UNSCHEDULABLE
from flyball.operator.conditions import Document, Holds, conditions, differs
from flyball.units import Seconds

MANAGER = "flyball-booster"
CONTENDED: Seconds = 120.0
"""So long this one stands back after another controller wrote a status."""
SAID = 3
"""Of so many pods it is said why they do not run."""
LONGEST = 4000
"""Characters of a message."""


class Found(msgspec.Struct, frozen=True):
    """What one look found."""

    problem: str = ""
    """Why there are not all children; "": there are."""
    waits: str = ""
    """For what the children wait that are not there yet; "": for nothing."""
    notes: tuple[str, ...] = ()
    servings: tuple[Child, ...] = ()
    broken: tuple[str, ...] = ()
    """Why pods do not run."""


def holds(found: Found, had: Sequence[str]) -> list[Holds]:
    """The conditions as they are now; `had`: types of those that stood there."""
    if found.problem:
        problem = found.problem[:LONGEST]
        return [
            Holds("Active", False, "ModelProcessing", "ModelBooster not ready yet"),
            Holds("Failed", True, "ModelAbnormal", problem),
        ]
    available = bool(found.servings) and not found.waits and all(map(available_of, found.servings))
    said = "ModelBooster is ready" if available else "ModelBooster not ready yet"
    if more := [text for text in (found.waits, *found.broken[:SAID], *found.notes) if text]:
        said += ": " + "; ".join(more)
    made = [
        Holds("Active", available, "ModelAvailable" if available else "ModelProcessing", said[:LONGEST]),
    ]
    if not found.waits:
        made.insert(0, Holds("Initialized", True, "ModelCreating", "ModelBooster initialized"))
    fatal = [text for text in found.broken if UNSCHEDULABLE not in text]
    if fatal and not available:
        made.append(Holds("Failed", True, "ModelAbnormal", "; ".join(fatal[:SAID])[:LONGEST]))
    elif "Failed" in had:
        made.append(Holds("Failed", False, "ModelRecovered", ""))
    return made


def status_of(stored: StoredBooster, found: Found, wall: str) -> tuple[Document, list[Holds]] | None:
    """The status to be written and what is new in it; None where it stands there. `wall`: RFC 3339."""
    before, generation = stored.status, stored.metadata.generation
    stood = {one["type"]: one for one in before.get("conditions") or []}
    now = holds(found, tuple(stood))
    done = not found.problem and not found.waits
    observed = before.get("observedGeneration", 0)
    made: Document = {
        "conditions": conditions(before.get("conditions"), now, generation, wall),
        "observedGeneration": generation if done else observed,
    }
    # A problem that a change of the spec did not cure is told of the new generation.
    told = all(stood.get(one.type, {}).get("observedGeneration") == generation for one in now)
    same = not differs(before.get("conditions"), made["conditions"])
    if same and observed == made["observedGeneration"] and (done or told):
        return None
    new = []
    for one in now:
        was = stood.get(one.type, {})
        if (was.get("status"), was.get("message")) != (one.word, one.message):
            new.append(one)
    return made, [one for one in new if _worth_an_event(one, one.type in stood)]


def _worth_an_event(one: Holds, stood: bool) -> bool:
    if one.type == "Failed":
        return bool(one.status) or stood
    return one.type == "Active" and bool(one.status)


def available_of(serving: Child) -> bool:
    """Whether a ModelServing is Available."""
    found = serving.status.get("conditions") or []
    return any(one.get("type") == "Available" and one.get("status") == "True" for one in found)


def contender(stored: StoredBooster, said: Document | None, date: Seconds) -> str:
    """Who else wrote the status after us, a short while before a Unix time; "": nobody did.

    `said`: what this process wrote last, None: nothing. When we wrote says less: the API server moves that
    time also where somebody else takes a field over.
    """
    wrote = [one for one in stored.metadata.managed_fields if one.subresource == "status"]
    own = max((_seconds(one.time) for one in wrote if one.manager == MANAGER), default=None)
    if stored.status == said or (said is None and own is None):
        return ""
    for one in wrote:
        at = _seconds(one.time)
        after = said is not None or own is None or at > own
        if one.manager != MANAGER and after and date - at < CONTENDED:
            return one.manager
    return ""


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
