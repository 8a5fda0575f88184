"""Levers as they are in a cluster: orders are taken at the next sync, and some are refused or come late."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from flyball.simulate.plant import Plant
from flyball.spec.decision import Order
from flyball.units import Seconds

SYNC: Seconds = 15.0
"""Of the horizontal pod autoscaler."""
LATEST = 4
"""Syncs that an order is late at most."""


class Levers:
    """An actuator in front of a plant. Time must be let go on here, so that syncs happen in it."""

    def __init__(
        self,
        plant: Plant,
        rng: np.random.Generator,
        *,
        refused: float = 0.0,
        late: float = 0.0,
        phase: Seconds = 0.0,
        sync: Seconds = SYNC,
    ) -> None:
        """Shares of orders that are refused, or late by 1 to 4 syncs; `phase`: of the first sync."""
        self._plant, self._rng, self._refused, self._late = plant, rng, refused, late
        self._phase, self._sync = phase, sync
        self._orders: dict[tuple[str, str], tuple[Seconds, Order]] = {}
        """The newest of each, and when it is taken."""

    def act(self, orders: Sequence[Order]) -> tuple[str, ...]:
        """Ask for these replicas; returns at once. Says in a sentence each what could not be asked for."""
        wrong = []
        for order in orders:
            key = order.server, order.accelerator
            if self._rng.random() < self._refused:
                wrong.append(
                    f"{order.replicas} replicas of '{order.server}' were refused: the API is not there"
                )
                continue
            due = self._next(self._plant.now())
            if self._rng.random() < self._late:
                due += self._sync * float(self._rng.integers(1, LATEST + 1))
            before = self._orders.get(key)
            if before is not None and before[1].replicas == order.replicas:
                due = min(due, before[0])
            self._orders[key] = due, order
        return tuple(wrong)

    def run(self, until: Seconds) -> None:
        """Let the plant's time go on; orders are taken at syncs."""
        while (at := self._next(self._plant.now())) <= until:
            self._plant.run(at)
            due = [order for when, order in self._orders.values() if when <= at]
            self._orders = {key: one for key, one in self._orders.items() if one[0] > at}
            self._plant.act(due)
        self._plant.run(until)

    def _next(self, now: Seconds) -> Seconds:
        """The first sync after now."""
        return self._phase + self._sync * (math.floor((now - self._phase) / self._sync + 1e-9) + 1)
