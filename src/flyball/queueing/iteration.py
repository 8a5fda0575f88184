"""Flyball's own iteration: alpha + beta (requests) + kappa (KV tokens) + delta (prompt tokens computed).

A mixture of experts adds epsilon (q - q^n), the weights of experts that a batch of n wakes. That is concave
in n, so a tangent is nowhere below it: the line that touches it at the n expected is exact there and careful
elsewhere, and all that follows from a straight line holds (`with_experts`, `occupancy`).

How many are in the batch is said by the chain, as of any `LinearCurve`. What a request sees of it is taken
from the iterations one by one: an iteration lasts d0 and the prompts that arrived during the one before. So
a request waits for the rest of an iteration, long ones more likely, and is computed beside all who came with
it. Exact in the first two moments while the token budget is far; a full budget makes it a queue, M/G/1;
between the two the later one counts. Derived in docs/concepts/theory.md, section 2.1. Arrays are (C,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flyball.queueing.arrays import FloatArray
from flyball.queueing.curves import DEFAULT_TOKENS_PER_ITERATION, LinearCurve
from flyball.queueing.laws import Law

FULL = 0.999
"""Largest share of the time that prompts, or requests, take: beyond, moments have no limit."""
LEAST_FIT = 0.05
"""Prompts, or parts of one, for which each iteration has room."""
LARGEST_EXPONENT = 200.0
TANGENTS = 5
TINY = 1e-60


@dataclass(frozen=True, eq=False)
class IterationCurve(LinearCurve):
    """The straight line of tau, and what it is made of."""

    alpha: FloatArray
    prompt: FloatArray
    """Seconds that a prompt adds to iterations."""
    decode: FloatArray
    """Seconds that a decoding request adds to each."""
    decodes: FloatArray
    """Of a request: m - 1."""
    prompts: FloatArray
    """That an iteration has room for, beside no other request: tokens per iteration / L."""
    place: FloatArray
    """What a decoding request takes of that room: 1 / L."""
    in_cov: FloatArray
    """Coefficients of variation of prompt and output lengths."""
    out_cov: FloatArray
    gamma: FloatArray
    """Seconds of a request outside the iterations, before its first token is out."""

    def latencies(
        self, in_batch: FloatArray, residence: FloatArray, wait: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Means of prefill (from the place in the batch to the first token), itl, ttft = wait + prefill."""
        seen = Seen(self, in_batch, residence)
        return seen.prefill, seen.itl, wait + seen.prefill + self.gamma

    def wait_factors(self, rate: FloatArray, in_batch: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(how often, how long) an arrival waits for a place, over what the chain says.

        How often: arrivals come in bunches, one for each iteration, so that the number in the batch varies
        1 / (1 - rho) times as much; both tails are those of gamma laws (Wilson and Hilferty 1931). How long:
        stays are not exponential (Cosmetatos 1975).
        """
        n = self.max_batch_size
        load = np.clip(rate * self.residence_time(n) / n, 1e-9, 1.0)
        regular = 1.0 + (1.0 - load) * (n - 1.0) * (np.sqrt(4.0 + 5.0 * n) - 2.0) / (16.0 * load * n)
        variable = self.out_cov * self.out_cov
        long = 0.5 * ((1.0 - variable) * np.minimum(regular, 2.0) + 2.0 * variable)
        rho = np.minimum(rate * self.prompt, FULL)
        bunched = (1.0 + (rho * self.in_cov) ** 2) / (1.0 - rho)
        mean = np.maximum(in_batch, 1e-9)
        shape = mean * (1.0 - np.minimum(rate * self.slope, FULL))
        above = np.cbrt(n / mean) - 1.0
        near, far = (
            np.maximum(3.0 * np.sqrt(k) * (above + 1.0 / (9.0 * k)), 0.0) for k in (shape / bunched, shape)
        )
        exponent = np.minimum(0.5 * (far * far - near * near), LARGEST_EXPONENT)
        often = np.exp(exponent) * _hazard(far) / _hazard(near)
        return np.maximum(often, 1.0), long


def _hazard(z: FloatArray) -> FloatArray:
    """About exp(-z^2/2) over the normal tail, times a constant (Birnbaum 1942)."""
    hazard: FloatArray = z + np.sqrt(z * z + 8.0 / np.pi)
    return hazard


def iteration_curve(
    alpha: FloatArray,
    beta: FloatArray,
    kappa: FloatArray,
    delta: FloatArray,
    in_tokens: FloatArray,
    out_tokens: FloatArray,
    max_batch_size: FloatArray,
    tokens_per_iteration: float = DEFAULT_TOKENS_PER_ITERATION,
    in_cov: FloatArray | None = None,
    out_cov: FloatArray | None = None,
    gamma: FloatArray | None = None,
) -> IterationCurve:
    """The straight line of four parameters, and gamma [s] before the first token.

    A request stays I = c + m - 1 iterations, c = ceil(L / tokens_per_iteration). Over its life it adds
    w = beta I + delta L + kappa (KV tokens read) seconds to iterations, so an iteration of n lasts
    alpha + n w / I. The prompt's own chunks are counted to its prefill, the context L + m / 2 of a token to
    its decode: tau = prefill + (m - 1) itl holds exactly. Long outputs are in the batch for longer: m / 2
    grows by 1 + out_cov^2.
    """
    chunks = np.maximum(np.ceil(in_tokens / tokens_per_iteration), 1.0)
    decodes = np.maximum(out_tokens - 1.0, 0.0)
    iterations = chunks + decodes
    in_cov = np.zeros_like(alpha) if in_cov is None else in_cov
    out_cov = np.zeros_like(alpha) if out_cov is None else out_cov
    decode = beta + kappa * (in_tokens + out_tokens * (1.0 + out_cov * out_cov) / 2.0)
    prompt = beta * chunks + delta * in_tokens + kappa * chunks * in_tokens / 2.0
    share = (prompt + decodes * decode) / iterations
    length = np.maximum(in_tokens, 1.0)
    return IterationCurve(
        max_batch_size,
        iterations * alpha,
        iterations * share,
        chunks * (alpha - share) + prompt,
        chunks * share,
        alpha - share + decode,
        share,
        iterations * alpha,
        alpha,
        prompt,
        decode,
        decodes,
        tokens_per_iteration / length,
        1.0 / length,
        in_cov,
        out_cov,
        np.zeros_like(alpha) if gamma is None else gamma,
    )


def with_experts(
    alpha: FloatArray, beta: FloatArray, epsilon: FloatArray, untouched: FloatArray, around: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """alpha and beta of the tangent at a batch of `around` to alpha + beta n + epsilon (q - q^n); (C,) each.

    `untouched` is q, the share of the experts that one token leaves alone: 0 to below 1.
    """
    q = np.clip(untouched, 1e-12, 1.0)
    left = np.where(untouched > 0, q**around, 0.0)
    rise = -epsilon * np.log(q) * left
    at = epsilon * np.maximum(untouched - left, 0.0)
    return alpha + at - rise * around, beta + rise


def occupancy(
    curve_around: Callable[[FloatArray], IterationCurve], rate: FloatArray, batch: FloatArray
) -> FloatArray:
    """Requests in the batch where arrivals and departures balance, n = rate tau(n), (C,), 1 to `batch`.

    tau is concave in n, so that tangents from above lead straight down to it (Newton's method).
    """
    n = batch
    for _ in range(TANGENTS):
        curve = curve_around(n)
        free = 1.0 - rate * curve.slope
        n = np.where(free > 0, rate * curve.intercept / np.where(free > 0, free, 1.0), batch)
        n = np.clip(n, 1.0, batch)
    return n


def batch_within(
    curve_around: Callable[[FloatArray], IterationCurve], itl: FloatArray, batch: FloatArray
) -> FloatArray:
    """The batch at which tokens are `itl` seconds apart, (C,), 1 to `batch`; inf asks for nothing."""
    n = batch
    for _ in range(TANGENTS):
        curve = curve_around(n)
        rises = curve.itl_slope > 0
        n = np.where(rises, (itl - curve.itl_base) / np.where(rises, curve.itl_slope, 1.0), batch)
        n = np.clip(n, 1.0, batch)
    return n


class Seen:
    """Mean latencies, and what their deviations need, at an occupancy and a residence time of the chain."""

    def __init__(self, curve: IterationCurve, in_batch: FloatArray, residence: FloatArray) -> None:
        self.curve = curve
        a, n = curve.prompt, curve.max_batch_size
        self.rate = rate = in_batch / residence
        self.rho = rho = np.minimum(rate * a, FULL)
        self.left = left = 1.0 - rho
        self.free = 1.0 - np.minimum(rate * curve.slope, FULL)
        self.square = a * a * (1.0 + curve.in_cov * curve.in_cov)
        flat = curve.slope <= 0
        slope = np.where(flat, 1.0, curve.slope)
        with_it = np.where(flat, in_batch, np.clip((residence - curve.intercept) / slope, 0.0, n))
        others = np.minimum(in_batch, np.maximum(with_it - 1.0, 0.0))
        self.base = base = curve.alpha + curve.decode * others
        self.mean = base / left
        self.biased = biased = self.mean + rate * self.square / (1.0 - rho * rho)
        # an idle replica has no iteration under way
        self.idle = np.exp(np.where(flat, -in_batch, (curve.intercept / slope + 1.0) * np.log(self.free)))
        missed = self.idle * curve.alpha
        self.gate = (biased - missed) * (0.5 + rho)
        fit = np.maximum(curve.prompts - curve.place * others, LEAST_FIT)
        self.service = service = a + base / fit
        self.spare = 1.0 - np.minimum(rate * service, FULL)
        queued = rate * (service * service + self.square - a * a) / (2.0 * self.spare)
        self.queue = queued + base / fit - 0.5 * (base + missed)
        # who came later and is computed in the same iteration: all, as far as the budget goes
        self.came = came = 0.5 * rho * biased
        room = 0.5 * fit * service
        self.behind = behind = came * room / np.sqrt(np.maximum(came * came + room * room, TINY))
        self.least = base + a
        later = np.maximum(self.gate - (came - behind), self.queue + behind)
        self.prefill = self.least + np.maximum(later, 0.0)
        # the chain spreads a prompt over the whole stay; it comes at once, and so do those it delays
        decodes = np.maximum(curve.decodes, 1.0)
        self.short = 1.0 + curve.out_cov * curve.out_cov  # E[1 / m] E[m] of a lognormal law
        longer = rate * np.maximum(self.prefill - curve.prefill_at(with_it), 0.0)
        stretch = np.maximum((longer * a - behind) / decodes + curve.decode * longer, 0.0) / self.free
        stretch *= self.short * (1.0 - np.minimum(in_batch / n, 1.0))
        self.itl = curve.itl_at(with_it) + np.where(curve.decodes > 0, stretch, 0.0)

    def prefill_law(self) -> Law:
        """Of the time from the place in the batch to the first token.

        It is the sum of what the iterations do and of the own prompt, each like a shifted gamma law; so is
        the sum, by its first three moments.
        """
        curve, a, rho, rate = self.curve, self.curve.prompt, self.rho, self.rate
        spread = 1.0 + curve.in_cov * curve.in_cov
        cube = a**3 * spread**3  # of a lognormal law
        mean, alpha = self.mean, curve.alpha
        variance = mean * (self.biased - mean)
        third = (rate * mean * cube + 3.0 * rate * rate * variance * a * self.square) / (1.0 - rho**3)
        ratio = (third + 3.0 * mean * variance) / mean + mean * mean  # E[d^3] / E[d]
        shape = 1.0 / 3.0 + rho + rho * rho
        work = rate * self.square
        second = ratio * shape + work * self.biased - self.idle * alpha * (alpha * shape + work)
        gated = np.sqrt(np.maximum(second - self.gate**2, 0.0))
        waiting = rate * (self.service**2 + self.square - a * a) / (2.0 * self.spare)
        deep = waiting**2 + rate * (self.service * spread) ** 3 / (3.0 * self.spare) + self.base**2 / 12.0
        queued = np.sqrt(deep) + 0.5 * self.behind
        cut = self.came - self.behind
        gated = np.maximum(gated - cut, 0.0)
        blend = gated + (queued - gated) * np.sqrt(np.maximum(cut, 0.0) / np.maximum(self.came, TINY))
        one = np.maximum(blend, np.where(self.queue + self.behind > self.gate - cut, queued, 0.0))
        occupancy = self.occupancy_variance() * (curve.decode * (1.0 + (0.5 + rho) / self.left)) ** 2
        around, own = one * one + occupancy, self.square - a * a
        total = around + own
        over = np.maximum(self.prefill - self.least, TINY)
        over = total * total / np.maximum(around * around / over + own * own / np.maximum(a, TINY), TINY**3)
        least = np.where(total > 0, np.maximum(self.prefill - over, 0.0), self.least)
        return Law(self.prefill, np.sqrt(total), np.minimum(least, self.prefill))

    def occupancy_variance(self) -> FloatArray:
        """Of the number in the batch, bunched arrivals and all."""
        mean = self.rate * np.maximum(self.curve.decodes, 1.0) * self.mean
        return mean * (1.0 + (self.rho * self.curve.in_cov) ** 2) / (self.left * self.free)

    def itl_law(self, prefill: Law) -> Law:
        """Of the mean time between a request's tokens."""
        curve, rho, left = self.curve, self.rho, self.left
        steps = np.maximum(curve.decodes, 1.0)
        y = np.minimum(self.rate * curve.decode * steps / left, FULL)
        bunch = self.rate * self.itl
        v = curve.in_cov * curve.in_cov
        slow = curve.decode**2 * steps * bunch * (1.0 + rho * rho * v) / (left * left)
        slow *= (2.0 / 3.0 + y / 4.0 + y * y / 12.0) / (1.0 - y)
        fast = bunch * self.square * self.short / steps
        both = 2.0 * curve.decode * curve.prompt * bunch * (1.0 + rho * v) / left
        both *= 0.5 + y / 6.0 + y * y / 30.0
        # who came during the prefill comes in the first of them
        first = (rho * prefill.deviation) ** 2 + self.rate * self.square * prefill.mean
        first = np.maximum(first - self.behind * curve.prompt, 0.0) * self.short / steps**2
        least = np.minimum(curve.alpha + curve.decode, self.itl)
        return Law(self.itl, np.sqrt(slow + fast + both + first) / left, least)
