"""Learning from what a cluster shows anyway: times between tokens and to the first, at the load there was.

Readings are merged into operating points (batch and lengths, each within a factor), so that a week at one
load weighs as one point with little noise: it moves only what it can tell, and what the form does not say
stays as uncertain as it is. The belief is made anew from the prior and the points each time; nothing
accumulates but the points.

* A reading far from what is believed is set aside; when several in a row are, all on one side, the engine is
  another one now (another version, another limit of watts): what was learned before is given up.
* Points are forgotten with time, so that slow drift is followed.
* How far readings were from what had been foretold of them is kept: where that is more than the belief
  admits, margins widen (`distrust`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from msgspec.structs import replace as changed

from flyball.calibrate.belief import Belief, FloatArray, fitted, predicted
from flyball.calibrate.design import design
from flyball.queueing.analysis import analyze
from flyball.queueing.iteration import iteration_curve, with_experts
from flyball.spec.learned import Learned, Point
from flyball.units import Seconds

WIDTH = math.log(1.35)
"""Of an operating point, in the logarithm of each of batch, input and output."""
MOST_POINTS = 24
NOISE = 0.10
"""Standard deviation of the logarithm of one reading around the mean of its operating point."""
FIRST_NOISE = 0.2
"""Of the times to the first token, around what is foretold of them."""
FORGET: Seconds = 24 * 3600.0
"""In which a point's weight falls to 1/e; of more than MOST_WEIGHT readings the oldest count no more."""
MOST_WEIGHT, LEAST_WEIGHT = 30.0, 0.05
GATE = 2.5
"""Standard deviations beyond which a time to the first token holds a wait."""
STRANGE = 3.5
"""Standard deviations from which on a reading is set aside."""
IN_A_ROW = 4
"""Strange readings on one side after which the engine is taken for another one."""
ROUNDS = 2
BATCH = 1024.0
"""Requests at once in the account of the queue; beyond a half of them it is not heeded."""
FACTORS = (0.5, 4.0)
KV_STEP = 0.05
"""Weight of the newest reading of the KV cache's size, at least."""
MEMORY = 0.1
"""Weight of the newest reading in the mean square of misses."""
FARTHEST = 0.7
"""A miss counts no more than this: a factor of two."""
LEAN, LEANING = 0.2, 0.12
"""Weight of the newest miss in their mean, and the mean from which on the engine drifts: some three standard
deviations of noise."""
DRIFTED = 0.2
"""Weight that a point keeps at most when it does."""
CONTRADICTED = 0.4
"""Standard deviation of a factor on a prior that was steadily contradicted."""
DOUBT = 0.12
"""Root mean square miss that is no reason for distrust."""
WIDEST = 1.3


def learn(known: Belief, learned: Learned, reading: Point, now: Seconds) -> Learned:
    """What is remembered after one more reading; `known` is the `belief` before it.

    ValueError: it is nothing that can be.
    """
    figures = (reading.running, reading.out_tokens, reading.itl)
    if not all(math.isfinite(f) and f > 0 for f in figures) or not math.isfinite(reading.in_tokens):
        raise ValueError(f"a reading of {reading.itl} s at {reading.running} requests is none")
    between, first = _columns(known, [reading])
    reading = changed(reading, weight=1.0, at=now, ttft=_unqueued(known, first, reading.ttft))
    error, sigma = _surprise(known, between, reading.itl)
    far = min(abs(error), FARTHEST)
    miss = (1 - MEMORY) * learned.miss + MEMORY * far * far
    learned = _with_kv(changed(learned, readings=learned.readings + 1, at=now), reading)
    if abs(error) > STRANGE * sigma:
        return _strange(learned, reading, error, miss, known, now)
    lean = (1 - LEAN) * learned.lean + LEAN * error if learned.points else 0.0
    if abs(lean) > LEANING:
        faint = tuple(changed(p, weight=min(_kept(p, now), DRIFTED), at=now) for p in learned.points)
        learned, lean = changed(learned, points=faint, changes=learned.changes + 1), 0.0
    return changed(learned, points=_merged(learned.points, reading, now), strange=(), miss=miss, lean=lean)


