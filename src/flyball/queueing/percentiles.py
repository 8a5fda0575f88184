"""Distributions of latency, from the same state probabilities as the means.

A Poisson arrival sees the stationary state (PASTA). One that finds n < N joins a batch of n + 1 at once;
its prefill, and the request as a whole, take what a batch of n + 1 takes. One that finds n >= N waits for
n - N + 1 departures at mu(N): an Erlang time, mixed over the geometric tail, then joins a batch of N. By
balance of flow a token is made in a batch of k as often as an arrival finds k - 1. Since a fuller batch
is a slower one, all that waited are later than all that did not, and a quantile falls on one side.
Ignores that the batch changes during a request's life: the spread of a long request is overstated.

Flyball's own form has laws instead (`Latencies`): theory.md, section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flyball.queueing.arrays import BoolArray, FloatArray, IntArray
from flyball.queueing.chain import (
    CLOSED_FORM_LIMIT,
    Replicas,
    Steady,
    has_closed_form,
    in_blocks,
    steady_state,
)
from flyball.queueing.curves import Curve
from flyball.queueing.iteration import IterationCurve, Seen
from flyball.queueing.negative_binomial import log_gamma

Metric = Literal["ttft", "itl", "wait", "e2e"]
BISECTIONS = 60
ERLANG_NEGLIGIBLE = 1e-14
WINDOW_CELLS = 1_000_000


def batch_value(curve: Curve, metric: Metric) -> Callable[[FloatArray], FloatArray]:
    """Seconds that the metric takes, wait aside, for a request or token in a batch of n."""
    if metric == "itl":
        return curve.itl_at
    if metric == "e2e":
        return curve.residence_time
    if metric == "wait":
        return np.zeros_like
    if curve.first_token_after_decode:
        return lambda n: curve.prefill_at(n) + curve.itl_at(n)
    return curve.prefill_at


def largest_batch(curve: Curve, metric: Metric, limit: FloatArray) -> FloatArray:
    """Largest n in 0..N whose value is within the limit, (C,); by bisection, as values grow with n."""
    value = batch_value(curve, metric)
    low, high = np.zeros_like(limit), curve.max_batch_size + 1.0
    while np.any(high - low > 1.0):
        middle = np.floor((low + high) / 2.0)
        within = value(np.maximum(middle, 1.0)) <= limit
        inside = high - low > 1.0
        low, high = np.where(within & inside, middle, low), np.where(~within & inside, middle, high)
    return low


def wait_tail(
    full: FloatArray, time: FloatArray, rate: FloatArray, service_rate: FloatArray, queue: FloatArray
) -> FloatArray:
    """P(an arrival waits longer than time): sum over j = 0..Q-1 of p(N + j) P(Erlang(j + 1, mu) > time).

    `full` is p(N). Unbounded: full exp(-(mu - lambda) t) / (1 - rho). Bounded: the Poisson terms one by one.
    """
    rho = rate / service_rate
    time = np.maximum(time, 0.0)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        result = np.where(rho < 1.0, full * np.exp(-(service_rate - rate) * time) / (1.0 - rho), np.inf)
        negligible = np.isinf(queue) | ((rho < 1.0) & (queue * np.log(rho) < np.log(ERLANG_NEGLIGIBLE)))
    result = np.where(np.isinf(time), 0.0, result)
    at = np.flatnonzero(~negligible & np.isfinite(time))
    if at.size:
        result[at] = _bounded_wait_tail(full[at], time[at] * service_rate[at], rho[at], queue[at])
    return result


def _bounded_wait_tail(full: FloatArray, mean: FloatArray, rho: FloatArray, queue: FloatArray) -> FloatArray:
    """Sum over i < Q of Poisson(i; mean) (p(N + i) + ... + p(N + Q - 1)), where that law has weight."""
    reach = 9.0 * np.sqrt(mean) + 30.0
    low = np.floor(np.maximum(mean - reach, 0.0))
    high = np.floor(np.minimum(mean + reach, queue - 1.0))
    result = np.zeros_like(mean)
    with np.errstate(divide="ignore"):
        log_mean, log_full, log_rho = np.log(mean), np.log(full), np.log(rho)
    step = max(1, WINDOW_CELLS // int(np.maximum(high - low, 0.0).max(initial=0.0) + 1.0))
    for first in range(0, mean.size, step):
        lanes = np.arange(first, min(first + step, mean.size))
        width = np.arange(np.maximum(high - low, 0.0)[lanes].max() + 1.0)
        i = low[lanes, None] + width
        m, f, r = log_mean[lanes, None], log_full[lanes, None], log_rho[lanes, None]
        with np.errstate(invalid="ignore", over="ignore"):
            poisson = np.exp(np.where(i > 0, i * m, 0.0) - mean[lanes, None] - log_gamma(i + 1.0))
            rest = (queue[lanes, None] - i) * r  # ln rho^(Q - i)
            last = np.exp(np.minimum(f + queue[lanes, None] * r, 0.0))
            above = np.where(rest > 30.0, last, np.exp(f + i * r) * np.expm1(np.minimum(rest, 30.0)))
            flat = np.abs(r) < 1e-12
            above = np.where(
                flat, np.exp(f) * (queue[lanes, None] - i), above / np.where(flat, 1.0, np.expm1(r))
            )
        inside = i <= high[lanes, None]
        result[lanes] = np.where(inside, poisson * above, 0.0).sum(axis=1)
    return result


@dataclass(frozen=True, eq=False)
class QuantileTarget:
    """P(metric > limit) <= 1 - quantile over (C,) lanes; an infinite limit asks for nothing."""

    metric: Metric
    quantile: FloatArray
    limit: FloatArray


def thresholds(curve: Curve, targets: list[QuantileTarget]) -> FloatArray | None:
    """(T, C): an arrival that finds at most this many is within the limit. It depends on no load.

    None where no state decides: without targets, and where latencies have laws of their own.
    """
    if not targets or isinstance(curve, IterationCurve):
        return None
    return np.stack([largest_batch(curve, t.metric, t.limit) - 1.0 for t in targets])


def exceedance(
    replicas: Replicas, state: Steady, targets: list[QuantileTarget], threshold: FloatArray | None
) -> FloatArray:
    """(T, C): P(metric > limit) of the admitted, for targets whose thresholds went into the state."""
    if threshold is None:
        laws = Latencies(replicas, state)
        return np.stack([laws.tail(t.metric, t.limit) for t in targets])
    n, below = replicas.curve.max_batch_size, state.below
    assert below.upto is not None
    admitted = 1.0 - state.blocking
    result = np.empty_like(threshold)
    at_once = state.weight_below * (1.0 - below.top_share)
    full = state.weight_below * below.top_share
    for i, target in enumerate(targets):
        within = np.where(threshold[i] >= n - 1.0, at_once, state.weight_below * below.upto[i])
        late = np.maximum(at_once - within, 0.0)
        slack = target.limit - batch_value(replicas.curve, target.metric)(n)
        if target.metric == "itl":
            waited = np.where(slack < 0, admitted - at_once, 0.0)
        else:
            tail = wait_tail(full, slack, state.arrival_rate, replicas.service_rate, replicas.queue_size)
            waited = np.where(slack < 0, admitted - at_once, tail)
        late = (late + waited) / admitted
        unstable = np.isinf(state.waiting)
        result[i] = np.where(np.isinf(target.limit), 0.0, np.where(unstable, 1.0, late))
    return result


class Latencies:
    """Distributions of an `IterationCurve`'s latencies: a law beside those that wait for a place."""

    def __init__(self, replicas: Replicas, state: Steady) -> None:
        curve = replicas.curve
        assert isinstance(curve, IterationCurve)
        self.replicas, self.state = replicas, state
        seen = Seen(curve, state.in_batch, state.residence_time)
        prefill = seen.prefill_law()
        itl = seen.itl_law(prefill)
        first = prefill.after(curve.gamma)
        self.laws = {"ttft": first, "itl": itl, "e2e": first.then(itl, curve.decodes)}
        # in a batch that stays full, requests of one length all take the same time
        slowest = np.maximum(curve.itl_at(curve.max_batch_size), seen.itl)
        self.slowest = np.where(curve.out_cov > 0, np.inf, slowest)
        one = np.ones_like(seen.itl)
        often, self.long = state.wait_factors or (one, one)
        admitted = 1.0 - state.blocking
        self.full = state.weight_below * state.below.top_share * often / admitted
        at_once = state.weight_below * (1.0 - state.below.top_share)
        self.waiting = np.minimum(np.maximum(admitted - at_once, 0.0) * often / admitted, 1.0)
        self.unstable = np.isinf(state.waiting)

    def tail(self, metric: Metric, limit: FloatArray) -> FloatArray:
        """P(metric > limit), (C,)."""
        if metric == "itl":
            late = np.where(limit >= self.slowest, 0.0, self.laws["itl"].tail(limit))
        elif metric == "wait":
            late = self._wait(limit)
        else:
            law = self.laws[metric]
            late = (1.0 - self.waiting) * law.tail(limit) + self._wait(limit - law.mean)
        if metric != "itl":
            late = np.where(self.unstable, 1.0, late)
        return np.where(np.isinf(limit), 0.0, late)

    def _wait(self, time: FloatArray) -> FloatArray:
        state, replicas = self.state, self.replicas
        tail = wait_tail(
            self.full, time / self.long, state.arrival_rate, replicas.service_rate, replicas.queue_size
        )
        return np.where(time < 0, self.waiting, np.minimum(tail, self.waiting))

    def quantile(self, metric: Metric, q: float) -> FloatArray:
        """The time that a share q does not exceed, (C,); inf where unstable."""
        if metric == "itl":
            return np.minimum(self.laws["itl"].quantile(q), self.slowest)
        low = np.zeros_like(self.full) if metric == "wait" else self.laws[metric].least
        queue, mu, rate = self.replicas.queue_size, self.replicas.service_rate, self.state.arrival_rate
        bounded = np.where(np.isinf(queue), 0.0, queue)
        longest = np.where(
            np.isinf(queue),
            50.0 / np.maximum(mu - rate, 1e-12 * mu),
            (bounded + 50.0 * np.sqrt(bounded + 1.0)) / mu,
        )
        high = low + self.long * np.maximum(longest, 50.0 / mu)
        if metric != "wait":
            high = high + self.laws[metric].quantile(max(q, 0.9999))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2.0
            beyond = self.tail(metric, middle) > 1.0 - q
            low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
        return np.where(self.unstable, np.inf, high)


