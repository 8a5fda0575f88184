"""The state-dependent birth-death chain M/M(n)/1/K of one replica, K = N + Q.

With p(n+1) = p(n) lambda / mu(n+1) and mu(n) = mu(N) above N, the states above N form a geometric tail
with ratio rho = lambda / mu(N), summed in closed form. The states up to N enter through two figures,

    h = p(N) / P(n <= N)    and    E = E[n | n <= N],

in closed form (`LineStates`) where tau is a straight line, by recursion (`TableStates`) where it is not
or where the distribution at a threshold is asked for. Little's law gives the rest. Unlike the original
there is no K at which a valid queue is refused (N = 1, Q = 0 is M/M/1/1) and no load that is too high:
rho >= 1 fills a bounded waiting room, and makes an unbounded one wait for ever (inf).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from flyball.queueing.arrays import BoolArray, FloatArray, IntArray, take
from flyball.queueing.curves import Curve
from flyball.queueing.negative_binomial import log_binomial, top_share

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
TABLE_CELLS = 4_000_000
"""Cells of one table of service rates (32 MB)."""


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
        """h and E at (C,) rates with rate * slope below `CLOSED_FORM_LIMIT`."""
        if threshold is not None:
            raise ValueError("the closed form has no distribution at thresholds; use TableStates")
        n, x = self.max_batch_size, rate * self.slope
        start = rate * self.intercept  # x (r - 1), finite however flat the curve
        top = top_share(x, self.intercept / self.slope + 1.0, n, self.log_coefficient)
        mean = (start + x - (start + x * (n + 1.0)) * top) / (1.0 - x)
        return Below(top, mean)


@dataclass(frozen=True, eq=False)
class TableStates:
    """Any mu(n): sums over the states from below, in units of the present p(n).

    Lanes stand in descending order of N, so that at state n those with N >= n are the first ones.
    """

    max_batch_size: FloatArray
    service_rate: FloatArray
    """(N max, C): mu(1), mu(2), ..., which must not fall."""

    def take(self, lanes: IntArray) -> TableStates:
        limit = self.max_batch_size[lanes]
        return TableStates(limit, self.service_rate[: int(limit.max(initial=0)), lanes])

    def below(self, rate: FloatArray, threshold: FloatArray | None = None) -> Below:
        """h, E and the distribution function at (T, C) thresholds, at (C,) rates.

        With S(n) = p(0) + ... + p(n), the mean is N - (S(0) + ... + S(N-1)) / S(N).
        """
        limit = self.max_batch_size
        if not limit.size:
            return Below(rate, rate, threshold)
        steps = 1.0 / np.maximum(rate, FAINT * self.service_rate[0])
        unit, total, sums = np.ones_like(rate), np.ones_like(rate), np.zeros_like(rate)
        part = None if threshold is None else np.where(threshold >= 0, 1.0, 0.0)
        reached = limit.copy()
        factor = np.empty_like(rate)
        counts = limit.size - np.searchsorted(limit[::-1], np.arange(limit[0] + 1.0), side="left")
        for n in range(1, int(limit[0]) + 1):
            live = int(counts[n])
            f, t, s, u = factor[:live], total[:live], sums[:live], unit[:live]
            np.multiply(self.service_rate[n - 1, :live], steps[:live], out=f)
            s += t
            s *= f
            t *= f
            t += u
            if part is not None and threshold is not None:
                part[:, :live] *= f
                part[:, :live] += np.where(threshold[:, :live] >= n, u, 0.0)
            if n % STEPS_BETWEEN_RESCALES == 0:
                np.divide(1.0, t, out=f)
                u *= f
                s *= f
                t[:] = 1.0
                if part is not None:
                    part[:, :live] *= f
                # probabilities that have become negligible and fall: nothing more is to come
                if n * u.max() < NEGLIGIBLE and np.all(self.service_rate[n - 1, :live] * steps[:live] > 1.0):
                    reached[:live] = n
                    break
        share = np.where(reached == limit, unit / total, 0.0)
        return Below(share, reached - sums / total, None if part is None else part / total)


def service_rates(curve: Curve) -> FloatArray:
    """mu(n) for n = 1..N of (C,) lanes in descending order of N: (N max, C).

    Above its own N a lane keeps mu(N). Each lane walks along the straight lines of its tau.
    """
    limit = curve.max_batch_size
    table = np.empty((int(limit.max(initial=0)), limit.size))
    lines = curve.lines()
    row = np.empty_like(limit)
    tau = np.empty_like(limit)
    for n in range(1, len(table) + 1):
        np.minimum(limit, n, out=row)
        lines.advance(row)
        np.multiply(lines.slope, row, out=tau)
        tau += lines.intercept
        np.divide(row, tau, out=table[n - 1])
    return table


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
    return Replicas(curve, queue_size, top_rate, TableStates(n, service_rates(curve)))


def in_blocks(curve: Curve, closed: BoolArray, block_size: int) -> list[tuple[IntArray, bool]]:
    """Lanes cut into blocks for the cache, closed ones first; the others in descending N, tables bounded."""
    blocks: list[tuple[IntArray, bool]] = []
    at = np.flatnonzero(closed)
    at = at[np.argsort(curve.max_batch_size[at], kind="stable")]
    blocks += [(at[i : i + block_size], True) for i in range(0, at.size, block_size)]
    at = np.flatnonzero(~closed)
    at = at[np.argsort(-curve.max_batch_size[at], kind="stable")]
    i = 0
    while i < at.size:
        width = max(1, min(block_size, TABLE_CELLS // int(curve.max_batch_size[at[i]])))
        blocks.append((at[i : i + width], False))
        i += width
    return blocks


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
    return Steady(
        rate, in_batch, waiting, throughput, blocking, wait, residence, below, np.where(unstable, 0.0, scale / weight)
    )


def geometric_tail(rho: FloatArray, queue: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
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
