"""Power and heat of the nodes: watts by what the cards do, temperature a first-order lag behind them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from flyball.simulate.cluster import Machine, Replica
from flyball.spec.scenario import Draw
from flyball.units import Seconds, Watts

INLET = 25.0
"""Degrees Celsius of the air that comes in."""
RESISTANCE = 0.08
"""Kelvin by which a card is warmer than the inlet for each watt that it draws, in the end."""
LAG: Seconds = 60.0
"""Time constant of a card with its heat sink."""


class Heat(NamedTuple):
    """A node over the last interval."""

    watts: Watts = 0.0
    temperature: float = INLET
    """Degrees Celsius of its cards, their mean."""


class Power:
    """Energy by server and node. Cards of a type without a draw count nothing."""

    def __init__(self, draws: tuple[Draw, ...]) -> None:
        self._draws = {d.type: d for d in draws}
        self._counted: dict[int, tuple[Seconds, Seconds, int]] = {}
        self._time: Seconds = 0.0
        self._since: Seconds = 0.0
        self._before: dict[str, float] = {}
        self.joules: dict[str, float] = {}
        """By node, since the start."""
        self.by_server: dict[str, float] = {}
        """Of the cards that a server holds, since the start."""
        self.by_card: dict[int, float] = {}
        """Of one card of a replica, by its number, since it was placed."""
        self.heat: dict[str, Heat] = {}
        """By node, over the last interval."""

    @property
    def known(self) -> bool:
        """Whether any draw is known."""
        return bool(self._draws)

    def count(
        self,
        now: Seconds,
        machines: Iterable[Machine],
        seconds: list[tuple[Replica, Seconds, Seconds, int]],
    ) -> None:
        """Count energy up to now: of the placed, seconds of computing and those for prompts, and tokens."""
        gone, self._time = now - self._time, now
        for machine in machines:
            draw = self._draws.get(machine.node.type)
            if draw is not None and machine.alive:
                idle = draw.idle * machine.node.cards * gone
                self.joules[machine.node.name] = self.joules.get(machine.node.name, 0.0) + idle
        for replica, busy, prefill, tokens in seconds:
            draw = self._draws.get(replica.type)
            if draw is None:
                continue
            before = self._counted.get(replica.number, (0.0, 0.0, 0))
            self._counted[replica.number] = (busy, prefill, tokens)
            rest = draw.idle if replica.state == "pending" else max(draw.resident, draw.idle)
            prompts = prefill - before[1]
            more = (draw.decode - rest) * (busy - before[0] - prompts) + (draw.prefill - rest) * prompts
            more += (rest - draw.idle) * gone
            if draw.token:
                more += draw.token * (tokens - before[2]) / replica.cards
                more = min(more, (draw.prefill - draw.idle) * gone)  # no card draws more than that
            for name, cards in replica.places.items():
                self.joules[name] = self.joules.get(name, 0.0) + more * cards
            card = more + draw.idle * gone
            self.by_card[replica.number] = self.by_card.get(replica.number, 0.0) + card
            self.by_server[replica.server] = self.by_server.get(replica.server, 0.0) + card * replica.cards

    def forget(self, replica: Replica) -> None:
        """A replica is gone."""
        self._counted.pop(replica.number, None)
        self.by_card.pop(replica.number, None)

    def close(self, machines: Iterable[Machine]) -> None:
        """End an interval at the time counted to: watts and temperatures are those of this interval."""
        length = self._time - self._since
        if length <= 0:
            return
        self._since = self._time
        rest = float(np.exp(-length / LAG))
        for machine in machines:
            name = machine.node.name
            joules = self.joules.get(name, 0.0)
            watts = (joules - self._before.get(name, 0.0)) / length
            self._before[name] = joules
            goal = INLET + RESISTANCE * watts / max(machine.node.cards, 1)
            was = self.heat.get(name, Heat()).temperature
            self.heat[name] = Heat(watts, goal + (was - goal) * rest)

    def watts(self) -> Watts:
        """Of all nodes over the last interval."""
        return sum(h.watts for h in self.heat.values())