def belief(prior: Belief, learned: Learned, now: Seconds) -> Belief:
    """The prior and all points that are remembered."""
    points = [(p, w) for p in learned.points if (w := _kept(p, now)) >= LEAST_WEIGHT]
    if not points:
        return prior
    if learned.changes:
        prior = replace(prior, covariance=prior.covariance + CONTRADICTED**2)
    found = prior
    for _ in range(ROUNDS):  # what the queue makes of a point depends a little on what is believed
        found = _fitted(prior, [p for p, _ in points], np.array([w for _, w in points]), found)
    return found


def surprise(known: Belief, reading: Point) -> tuple[float, float]:
    """(logarithm of a reading over what is foretold, standard deviation that was to be expected)."""
    return _surprise(known, _columns(known, [reading])[0], reading.itl)


def _surprise(known: Belief, columns: FloatArray, itl: Seconds) -> tuple[float, float]:
    foretold = predicted(known, columns)
    return math.log(itl / float(foretold.time[0])), math.hypot(float(foretold.sigma[0]), NOISE)


def _unqueued(known: Belief, columns: FloatArray, ttft: Seconds) -> Seconds:
    """The time to the first token, or 0 where it must hold a wait for a place in the batch."""
    first = float(columns[0] @ known.values)
    outside = math.exp(known.gamma + GATE * known.gamma_sigma) if math.isfinite(known.gamma) else 0.0
    return ttft if ttft <= first * math.exp(GATE * FIRST_NOISE) + outside else 0.0


def distrust(learned: Learned) -> float:
    """The factor by which margins widen, as readings miss what is foretold: 1 to WIDEST."""
    return min(max(math.exp(math.sqrt(learned.miss) - DOUBT), 1.0), WIDEST)


def _with_kv(learned: Learned, reading: Point) -> Learned:
    """The KV cache is counted in few blocks at light load: heavier readings follow one another slowly."""
    if not math.isfinite(reading.kv_tokens) or reading.kv_tokens <= 0:
        return learned
    count = learned.kv_readings + 1
    step = max(1.0 / count, KV_STEP)
    held = learned.kv_tokens + step * (reading.kv_tokens - learned.kv_tokens)
    return changed(learned, kv_tokens=held, kv_readings=count)


def _strange(
    learned: Learned, reading: Point, error: float, miss: float, known: Belief, now: Seconds
) -> Learned:
    """Set a reading aside, or after several begin anew with them."""
    row = learned.strange
    if row and (surprise(known, row[-1])[0] > 0) != (error > 0):
        row = ()
    row = (*row, reading)
    if len(row) < IN_A_ROW:
        return changed(learned, strange=row, miss=miss, outliers=learned.outliers + 1)
    points: tuple[Point, ...] = ()
    for one in row:
        points = _merged(points, one, now)
    return changed(
        learned,
        points=points,
        strange=(),
        miss=miss,
        lean=0.0,
        outliers=learned.outliers - (IN_A_ROW - 1),  # they are what counts now
        changes=learned.changes + 1,
    )


def _merged(points: tuple[Point, ...], reading: Point, now: Seconds) -> tuple[Point, ...]:
    """With the reading in the point that it belongs to, or as one of its own in place of the faintest."""
    near = [p for p in points if _apart(p, reading) <= 0.5]
    if not near:
        kept = sorted(points, key=lambda p: -_kept(p, now))[: MOST_POINTS - 1]
        return (*sorted(kept, key=lambda p: p.running), reading)
    home = min(near, key=lambda p: _apart(p, reading))
    before = min(_kept(home, now), MOST_WEIGHT - 1.0)
    weight = before + 1.0

    def mean(name: str) -> float:
        a, b = float(getattr(home, name)), float(getattr(reading, name))
        if a <= 0 or b <= 0:
            return max(a, b)
        return math.exp((before * math.log(a) + math.log(b)) / weight)

    names = ("running", "rate", "in_tokens", "out_tokens", "itl", "ttft", "in_cov", "out_cov")
    merged = Point(**{name: mean(name) for name in names}, weight=weight, at=now)
    return tuple(merged if p is home else p for p in points)