def distribution(replicas: Replicas, rate: FloatArray) -> tuple[FloatArray, Steady]:
    """P(n = 0..N) of (C,) replicas with tables, (N max + 1, C), and their steady state."""
    state = steady_state(replicas, rate)
    n = replicas.curve.max_batch_size
    size = int(n.max(initial=0))
    batch = np.arange(size + 1.0)[:, None]
    log_p = np.zeros((size + 1, n.size))
    log_p[1:] = np.cumsum(np.log(rate * replicas.curve.residence_time(batch[1:]) / batch[1:]), axis=0)
    log_p = np.where(batch <= n, log_p, -np.inf)
    p = np.exp(log_p - log_p.max(axis=0))
    return p / p.sum(axis=0) * state.weight_below, state


def quantiles(
    curve: Curve, queue_size: FloatArray, rate: FloatArray, metric: Metric, quantile: float
) -> FloatArray:
    """The quantile of ttft, itl, wait or e2e of (C,) replicas at rates > 0, seconds; inf where unstable."""
    row: FloatArray = quantile_rows(curve, queue_size, rate, [(metric, quantile)])[0]
    return row


def quantile_rows(
    curve: Curve, queue_size: FloatArray, rate: FloatArray, wanted: Sequence[tuple[Metric, float]]
) -> FloatArray:
    """(W, C): several quantiles from one distribution."""
    result = np.empty((len(wanted), rate.size))
    if isinstance(curve, IterationCurve):
        closed = has_closed_form(curve) & (rate * curve.slope < CLOSED_FORM_LIMIT)
        for lanes, part in in_blocks(curve, queue_size, closed):
            laws = Latencies(part, steady_state(part, rate[lanes]))
            result[:, lanes] = [laws.quantile(metric, q) for metric, q in wanted]
        return result
    for lanes, part in in_blocks(curve, queue_size, np.zeros(rate.size, dtype=bool)):
        result[:, lanes] = _quantiles(part, rate[lanes], wanted)
    return result


