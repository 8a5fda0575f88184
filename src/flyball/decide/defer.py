"""What may wait, waits for the valley of watts: how much of a deferrable class is served now.

Whose class is `deferrable`, and whose policy says Enforce, is served at the least level of watts at which all
of it is in time (`valley`): of what its domains may draw before anybody is warned, by their schedules, and of
what all others there are foretold to draw. Below that level nothing waits. Of several such servers one is
looked at after the other, the important first, while those that follow count as served at once; each look can
only lower the level.

When those that wait came is not to be seen. They go in order, so it is known from how many have come since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from flyball.decide.demand import FORECAST
from flyball.decide.memory import ServerMemory
from flyball.decide.seen import Seen
from flyball.decide.valley import Filled, Side, Work, filled
from flyball.forecast.history import History
from flyball.forecast.predict import forecast
from flyball.power.ahead import SETTINGS, seen
from flyball.power.budget import budget_at
from flyball.power.govern import Power
from flyball.power.ladder import DEFAULTS
from flyball.power.rise import threshold
from flyball.power.view import ServerView
from flyball.units import RequestsPerSecond, Seconds, Watts

SLOT: Seconds = 300.0
"""Time ahead is cut no finer: replicas come and go no faster."""
SLOTS = 96
KEPT = 0.1
"""Share of the deadline that is kept, as not all is as foretold."""
POINTS = 48
"""Of the count of arrivals within a deadline."""
LITTLE = 1e-3
"""Share of a rate that is none."""

Count = tuple[tuple[Seconds, float], ...]
"""Requests that had come by a time, oldest first."""


class Waiter(NamedTuple):
    """A server whose requests may wait."""

    seen: Seen
    memory: ServerMemory
    priority: int
    within: Seconds
    """Of its coming a request must begin to be served."""
    rate: RequestsPerSecond
    """Of one replica, as the model is corrected; 0: not known yet."""
    most: float
    """Replicas that there may be."""
    beside: float = 0.0
    """Replicas beside those that the rate needs, in the mean."""


class Deferral(NamedTuple):
    """What of a server is served now."""

    rate: RequestsPerSecond
    once: RequestsPerSecond
    """If nothing waited."""
    ends: Seconds
    """From now until what waits now is served."""
    domain: str
    """Whose watts make it wait; empty: nothing waits."""


def may_wait(deadline: Seconds, lead: Seconds, takes: Seconds) -> Seconds:
    """Within which it must begin, so that replicas can still come for it; 0: it is served at once."""
    within = deadline * (1.0 - KEPT) - lead - takes
    return within if within >= 2.0 * SLOT else 0.0


def counted(before: Count, now: Seconds, rate: RequestsPerSecond, deadline: Seconds) -> Count:
    """The count of arrivals with those since the last look."""
    if not before or now <= before[-1][0]:
        return before or ((now, 0.0),)
    last, number = before[-1]
    kept = before[:-1] if len(before) > 1 and now - before[-2][0] <= deadline / POINTS else before
    begin = max((i for i, (at, _) in enumerate(kept) if at <= now - deadline), default=0)
    return (*kept[begin:], (now, number + rate * (now - last)))


def waiting_since(count: Count, waiting: float, times: Sequence[Seconds]) -> list[float]:
    """How many of those that wait came by each time; of whom it is not known when, long ago."""
    if not count:
        return [waiting] * len(times)
    known, came = np.array(count).T
    since = came[-1] - np.interp(times, known, came)
    found: list[float] = np.clip(waiting - since, 0.0, waiting).tolist()
    return found


def rest_of(
    power: Power, servers: Iterable[ServerView], waiters: Collection[str], before: Mapping[str, History]
) -> dict[str, History]:
    """By domain the history of what all but the waiters draw, or would if they had what they want."""
    found = {}
    others = [s for s in servers if s.name not in waiters]
    back = [(s.places, max(s.watts(s.ceiling) - s.watts(s.replicas), 0.0)) for s in others]
    for name, one in power.watched.items():
        if one.room is None:
            continue
        nodes, known = set(power.tree.nodes[name]), one.reading.known
        mine = sum(
            pod.idle + pod.load - pod.empty
            for waiter in waiters
            for pod in power.pods.get(waiter, ())
            if pod.node in nodes and pod.phase != "pending"
        )
        more = sum(places.get(name, 0.0) * watts for places, watts in back)
        watts = max(known.watts - one.gain * mine, 0.0) + more if known.complete else None
        history = seen(before.get(name), power.seen.now, watts)
        if history is not None:
            found[name] = history
    return found


def deferrals(
    power: Power,
    enforced: Iterable[ServerView],
    waiters: Mapping[str, Waiter],
    rest: Mapping[str, History],
    now: Seconds,
) -> dict[str, Deferral]:
    """What of each is served now; `now` by the clock of arrivals."""
    servers = {s.name: s for s in enforced if s.name in waiters}
    order = sorted(servers, key=lambda name: (waiters[name].priority, name))
    made: dict[str, Filled] = {}
    sides: dict[str, dict[str, Side]] = {}
    slots: dict[str, list[Seconds]] = {}
    found: dict[str, Deferral] = {}
    for name in order:
        waiter, server = waiters[name], servers[name]
        if waiter.rate <= 0 or waiter.within <= 0 or server.full <= 0:
            continue
        count = min(max(int(waiter.within / SLOT), 1), SLOTS)
        slots[name] = [waiter.within / count * (k + 1) for k in range(count)]
        sides[name] = _sides(power, server, waiter, rest, slots[name])
        if sides[name]:  # at once, until it is its turn
            made[name] = filled(_work(waiter, slots[name], now), (), slots[name][0])
    for name in order:
        if name not in made:
            continue
        others = [(slots[o], servers[o], waiters[o], made[o].rates) for o in made if o != name]
        beside = {d: _with(d, side, slots[name], others) for d, side in sides[name].items()}
        one = filled(_work(waiters[name], slots[name], now), list(beside.values()), slots[name][0], 1.0)
        made[name] = one
        found[name] = _told(one, beside, slots[name])
    return found


def _work(waiter: Waiter, slots: Sequence[Seconds], now: Seconds) -> Work:
    slot, history, waiting = slots[0], waiter.memory.history, waiter.seen.waiting
    rates: Sequence[float] = [waiter.seen.offered or 0.0] * len(slots)
    if history is not None:
        rates = forecast(history, [end - slot / 2.0 for end in slots], (0.5,), FORECAST).expected
    come, total = [], waiting
    for rate in rates:
        total += max(rate, 0.0) * slot
        come.append(total)
    due = waiting_since(waiter.memory.arrived, waiting, [now + end - waiter.within for end in slots])
    return Work(come, due, waiter.most * waiter.rate)


def _sides(
    power: Power,
    server: ServerView,
    waiter: Waiter,
    rest: Mapping[str, History],
    slots: Sequence[Seconds],
) -> dict[str, Side]:
    """By domain, of those of which it is known what may be drawn and what all others draw."""
    found = {}
    for name, share in server.places.items():
        one = power.watched.get(name)
        if one is None or one.room is None or share <= 0 or name not in rest:
            continue
        middles = [end - slots[0] / 2.0 for end in slots]
        foretold = forecast(rest[name], middles, (0.5,), SETTINGS).plain
        allowed = [
            min(_allowed(power, name, at) for at in (end - slots[0], end - slots[0] / 2.0)) for end in slots
        ]
        each = share * server.full
        rest_there = [values[0] + each * waiter.beside for values in foretold]
        found[name] = Side(allowed, rest_there, each / waiter.rate)
    return found


def _allowed(power: Power, domain: str, ahead: Seconds) -> Watts:
    """That may be drawn there so much later, before anybody is warned."""
    one = power.watched[domain]
    budget = budget_at(power.tree.domains[domain], power.seen.now + ahead)
    if budget is None:
        return float("inf")
    theta = threshold(budget.watts, one.reading.known.error, one.state.rise)
    return max(theta - DEFAULTS.warn * budget.watts, 1.0)


def _with(
    domain: str,
    side: Side,
    slots: Sequence[Seconds],
    others: Iterable[tuple[Sequence[Seconds], ServerView, Waiter, Sequence[RequestsPerSecond]]],
) -> Side:
    """The side with what other waiters are going to draw there; after their last slot as in it."""
    rest = list(side.rest)
    for ends, server, waiter, rates in others:
        joules = server.places.get(domain, 0.0) * server.full / waiter.rate
        for k, end in enumerate(slots):
            middle = end - slots[0] / 2.0
            at = next((i for i, until in enumerate(ends) if middle <= until), len(ends) - 1)
            rest[k] += joules * rates[at]
    return Side(side.allowed, rest, side.joules)


def _told(one: Filled, sides: Mapping[str, Side], slots: Sequence[Seconds]) -> Deferral:
    rate, once, slot = one.rates[0], one.once[0], slots[0]
    if once - rate <= LITTLE * once:
        return Deferral(once, once, 0.0, "")
    total, ends = 0.0, slots[-1]
    for end, each in zip(slots, one.rates, strict=True):
        total += each * slot
        if total >= once * slot * (1.0 - LITTLE):
            ends = end
            break
    tight = min(
        sides, key=lambda d: ((one.level * sides[d].allowed[0] - sides[d].rest[0]) / sides[d].joules, d)
    )
    return Deferral(rate, once, ends, tight)
