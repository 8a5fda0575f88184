"""Where tau(n) is a straight line, the chain is a truncated negative binomial.

With tau(n) = t0 + t1 n the ratio of neighbouring probabilities is

    p(n) / p(n-1) = lambda tau(n) / n = x (r + n - 1) / n,      x = lambda t1,  r = t0 / t1 + 1,

which is that of a negative binomial (r, 1 - x) cut off at N. All that the means need is

    h = p(N) / (p(0) + ... + p(N)),     E[n | n <= N] = (x r - x (N + r) h) / (1 - x).

h is a ratio of the density to the distribution function, an incomplete beta function, whose continued
fraction converges in O(sqrt N) steps (Abramowitz and Stegun 26.5.8; DLMF 8.17.22) without
overflow: from the saturated side directly, from the light side through the tail above N.
Valid for 0 < x < 1. `chain` uses recursion elsewhere.
"""

from __future__ import annotations

import numpy as np

from flyball.queueing.arrays import BoolArray, FloatArray

TOLERANCE = 1e-13
STEPS_BETWEEN_CHECKS = 4
MAX_STEPS = 20_000
SHIFT = 10


def log_gamma(z: FloatArray) -> FloatArray:
    """ln Gamma(z) for z > 0 by Stirling's series after a shift to z >= 10; relative error below 1e-14."""
    z = np.asarray(z, dtype=float)
    product = np.ones_like(z)
    small = z < SHIFT
    if small.any():
        for k in range(SHIFT):
            product = np.where(small, product * (z + k), product)
        z = np.where(small, z + SHIFT, z)
    inverse = 1.0 / z
    square = inverse * inverse
    series = inverse * (
        1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188)))
    )
    result: FloatArray = (z - 0.5) * np.log(z) - z + 0.5 * np.log(2 * np.pi) + series - np.log(product)
    return result


def log_binomial(r: FloatArray, n: FloatArray) -> FloatArray:
    """ln of Gamma(r + n) / (Gamma(r) n!), the coefficient of the density at n."""
    return log_gamma(r + n) - log_gamma(r) - log_gamma(n + 1.0)


def beta_fraction(a: FloatArray, b: FloatArray, x: FloatArray) -> FloatArray:
    """Continued fraction C of the incomplete beta function: I_x(a, b) = x^a (1-x)^b C / (a B(a, b)).

    Evaluated forward by continuants A(k) / B(k) with partial denominators 1, A(k) = A(k-1) + d(k) A(k-2), in
    place, several steps between checks; lanes that have converged drop out.
    """
    result = np.empty_like(x)
    lanes = np.arange(x.size)
    previous = np.full(x.size, np.inf)
    a_old, a_new, b_old, b_new = np.zeros_like(x), np.ones_like(x), np.ones_like(x), np.ones_like(x)
    ab, position, m = a + b, a.copy(), 0.0  # position = a + 2 m
    while lanes.size:
        d, work = np.empty_like(x), np.empty_like(x)
        for _ in range(STEPS_BETWEEN_CHECKS):
            # d(2m+1) = -(a + m)(a + b + m) x / ((a + 2m)(a + 2m + 1))
            np.add(a, m, out=d)
            np.add(ab, m, out=work)
            d *= work
            d *= x
            d /= position
            np.add(position, 1.0, out=work)
            d /= work
            a_old *= d
            np.subtract(a_new, a_old, out=a_old)
            b_old *= d
            np.subtract(b_new, b_old, out=b_old)
            # d(2m) = m (b - m) x / ((a + 2m - 1)(a + 2m)), m one further
            m += 1.0
            position += 2.0
            np.subtract(b, m, out=d)
            d *= x
            d *= m
            d /= work
            d /= position
            a_new *= d
            a_new += a_old
            b_new *= d
            b_new += b_old
        np.divide(1.0, b_new, out=d)
        a_old *= d
        b_old *= d
        a_new *= d
        b_new.fill(1.0)
        np.subtract(a_new, previous, out=work)
        open_ = np.abs(work) > TOLERANCE * a_new
        previous = a_new.copy()
        if open_.all() and m < MAX_STEPS:
            continue
        result[lanes] = a_new
        keep = np.flatnonzero(open_) if m < MAX_STEPS else np.zeros(0, dtype=np.int64)
        lanes, previous, position, ab = lanes[keep], previous[keep], position[keep], ab[keep]
        a, b, x = a[keep], b[keep], x[keep]
        a_old, a_new, b_old, b_new = a_old[keep], a_new[keep], b_old[keep], b_new[keep]
    return result


NEGLIGIBLE = np.log(1e-18)


def top_share(x: FloatArray, r: FloatArray, n: FloatArray, log_coefficient: FloatArray) -> FloatArray:
    """h = p(N) / P(n <= N) of the negative binomial, 0 < x < 1; `log_coefficient` is `log_binomial(r, n)`."""
    share = np.empty_like(x)
    saturated = _saturated(x, r, n)
    at = np.flatnonzero(saturated)
    if at.size:
        share[at] = r[at] / (x[at] * (n[at] + r[at]) * beta_fraction(r[at], n[at] + 1.0, 1.0 - x[at]))
    at = np.flatnonzero(~saturated)
    if at.size:
        log_density = log_coefficient[at] + n[at] * np.log(x[at]) + r[at] * np.log1p(-x[at])
        share[at] = np.exp(log_density) / (1.0 - _tail(x[at], r[at], n[at], log_density))
    return share


def log_cdf(x: FloatArray, r: FloatArray, n: FloatArray) -> FloatArray:
    """ln P(at most n) of the whole negative binomial, 0 < x < 1, n >= 0."""
    log_density = log_binomial(r, n) + n * np.log(x) + r * np.log1p(-x)
    result = np.empty_like(x)
    saturated = _saturated(x, r, n)
    at = np.flatnonzero(saturated)
    if at.size:
        fraction = beta_fraction(r[at], n[at] + 1.0, 1.0 - x[at])
        result[at] = log_density[at] + np.log(x[at] * (n[at] + r[at]) * fraction / r[at])
    at = np.flatnonzero(~saturated)
    if at.size:
        result[at] = np.log1p(-_tail(x[at], r[at], n[at], log_density[at]))
    return result


def _saturated(x: FloatArray, r: FloatArray, n: FloatArray) -> BoolArray:
    """Where the fraction converges from the saturated side; elsewhere it does from the tail's."""
    side: BoolArray = (1.0 - x) * (r + n + 3.0) < r + 1.0
    return side


def _tail(x: FloatArray, r: FloatArray, n: FloatArray, log_density: FloatArray) -> FloatArray:
    """P(more than n), on the light side."""
    tail = np.zeros_like(x)
    at = np.flatnonzero(log_density > NEGLIGIBLE)
    if at.size:
        xa, ra, na = x[at], r[at], n[at]
        tail[at] = np.exp(log_density[at]) * xa * (na + ra) / (na + 1.0) * beta_fraction(na + 1.0, ra, xa)
    return tail