def _quantiles(replicas: Replicas, rate: FloatArray, wanted: Sequence[tuple[Metric, float]]) -> FloatArray:
    p, state = distribution(replicas, rate)
    n = replicas.curve.max_batch_size
    admitted = 1.0 - state.blocking
    batch = np.arange(p.shape[0], dtype=float)[:, None]
    found = np.cumsum(np.where(batch < n, p, 0.0), axis=0)
    unstable = np.isinf(state.waiting)
    rows = []
    for metric, quantile in wanted:
        needed = quantile * admitted
        seen = np.minimum(np.sum(found < needed, axis=0), n - 1.0)  # smallest with P(found <= n) >= quantile
        value = batch_value(replicas.curve, metric)
        at_once = found[-1] >= needed
        row = np.where(at_once, value(seen + 1.0), value(n))
        if metric != "itl":
            late = np.flatnonzero(~at_once & ~unstable)
            if late.size:
                remaining = (1.0 - quantile) * admitted[late]
                row[late] += _wait_quantile(replicas.take(late), state, p, late, remaining)
            row = np.where(unstable, np.inf, row)
        rows.append(row)
    return np.stack(rows)


def _wait_quantile(
    replicas: Replicas, state: Steady, p: FloatArray, lanes: IntArray, remaining: FloatArray
) -> FloatArray:
    """Time at which `remaining` of the arrivals still wait."""
    rate, mu, queue = state.arrival_rate[lanes], replicas.service_rate, replicas.queue_size
    full = p[replicas.curve.max_batch_size.astype(int), lanes]
    low = np.zeros_like(rate)
    high = np.where(
        np.isinf(queue), 50.0 / np.maximum(mu - rate, 1e-12 * mu), (queue + 50.0 * np.sqrt(queue + 1)) / mu
    )
    high = np.where(np.isinf(queue), high, np.maximum(high, 50.0 / mu))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        beyond: BoolArray = wait_tail(full, middle, rate, mu, queue) > remaining
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    return high
