"""Beliefs: the parameters of an iteration's time as far as known, and what observations make of them.

Logarithms of the parameters are normal: they are positive, and known to a factor. A belief is fitted to
times per output token by a damped Newton search for the mode and Laplace's covariance there (MacKay:
Information Theory, Inference, and Learning Algorithms, ch. 27).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

STEPS = 40
STEP_LIMIT = 1.5
"""Change of a logarithm in one step at most."""
CONVERGED = 1e-9
"""Gain of a step, of the cost, after which no more is tried."""
FIRST_DAMPING, STUCK = 1e-2, 1e9
HUBER = 1.345
"""Standard deviations beyond which a residual counts linearly: 95 % efficient where none is an outlier."""


@dataclass(frozen=True, eq=False)
class Belief:
    """Logarithms of alpha, beta, kappa, delta and, of a mixture of experts, epsilon, in seconds: normal."""

    mean: FloatArray
    """(K,)"""
    covariance: FloatArray
    """(K, K)"""
    residual: float
    """Standard deviation of the logarithm of a measured time around its own parameters."""
    experts: int = 0
    experts_per_token: int = 0
    gamma: float = -np.inf
    """Logarithm of the time of a request outside the iterations; -inf: none."""
    gamma_sigma: float = 0.0
    tier: str = ""
    """How near the measurement is that it rests on."""
    source: str = ""
    """The same in a sentence."""

    @property
    def values(self) -> FloatArray:
        """(K,) the parameters, seconds: medians."""
        return np.exp(self.mean)

    @property
    def sigmas(self) -> FloatArray:
        """(K,) standard deviations of the logarithms."""
        return np.sqrt(np.diag(self.covariance))


class Prediction(NamedTuple):
    """Times per output token, and standard deviations of their logarithms, the residual included."""

    time: FloatArray
    sigma: FloatArray


def predicted(belief: Belief, design: FloatArray) -> Prediction:
    """Times at operating points (points, K): medians, and how far measured ones may lie from them."""
    time, slopes = _log_time(design, belief.mean)
    variance = np.einsum("ij,jk,ik->i", slopes, belief.covariance, slopes)
    return Prediction(np.exp(time), np.sqrt(variance + belief.residual**2))


def fitted(
    belief: Belief,
    design: FloatArray,
    times: FloatArray,
    sigma: npt.ArrayLike | None = None,
    robust: bool = False,
) -> Belief:
    """What a belief becomes by times (points,) at operating points (points, K); no points leave it as it is.

    `sigma`: standard deviation of the logarithm of each time, the residual where it is not given. Repeated
    readings of one operating point share their residual: give their mean once. Robust: an outlier counts
    by its distance and not by its square. ValueError: times that are not positive and finite.
    """
    times = np.asarray(times, np.float64)
    if not (np.all(np.isfinite(times)) and np.all(times > 0)):
        raise ValueError("a time per output token is not positive and finite: leave the reading out")
    if not times.size:
        return belief
    inverse = 1.0 / np.broadcast_to(np.asarray(belief.residual if sigma is None else sigma), times.shape)
    mean, covariance = _mode(belief, design, np.log(times), inverse, robust)
    return replace(belief, mean=mean, covariance=covariance)


def _mode(
    belief: Belief, design: FloatArray, observed: FloatArray, inverse: FloatArray, robust: bool
) -> tuple[FloatArray, FloatArray]:
    """Mode and Laplace covariance, sought in coordinates u in which the prior is the unit normal."""
    root = _root(belief.covariance)
    one = np.eye(len(belief.mean))

    def misfit(u: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Cost, standardised residuals, and each parameter's share of the times."""
        time, slopes = _log_time(design, belief.mean + root @ u)
        r = (time - observed) * inverse
        far = np.abs(r)
        costs = np.where(far > HUBER, HUBER * (2.0 * far - HUBER), r * r) if robust else r * r
        return float(costs.sum() + u @ u), r, slopes

    def normal(u: FloatArray, r: FloatArray, slopes: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Gradient, Gauss-Newton matrix, and what curvature adds to it."""
        weight = inverse * np.minimum(1.0, HUBER / np.maximum(np.abs(r), HUBER)) if robust else inverse
        pull = (weight * r) @ slopes
        bent = np.diag(pull) - (slopes.T * (weight * r)) @ slopes
        straight = root.T @ ((slopes.T * (weight * inverse)) @ slopes) @ root + one
        return pull @ root + u, straight, root.T @ bent @ root

    u, damping = np.zeros_like(belief.mean), FIRST_DAMPING
    cost, r, slopes = misfit(u)
    gradient, straight, bent = normal(u, r, slopes)
    for _ in range(STEPS):
        step = _descend(straight, bent, damping, gradient)
        step *= min(1.0, STEP_LIMIT / max(float(np.abs(root @ step).max()), STEP_LIMIT))
        lower, r, slopes = misfit(u + step)
        if lower <= cost:
            gained, u, cost, damping = cost - lower, u + step, lower, damping / 10
            gradient, straight, bent = normal(u, r, slopes)
            if gained <= CONVERGED * (1.0 + cost):
                break
        elif damping > STUCK:
            break
        else:
            damping *= 10
    return belief.mean + root @ u, root @ np.linalg.solve(straight, root.T)


def _descend(straight: FloatArray, bent: FloatArray, damping: float, gradient: FloatArray) -> FloatArray:
    """Newton's step, or where the cost is not convex Gauss and Newton's."""
    ridge = damping * np.eye(len(gradient))
    try:
        np.linalg.cholesky(straight + bent + ridge)
    except np.linalg.LinAlgError:
        bent = np.zeros_like(straight)
    return np.asarray(np.linalg.solve(straight + bent + ridge, -gradient), np.float64)


def _root(covariance: FloatArray) -> FloatArray:
    """R with R R' = covariance; what is known exactly stays so."""
    values, vectors = np.linalg.eigh(covariance)
    root: FloatArray = vectors * np.sqrt(np.maximum(values, 0.0))
    return root


def _log_time(design: FloatArray, logs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(points,) logarithms of the times, and (points, K) their slopes: each parameter's share of the time."""
    parts = design * np.exp(logs)
    total = parts.sum(axis=1)
    return np.log(total), parts / total[:, None]
