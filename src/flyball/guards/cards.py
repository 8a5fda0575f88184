"""Cards: nobody is given what is not there, and the first in priority goes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec


class Growth(msgspec.Struct, frozen=True):
    """More replicas for one server on one accelerator."""

    server: str
    priority: int
    accelerator: str
    type: str
    cards: int
    """Of the type, for one replica."""
    more: int


def grant(wishes: Sequence[Growth], free: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """How many more replicas each (server, accelerator) may ask for, by priority, then by name."""
    left = dict(free)
    granted = {}
    for wish in sorted(wishes, key=lambda w: (w.priority, w.server, w.accelerator)):
        fits = max(left.get(wish.type, 0), 0) // wish.cards if wish.cards else wish.more
        granted[wish.server, wish.accelerator] = min(wish.more, fits)
        left[wish.type] = left.get(wish.type, 0) - granted[wish.server, wish.accelerator] * wish.cards
    return granted


def within_radius(saves: Mapping[str, float], servers: int, share: float) -> set[str]:
    """Which of the servers that would shrink or move may do so now: those that save most, then by name."""
    most = max(1, int(share * servers))
    return set(sorted(saves, key=lambda name: (-saves[name], name))[:most])
