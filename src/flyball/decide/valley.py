"""The lowest level of watts at which work that may wait is served in time. Pure.

Time ahead is cut into K slots of h seconds. In slot k a domain d may draw C_dk watts, of which the rest
takes b_dk; a request of the work takes e_d joules of it. At level L, a share of what may be drawn, there is
room for

    c_k(L) = min over d of  max(L C_dk - b_dk, 0) / e_d,    at most m        requests/s

A_k requests have come by the end of slot k, those that wait now among them, and D_k of them are due by then.
Served as soon as the level allows, S_k = min(A_k, S_(k-1) + h c_k) of them are served, which unrolled is

    S_k = min over j <= k of  A_j + h (c_(j+1) + ... + c_k),    A_(-1) = 0

So all are in time iff h (c_(j+1) + ... + c_k) >= D_k - A_j for all j < k: what comes after slot j and is due
by the end of slot k fits in between. Each left side grows with L, so there is a least level, the largest of
those that fill one such interval: water poured into the valley of what the rest draws.

Serving all at once is S_k = min(A_k, S_(k-1) + h m). Nothing is due that it cannot serve, and what it serves
by the end of the last slot is due by then. So it is in time at the level of its own peak, and the least level
is never above that. As each window that is looked at ends with no more left than serving at once leaves, this
holds from look to look, as far as what is foretold is right.

Source: intervals as in Yao, Demers and Shenker, FOCS 1995; there the valley is flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flyball.units import RequestsPerSecond, Seconds, Watts

HALVINGS = 50
"""The level is known to 1e-15 of where it can lie."""


class Side(NamedTuple):
    """A domain in which the work draws, slot by slot."""

    allowed: Sequence[Watts]
    """(K,) above 0"""
    rest: Sequence[Watts]
    """(K,)"""
    joules: float
    """Of one request, there; above 0."""


class Work(NamedTuple):
    """Requests that may wait."""

    come: Sequence[float]
    """(K,) by the end of each slot, those that wait now among them."""
    due: Sequence[float]
    """(K,)"""
    most: RequestsPerSecond
    """That can be served."""


class Filled(NamedTuple):
    """What is served at the least level."""

    rates: tuple[RequestsPerSecond, ...]
    """(K,)"""
    level: float
    """As a share of what may be drawn."""
    once: tuple[RequestsPerSecond, ...]
    """(K,) if all were served at once."""


def filled(work: Work, sides: Sequence[Side], slot: Seconds, least: float = 0.0) -> Filled:
    """Served as soon as the level allows, at the least level at or above `least` at which all is in time."""
    once = served(work.come, [work.most] * len(work.come), slot)
    due = [min(d, s) for d, s in zip(work.due, once, strict=True)]
    due[-1] = once[-1]
    at_once = _rates(once, slot)
    low, high = least, max([least, *(level for level in _levels(sides, at_once))])
    if _in_time(work, sides, due, slot, low):
        high = low
    for _ in range(HALVINGS):
        if high <= low:
            break
        middle = (low + high) / 2.0
        if _in_time(work, sides, due, slot, middle):
            high = middle
        else:
            low = middle
    return Filled(_rates(served(work.come, room(work, sides, high), slot), slot), high, at_once)


def room(work: Work, sides: Sequence[Side], level: float) -> list[RequestsPerSecond]:
    """(K,) for which there are watts at a level."""
    found = [work.most] * len(work.come)
    for allowed, rest, joules in sides:
        for k, (may, takes) in enumerate(zip(allowed, rest, strict=True)):
            found[k] = min(found[k], max(level * may - takes, 0.0) / joules)
    return found


def served(come: Sequence[float], rates: Sequence[RequestsPerSecond], slot: Seconds) -> list[float]:
    """(K,) by the end of each slot, at most at these rates."""
    found, before = [], 0.0
    for there, rate in zip(come, rates, strict=True):
        before = min(there, before + slot * rate)
        found.append(before)
    return found


def _rates(served_by: Sequence[float], slot: Seconds) -> tuple[RequestsPerSecond, ...]:
    before = [0.0, *served_by]
    return tuple((s - b) / slot for b, s in zip(before, served_by, strict=False))


def _levels(sides: Sequence[Side], rates: Sequence[RequestsPerSecond]) -> list[float]:
    """That these rates need, where they are above 0."""
    return [
        (takes + joules * rate) / may
        for allowed, rest, joules in sides
        for may, takes, rate in zip(allowed, rest, rates, strict=True)
        if rate > 0.0
    ]


def _in_time(work: Work, sides: Sequence[Side], due: Sequence[float], slot: Seconds, level: float) -> bool:
    by = served(work.come, room(work, sides, level), slot)
    return all(s >= d * (1.0 - 1e-12) for s, d in zip(by, due, strict=True))
