"""The inverse problem: the largest arrival rate at which every target holds.

All targets are searched for at once, on

    g(lambda) = max over targets of (metric / limit) - 1   (for a quantile: P(metric > limit) / (1 - q) - 1)

which grows with the load. While the batch limit is far, metrics of a linear curve are linear in
o = lambda / (1 - lambda slope) (the odds of the negative binomial), so the first guess, made as if there
were no limit, is often the answer; secant steps in o, held in a bracket, find the rest in a few evaluations.
A curve that is flat is no special case: g is then within the limit at both ends or at neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from flyball.queueing.analysis import EPSILON, lowest_rate, response_time
from flyball.queueing.arrays import BoolArray, FloatArray, IntArray
from flyball.queueing.chain import Replicas, has_closed_form, in_blocks, steady_state
from flyball.queueing.curves import Curve
from flyball.queueing.percentiles import Metric, QuantileTarget, exceedance, thresholds

TOLERANCE = 1e-9
"""Of g, and relative of the rate."""
MAX_EVALUATIONS = 100
MEAN_METRICS: tuple[Metric, ...] = ("ttft", "itl", "wait", "e2e")


@dataclass(frozen=True, eq=False)
class Targets:
    """Limits over (C,) lanes, seconds; inf asks for nothing. The first four are of means."""

    ttft: FloatArray
    itl: FloatArray
    wait: FloatArray
    e2e: FloatArray
    quantiles: list[QuantileTarget] = field(default_factory=list)

    def take(self, lanes: IntArray) -> Targets:
        """The same over some of the lanes."""
        return Targets(
            self.ttft[lanes],
            self.itl[lanes],
            self.wait[lanes],
            self.e2e[lanes],
            [QuantileTarget(t.metric, t.quantile[lanes], t.limit[lanes]) for t in self.quantiles],
        )

    @property
    def names(self) -> list[Metric]:
        """One name per row of `ratios`."""
        return [*MEAN_METRICS, *(t.metric for t in self.quantiles)]


def no_targets(size: int) -> Targets:
    """Nothing is asked but stability."""
    none = np.full(size, np.inf)
    return Targets(none, none, none, none)


STABILITY = -1
"""As `binding`: no target limits the rate before the highest considered one does."""


@dataclass(frozen=True, eq=False)
class Sizing:
    """What one replica of (C,) candidates can take within its targets."""

    rate: FloatArray
    """Largest offered arrival rate, requests per second; 0 where infeasible."""
    throughput: FloatArray
    """Completed at that rate: less than offered where the waiting room is bounded."""
    binding: IntArray
    """Index into `Targets.names` of the target that limits, or `STABILITY`."""
    feasible: BoolArray
    light: FloatArray
    """(T, C): metric / limit (for a quantile: exceedance / (1 - q)) of an almost idle replica."""


def size(
    curve: Curve,
    queue_size: FloatArray,
    targets: Targets,
    highest: FloatArray | None = None,
    then: Callable[[IntArray, Replicas, Sizing], None] | None = None,
) -> Sizing:
    """Largest rates within targets, up to `highest` (default (1 - EPSILON) mu(N)); all (C,).

    `then(lanes, replicas, sizing)` is called after each block of lanes, for whoever goes on with them.
    """
    n = curve.max_batch_size
    top = n / curve.residence_time(n) * (1.0 - EPSILON) if highest is None else highest
    bottom = np.minimum(lowest_rate(curve), top)
    count = n.size
    result = Sizing(
        np.zeros(count),
        np.zeros(count),
        np.full(count, STABILITY, dtype=np.int64),
        np.zeros(count, dtype=bool),
        np.zeros((len(targets.names), count)),
    )
    closed = has_closed_form(curve)
    guessed = guess(curve, targets)
    for lanes, replicas in in_blocks(curve, queue_size, closed):
        search = _Search(replicas, targets.take(lanes), bottom[lanes], top[lanes], guessed[lanes])
        search.into(result, lanes)
        if then is not None:
            then(lanes, replicas, result)
    return result


def guess(curve: Curve, targets: Targets) -> FloatArray:
    """Rate that would reach a mean target if there were neither batch limit nor wait, (C,) or inf."""
    zero, one = np.zeros_like(curve.max_batch_size), np.ones_like(curve.max_batch_size)
    straight = curve.intercept + curve.slope
    _, itl0, ttft0 = curve.latencies(zero, straight, zero)
    _, itl1, ttft1 = curve.latencies(one, straight + curve.slope, zero)
    in_batch = np.full_like(zero, np.inf)
    for limit, at0, at1 in ((targets.ttft, ttft0, ttft1), (targets.itl, itl0, itl1)):
        rise = at1 - at0
        reached = np.where(rise > 0, (limit - at0) / np.where(rise > 0, rise, 1.0), np.inf)
        in_batch = np.minimum(in_batch, np.maximum(reached, 0.0))
    # E[n] = o tau(1) / (1 - slope o): the mean of the whole negative binomial
    finite = np.where(np.isfinite(in_batch), in_batch, 0.0)
    return np.where(np.isfinite(in_batch), finite / (straight + curve.slope * finite), np.inf)


class _Search:
    """One block of lanes: the bracket, the last two points, and what was seen at the best one."""

    def __init__(
        self, replicas: Replicas, targets: Targets, bottom: FloatArray, top: FloatArray, guessed: FloatArray
    ) -> None:
        self.guessed = guessed
        self.replicas, self.targets = replicas, targets
        self.slope = replicas.curve.slope
        self.bottom, self.top = bottom, top
        self.threshold = thresholds(replicas.curve, targets.quantiles)

    def ratios(self, lanes: IntArray | None, rate: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(T, C) metric / limit, and throughput, at some of the lanes."""
        replicas, targets, threshold = self.replicas, self.targets, self.threshold
        if lanes is not None:
            replicas, targets = replicas.take(lanes), targets.take(lanes)
            threshold = None if threshold is None else threshold[:, lanes]
        state = steady_state(replicas, rate, threshold)
        _, itl, ttft = replicas.curve.latencies(state.in_batch, state.residence_time, state.wait_time)
        means = [ttft / targets.ttft, itl / targets.itl]
        if np.isfinite(targets.wait).any() or np.isfinite(targets.e2e).any() or targets.quantiles:
            response = response_time(replicas.curve, state, itl, ttft)
            means += [state.wait_time / targets.wait, response / targets.e2e]
            if targets.quantiles:
                late = exceedance(replicas, state, targets.quantiles, threshold)
                allowed = np.stack([1.0 - t.quantile for t in targets.quantiles])
                means += list(late / allowed)
        return np.stack(means), state.throughput

    def into(self, result: Sizing, lanes: IntArray) -> None:
        """Search, and write the block's results to their places."""
        light, throughput = self.ratios(None, self.bottom)  # cheap: nothing of weight is far up
        result.light[: len(light), lanes] = light
        worst = light.max(axis=0)
        feasible = worst <= 1.0 + TOLERANCE
        result.feasible[lanes] = feasible
        rate, binding = np.where(feasible, self.bottom, 0.0), np.full(lanes.size, STABILITY)
        binding = np.where(feasible, light.argmax(axis=0), binding)
        throughput = np.where(feasible, throughput, 0.0)

        active = np.flatnonzero(feasible & (self.bottom < self.top))
        low, low_g = self.odds(active, self.bottom[active]), worst[active] - 1.0
        high, high_g = self.odds(active, self.top[active]), np.full(active.size, np.nan)
        before, before_g = low.copy(), low_g.copy()
        point = np.clip(self.odds(active, np.minimum(self.guessed[active], self.top[active])), low, high)
        for evaluation in range(MAX_EVALUATIONS):
            if not active.size:
                break
            at_rate = np.clip(self.rate(active, point), self.bottom[active], self.top[active])
            ratios, through = self.ratios(active, at_rate)
            g = ratios.max(axis=0) - 1.0
            good = g <= TOLERANCE
            won = np.flatnonzero(good)
            rate[active[won]], throughput[active[won]] = at_rate[won], through[won]
            which = ratios.argmax(axis=0)
            at_top = good & (at_rate >= self.top[active] * (1.0 - TOLERANCE))
            binding[active] = np.where(at_top, STABILITY, which)

            low, low_g = np.where(good, point, low), np.where(good, g, low_g)
            high, high_g = np.where(good, high, point), np.where(good, high_g, g)
            done = at_top | (np.abs(g) <= TOLERANCE) | (high - low <= TOLERANCE * high)
            with np.errstate(divide="ignore", invalid="ignore"):
                step = point - g * (point - before) / (g - before_g)
            middle = 0.5 * (low + high)
            known = np.isfinite(high_g)
            inside = (step > low) & (step < high)
            step = np.where(inside, step, np.where(known | (step <= low) | np.isnan(step), middle, high))
            if evaluation >= 3 and evaluation % 3 == 0:
                step = np.where(known, middle, high)
            before, before_g, point = point, g, step
            if done.any():
                keep = np.flatnonzero(~done)
                active, low, low_g, high, high_g = (
                    active[keep],
                    low[keep],
                    low_g[keep],
                    high[keep],
                    high_g[keep],
                )
                before, before_g, point = before[keep], before_g[keep], point[keep]
        result.rate[lanes], result.throughput[lanes], result.binding[lanes] = rate, throughput, binding

    def odds(self, lanes: IntArray, rate: FloatArray) -> FloatArray:
        return rate / (1.0 - rate * self.slope[lanes])

    def rate(self, lanes: IntArray, odds: FloatArray) -> FloatArray:
        return odds / (1.0 + odds * self.slope[lanes])
