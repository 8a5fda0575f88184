"""What is in whole services that fit under a cap: what replicas could keep, were all known beforehand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.power_plant_rivals import hosts_share
from benchmarks.power_plant_world import SERVICES, Made
from flyball.simulate.hall import STEP
from flyball.simulate.plant import Plant
from flyball.units import Watts

FloatArray = npt.NDArray[np.float64]


class Draws:
    """Watts that go with each service, step by step: above empty cards, with what hosts draw for it."""

    def __init__(self, made: Made, plant: Plant) -> None:
        self._plant, self._idle, self._share = plant, made.world.draws[0].idle, 1.0 + hosts_share(made.world)
        self._seen: list[list[float]] = []

    def note(self) -> None:
        """To be called at every step, and when the last is over."""
        held = [self._plant.held(one.name) for one in SERVICES]
        self._seen.append([one.joules - self._idle * one.cards for one in held])

    def watts(self) -> FloatArray:
        """Steps x services."""
        return self._share * np.diff(np.array(self._seen), axis=0) / STEP


class Most(NamedTuple):
    """Shares of the tokens that there are without a cap."""

    in_order: float
    """None of a priority goes before all that is less important has gone."""
    in_any: float


def most(drawn: FloatArray, whole: FloatArray, tokens: Sequence[int], cap: Watts) -> Most:
    """The best choice of services of which nothing goes at all, so that `whole` never comes above the cap.

    `drawn`: steps x services, as `Draws` has it; `whole`: watts of all, by step. Nobody could choose so
    without knowing what comes; but it takes a service for the whole time, also where it need not go for all.
    """
    ranks, share = np.array([one.priority for one in SERVICES]), np.array(tokens) / max(sum(tokens), 1)
    in_order = in_any = 0.0
    for choice in itertools.product((False, True), repeat=len(ranks)):
        stays = np.array(choice)
        if (whole - drawn[:, ~stays].sum(axis=1)).max() > cap:
            continue
        kept = float(share[stays].sum())
        in_any = max(in_any, kept)
        if ranks[stays].max(initial=0) <= ranks[~stays].min(initial=max(ranks)):
            in_order = max(in_order, kept)
    return Most(in_order, in_any)
