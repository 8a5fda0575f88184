"""Conditions of a status: what holds, since when, and of which generation it tells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

Document = dict[str, Any]


BAD = ("Limited", "Stale")
"""Conditions that are bad where they are true."""


class Holds(msgspec.Struct, frozen=True):
    """One aspect of an object as it is found now."""

    type: str
    status: bool | None
    """None: it is not known."""
    reason: str
    """One word in camel case."""
    message: str = ""

    @property
    def word(self) -> str:
        """True, False, Unknown."""
        return "Unknown" if self.status is None else str(self.status)


def conditions(before: object, found: Iterable[Holds], generation: int, now: str) -> list[Document]:
    """Conditions to be written: times move only where the status does; those of others stay.

    `before`: what stands in the object; `now`: RFC 3339.
    """
    stood = {one["type"]: one for one in _list(before)}
    made = dict(stood)
    for holds in found:
        was = stood.get(holds.type, {})
        since = was.get("lastTransitionTime") if was.get("status") == holds.word else None
        made[holds.type] = {
            "type": holds.type,
            "status": holds.word,
            "reason": holds.reason,
            "message": holds.message,
            "lastTransitionTime": since or now,
            "observedGeneration": generation,
        }
    return list(made.values())


def differs(before: object, found: Sequence[Document], words: bool = True) -> bool:
    """Whether conditions say anything else; of which generation they tell is no difference.

    `words`: whether another message is one.
    """
    keys = ("status", "reason", "message") if words else ("status", "reason")
    stood = {one["type"]: [one.get(key) for key in keys] for one in _list(before)}
    return stood != {one["type"]: [one.get(key) for key in keys] for one in found}


def turned(before: object, found: Sequence[Document]) -> list[tuple[Document, bool]]:
    """Conditions worth an Event, and whether it warns: those that turned bad, or feasible again."""
    stood = {one["type"]: one for one in _list(before)}
    news = []
    for one in found:
        was = stood.get(one["type"], {})
        if (one["status"], one["reason"]) == (was.get("status"), was.get("reason")):
            continue
        bad = one["status"] == ("True" if one["type"] in BAD else "False")
        if bad or (one["type"] == "Feasible" and was):
            news.append((one, bad))
    return news


def _list(before: object) -> list[Document]:
    rows = before if isinstance(before, list) else []
    return [one for one in rows if isinstance(one, dict) and isinstance(one.get("type"), str)]
