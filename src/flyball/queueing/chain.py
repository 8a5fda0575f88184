"""The state-dependent birth-death chain M/M(n)/1/K of one replica, K = N + Q.

With p(n+1) = p(n) lambda / mu(n+1) and mu(n) = mu(N) above N, the states above N form a geometric tail
with ratio rho = lambda / mu(N), summed in closed form. The states up to N enter through two figures,

    h = p(N) / P(n <= N)    and    E = E[n | n <= N],

in closed form (`LineStates`) where tau is a straight line, by recursion (`TableStates`) where it is not.
Little's law gives the rest. Unlike the original there is no K at which a valid queue is refused (N = 1,
Q = 0 is M/M/1/1) and no load that is too high: rho >= 1 fills a bounded waiting room, and makes an
unbounded one wait for ever (inf).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from flyball.queueing.arrays import BoolArray, FloatArray, IntArray, take
from flyball.queueing.curves import Curve
from flyball.queueing.iteration import IterationCurve
from flyball.queueing.negative_binomial import log_binomial, log_cdf, top_share

CLOSED_FORM_LIMIT = 0.9995
"""Largest x = lambda slope for the closed form: beyond, 1 - x is a small difference of large numbers."""
SHORT = 12
"""Up to this batch limit the recursion is as fast."""
FLAT = 1e-5
"""Slope over intercept below which the negative binomial has degenerated to a Poisson law."""
FAINT = 1e-12
"""Loads below this share of mu(1) are evaluated at it: nothing changes any more, and nothing overflows."""
NEGLIGIBLE = 1e-18
LARGEST_EXPONENT = 500.0
"""A stretch of states is cut so that nothing in it overflows."""
SHORTEST = 16
"""States of the first stretch of a table; each is as long as all before it, up to `CELLS` of all lanes."""
CELLS = 32_768
BLOCK = 32_768
TABLE_BLOCK = 2048


@dataclass(frozen=True, eq=False)
class Below:
    """The states up to N, (C,) each."""

    top_share: FloatArray
    """h = P(n = N | n <= N)."""
    mean: FloatArray
    """E[n | n <= N]."""
    upto: FloatArray | None = None
    """(T, C): P(n <= threshold | n <= N)."""


class States(Protocol):
    """The states up to N of (C,) replicas as a function of the load."""

    def below(self, rate: FloatArray, threshold: FloatArray | None = None) -> Below: ...
    def take(self, lanes: IntArray) -> States: ...


@dataclass(frozen=True, eq=False)
class LineStates:
    """Truncated negative binomial: tau(n) = intercept + slope n."""

    max_batch_size: FloatArray
    intercept: FloatArray
    slope: FloatArray
    log_coefficient: FloatArray

    def take(self, lanes: IntArray) -> LineStates:
        return take(self, lanes)

    def below(self, rate: FloatArray, threshold: FloatArray | None = None) -> Below:
        """h, E and the distribution at (T, C) thresholds, for rate * slope < `CLOSED_FORM_LIMIT`."""
        n, x = self.max_batch_size, rate * self.slope
        start = rate * self.intercept  # x (r - 1), finite however flat the curve
        r = self.intercept / self.slope + 1.0
        top = top_share(x, r, n, self.log_coefficient)
        mean = (start + x - (start + x * (n + 1.0)) * top) / (1.0 - x)
        return Below(top, mean, None if threshold is None else _upto(x, r, n, threshold))


def _upto(x: FloatArray, r: FloatArray, n: FloatArray, threshold: FloatArray) -> FloatArray:
    """P(at most threshold | at most n) of the negative binomial for (T, C) thresholds from -1."""
    whole = log_cdf(x, r, n)
    rows = [np.exp(np.minimum(log_cdf(x, r, np.clip(row, 0.0, n)) - whole, 0.0)) for row in threshold]
    return np.where(threshold < 0, 0.0, np.stack(rows))


@dataclass(frozen=True, eq=False)
class TableStates:
    """Any mu(n): p(n) / P(at most n) from below, a stretch of states at a time."""

    curve: Curve

    def take(self, lanes: IntArray) -> TableStates:
        return TableStates(take(self.curve, lanes))

    def below(self, rate: FloatArray, threshold: FloatArray | None = None) -> Below:
        """h, E and the distribution function at (T, C) thresholds, at (C,) rates.

        A lane leaves the table at its N, or where nothing of weight is to come.
        """
        top, mean, unit = np.zeros_like(rate), np.zeros_like(rate), np.ones_like(rate)
        upto = None if threshold is None else np.where(threshold >= 0, 1.0, 0.0)
        lanes, curve, begin = np.arange(rate.size), self.curve, 0
        first = curve.residence_time(np.ones_like(rate))
        rate = np.maximum(rate, FAINT / first)
        # With many chunks mu(n) falls towards N, so that the weight may come back there.
        full = rate * curve.residence_time(curve.max_batch_size) / curve.max_batch_size < 1.0
        steepest = float((rate * first).max(initial=0.0))
        while lanes.size:
            widest = min(
                LARGEST_EXPONENT / math.log(max(steepest, math.e)), max(begin, SHORTEST), CELLS / lanes.size
            )
            width = max(int(min(widest, curve.max_batch_size.max() - begin)), 1)
            n = np.arange(begin + 1.0, begin + width + 1.0)
            ratio = _ratios(curve, rate[lanes], n)
            left, steepest = curve.max_batch_size - begin, float(ratio[:, -1].max())
            falls = (ratio[:, -1] < 1.0) & full[lanes]
            product = np.multiply.accumulate(ratio, axis=1, out=ratio)  # p(n) / p(begin)
            before = unit[lanes]
            scale = 1.0 / (1.0 + before * product.sum(axis=1))
            before *= scale
            unit[lanes] = last = before * product[:, -1]
            mean[lanes] = mean[lanes] * scale + before * np.einsum("cn,n->c", product, n)
            if upto is not None and threshold is not None:
                sums = np.cumsum(product, axis=1)
                at = np.clip(threshold[:, lanes] - begin, 0.0, width).astype(np.int64)
                part = np.where(at > 0, sums[np.arange(lanes.size), np.maximum(at, 1) - 1], 0.0)
                upto[:, lanes] = upto[:, lanes] * scale + before * part
            ends = np.flatnonzero(left <= width)
            top[lanes[ends]] = before[ends] * product[ends, left[ends].astype(np.int64) - 1]
            begin += width
            stays = np.flatnonzero((left > width) & ~(falls & (begin * last < NEGLIGIBLE)))
            if stays.size < lanes.size:
                lanes, curve = lanes[stays], take(curve, stays)
        return Below(top, mean, upto)


def _ratios(curve: Curve, rate: FloatArray, n: FloatArray) -> FloatArray:
    """lambda / mu(n), (C, n); 0 above N."""
    ratio = np.multiply.outer(rate * curve.intercept, 1.0 / n)
    ratio += (rate * curve.slope)[:, None]
    bent = np.flatnonzero(curve.straight < np.minimum(n[-1], curve.max_batch_size))
    if bent.size:
        time = take(curve, bent).residence_time(n[:, None]) / n[:, None]
        ratio[bent] = rate[bent, None] * time.T
    if curve.max_batch_size.min() < n[-1]:
        ratio *= n <= curve.max_batch_size[:, None]
    return ratio


@dataclass(frozen=True, eq=False)
class Replicas:
    """(C,) replicas ready for evaluation at many loads, all of one kind of states."""

    curve: Curve
    queue_size: FloatArray
    """Requests that may wait; inf: unbounded."""
    service_rate: FloatArray
    """mu(N)."""
    states: States

    def take(self, lanes: IntArray) -> Replicas:
        return Replicas(
            take(self.curve, lanes), self.queue_size[lanes], self.service_rate[lanes], self.states.take(lanes)
        )


def has_closed_form(curve: Curve) -> BoolArray:
    """Where the closed form holds and pays, (C,)."""
    return curve.linear & (curve.max_batch_size > SHORT) & (curve.slope > FLAT * curve.intercept)


def prepare(curve: Curve, queue_size: FloatArray, *, closed: bool) -> Replicas:
    """Replicas with closed-form states, or with a table."""
    n = curve.max_batch_size
    top_rate = n / curve.residence_time(n)
    if closed:
        r = curve.intercept / curve.slope + 1.0
        return Replicas(
            curve, queue_size, top_rate, LineStates(n, curve.intercept, curve.slope, log_binomial(r, n))
        )
    return Replicas(curve, queue_size, top_rate, TableStates(curve))


def in_blocks(curve: Curve, queue_size: FloatArray, closed: BoolArray) -> Iterator[tuple[IntArray, Replicas]]:
    """Lanes cut into blocks that fit the cache: (lanes, replicas) of each."""
    for here, most in ((closed, BLOCK), (~closed, TABLE_BLOCK)):
        at = np.flatnonzero(here)
        at = at[np.argsort(curve.max_batch_size[at], kind="stable")]
        for i in range(0, at.size, most):
            lanes = at[i : i + most]
            yield lanes, prepare(take(curve, lanes), queue_size[lanes], closed=here is closed)


@dataclass(frozen=True, eq=False)
class Steady:
    """Steady state of (C,) replicas: requests, requests per second, seconds, probabilities."""

    arrival_rate: FloatArray
    in_batch: FloatArray
    """X, mean number in the batch."""
    waiting: FloatArray
    """Lq, mean number waiting."""
    throughput: FloatArray
    blocking: FloatArray
    """P(an arrival finds the waiting room full)."""
    wait_time: FloatArray
    """W, of the admitted."""
    residence_time: FloatArray
    """S, in the batch, of the admitted."""
    below: Below
    weight_below: FloatArray
    """P(n <= N)."""
    wait_factors: tuple[FloatArray, FloatArray] | None = None
    """How often and how long an arrival waits, over the chain's; the figures above have them in."""


