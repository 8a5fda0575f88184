"""Kubernetes' HorizontalPodAutoscaler on requests that wait, a pod.

Source: Kubernetes' documentation ("Horizontal Pod Autoscaling", algorithm details) and its controller's
replica calculator for metrics of type Pods with an average value.
"""

from __future__ import annotations

import math

import msgspec

from flyball.laws.behavior import DEFAULT, History, settle, within_tolerance
from flyball.laws.pool import Bounds, decision, known, pools, step
from flyball.spec.decision import Decision, Hold
from flyball.spec.snapshot import Snapshot
from flyball.units import Seconds


class HpaMemory(msgspec.Struct, frozen=True):
    """Wishes and changes by server."""

    histories: dict[str, History] = {}


class Hpa(msgspec.Struct, frozen=True):
    """desired = ceil(current x metric / target), all else as where a manifest says nothing."""

    target: float = 5.0
    """Waiting requests a pod."""
    min: int | None = None
    """None: the server's own, at least 1."""
    max: int | None = None
    """None: what all cards of the type hold."""
    period: Seconds = 15.0
    name: str = "hpa"

    def __post_init__(self) -> None:
        check_bounds(self.min, self.max)
        if not self.target > 0:
            raise ValueError(f"target is {self.target:g}: it must be over 0")

    def __call__(self, snapshot: Snapshot, memory: HpaMemory | None) -> tuple[Decision, HpaMemory]:
        """Servers without a metric stay as they are."""
        histories = dict(memory.histories) if memory else {}
        steps = []
        for pool in pools(snapshot, Bounds(self.min, self.max)):
            name, waiting = pool.server.name, known(pool.seen.waiting)
            wish = None if waiting is None else desired(waiting, self.target, pool.ready, pool.pending)
            replicas, held, histories[name] = settle(
                wish,
                pool.replicas,
                pool.low,
                pool.high,
                DEFAULT,
                snapshot.seen.time,
                histories.get(name, History()),
            )
            value = (waiting or 0.0) / max(pool.ready, 1)
            hold = Hold(held, wish or 0, replicas) if held else None
            steps.append(step(pool, replicas, "waiting", self.target, value, hold))
        return decision(self.name, snapshot, steps), HpaMemory(histories)


def desired(total: float, target: float, ready: int, pending: int) -> int | None:
    """Replicas for a metric that ready pods report (`total`, over all); None: no pod reports.

    Pods that are not ready have no metric: they count as 0 where the rest says grow, and as at their target
    where it says shrink; where that turns the direction round, or brings it within the tolerance, nothing
    changes.
    """
    if not ready:
        return None
    current = ready + pending
    ratio = total / (ready * target)
    if not pending:
        return current if within_tolerance(ratio) else math.ceil(ratio * ready)
    assumed = pending * target if ratio < 1.0 else 0.0
    new = (total + assumed) / (current * target)
    if within_tolerance(new) or (ratio < 1.0 < new) or (new < 1.0 <= ratio):
        return current
    return math.ceil(new * current)


def average_value(total: float, target: float, current: int) -> int:
    """Replicas for an external metric with an average value: ceil(total / target), unless it is close."""
    return current if current and within_tolerance(total / (target * current)) else math.ceil(total / target)


def check_bounds(low: int | None, high: int | None) -> None:
    """ValueError where bounds make no sense."""
    if low is not None and low < 0:
        raise ValueError(f"min is {low}: it must be 0 or more")
    if high is not None and high < max(low or 0, 1):
        raise ValueError(f"max is {high}: it must be at least {max(low or 0, 1)}")
