"""What a ledger says of power: levels, watts against budgets, what was held back and what recommended."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
from rich import box
from rich.table import Table

from flyball.loop.record import Cycle
from flyball.power.view import ServerView
from flyball.report.curves import Chart
from flyball.spec.power import LEVELS, Level, Lever, PlacedPod, PowerSeen
from flyball.spec.power_plan import DomainState, PowerPlan
from flyball.units import Seconds, TokensPerSecond, Watts

GAP = 3.0
"""A cycle counts until the next one, but no longer than so many of the usual periods."""
MOST_POINTS = 400
"""Of a plot."""
MINUTE: Seconds = 60.0


class DomainPast(msgspec.Struct, frozen=True):
    """A domain over the time of a report."""

    domain: str
    minutes: dict[Level, float]
    """At each level."""
    mean: Watts | None = None
    peak: Watts | None = None
    """Of what was known whole; None: nothing was."""
    budget: Watts | None = None
    """The last."""
    lowest_budget: Watts | None = None
    exceeded: int = 0
    """Times that it went above its budget."""
    seconds: Seconds = 0.0
    """Above it."""
    joules: float = 0.0
    unknown_minutes: float = 0.0
    """Not all watts were known."""
    infeasible_minutes: float = 0.0


class PolicyPast(msgspec.Struct, frozen=True):
    """What a policy took, or would have taken."""

    policy: str
    """`namespace/name`."""
    held: Watts = 0.0
    """Held back from what enforced workloads wanted, by their models, the mean over the whole time."""
    energy: float = 0.0
    """The same in joules."""
    advised: Watts = 0.0
    """What its recommendations would have saved, the mean over the whole time."""


class Advice(msgspec.Struct, frozen=True):
    """One thing that was recommended."""

    policy: str
    domain: str
    lever: Lever
    server: str
    times: int
    """How often it began to be."""
    minutes: float
    after: int
    """Replicas at most, the last time."""
    watts: Watts
    """Saved, the last time."""
    lost: TokensPerSecond = 0.0


class Point(msgspec.Struct, frozen=True, gc=False):
    """A domain in one cycle."""

    time: Seconds
    watts: Watts
    budget: Watts | None
    threshold: Watts | None


class Past(msgspec.Struct, frozen=True):
    """All of it."""

    seconds: Seconds
    cycles: int
    """That looked at power."""
    domains: tuple[DomainPast, ...]
    policies: tuple[PolicyPast, ...]
    advice: tuple[Advice, ...]


def past(cycles: Sequence[Cycle]) -> Past:
    """What cycles say, the oldest first; those that did not look at power count for nothing."""
    seen = [(c, c.decision.power) for c in cycles if c.decision is not None and c.decision.power is not None]
    lasted = _lasted([c.decision.time for c, _ in seen if c.decision is not None])
    whole = sum(lasted)
    domains: dict[str, list[tuple[DomainState, Seconds]]] = {}
    held: dict[str, float] = {}
    advised: dict[str, float] = {}
    for (cycle, plan), seconds in zip(seen, lasted, strict=True):
        for state in plan.domains:
            domains.setdefault(state.domain, []).append((state, seconds))
        for policy, watts in _held(cycle, plan).items():
            held[policy] = held.get(policy, 0.0) + watts * seconds
        for policy, watts in _advised(plan).items():
            advised[policy] = advised.get(policy, 0.0) + watts * seconds
        for one in plan.policies:
            held.setdefault(one.policy, 0.0)
    return Past(
        whole,
        len(seen),
        tuple(_domain(name, states) for name, states in domains.items()),
        tuple(
            PolicyPast(
                name,
                held.get(name, 0.0) / whole if whole else 0.0,
                held.get(name, 0.0),
                advised.get(name, 0.0) / whole if whole else 0.0,
            )
            for name in sorted({*held, *advised})
        ),
        _advice([plan for _, plan in seen], lasted),
    )


def points(cycles: Iterable[Cycle], domain: str) -> list[Point]:
    """A domain over time, thinned for a plot: of neighbours the highest draw stays."""
    found = [
        Point(c.decision.time, state.watts, state.budget, state.threshold)
        for c in cycles
        if c.decision is not None and c.decision.power is not None
        for state in c.decision.power.domains
        if state.domain == domain
    ]
    size = -(-len(found) // MOST_POINTS) or 1
    return [max(found[i : i + size], key=lambda p: p.watts) for i in range(0, len(found), size)]


def chart(domain: str, found: Sequence[Point]) -> Chart:
    """Watts against budget and threshold, over the hours until now."""
    end = found[-1].time
    lines: dict[str, list[float | None]] = {
        "drawn": [p.watts for p in found],
        "budget": [p.budget for p in found],
        "threshold": [p.threshold for p in found],
    }
    shown = {name: values for name, values in lines.items() if any(v is not None for v in values)}
    hours = [(p.time - end) / 3600.0 for p in found]
    return Chart(f"{domain}: watts against its budget", "hours ago", "W", hours, shown)


def _lasted(times: Sequence[Seconds]) -> list[Seconds]:
    """Seconds that each cycle stands for: until the next, where no gap is between them."""
    gaps = [b - a for a, b in pairwise(times)]
    usual = statistics.median([gap for gap in gaps if gap > 0] or [0.0])
    return [min(gap, GAP * usual) if gap > 0 else usual for gap in (*gaps, 0.0)][: len(times)]


def _domain(name: str, states: Sequence[tuple[DomainState, Seconds]]) -> DomainPast:
    minutes: dict[Level, float] = dict.fromkeys(LEVELS, 0.0)
    times, seconds, joules, was_over = 0, 0.0, 0.0, False
    for state, lasted in states:
        minutes[state.level] += lasted / MINUTE
        over = state.complete and state.budget is not None and state.watts > state.budget
        if over and state.budget is not None:
            times += not was_over
            seconds += lasted
            joules += lasted * (state.watts - state.budget)
        was_over = over
    known = [(s.watts, lasted) for s, lasted in states if s.complete]
    time = sum(lasted for _, lasted in known)
    mean = sum(w * lasted for w, lasted in known) / time if time > 0 else None
    return DomainPast(
        name,
        minutes,
        mean,
        max((w for w, _ in known), default=None),
        states[-1][0].budget,
        min((s.budget for s, _ in states if s.budget is not None), default=None),
        times,
        seconds,
        joules,
        sum(lasted for s, lasted in states if not s.complete) / MINUTE,
        sum(lasted for s, lasted in states if not s.feasible) / MINUTE,
    )


def _held(cycle: Cycle, plan: PowerPlan) -> dict[str, Watts]:
    """By policy what its enforced workloads would draw beyond what they may, by the models of their pods."""
    seen, decision = cycle.snapshot.power, cycle.decision
    if seen is None or decision is None:
        return {}
    wanted = {w.name: w.replicas if w.wanted is None else w.wanted for w in seen.workloads if not w.governed}
    for step in decision.steps:
        wanted.update((step.server, hold.wanted) for hold in step.holds if hold.guard == "power")
    found: dict[str, Watts] = {}
    for cap in plan.caps:
        if cap.mode == "Enforce" and wanted.get(cap.workload, 0) > cap.most:
            one = _model(cap.workload, seen)
            watts = one.watts(wanted[cap.workload]) - one.watts(cap.most)
            found[cap.policy] = found.get(cap.policy, 0.0) + watts
    return found


def _model(workload: str, seen: PowerSeen) -> ServerView:
    pods: list[PlacedPod] = [p for p in seen.pods if p.server == workload]
    return ServerView(
        workload,
        len(pods),
        len(pods),
        idle=sum(p.idle for p in pods) / len(pods) if pods else 0.0,
        full=max((p.most for p in pods), default=0.0),
        load=sum(p.load for p in pods if p.phase != "pending"),
    )


def _advised(plan: PowerPlan) -> dict[str, Watts]:
    """By policy; what is recommended for several rooms is the same thing, and counts once."""
    best: dict[tuple[str, str], Watts] = {}
    for one in plan.recommendations:
        for action in one.actions:
            key = one.policy, action.server
            best[key] = max(best.get(key, 0.0), action.watts)
    found: dict[str, Watts] = {}
    for (policy, _), watts in best.items():
        found[policy] = found.get(policy, 0.0) + watts
    return found


def _advice(plans: Sequence[PowerPlan], lasted: Sequence[Seconds]) -> tuple[Advice, ...]:
    found: dict[tuple[str, str, Lever, str], Advice] = {}
    before: set[tuple[str, str, Lever, str]] = set()
    for plan, seconds in zip(plans, lasted, strict=True):
        now = {
            (one.policy, one.domain, action.lever, action.server): action
            for one in plan.recommendations
            for action in one.actions
        }
        for key, action in now.items():
            was = found.get(key)
            times = (was.times if was else 0) + (key not in before)
            minutes = (was.minutes if was else 0.0) + seconds / MINUTE
            found[key] = Advice(*key, times, minutes, action.after, action.watts, action.lost)
        before = set(now)
    return tuple(sorted(found.values(), key=lambda a: (-a.minutes, a.policy, a.domain, a.server)))


# ---- as text -----------------------------------------------------------------------------------


def domains_table(made: Past) -> Table:
    """A row for each domain."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("domain", overflow="fold")
    for name in (*LEVELS, "mean", "peak", "budget", "of budget", "above it"):
        table.add_column(name, justify="right", overflow="fold")
    for one in made.domains:
        peak, budget = one.peak, one.budget
        share = f"{peak / budget:.0%}" if peak is not None and budget else ""
        times = (
            f"{one.exceeded} time{'s' * (one.exceeded != 1)}, {one.seconds:,.0f} s"
            if one.exceeded
            else "never"
        )
        table.add_row(
            one.domain,
            *(f"{one.minutes[level]:,.0f} min" if one.minutes[level] else "-" for level in LEVELS),
            *(_watts(value) for value in (one.mean, peak, budget)),
            share,
            times if budget is not None else "",
        )
    return table


