"""The hall: what nodes truly draw, step by step, and how warm the inlets of racks get from it."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flyball.simulate.cluster import Machine, Replica
from flyball.spec.scenario import Hall, Node, Others
from flyball.units import SECONDS_PER_HOUR, Seconds, Watts

FloatArray = npt.NDArray[np.float64]
STEP: Seconds = 5.0
"""Of the series: watts are means over it."""


class Drawn(NamedTuple):
    """All nodes over the step that ended at a time."""

    time: Seconds
    cards: dict[str, Watts]
    """Of the cards of a node, all together."""
    host: dict[str, Watts]
    """Of the rest of it."""
    card: dict[int, Watts]
    """Of one card of a replica, by its number."""
    places: dict[str, tuple[int, ...]]
    """By node: whose its used cards are."""
    inlet: dict[str, float]
    """Degrees Celsius, by rack."""

    def node(self, name: str) -> Watts:
        """Of the whole node."""
        return self.cards.get(name, 0.0) + self.host.get(name, 0.0)


class Bursts:
    """The load of others on one node; the same whenever it is asked for."""

    def __init__(self, others: Others, rng: np.random.Generator) -> None:
        self._others, self._rng = others, rng
        self._going: list[Seconds] = []
        """When bursts end."""
        self._next = self._gap() if others.bursts > 0 else math.inf

    def _gap(self) -> Seconds:
        return float(self._rng.exponential(SECONDS_PER_HOUR / self._others.bursts))

    def mean(self, begin: Seconds, end: Seconds) -> Watts:
        """Mean watts between two times, which go on from call to call."""
        started: list[tuple[Seconds, Seconds]] = [(begin, until) for until in self._going]
        while self._next < end:
            started.append((self._next, self._next + float(self._rng.exponential(self._others.length))))
            self._next += self._gap()
        self._going = [until for _, until in started if until > end]
        on = sum(min(until, end) - since for since, until in started)
        return self._others.watts + self._others.burst * on / (end - begin)


class Watch:
    """The series of a hall: a row for each step, as long as it is kept."""

    def __init__(self, hall: Hall, nodes: Iterable[Node], rng: np.random.Generator) -> None:
        self._hosts = {h.type: h for h in hall.hosts}
        there = list(nodes)
        seeds = rng.spawn(len(there))
        self._others = {n.name: Bursts(hall.others, r) for n, r in zip(there, seeds, strict=True)}
        self._racks = {n.name: n.rack for n in there}
        self._air = hall.air
        self._before: dict[str, float] = {}
        self._by_card: dict[int, float] = {}
        self._steps = 0
        self._inlet = {rack: hall.air.supply for rack in sorted({n.rack for n in there})}
        self.rows: deque[Drawn] = deque(maxlen=max(math.ceil(hall.keep / STEP), 1))
        """Oldest first."""

    def copy(self) -> Watch:
        """Another that goes on in the same way, apart from this one."""
        other = copy.copy(self)
        for name in ("_others", "_before", "_by_card", "_inlet"):
            setattr(other, name, copy.deepcopy(getattr(self, name)))
        other.rows = self.rows.copy()
        return other

    @property
    def due(self) -> Seconds:
        """When the step ends."""
        return (self._steps + 1) * STEP

    def close(
        self,
        machines: Iterable[Machine],
        joules: Mapping[str, float],
        replicas: Iterable[Replica],
        by_card: Mapping[int, float],
    ) -> None:
        """End the step that is due, with the joules counted up to then."""
        end = self.due
        cards: dict[str, Watts] = {}
        host: dict[str, Watts] = {}
        for machine in machines:
            name = machine.node.name
            now = joules.get(name, 0.0)
            cards[name] = (now - self._before.get(name, 0.0)) / STEP
            self._before[name] = now
            others = self._others[name].mean(end - STEP, end) if name in self._others else 0.0
            kind = self._hosts.get(machine.node.type)
            own = kind.idle + kind.share * cards[name] if kind else 0.0
            host[name] = own + others if machine.alive else 0.0
        card: dict[int, Watts] = {}
        places: dict[str, list[int]] = {}
        for replica in replicas:
            for name, count in replica.places.items():
                places.setdefault(name, []).extend([replica.number] * count)
                joules_of = by_card.get(replica.number, 0.0)
                card[replica.number] = (joules_of - self._by_card.get(replica.number, 0.0)) / STEP
        self._by_card = {number: by_card.get(number, 0.0) for number in card}
        self._steps += 1
        self._warm(cards, host)
        whose = {name: tuple(numbers) for name, numbers in places.items()}
        self.rows.append(Drawn(end, cards, host, card, whose, dict(self._inlet)))

    def _warm(self, cards: Mapping[str, Watts], host: Mapping[str, Watts]) -> None:
        drawn: dict[str, Watts] = {}
        for name, watts in cards.items():
            rack = self._racks.get(name, "")
            drawn[rack] = drawn.get(rack, 0.0) + watts + host[name]
        rest = math.exp(-STEP / self._air.lag) if self._air.lag > 0 else 0.0
        for rack, was in self._inlet.items():
            by = self._air.kelvin_per_watt.get(rack, {})
            goal = self._air.supply + sum(k * drawn.get(other, 0.0) for other, k in by.items())
            self._inlet[rack] = goal + (was - goal) * rest

    def at(self, time: Seconds) -> Drawn | None:
        """The step that had ended at a time; None: there was none, or it is not kept."""
        if not self.rows:
            return None
        place = len(self.rows) - 1 - max(math.ceil((self.rows[-1].time - time) / STEP - 1e-9), 0)
        return self.rows[place] if place >= 0 else None

    def times(self) -> FloatArray:
        """(T,) ends of the steps."""
        return np.array([row.time for row in self.rows])

    def watts(self, nodes: Iterable[str] | None = None) -> FloatArray:
        """(T,) of these nodes together; None: of all."""
        those = list(self._racks) if nodes is None else list(nodes)
        return np.array([math.fsum(row.node(name) for name in those) for row in self.rows])

    def inlet(self, rack: str) -> FloatArray:
        """(T,) degrees Celsius."""
        return np.array([row.inlet[rack] for row in self.rows])
