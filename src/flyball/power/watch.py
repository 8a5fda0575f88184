"""One look at all domains: readings in; levels, forecasts and the rooms for governed pods out. Pure.

This is what the loop calls first in a cycle. The rooms go into the plan as rows, and with the servers into a
`View` for algorithms and the filter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from msgspec.structs import replace

from flyball.forecast.history import History
from flyball.power.ahead import ahead, seen
from flyball.power.balance import LATELY, Balance, balanced
from flyball.power.budget import Observed, budget_at, cap_watts, observed
from flyball.power.ladder import DEFAULTS, Act, LadderSettings, LadderState, Signal, step
from flyball.power.rise import Rises, learned, rise, threshold
from flyball.power.sensing import domain_reading
from flyball.power.tree import Tree
from flyball.power.view import Room
from flyball.spec.power import Domain, DomainReading, PlacedPod, Policy, PowerNode, PowerReading
from flyball.spec.power_plan import Ahead, DomainState, Exceeded
from flyball.units import Seconds, Watts

FIVE_MINUTES: Seconds = 300.0


class DomainMemory(msgspec.Struct, frozen=True):
    """What is remembered of a domain."""

    rises: Rises
    ladder: LadderState = LadderState()
    history: History | None = None
    exceeded: Exceeded = Exceeded()
    time: Seconds | None = None
    governed: tuple[tuple[Seconds, Watts], ...] = ()
    """What its governed pods drew lately by their models, with the times, oldest first."""
    balance: Balance = Balance()
    most: Watts | None = None
    """What they could draw."""
    began: tuple[tuple[Seconds, Watts], ...] = ()
    """By how much that rose lately, with the times."""


class Watched(msgspec.Struct, frozen=True):
    """A domain as it is now."""

    reading: DomainReading
    state: DomainState
    ahead: tuple[Ahead, ...] = ()
    act: Act | None = None
    """None: it has no budget."""
    room: Room | None = None
    gain: float = 1.0
    """Watts of its governed pods for one of their models."""


class Seen(msgspec.Struct, frozen=True):
    """All readings of one instant."""

    nodes: Mapping[str, PowerNode]
    readings: Sequence[PowerReading]
    pods: Sequence[PlacedPod] = ()


def watch(
    tree: Tree,
    given: Seen,
    memory: Mapping[str, DomainMemory],
    now: Seconds,
    tau: Seconds,
    settings: LadderSettings = DEFAULTS,
) -> tuple[dict[str, DomainMemory], dict[str, Watched]]:
    """All domains by name, `now` in seconds since 1970 and `tau` the loop's own latency to its slowest lever.

    A domain whose tau is another than before learns its rises anew.
    """
    memories, found = {}, {}
    for name, domain in tree.domains.items():
        before = memory.get(name)
        if before is None or before.rises.tau != tau:
            rises = Rises(tau)
            before = DomainMemory(rises) if before is None else replace(before, rises=rises)
        reading = domain_reading(tree, name, given.nodes, given.readings, given.pods)
        memories[name], found[name] = _domain(domain, reading, before, now, settings)
    return memories, found


def policy_rooms(
    policies: Iterable[Policy],
    windows: Mapping[str, Observed],
    drawn: Mapping[str, Watts],
    held_back: Mapping[str, Watts],
    now: Seconds,
    settings: LadderSettings = DEFAULTS,
) -> tuple[dict[str, Observed], dict[str, Room]]:
    """Windows of relative caps, and the rooms of all caps, both by `namespace/name`; drawn by its pods."""
    kept, rooms = dict(windows), {}
    for policy in policies:
        key = policy.key
        if policy.cap is None:
            continue
        window = getattr(policy.cap, "window", None)
        if window is not None:
            before = windows.get(key)
            if before is None or before.window != window:
                before = Observed(window)
            kept[key] = observed(before, now, drawn.get(key), held_back.get(key, 0.0))
        cap = cap_watts(policy.cap, kept.get(key))
        if cap is not None:
            rooms[key] = Room(key, cap, (1.0 - settings.hold) * cap)
    return kept, rooms


def _domain(
    domain: Domain, reading: DomainReading, before: DomainMemory, now: Seconds, settings: LadderSettings
) -> tuple[DomainMemory, Watched]:
    known = reading.known
    governed = (*(g for g in before.governed if now - LATELY < g[0] < now), (now, reading.governed))
    # What is read is older than the pods are: those that ended since are in the one and not in the other.
    times, drew = np.array(governed).T
    each = np.interp([now - age for age, _ in reading.ages], times, drew).tolist()
    then = sum(share * watts for (_, share), watts in zip(reading.ages, each, strict=True))
    budget = budget_at(domain, now)
    sure = known.watts if known.complete else None
    balance = balanced(before.balance, now, sure, then)
    rest = known.watts - balance.gain * then
    if sure is not None:
        over = budget is not None and sure > budget.watts
        rest = max(balance.rest, balance.latest) if over else balance.rest
    reading = _corrected(reading, balance.gain, max(domain.ungoverned, rest))
    believed = None
    if sure is None and balance.last is not None:
        believed = reading.governed + max(domain.ungoverned, balance.last)
    began = tuple(b for b in before.began if b[0] > now - before.rises.tau - LATELY)
    if before.most is not None and reading.most > before.most:
        began = (*began, (now, reading.most - before.most))
    rises = learned(before.rises, now, sure, sum(watts for _, watts in began), balance.level)
    history = seen(before.history, now, sure)
    foretold = ahead(history) if history is not None else ()
    if budget is None:
        state = DomainState(
            domain.name,
            "normal",
            known.watts,
            known.complete,
            None,
            ungoverned=reading.ungoverned,
            notes=reading.notes,
            ahead=foretold,
        )
        memory = DomainMemory(
            rises, before.ladder, history, before.exceeded, now, governed, balance, reading.most, began
        )
        return memory, Watched(reading, state, foretold, gain=balance.gain)
    rising = rise(rises, domain.quantile, budget.watts, domain.floor)
    at_five = next((a.watts[-1] for a in foretold if a.horizon == FIVE_MINUTES), None)
    signal = Signal(
        known, budget.watts, rising, domain.breaker, domain.max_exceedance, at_five, balance.level, believed
    )
    ladder, act = step(before.ladder, signal, now, settings)
    gone = now - before.time if before.time is not None else 0.0
    exceeded = _exceeded(before, sure, budget.watts, gone)
    memory = DomainMemory(rises, ladder, history, exceeded, now, governed, balance, reading.most, began)
    theta = threshold(budget.watts, known.error, rising)
    others = max(balance.most, reading.ungoverned)
    state = DomainState(
        domain=domain.name,
        level=act.level,
        watts=known.watts,
        complete=known.complete,
        budget=budget.watts,
        budget_reason=budget.reason,
        threshold=theta,
        rise=rising,
        ungoverned=reading.ungoverned,
        notes=(*reading.notes, *([act.reason] if act.reason else ())),
        ahead=foretold,
        exceeded=memory.exceeded,
    )
    of_room = reading
    if act.by_model and believed is not None:
        of_room = replace(reading, ungoverned=believed - reading.governed)
    return memory, Watched(reading, state, foretold, act, _room(of_room, act, theta, others), balance.gain)


def _corrected(reading: DomainReading, gain: float, rest: Watts) -> DomainReading:
    """With what governed pods draw as it was learned, and what is left."""
    return replace(
        reading,
        governed=gain * reading.governed,
        most=gain * reading.most,
        committed=gain * reading.committed,
        ungoverned=rest,
    )


def _room(reading: DomainReading, act: Act, theta: Watts, others: Watts) -> Room:
    """What governed pods may draw, beside `others` where they grow.

    Where nothing is to go, what they draw fits, whatever the model says.
    """
    if act.ceiling is not None:
        watts = act.ceiling - reading.ungoverned
    elif reading.known.complete:
        watts = max(theta - reading.ungoverned, reading.governed)
    else:
        watts = math.inf
    grow = act.grow_to - others - reading.committed
    return Room(reading.domain, watts, grow, act.frozen, act.at_once)


def _exceeded(before: DomainMemory, sure: Watts | None, budget: Watts, gone: Seconds) -> Exceeded:
    was = before.exceeded
    if sure is None or sure <= budget:
        return was
    new = before.ladder.over_since is None
    return Exceeded(was.count + new, was.seconds + gone, was.joules + gone * (sure - budget))