def _apart(a: Point, b: Point) -> float:
    """Distance of operating points in widths: the largest of batch, input and output."""
    pairs = ((a.running, b.running), (a.in_tokens + 1, b.in_tokens + 1), (a.out_tokens, b.out_tokens))
    return max(abs(math.log(x) - math.log(y)) for x, y in pairs) / WIDTH


def _kept(point: Point, now: Seconds) -> float:
    return point.weight * math.exp(-max(now - point.at, 0.0) / FORGET)


def _fitted(prior: Belief, points: Sequence[Point], weights: FloatArray, known: Belief) -> Belief:
    """The prior and the points, seen through the queue as it is by what is known."""
    columns, first = _columns(known, points)
    times = np.array([p.itl for p in points])
    sigma = np.sqrt(prior.residual**2 + NOISE**2 / weights)
    early = np.flatnonzero(np.array([p.ttft for p in points]) > 0)
    if not math.isfinite(prior.gamma) or not early.size:
        return fitted(prior, columns, times, sigma, robust=True)
    # gamma is one more parameter, in the times to first token alone
    one = np.ones((early.size, 1))
    columns = np.block([[columns, np.zeros((len(times), 1))], [first[early], one]])
    times = np.concatenate([times, [p.ttft for p in points if p.ttft > 0]])
    # what their account leaves out it leaves out at every point alike: all together count as one
    sigma = np.concatenate([sigma, np.full(early.size, FIRST_NOISE * math.sqrt(early.size))])
    found, k = fitted(_with_gamma(prior), columns, times, sigma, robust=True), len(prior.mean)
    return replace(
        prior,
        mean=found.mean[:k],
        covariance=found.covariance[:k, :k],
        gamma=float(found.mean[k]),
        gamma_sigma=math.sqrt(found.covariance[k, k]),
    )


def _columns(known: Belief, points: Sequence[Point]) -> tuple[FloatArray, FloatArray]:
    """(points, K) columns of the times between tokens, and of those to the first without gamma.

    The simple account of an operating point, times what the queue as it is believed makes of it: bunched
    prompts, the wait for the iteration under way. So what is learned is what plans foretell with.
    """
    n, rate, tokens_in, tokens_out, in_cov, out_cov = (
        np.array([getattr(p, name) for p in points])
        for name in ("running", "rate", "in_tokens", "out_tokens", "in_cov", "out_cov")
    )

    def simple(batch: FloatArray) -> tuple[FloatArray, FloatArray]:
        between = design(batch, tokens_in, tokens_out, known.experts, known.experts_per_token)
        between[:, 2] += batch * tokens_out * out_cov**2 / 2  # long answers are there for longer
        first = between.copy()
        first[:, 3] = tokens_in
        return between, first

    alpha, beta, kappa, delta, *epsilon = (np.full(n.size, v) for v in known.values)
    if epsilon:
        untouched = np.full(n.size, 1.0 - known.experts_per_token / known.experts)
        alpha, beta = with_experts(alpha, beta, epsilon[0], untouched, np.maximum(n, 1.0))
    batch = np.full(n.size, BATCH)
    curve = iteration_curve(
        alpha, beta, kappa, delta, tokens_in, tokens_out, batch, in_cov=in_cov, out_cov=out_cov
    )
    seen = analyze(curve, np.full(n.size, np.inf), rate)
    stable = seen.in_batch < BATCH / 2
    there = simple(np.where(stable, np.maximum(rate * tokens_out * seen.itl, 1e-3), n))
    here = simple(n)
    for columns, account, foretold in zip(here, there, (seen.itl, seen.prefill), strict=True):
        factor = foretold / (account @ known.values)
        columns *= np.where(stable & np.isfinite(factor), np.clip(factor, *FACTORS), 1.0)[:, None]
    return here


def _with_gamma(prior: Belief) -> Belief:
    k = len(prior.mean)
    covariance = np.zeros((k + 1, k + 1))
    covariance[:k, :k] = prior.covariance
    covariance[k, k] = prior.gamma_sigma**2
    return replace(prior, mean=np.append(prior.mean, prior.gamma), covariance=covariance)
