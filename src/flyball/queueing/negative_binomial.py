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

from flyball.queueing.arrays import FloatArray

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

    Evaluated forward by continuants, several steps between checks; lanes that have converged drop out.
    """
    result = np.empty_like(x)
    lanes = np.arange(x.size)
    previous = np.full(x.size, np.inf)
    # continuants A(k), B(k) with all partial denominators 1: A(k) = A(k-1) + d(k) A(k-2)
    a_old, a_new = np.zeros_like(x), np.ones_like(x)
    b_old, b_new = np.ones_like(x), np.ones_like(x)
    ab = a + b
    position = a.copy()  # a + 2 m
    m = 0.0
    while lanes.size:
        for _ in range(STEPS_BETWEEN_CHECKS):
            odd = (a + m) * (ab + m) * x
            odd /= position * (position + 1.0)
            m += 1.0
            position += 2.0
            even = (b - m) * x
            even *= m
            even /= (position - 1.0) * position
            a_old = a_new - odd * a_old
            b_old = b_new - odd * b_old
            a_new = a_old + even * a_new
            b_new = b_old + even * b_new
        value = a_new / b_new
        scale = 1.0 / b_new
        a_old, b_old, a_new, b_new = a_old * scale, b_old * scale, value, np.ones_like(value)
        open_ = np.abs(value - previous) > TOLERANCE * np.abs(value)
        if m >= MAX_STEPS:
            open_[:] = False
        if open_.all():
            previous = value
            continue
        result[lanes] = value
        keep = np.flatnonzero(open_)
        lanes, previous, position, ab = lanes[keep], value[keep], position[keep], ab[keep]
        a, b, x = a[keep], b[keep], x[keep]
        a_old, a_new, b_old, b_new = a_old[keep], a_new[keep], b_old[keep], b_new[keep]
    return result


def top_share(x: FloatArray, r: FloatArray, n: FloatArray, log_coefficient: FloatArray) -> FloatArray:
    """h = p(N) / P(n <= N) of the negative binomial, 0 < x < 1; `log_coefficient` is `log_binomial(r, n)`."""
    y = 1.0 - x
    saturated = y * (r + n + 3.0) < r + 1.0
    share = np.empty_like(x)
    at = np.flatnonzero(saturated)
    if at.size:
        share[at] = r[at] / (x[at] * (n[at] + r[at]) * beta_fraction(r[at], n[at] + 1.0, y[at]))
    at = np.flatnonzero(~saturated)
    if at.size:
        xa, ra, na = x[at], r[at], n[at]
        density = np.exp(log_coefficient[at] + na * np.log(xa) + ra * np.log1p(-xa))
        heavy = np.flatnonzero(density > 1e-18)
        if heavy.size:
            xh, rh, nh = xa[heavy], ra[heavy], na[heavy]
            tail = density[heavy] * xh * (nh + rh) / (nh + 1.0) * beta_fraction(nh + 1.0, rh, xh)
            density[heavy] /= 1.0 - tail
        share[at] = density
    return share
