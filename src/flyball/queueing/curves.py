"""Models of the iteration: what a batch of n costs in time, and what a request sees of it.

L, m = input and output tokens of a request; N = max_batch_size. Each curve gives

    residence_time(n)   tau(n) [s], seconds in the batch when n are in it; mu(n) = n / tau(n)
    latencies(...)      mean prefill, itl and ttft from mean occupancy, residence and wait
    prefill_at(n), itl_at(n)   the same at a fixed n, for percentiles

tau(n) = intercept + slope n while the number of prefill chunks is that of n = 1: up to n = `straight`.
Sources: generations 1 and 2, llm-inferno optimizer v0.5 and v0.6; generation 3, queue-analysis v0.8
(chunked prefill). Flyball's own is in `iteration`. Arrays are (C,) or (n, C).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from flyball.queueing.arrays import BoolArray, FloatArray

DEFAULT_TOKENS_PER_ITERATION = 8192.0


class Curve(Protocol):
    """What the chain needs to know about one replica, over (C,) candidates."""

    @property
    def max_batch_size(self) -> FloatArray: ...
    @property
    def linear(self) -> BoolArray: ...
    @property
    def intercept(self) -> FloatArray: ...
    @property
    def slope(self) -> FloatArray: ...
    @property
    def straight(self) -> FloatArray: ...
    def residence_time(self, n: FloatArray) -> FloatArray: ...
    def latencies(
        self, in_batch: FloatArray, residence: FloatArray, wait: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]: ...
    def prefill_at(self, n: FloatArray) -> FloatArray: ...
    def itl_at(self, n: FloatArray) -> FloatArray: ...
    @property
    def first_token_after_decode(self) -> bool: ...


@dataclass(frozen=True, eq=False)
class LinearCurve:
    """tau, prefill and itl are straight lines in n: generations 1 and 2, and the chain of the
    four-parameter model.

    The mean over requests of a straight line is its value at one effective occupancy n*, the one with
    tau(n*) = mean residence time.
    """

    max_batch_size: FloatArray
    intercept: FloatArray
    slope: FloatArray
    prefill_base: FloatArray
    prefill_slope: FloatArray
    itl_base: FloatArray
    itl_slope: FloatArray
    effective_intercept: FloatArray
    """What n* is counted from; the intercept, but for generation 2 without prompt (its own rule)."""

    first_token_after_decode = False

    @property
    def linear(self) -> BoolArray:
        return np.ones(self.slope.shape, dtype=bool)

    def residence_time(self, n: FloatArray) -> FloatArray:
        return self.intercept + self.slope * n

    @property
    def straight(self) -> FloatArray:
        return self.max_batch_size

    def prefill_at(self, n: FloatArray) -> FloatArray:
        return self.prefill_base + self.prefill_slope * n

    def itl_at(self, n: FloatArray) -> FloatArray:
        return self.itl_base + self.itl_slope * n

    def latencies(
        self, in_batch: FloatArray, residence: FloatArray, wait: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Means of prefill, itl, ttft = wait + prefill; (C,) each."""
        flat = self.slope <= 0
        n = (residence - self.effective_intercept) / np.where(flat, 1.0, self.slope)
        n = np.where(flat, in_batch, np.clip(n, 0.0, self.max_batch_size))
        prefill = self.prefill_at(n)
        return prefill, self.itl_at(n), wait + prefill


def flat_curve(
    alpha: FloatArray, beta: FloatArray, out_tokens: FloatArray, max_batch_size: FloatArray
) -> LinearCurve:
    """Generation 1: tau(n) = m (alpha + beta n)."""
    zero = np.zeros_like(alpha)
    base = out_tokens * alpha
    return LinearCurve(max_batch_size, base, out_tokens * beta, zero, zero, alpha, beta, base)


def phase_curve(
    alpha: FloatArray,
    beta: FloatArray,
    gamma: FloatArray,
    delta: FloatArray,
    in_tokens: FloatArray,
    out_tokens: FloatArray,
    max_batch_size: FloatArray,
) -> LinearCurve:
    """Generation 2: tau(n) = (gamma + delta L n, 0 without prompt) + (m - 1) (alpha + beta n).

    One token without a prompt would take no time at all; it takes one decode here.
    """
    prompt = in_tokens > 0
    decodes = np.maximum(out_tokens - 1.0, np.where(prompt, 0.0, 1.0))
    base = np.where(prompt, gamma, 0.0)
    per_request = np.where(prompt, delta * in_tokens, 0.0)
    return LinearCurve(
        max_batch_size,
        base + decodes * alpha,
        per_request + decodes * beta,
        base,
        per_request,
        alpha,
        beta,
        gamma + decodes * alpha,
    )


