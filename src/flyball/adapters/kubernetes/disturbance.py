"""How an emulated load moves: numbers in, numbers out; chance comes in as a Generator.

One rule holds both forms of the emulator: x' = x + theta * (nominal - x) + N(0, 1) * alpha * nominal. With
theta 1 what was before does not matter: a disturbance of the undisturbed value. Below 1 the load drifts, and
comes back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from flyball.spec.phase import Phase
from flyball.units import RequestsPerSecond, Seconds

FACTOR = 10.0
"""A load stays within its nominal value divided by this and multiplied by it."""


class Load(msgspec.Struct, frozen=True):
    """What is asked of a server or of one pod. What it does not say is None."""

    rate: RequestsPerSecond | None = None
    tokens: tuple[int | None, ...] = ()
    """Per request; of input and output, or of both in one."""


class Disturbance(msgspec.Struct, frozen=True):
    """How strongly loads move."""

    alpha: float = 0.5
    """Standard deviation in one cycle, as a share of the nominal value."""
    theta: float = 1.0
    """Share of the way back to the nominal value in one cycle."""
    skew: float | None = None
    """How unevenly pods share a server's load: 0 evenly, 1 by chance alone; None: pods are left alone."""


def disturbed(now: Load, nominal: Load, by: Disturbance, rng: np.random.Generator) -> Load:
    """The load after one more cycle; where `now` says nothing it starts from the nominal value."""
    rate = None
    if nominal.rate is not None:
        rate = _within(_moved(now.rate, nominal.rate, by, rng), nominal.rate)
    before = now.tokens if len(now.tokens) == len(nominal.tokens) else (None,) * len(nominal.tokens)
    tokens = tuple(
        None if mean is None else _whole(_moved(was, mean, by, rng), mean)
        for was, mean in zip(before, nominal.tokens, strict=True)
    )
    return Load(rate, tokens)


def shared(load: Load, nominals: Sequence[Load], skew: float, rng: np.random.Generator) -> tuple[Load, ...]:
    """A server's load over its pods: the rate is split whole, tokens vary by up to the share `skew`.

    `nominals`: each pod's own; they say which figures it carries, and bound its tokens.
    """
    count = len(nominals)
    weights = (1.0 - skew) / max(count, 1) + skew * rng.random(count)
    total = float(weights.sum())
    parts = weights / total if total > 0 else np.full(count, 1.0 / max(count, 1))
    found = []
    for part, own in zip(parts, nominals, strict=True):
        rate = None if own.rate is None or load.rate is None else load.rate * float(part)
        of_server = load.tokens if len(load.tokens) == len(own.tokens) else (None,) * len(own.tokens)
        tokens = tuple(
            None if mean is None else _whole(_given(of, mean) * (1.0 + skew * rng.uniform(-1.0, 1.0)), mean)
            for of, mean in zip(of_server, own.tokens, strict=True)
        )
        found.append(Load(rate, tokens))
    return tuple(found)


def scaled(nominal: Load, multiplier: float) -> Load:
    """With its rate multiplied."""
    return nominal if nominal.rate is None else Load(nominal.rate * multiplier, nominal.tokens)


def multiplier(phases: Sequence[Phase], elapsed: Seconds) -> float:
    """Of the nominal rate, so long after the first phase began; after the last one it stays."""
    reached = 1.0
    for phase in phases:
        if elapsed < phase.duration:
            return reached * (1.0 + (phase.ratio - 1.0) * elapsed / phase.duration)
        if phase.duration:
            reached *= phase.ratio
        elapsed -= phase.duration
    return reached


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _moved(now: float | None, nominal: float, by: Disturbance, rng: np.random.Generator) -> float:
    was = _given(now, nominal)
    return (1.0 - by.theta) * was + (by.theta + by.alpha * float(rng.standard_normal())) * nominal


def _within(value: float, nominal: float) -> float:
    return min(max(value, nominal / FACTOR), nominal * FACTOR)


def _whole(value: float, nominal: float) -> int:
    """To the nearest, as rounding up would raise the mean; at least one token."""
    low = max(math.ceil(nominal / FACTOR), 1)
    return min(max(round(value), low), max(int(nominal * FACTOR), low))
