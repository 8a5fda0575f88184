"""Moves of the loop in words: what changes for a server, why, and what holds it back."""

from __future__ import annotations

import math
from collections.abc import Iterable

from flyball.report.sentences import duration, money
from flyball.spec.decision import Decision, Hold, Order, Step

CAUSE = {
    "steady": "nothing to change",
    "demand": "the load changed",
    "latency": "requests are slower than promised, or queue",
    "cheaper": "it serves the same at less cost",
    "capacity": "cards are short, and higher priorities go first",
    "targets": "the fleet's data changed",
    "start": "it had nothing",
    "power": "there are no watts for what it has",
    "threshold": "its signal passed a threshold",
}
GUARD = {
    "no_data": "what it does is not known: nothing shrinks",
    "saturation": "requests queue or are slower than promised: nothing shrinks",
    "stabilisation": "not for long enough yet",
    "patience": "another accelerator would be better, but not for long enough yet",
    "reversal": "it grew a short while ago, and the load has not fallen since",
    "step": "no more at once",
    "blast_radius": "others change first",
    "hand_over": "the old ones stay until the new ones are ready",
    "cards": "cards are not free",
    "power": "there are no watts for it",
    "deferral": "its requests may wait until there are more watts",
}

MANY = 4.0
"""From here on a cost is told as a multiple."""


def asked(orders: Iterable[Order]) -> str:
    """3 x H100 + 1 x A100; `nothing`."""
    some = [f"{o.replicas} x {o.accelerator}" for o in orders if o.replicas]
    return " + ".join(some) or "nothing"


def move(step: Step) -> str:
    """3 to 4 x H100, or both sides in full where accelerators change."""
    was, now = [o for o in step.was if o.replicas], [o for o in step.orders if o.replicas]
    if [o.accelerator for o in was] == [o.accelerator for o in now] and len(now) == 1:
        return f"{was[0].replicas} to {now[0].replicas} x {now[0].accelerator}"
    return f"{asked(was)} to {asked(now)}" if was else asked(now)


def why(step: Step) -> str:
    """The reason of a change: the target that would be missed, or what is enough."""
    at = f" at {rate(step.demand)}" if step.demand else ""
    cause = CAUSE[step.cause]
    if step.cause == "demand":
        cause = "more is needed" if _grows(step) else "less is enough"
    if not step.metric:
        return f"{cause}{at}"
    name = f"{step.metric} {step.statistic}" if step.statistic != "mean" else f"mean {step.metric}"
    limit = duration(step.limit)
    if step.cause == "latency":
        return f"{name} is {duration(step.value)}, over {limit}{at}"
    if step.value > step.limit and _grows(step):
        if not math.isfinite(step.value):
            return f"its queue would grow without end{at}"
        return f"{name} {duration(step.value)} would pass {limit}{at}"
    if not math.isfinite(step.value) or step.value > step.limit:
        return f"{cause}{at}"
    if step.cause == "demand" and _grows(step):  # as it is now: within the target, with too little to spare
        return f"{name} {duration(step.value)} of {limit}{at} leaves too little to spare"
    reason = f"{cause}: " if step.cause not in ("demand", "steady") else ""
    return f"{reason}{name} {duration(step.value)} is within {limit}{at}"


def rate(per_second: float) -> str:
    """14.2 req/s."""
    return f"{per_second:.3g} req/s"


def next_best(step: Step) -> str:
    """`next best 7 x A100, +18%`, or nothing."""
    other, goal = step.next_best, step.goal
    if other is None or not other.replicas:
        return ""
    times = other.cost / goal.cost if goal is not None and goal.cost else 1.0
    change = f", {times - 1.0:+.0%}" if times < MANY else f", at {times:,.0f} times the cost"
    if goal is None or not goal.cost:
        change = ""
    return f"next best {other.replicas} x {other.accelerator}{change}"


def held(hold: Hold) -> str:
    """What a guard did not allow, and why."""
    if hold.guard in ("hand_over", "patience"):
        return GUARD[hold.guard]
    return f"{hold.wanted} wanted, {hold.allowed} allowed: {GUARD[hold.guard]}"


def sentence(step: Step, service_class: str = "") -> str:
    """One decision in one sentence."""
    whose = f"{service_class}/{step.server}" if service_class else step.server
    if not step.changed:
        kept = "; ".join(held(h) for h in step.holds)
        return f"{whose}: stays at {asked(step.was)}" + (f" ({kept})" if kept else "")
    parts = [f"{whose}: {move(step)} because {why(step)}"]
    parts += [text for text in (next_best(step),) if text]
    parts += [held(h) for h in step.holds]
    return "; ".join(parts)


def summary(decision: Decision) -> str:
    """How many change, and what all of it costs."""
    changed = sum(step.changed for step in decision.steps)
    who = "nothing changes" if not changed else f"{changed} of {len(decision.steps)} servers change"
    return f"{who}; {money(decision.cost)}"


def _grows(step: Step) -> bool:
    return sum(o.replicas for o in step.orders) > sum(o.replicas for o in step.was)