def steady_state(replicas: Replicas, rate: FloatArray, threshold: FloatArray | None = None) -> Steady:
    """Evaluate the chain at (C,) arrival rates > 0."""
    n, queue = replicas.curve.max_batch_size, replicas.queue_size
    below = replicas.states.below(rate, threshold)
    h, mean = below.top_share, below.mean
    if not queue.any():
        throughput = rate * (1.0 - h)
        zero = np.zeros_like(h)
        return Steady(rate, mean, zero, throughput, h, zero, mean / throughput, below, np.ones_like(h))
    rho = rate / replicas.service_rate
    scale, tail, tail_first, last = geometric_tail(rho, queue)
    weight = scale + h * tail
    in_batch = (scale * mean + n * h * tail) / weight
    waiting = h * tail_first / weight
    blocking = h * last / weight
    throughput = rate * (1.0 - blocking)
    wait = waiting / throughput
    residence = in_batch / throughput
    unstable = np.isinf(queue) & (rho >= 1.0)
    if unstable.any():
        in_batch, waiting = np.where(unstable, n, in_batch), np.where(unstable, np.inf, waiting)
        throughput = np.where(unstable, replicas.service_rate, throughput)
        wait = np.where(unstable, np.inf, wait)
        residence = np.where(unstable, n / replicas.service_rate, residence)
    factors = None
    if isinstance(replicas.curve, IterationCurve):
        often, long = factors = replicas.curve.wait_factors(rate, in_batch)
        waiting, wait = waiting * often * long, wait * often * long
    return Steady(
        rate,
        in_batch,
        waiting,
        throughput,
        blocking,
        wait,
        residence,
        below,
        np.where(unstable, 0.0, scale / weight),
        factors,
    )


