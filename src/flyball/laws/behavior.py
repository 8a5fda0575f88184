"""How Kubernetes' HorizontalPodAutoscaler turns wishes into replicas: stabilisation windows, then policies.

As in its controller (autoscaling/v2, `behavior`): over the stabilisation windows the least wish to grow and
the greatest wish to shrink count; then each side's policies bound how far the number may go from where it
stood at the beginning of their period, and the policy that allows most is taken. At last the bounds.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from flyball.spec.decision import Guard
from flyball.units import Seconds

TOLERANCE = 0.1
"""Ratios of metric to target this close to 1 change nothing (the controller's default)."""


class Policy(msgspec.Struct, frozen=True):
    """At most so many pods, or so many percent, in a period."""

    kind: Literal["pods", "percent"]
    value: float
    period: Seconds


class Side(msgspec.Struct, frozen=True):
    """One direction; the policy that allows the largest change holds."""

    window: Seconds
    """Stabilisation."""
    policies: tuple[Policy, ...]


class Behavior(msgspec.Struct, frozen=True):
    """Both directions."""

    up: Side
    down: Side


DEFAULT = Behavior(
    Side(0.0, (Policy("percent", 100.0, 15.0), Policy("pods", 4.0, 15.0))),
    Side(300.0, (Policy("percent", 100.0, 15.0),)),
)
"""Where a HorizontalPodAutoscaler says nothing."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """At a time: a wish (replicas) or a change (replicas more or less)."""

    time: Seconds
    replicas: int


class History(msgspec.Struct, frozen=True):
    """What is remembered of one server, as far back as windows and periods reach."""

    wishes: tuple[Event, ...] = ()
    changes: tuple[Event, ...] = ()


def within_tolerance(ratio: float) -> bool:
    """Whether metric over target is close enough to 1 to leave things as they are."""
    return 1.0 - TOLERANCE <= ratio <= 1.0 + TOLERANCE


def settle(
    wish: int | None, current: int, low: int, high: int, behavior: Behavior, time: Seconds, history: History
) -> tuple[int, Guard | None, History]:
    """Replicas to ask for, what held the wish back, and the new history. Wish None: no metrics.

    Below the floor and above the ceiling there is no wish to ask for: it goes there at once.
    """
    if not history.wishes:  # as the controller begins: what there is was wished for
        history = msgspec.structs.replace(history, wishes=(Event(time, current),))
    held: Guard | None = None
    if current < low:
        replicas = low
    elif current > high:
        replicas = high
    elif wish is None:
        replicas = current
    else:
        history = msgspec.structs.replace(history, wishes=_kept(history.wishes, time, behavior, wish))
        steady = _stabilised(wish, current, behavior, time, history.wishes)
        replicas = _limited(steady, current, behavior, time, history.changes)
        clipped = min(max(wish, low), high)
        replicas = min(max(replicas, low), high)
        if replicas != clipped:
            held = "stabilisation" if min(max(steady, low), high) != clipped else "step"
    if replicas != current:
        longest = max(p.period for p in (*behavior.up.policies, *behavior.down.policies))
        recent = (e for e in history.changes if e.time > time - longest)
        history = msgspec.structs.replace(history, changes=(*recent, Event(time, replicas - current)))
    return replicas, held, history


def _kept(wishes: tuple[Event, ...], time: Seconds, behavior: Behavior, wish: int) -> tuple[Event, ...]:
    longest = max(behavior.up.window, behavior.down.window)
    return (*(e for e in wishes if e.time > time - longest), Event(time, wish))


def _stabilised(wish: int, current: int, behavior: Behavior, time: Seconds, wishes: tuple[Event, ...]) -> int:
    up = min([wish, *(e.replicas for e in wishes if e.time > time - behavior.up.window)])
    down = max([wish, *(e.replicas for e in wishes if e.time > time - behavior.down.window)])
    return min(max(current, up), down)


def _limited(wish: int, current: int, behavior: Behavior, time: Seconds, changes: tuple[Event, ...]) -> int:
    """The wish within what the policies allow."""

    def start(policy: Policy) -> int:
        return current - sum(e.replicas for e in changes if e.time > time - policy.period)

    if wish > current:
        tops = [
            start(p) + int(p.value) if p.kind == "pods" else math.ceil(start(p) * (1.0 + p.value / 100.0))
            for p in behavior.up.policies
        ]
        return min(wish, max(current, *tops))
    if wish < current:
        bottoms = [
            start(p) - int(p.value) if p.kind == "pods" else int(start(p) * (1.0 - p.value / 100.0))
            for p in behavior.down.policies
        ]
        return max(wish, min(current, *bottoms))
    return wish
