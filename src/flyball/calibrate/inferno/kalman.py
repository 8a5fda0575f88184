"""The extended Kalman filter: parameters that drift, seen through the queueing model.

    predict   P + Q                             x stays
    update    y = z - h(x),  S = H P H' + R,  K = P H' S^-1,  x + K y,  (I - K H) P (I - K H)' + K R K'

The last is Joseph's form, which stays a covariance when digits are few. H is the Jacobian of h by central
differences. An update that is too unlikely under S (its normalised innovation squared, NIS = y' S^-1 y, is
chi-squared with 2 degrees of freedom) is not made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flyball.calibrate.inferno.model import Points, credible, predict, vector_of
from flyball.queueing.arrays import FloatArray
from flyball.spec.calibration import Observation, Prior
from flyball.spec.profile import ChunkedTiming

GATE = 7.378
"""Chi-squared, 2 degrees of freedom, 97.5 %."""
DIFFERENCE = 0.01
"""Step of the central differences, over the parameter."""
SPREAD = 10.0
LEAST = 1e-12
"""Seconds below which no bound lies."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """Parameters (3,), and their covariance (3, 3)."""

    x: FloatArray
    covariance: FloatArray


@dataclass(frozen=True, eq=False)
class Filter:
    """Noise and bounds: Q (3, 3), R (2, 2), lowest and highest parameters (3,)."""

    process: FloatArray
    measurement: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, eq=False)
class Step:
    """What became of one observation; `estimate` is the one before where it was refused."""

    estimate: Estimate
    accepted: bool
    innovation: FloatArray
    """(2,): seconds of TTFT and ITL more than predicted."""
    nis: float


def filter_around(timing: ChunkedTiming, prior: Prior) -> Filter:
    """The filter for a step, or several, that begin at these parameters."""
    x = vector_of(timing)
    unbounded = np.full(3, np.inf)
    return Filter(
        process=np.diag(np.square(np.array(prior.change) * x)),
        measurement=np.diag(np.square(prior.deviation)),
        low=np.maximum(x / SPREAD, LEAST) if prior.bounded else -unbounded,
        high=x * SPREAD if prior.bounded else unbounded,
    )


def fresh_estimate(timing: ChunkedTiming, made: Filter) -> Estimate:
    """As uncertain as a single change."""
    return Estimate(np.clip(vector_of(timing), made.low, made.high), made.process)


def step(made: Filter, estimate: Estimate, observation: Observation, *, gate: bool = True) -> Step:
    """Predict, then update with one observation, unless it is refused: an outlier (with `gate`), or one that
    the model cannot explain with credible parameters.
    """
    x = np.clip(estimate.x, made.low, made.high)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        covariance = estimate.covariance + made.process
        expected, H = _linearised(x, observation)
        innovation = np.array([observation.ttft, observation.itl]) - expected
        S = H @ covariance @ H.T + made.measurement
        if not (np.isfinite(innovation).all() and np.isfinite(S).all() and np.linalg.det(S) > 0):
            return Step(estimate, False, innovation, np.nan)
        nis = float(innovation @ np.linalg.solve(S, innovation))
        gain = np.linalg.solve(S, H @ covariance).T
        kept = np.eye(3) - gain @ H
        updated = np.clip(x + gain @ innovation, made.low, made.high)
        spread = kept @ covariance @ kept.T + gain @ made.measurement @ gain.T
    usable = credible(updated).all() and np.isfinite(spread).all() and np.isfinite(nis)
    if not usable or (gate and nis >= GATE):
        return Step(estimate, False, innovation, nis)
    return Step(Estimate(updated, spread), True, innovation, nis)


def _linearised(x: FloatArray, observation: Observation) -> tuple[FloatArray, FloatArray]:
    """h(x) (2,) and its Jacobian (2, 3)."""
    steps = np.diag(DIFFERENCE * x)
    predicted = predict(np.concatenate([x[None], x + steps, x - steps]), Points.of([observation]))[:, 0]
    return predicted[0], (predicted[1:4] - predicted[4:]).T / (2.0 * DIFFERENCE * x)
