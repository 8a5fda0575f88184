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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from flyball.queueing.arrays import BoolArray, FloatArray, IntArray, take
from flyball.queueing.curves import Curve, Lines
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
STEPS_BETWEEN_RESCALES = 16
NEGLIGIBLE = 1e-18
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


class ServiceRates:
    """mu(1), mu(2), ... of (C,) lanes, row by row and only as far as they are asked for."""

    def __init__(
        self, limit: FloatArray, lines: Lines, rows: FloatArray | None = None, known: int = 0
    ) -> None:
        self._limit, self._lines = limit, lines
        self._rows = np.empty((32, limit.size)) if rows is None else rows
        self._known = known

    def take(self, lanes: IntArray) -> ServiceRates:
        """The same over some of the lanes; what is known stays known."""
        return ServiceRates(
            self._limit[lanes], self._lines.take(lanes), self._rows[: self._known, lanes], self._known
        )

    def row(self, n: int) -> FloatArray:
        """mu(n), (C,); a lane keeps mu(N) above its N."""
        while self._known < n:
            if self._known == len(self._rows):
                longer = np.empty((max(2 * len(self._rows), 32), self._limit.size))
                longer[: self._known] = self._rows[: self._known]
                self._rows = longer
            batch = np.minimum(self._limit, self._known + 1.0)
            self._lines.advance(batch)
            tau = self._lines.slope * batch
            tau += self._lines.intercept
            np.divide(batch, tau, out=self._rows[self._known])
            self._known += 1
        row: FloatArray = self._rows[n - 1]
        return row


@dataclass(frozen=True, eq=False)
class TableStates:
    """Any mu(n) that does not fall with n: sums over the states from below, in units of the present p(n).

    Lanes stand in descending order of N, so that at state n those with N >= n are the first ones.
    """

    max_batch_size: FloatArray
    service_rates: ServiceRates

    def take(self, lanes: IntArray) -> TableStates:
        return TableStates(self.max_batch_size[lanes], self.service_rates.take(lanes))

    def below(self, rate: FloatArray, threshold: FloatArray | None = None) -> Below:
        """h, E and the distribution function at (T, C) thresholds, at (C,) rates.

        With S(n) = p(0) + ... + p(n), the mean is N - (S(0) + ... + S(N-1)) / S(N).
        """
        limit = self.max_batch_size
        if not limit.size:
            return Below(rate, rate, threshold)
        steps = 1.0 / np.maximum(rate, FAINT * self.service_rates.row(1))
        unit, total, sums = np.ones_like(rate), np.ones_like(rate), np.zeros_like(rate)
        part = None if threshold is None else np.where(threshold >= 0, 1.0, 0.0)
        reached = limit.copy()
        factor = np.empty_like(rate)
        counts = (limit.size - np.searchsorted(limit[::-1], np.arange(limit[0] + 1.0), side="left")).tolist()
        for n in range(1, int(limit[0]) + 1):
            live = counts[n]
            f, t, s, u = factor[:live], total[:live], sums[:live], unit[:live]
            np.multiply(self.service_rates.row(n)[:live], steps[:live], out=f)
            s += t
            s *= f
            t *= f
            t += u
            if part is not None and threshold is not None:
                part[:, :live] *= f
                part[:, :live] += np.where(threshold[:, :live] >= n, u, 0.0)
            if n % STEPS_BETWEEN_RESCALES == 0:
                falls = f.min() > 1.0
                np.divide(1.0, t, out=f)
                u *= f
                s *= f
                t[:] = 1.0
                if part is not None:
                    part[:, :live] *= f
                if falls and n * u.max() < NEGLIGIBLE:  # nothing more is to come
                    reached[:live] = n
                    break
        share = np.where(reached == limit, unit / total, 0.0)
        return Below(share, reached - sums / total, None if part is None else part / total)


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
    """Replicas with closed-form states, or with a table (lanes must then stand in descending N)."""
    n = curve.max_batch_size
    top_rate = n / curve.residence_time(n)
    if closed:
        r = curve.intercept / curve.slope + 1.0
        return Replicas(
            curve, queue_size, top_rate, LineStates(n, curve.intercept, curve.slope, log_binomial(r, n))
        )
    return Replicas(curve, queue_size, top_rate, TableStates(n, ServiceRates(n, curve.lines())))


def in_blocks(
    curve: Curve, queue_size: FloatArray, closed: BoolArray, depth: FloatArray | None = None
) -> Iterator[tuple[IntArray, Replicas]]:
    """Lanes cut into blocks that fit the cache: (lanes, replicas) of each.

    `depth` is about how many states of each lane will matter: lanes of like depth are kept together, since a
    recursion goes as far as the deepest lane of its block.
    """
    at = np.flatnonzero(closed)
    at = at[np.argsort(curve.max_batch_size[at], kind="stable")]
    for i in range(0, at.size, BLOCK):
        lanes = at[i : i + BLOCK]
        yield lanes, prepare(take(curve, lanes), queue_size[lanes], closed=True)
    at = np.flatnonzero(~closed)
    deep = curve.max_batch_size[at] if depth is None else np.minimum(depth, curve.max_batch_size)[at]
    at = at[np.argsort(deep, kind="stable")]
    for i in range(0, at.size, TABLE_BLOCK):
        lanes = at[i : i + TABLE_BLOCK]
        lanes = lanes[np.argsort(-curve.max_batch_size[lanes], kind="stable")]
        yield lanes, prepare(take(curve, lanes), queue_size[lanes], closed=False)


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