@dataclass(frozen=True, eq=False)
class ChunkedCurve:
    """Generation 3: alpha per iteration, beta per computed token, gamma per KV token read; chunked prefill.

    c(n) chunks of prompt; w_prefill = (beta + gamma (c+1)/2) L, w_decode = beta m + gamma m (L + (m+1)/2);
    share delta = (w_prefill + w_decode) / (c + m); tau(n) = (c + m) (alpha + n delta).
    """

    max_batch_size: FloatArray
    alpha: FloatArray
    beta: FloatArray
    gamma: FloatArray
    in_tokens: FloatArray
    out_tokens: FloatArray
    tokens_per_iteration: FloatArray

    first_token_after_decode = True

    def chunks(self, n: FloatArray) -> FloatArray:
        """First k >= 1 with (k + m) (T - L/k) >= n (L + m): enough iterations for the token budget T."""
        L, m, T = self.in_tokens, self.out_tokens, self.tokens_per_iteration
        tokens = n * (L + m)
        half = (m * T - L - tokens) / (2.0 * T)
        root = np.sqrt(half * half + L * m / T) - half
        k = np.maximum(np.ceil(root), 1.0)
        # the root is rounded, the condition decides
        k = np.where((k > 1.0) & self._fits(k - 1.0, tokens), k - 1.0, k)
        return np.where(self._fits(k, tokens), k, k + 1.0)

    def _fits(self, k: FloatArray, tokens: FloatArray) -> BoolArray:
        k = np.maximum(k, 1.0)
        fits: BoolArray = (k + self.out_tokens) * (self.tokens_per_iteration - self.in_tokens / k) >= tokens
        return fits

    @cached_property
    def _first_chunks(self) -> FloatArray:
        return self.chunks(np.ones_like(self.max_batch_size))

    @cached_property
    def linear(self) -> BoolArray:
        same: BoolArray = self._first_chunks == self.chunks(self.max_batch_size)
        return same

    @cached_property
    def _decode_work(self) -> FloatArray:
        m = self.out_tokens
        return m * (self.beta + self.gamma * (self.in_tokens + (m + 1.0) / 2.0))

    def _prefill_work(self, chunks: FloatArray) -> FloatArray:
        return (self.beta + self.gamma * (chunks + 1.0) / 2.0) * self.in_tokens

    @cached_property
    def intercept(self) -> FloatArray:
        return (self._first_chunks + self.out_tokens) * self.alpha

    @cached_property
    def slope(self) -> FloatArray:
        return self._prefill_work(self._first_chunks) + self._decode_work

    def _parts(self, n: FloatArray, chunks: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Prefill of one request among n, and what the others of the batch cost an iteration."""
        own = self._prefill_work(chunks)
        others = np.maximum(
            self.alpha + (n - 1.0) * (own + self._decode_work) / (chunks + self.out_tokens), 0.0
        )
        return chunks * others + own, others

    def residence_time(self, n: FloatArray) -> FloatArray:
        chunks = self.chunks(n)
        return (chunks + self.out_tokens) * self.alpha + n * (self._prefill_work(chunks) + self._decode_work)

    @cached_property
    def straight(self) -> FloatArray:
        chunks, L, m = self._first_chunks, self.in_tokens, self.out_tokens
        last = np.floor((chunks + m) * (self.tokens_per_iteration - L / chunks) / (L + m))
        return np.where(self.linear, self.max_batch_size, last)

    def prefill_at(self, n: FloatArray) -> FloatArray:
        return self._parts(n, self.chunks(n))[0]

    def itl_at(self, n: FloatArray) -> FloatArray:
        return self._parts(n, self.chunks(n))[1] + self._decode_work / self.out_tokens

    def latencies(
        self, in_batch: FloatArray, residence: FloatArray, wait: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Means of prefill, itl, ttft = wait + prefill + one decode; prefill is that of the mean batch."""
        chunks = self._first_chunks
        if not self.linear.all():
            nearest = np.clip(np.floor(in_batch + 0.5), 1.0, self.max_batch_size)
            chunks = np.where(self.linear, chunks, self.chunks(nearest))
        prefill = self._parts(in_batch, chunks)[0]
        itl = (residence - prefill) / self.out_tokens
        return prefill, itl, wait + prefill + itl
