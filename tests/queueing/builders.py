"""Small builders of curves for the tests."""

from __future__ import annotations

import numpy as np

from flyball.queueing.arrays import FloatArray
from flyball.queueing.curves import ChunkedCurve, LinearCurve


def lanes(*values: float) -> FloatArray:
    return np.array(values, dtype=float)


def straight(intercept: float, slope: float, batch: float) -> LinearCurve:
    """tau(n) = intercept + slope n; everything is decode of one token."""
    a, b, n, zero = lanes(intercept), lanes(slope), lanes(batch), lanes(0.0)
    return LinearCurve(n, a, b, zero, zero, a, b, a)


def chunked(
    batch: float = 64,
    alpha: float = 0.012,
    beta: float = 5e-5,
    gamma: float = 5e-7,
    in_tokens: float = 256,
    out_tokens: float = 256,
    budget: float = 8192,
) -> ChunkedCurve:
    return ChunkedCurve(*(lanes(v) for v in (batch, alpha, beta, gamma, in_tokens, out_tokens, budget)))


def brute(curve: LinearCurve | ChunkedCurve, queue: int, rate: float) -> FloatArray:
    """p(0..K) of one replica, state by state in plain logarithms."""
    n = int(curve.max_batch_size[0])
    logs = [0.0]
    for k in range(1, n + queue + 1):
        inside = min(k, n)
        mu = inside / curve.residence_time(lanes(inside))[0]
        logs.append(logs[-1] + np.log(rate / mu))
    p = np.exp(np.array(logs) - max(logs))
    return p / p.sum()