def policies_table(made: Past) -> Table:
    """A row for each policy."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("policy", overflow="fold")
    for name in ("held back", "energy", "recommended"):
        table.add_column(name, justify="right", overflow="fold")
    for one in made.policies:
        energy = f"{one.energy / 3.6e6:,.2f} kWh"
        table.add_row(one.policy or "(none)", _watts(one.held), energy, _watts(one.advised))
    return table


def advice_table(made: Past) -> Table:
    """A row for each thing that was recommended, the longest first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("recommended by", "for", "server", "lever"):
        table.add_column(name, overflow="fold")
    for name in ("times", "minutes", "at most", "saves", "tokens/s"):
        table.add_column(name, justify="right", overflow="fold")
    for one in made.advice:
        table.add_row(
            one.policy or "(none)",
            one.domain,
            one.server,
            one.lever,
            f"{one.times}",
            f"{one.minutes:,.0f}",
            f"{one.after}",
            _watts(one.watts),
            f"{-one.lost:+,.0f}" if one.lost else "0",
        )
    return table


def summary(made: Past) -> str:
    """One line on all of it."""
    over = sum(d.seconds for d in made.domains)
    held = sum(p.held for p in made.policies)
    hours = made.seconds / 3600.0
    return (
        f"{made.cycles:,} cycles, {hours:,.1f} h: budgets were exceeded for {over:,.0f} s, "
        f"{held:,.0f} W were held back, {len(made.advice)} things were recommended."
    )


def _watts(value: Watts | None) -> str:
    return "-" if value is None else f"{value:,.0f} W"