def geometric_tail(
    rho: FloatArray, queue: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Sums over j = 1..Q of rho^j and j rho^j, and rho^Q, all times the scale that is returned first.

    The scale is 1 up to rho = 1 and rho^-Q above, so that nothing overflows. Near rho = 1, where the closed
    forms lose digits, series to second order in (1 - rho) Q.
    """
    gap = 1.0 - rho
    bounded = np.where(np.isinf(queue), 1.0, queue)
    close = np.abs(gap) * (bounded + 1.0) < 1e-4
    unbounded = np.isinf(queue)
    safe = np.where(close, 0.5, gap)
    r = np.where(close, 0.5, rho)
    power = np.exp(-bounded * np.abs(np.log(np.maximum(r, 1e-300))))  # rho^Q, or rho^-Q above 1
    over = r > 1.0
    scale = np.where(over, power, 1.0)
    last = np.where(over, 1.0, power)
    tail = r * (scale - last) / safe
    first = (tail - bounded * r * last) / safe
    if close.any():
        q, u = bounded, np.where(close, gap, 0.0)
        linear = q * (q + 1.0) / 2.0
        square = linear * (2.0 * q + 1.0) / 3.0
        cube = linear * linear
        tail = np.where(close, q - u * linear + u * u * (square - linear) / 2.0, tail)
        first = np.where(close, linear - u * square + u * u * (cube - square) / 2.0, first)
        scale = np.where(close, 1.0, scale)
        last = np.where(close, np.exp(q * np.log1p(-u)), last)
    if unbounded.any():
        stable = np.where(gap > 0, gap, 1.0)
        scale = np.where(unbounded, 1.0, scale)
        tail = np.where(unbounded, rho / stable, tail)
        first = np.where(unbounded, rho / (stable * stable), first)
        last = np.where(unbounded, 0.0, last)
    return scale, tail, first, last
