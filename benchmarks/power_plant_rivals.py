"""Rivals that hold watts by the replicas that each service may have at most, behind a law that knows none.

Their readings are exact, and as old as ours. Source of each: the reference on power, sections 1.4 and 4.1.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from benchmarks.power_plant_world import CARD, FIRST, SERVICES, Made
from flyball.simulate.hall import STEP
from flyball.simulate.levers import Levers
from flyball.simulate.plant import Plant
from flyball.spec.decision import Order
from flyball.spec.scenario import World
from flyball.units import Seconds, Watts

Most = dict[str, int]
"""Replicas at most, by service; absent: as many as are wanted."""
WIDTH = {one.name: one.tp for one in SERVICES}
PRIORITY = {one.name: one.priority for one in SERVICES}
LEAST = 1


class Meter:
    """Watts as a rival reads them, one step of the plant late."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._seen: deque[tuple[Seconds, dict[str, float]]] = deque(maxlen=2 + round(300.0 / STEP))
        self._share = hosts_share(plant.world)

    def copy(self, plant: Plant) -> Meter:
        """The same on a copy of the plant."""
        other = Meter(plant)
        other._seen = self._seen.copy()
        return other

    def note(self) -> None:
        """Take a reading, to be called at every step."""
        self._seen.append((self._plant.now(), {one: self._plant.held(one).joules for one in WIDTH}))

    def whole(self) -> Watts:
        """Of all nodes."""
        row = self._plant.watch.at(self._plant.now() - STEP)
        return 0.0 if row is None else sum(row.node(name) for name in row.cards)

    def services(self, window: Seconds) -> dict[str, Watts]:
        """Of the pods of each service over a window, and what hosts draw for them."""
        last, then = self._seen[-2], self._seen[max(len(self._seen) - 2 - round(window / STEP), 0)]
        gone = max(last[0] - then[0], STEP)
        return {n: (1.0 + self._share) * (j - then[1].get(n, 0.0)) / gone for n, j in last[1].items()}


class Rule(Protocol):
    """How many replicas each service may have at most."""

    period: Seconds

    def most(self, now: Seconds, wanted: Mapping[str, int]) -> Most:
        """As of now, where the law wants so many."""
        ...


class Cut:
    """An actuator: what the law orders, cut to what the rule allows, as maxima of an autoscaler do."""

    def __init__(self, levers: Levers, rule: Rule) -> None:
        self._levers, self._rule = levers, rule
        self._orders: dict[tuple[str, str], Order] = {}
        self._most: Most = {}

    def act(self, orders: Sequence[Order]) -> tuple[str, ...]:
        """Ask for these replicas, as far as they are allowed."""
        self._orders |= {(o.server, o.accelerator): o for o in orders}
        return self._levers.act([self._cut(o) for o in orders])

    def tick(self, now: Seconds) -> None:
        """Have the rule look again, where its time has come."""
        if now % self._rule.period == 0.0:
            wanted = {o.server: o.replicas for o in self._orders.values()}
            self._most = self._rule.most(now, wanted)
            self._levers.act([self._cut(o) for o in self._orders.values()])

    def _cut(self, order: Order) -> Order:
        most = max(self._most.get(order.server, order.replicas), LEAST)
        return Order(order.server, order.accelerator, min(order.replicas, most), order.max_batch_size)


class StaticCap:
    """Maxima by which the cap holds even if every card draws its nameplate: the first priority first."""

    period = 15.0

    def __init__(self, made: Made, cap: Watts, needed: Mapping[str, int]) -> None:
        """`needed`: replicas at the peak of the load."""
        self._most = {name: LEAST for name in WIDTH}
        left = cap - bare(made) - sum(nameplate(made, name) for name in WIDTH)
        for priority in sorted(set(PRIORITY.values())):
            for name in in_turn({n: needed[n] for n, p in PRIORITY.items() if p == priority}):
                if nameplate(made, name) <= left:
                    left -= nameplate(made, name)
                    self._most[name] += 1

    def most(self, now: Seconds, wanted: Mapping[str, int]) -> Most:
        """Ever the same."""
        return self._most


