"""Tails: promised percentiles as measured beside what is foretold of them, server by server.

The queue is foretold for arrivals that come by chance and lengths of the usual law. Where they come in
clusters, percentiles are longer, and how much is seen. It is learned slowly, in steady states only, and never
to promise more than the model does. Before anything is seen it is what the plant has taught.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from flyball.calibrate.over_batch import largest_batch
from flyball.decide.seen import WINDOW, Seen, reported
from flyball.queueing.arrays import FloatArray
from flyball.queueing.iteration import iteration_curve, with_experts
from flyball.queueing.percentiles import quantile_rows
from flyball.spec.learned import Point
from flyball.spec.profile import IterationTiming, Profile
from flyball.spec.service_class import MEAN, Metric, ModelTargets, Target
from flyball.spec.snapshot import Reading
from flyball.units import Seconds

PLANT = {"ttft": ((0.95, 0.014), (0.99, 0.022)), "itl": ((0.95, 0.001), (0.99, 0.002))}
"""Logarithms, up to a quantile, by which simulated percentiles are longer than foretold, at the median.

Of five engines, five shapes, three spreads of lengths, up to 75 % load (`python -m benchmarks accuracy`).
Four of five are within 0.07 and 0.08, 0.02 and 0.035: a margin as wide gains nothing beside a spare replica,
and where cards are short it costs others theirs (scenario `shift`: 94.9 instead of 96.4 % attained).
"""
WEIGHT = 0.1
"""Of the newest window."""
LONGEST = 2.5
BEYOND = 3.0
"""Requests of a window that must be beyond a percentile, so that it says something."""
METRICS = ("ttft", "itl")


def factors(tails: Mapping[str, float], promise: ModelTargets | None) -> dict[str, float]:
    """What percentiles are counted with: as much longer than foretold as the plant's are, or as was seen."""
    found = {}
    for target in promise.targets if promise else ():
        if target.quantile != MEAN and target.metric in METRICS:
            name = f"{target.metric} {target.statistic}"
            found[name] = min(math.exp(max(tails.get(name, 0.0), _in_the_plant(target))), LONGEST)
    return found


def _in_the_plant(target: Target) -> float:
    return next(
        (log for q, log in PLANT[target.metric] if q >= target.quantile - 1e-9), PLANT[target.metric][-1][1]
    )


class Window(NamedTuple):
    """What one server showed in a steady state, and what is known of its model and promised of it."""

    tails: Mapping[str, float]
    server: Seen
    shown: Point
    profile: Profile
    promise: ModelTargets


def seen(windows: Sequence[Window]) -> list[dict[str, float]]:
    """Of each server the logarithms of measured over foretold, with this window; foretold all at once."""
    after: list[dict[str, float]] = []
    asked: dict[tuple[Metric, float], list[tuple[int, str, Reading]]] = {}
    for place, (tails, server, _, profile, promise) in enumerate(windows):
        after.append({})
        for target in promise.targets:
            if target.quantile == MEAN or target.metric not in METRICS:
                continue
            name = f"{target.metric} {target.statistic}"
            after[place][name] = tails.get(name, 0.0)
            quantile, measured = reported(target)
            reading = server.latencies.get(target.metric, {}).get(measured)
            enough = (server.offered or 0.0) * WINDOW * (1.0 - target.quantile) >= BEYOND
            if reading is not None and enough and isinstance(profile.timing, IterationTiming):
                asked.setdefault((target.metric, quantile), []).append((place, name, reading))
    for (metric, quantile), readings in asked.items():
        foretold = _foretold(metric, quantile, [windows[place] for place, *_ in readings])
        for (place, name, reading), time in zip(readings, foretold.tolist(), strict=True):
            before = after[place][name]
            after[place][name] = before + WEIGHT * (_over(reading, time) - before)
    return after


def _over(reading: Reading, foretold: Seconds) -> float:
    """The logarithm of measured over foretold; 0 where both are in the same bucket of a histogram."""
    if not math.isfinite(foretold) or foretold <= 0 or reading.value <= 0:
        return 0.0
    least = reading.value if reading.least is None else reading.least
    if least > foretold:
        return min(math.log(least / foretold), math.log(LONGEST))
    return max(math.log(reading.value / foretold), -math.log(LONGEST)) if reading.value < foretold else 0.0


def _foretold(metric: Metric, quantile: float, windows: Sequence[Window]) -> FloatArray:
    """(windows,) seconds: the percentile of one replica under each load, of Flyball's own form of timing."""
    shown = [one.shown for one in windows]
    timings = [t for one in windows if isinstance(t := one.profile.timing, IterationTiming)]
    batches = [
        max(largest_batch(profile.kv_tokens, point.in_tokens, point.out_tokens, profile.max_batch_size), 1)
        for _, _, point, profile, _ in windows
    ]

    def all_of(values: Iterable[float]) -> FloatArray:
        return np.array([float(value) for value in values])

    def timing(name: str) -> FloatArray:
        return all_of(getattr(one, name) for one in timings)

    def point(name: str) -> FloatArray:
        return all_of(getattr(one, name) for one in shown)

    around = all_of(min(max(p.running, 1.0), n) for p, n in zip(shown, batches, strict=True))
    alpha, beta = with_experts(
        timing("alpha"), timing("beta"), timing("epsilon"), timing("untouched"), around
    )
    curve = iteration_curve(
        *(alpha, beta, timing("kappa"), timing("delta")),
        *(point("in_tokens"), point("out_tokens"), all_of(batches)),
        in_cov=point("in_cov"),
        out_cov=point("out_cov"),
        gamma=timing("gamma"),
    )
    endless = np.full(len(shown), math.inf)
    row: FloatArray = quantile_rows(curve, endless, point("rate"), [(metric, quantile)])[0]
    return row