class Climatik:
    """Climatik's operator: every 10 s each service by itself may have int(cap / its own watts) replicas.

    Its watts are those of all its pods together, a mean over five minutes. The original's cap is one of pods:
    what nodes draw without any is taken off for it.
    """

    period = 10.0

    def __init__(self, made: Made, cap: Watts, meter: Meter) -> None:
        self._cap, self._meter = max(cap - bare(made), 0.0), meter

    def most(self, now: Seconds, wanted: Mapping[str, int]) -> Most:
        """Without any watts all get 1; a maximum of 0 is refused by KEDA, so that the last one holds."""
        drawn = self._meter.services(300.0)
        if sum(drawn.values()) <= 0.0:
            return {name: LEAST for name in drawn}
        return {name: max(int(self._cap / watts), LEAST) for name, watts in drawn.items() if watts > 0.0}


class Thresholds:
    """POLCA's thresholds: from 80 % of the cap on the less important shrink, from 89 % on all do.

    Each ends 5 points below. Its levers are clocks, here replicas: a quarter of them at a time, and the next
    when the last has had its effect; at the cap itself, where POLCA brakes, without a wait.
    """

    period = 15.0
    LOW, HIGH, BACK, SHARE = 0.80, 0.89, 0.05, 0.25
    EFFECT: Seconds = 45.0

    def __init__(self, cap: Watts, meter: Meter) -> None:
        self._cap, self._meter = cap, meter
        self._on = {False: False, True: False}
        self._moved = {False: -math.inf, True: -math.inf}
        self._most: dict[str, float] = {}

    def most(self, now: Seconds, wanted: Mapping[str, int]) -> Most:
        """One step more while it is above, one back when it has ended."""
        share = self._meter.whole() / self._cap
        for first, begins in ((False, self.LOW), (True, self.HIGH)):
            self._on[first] = share > begins - (self.BACK if self._on[first] else 0.0)
            if now - self._moved[first] < self.EFFECT and share < 1.0:
                continue
            mine = [name for name in wanted if (PRIORITY[name] == FIRST) == first]
            if share > begins:
                self._moved[first] = now
                for name in mine:
                    had = min(self._most.get(name, math.inf), wanted[name])
                    self._most[name] = max(had * (1.0 - self.SHARE), LEAST)
            elif not self._on[first]:
                self._moved[first] = now
                more = {n: self._most[n] * (1.0 + self.SHARE) + 0.5 for n in mine if n in self._most}
                self._most = {n: m for n, m in (self._most | more).items() if m < wanted.get(n, 0)}
        return {name: math.ceil(value) for name, value in self._most.items()}


class CostThenCap:
    """A plan without watts, then as many replicas as fit the measured watts: the least important go first."""

    period = 15.0
    WINDOW: Seconds = 30.0

    def __init__(self, plant: Plant, cap: Watts, meter: Meter) -> None:
        self._plant, self._cap, self._meter = plant, cap, meter
        self._each: dict[str, Watts] = {}

    def most(self, now: Seconds, wanted: Mapping[str, int]) -> Most:
        """What is measured of a replica is taken for what one more or less changes."""
        drawn = self._meter.services(self.WINDOW)
        here = self._plant.cluster.replicas
        count = {n: sum(r.server == n and bool(r.places) for r in here) for n in wanted}
        self._each |= {n: drawn[n] / c for n, c in count.items() if c}
        left = self._cap - (self._meter.whole() - sum(drawn.values()))
        given = dict(wanted)
        over = sum(n * self._each.get(name, 0.0) for name, n in given.items()) - left
        for priority in sorted(set(PRIORITY.values()), reverse=True):
            those = {n: given[n] - LEAST for n in given if PRIORITY[n] == priority and given[n] > LEAST}
            for name in in_turn(those):
                if over > 0.0:
                    given[name] -= 1
                    over -= self._each.get(name, 0.0)
        return given


def in_turn(counts: Mapping[str, int]) -> Iterator[str]:
    """Each name so many times, evenly mixed."""
    places = [((i + 1) / n, name) for name, n in counts.items() for i in range(n)]
    return (name for _, name in sorted(places))


def bare(made: Made) -> Watts:
    """Of all nodes without any replica, at most."""
    draw, hall = made.world.draws[0], made.world.hall
    assert hall is not None
    host = hall.hosts[0]
    each = host.idle + hall.others.watts + hall.others.burst
    return len(made.world.nodes) * each + (1.0 + host.share) * draw.idle * made.believed.capacity[CARD]


def nameplate(made: Made, service: str) -> Watts:
    """What one more replica can draw at most."""
    draw = made.world.draws[0]
    return (1.0 + hosts_share(made.world)) * (draw.prefill - draw.idle) * WIDTH[service]


def hosts_share(world: World) -> float:
    """Watts that hosts draw for each watt of cards."""
    return world.hall.hosts[0].share if world.hall else 0.0
