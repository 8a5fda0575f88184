"""h(x): the TTFT and ITL that the queueing model predicts for a replica with parameters x under a load.

x is (P, 3): alpha, beta, gamma in seconds, one row a set of parameters, all evaluated at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flyball.queueing.analysis import analyze, highest_rate
from flyball.queueing.arrays import BoolArray, FloatArray
from flyball.queueing.curves import DEFAULT_TOKENS_PER_ITERATION, ChunkedCurve
from flyball.spec.calibration import Observation
from flyball.spec.profile import ChunkedTiming
from flyball.units import Seconds

LONGEST: Seconds = 1e9
"""That a parameter may be; Inferno's documents hold no more."""
FLOODED = 1e6
"""Times mu(N): more load changes nothing, but leaves no digits of 1 - P(blocked)."""


@dataclass(frozen=True, eq=False)
class Points:
    """Observations as arrays, (O,) each, and what they showed, (O, 2): TTFT, ITL."""

    arrival_rate: FloatArray
    in_tokens: FloatArray
    out_tokens: FloatArray
    max_batch_size: FloatArray
    queue_size: FloatArray
    shown: FloatArray

    @classmethod
    def of(cls, observations: Sequence[Observation]) -> Points:
        """The observations in their order."""
        rows = [
            (o.arrival_rate, o.in_tokens, o.out_tokens, o.max_batch_size, o.queue_size, o.ttft, o.itl)
            for o in observations
        ]
        table = np.array(rows, dtype=float).reshape(len(rows), 7)
        rate, prompt, output, batch, queue = table.T[:5]
        return cls(rate, prompt, output, batch, queue, table[:, 5:])


def credible(x: FloatArray) -> BoolArray:
    """Whether each is a parameter: above 0, and finite."""
    return (x > 0) & (x <= LONGEST)


def predict(x: FloatArray, points: Points) -> FloatArray:
    """(P, O, 2): TTFT and ITL; nan where a parameter is not credible, or the model has no answer."""
    sets, count = len(x), points.arrival_rate.size
    valid: BoolArray = np.all(credible(x), axis=1)
    alpha, beta, gamma = np.repeat(np.where(valid[:, None], x, 1.0), count, axis=0).T
    curve = ChunkedCurve(
        np.tile(points.max_batch_size, sets),
        alpha,
        beta,
        gamma,
        np.tile(points.in_tokens, sets),
        np.tile(points.out_tokens, sets),
        np.full(sets * count, DEFAULT_TOKENS_PER_ITERATION),
    )
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        rate = np.minimum(np.tile(points.arrival_rate, sets), FLOODED * highest_rate(curve))
        found = analyze(curve, np.tile(points.queue_size, sets), rate)
    predicted = np.stack([found.ttft, found.itl], axis=-1).reshape(sets, count, 2)
    usable = np.isfinite(predicted) & (predicted > 0) & valid[:, None, None]
    return np.where(usable, predicted, np.nan)


def residuals(x: FloatArray, points: Points) -> FloatArray:
    """(P, O, 2): relative errors of TTFT and ITL, nan as in `predict`."""
    with np.errstate(over="ignore"):
        return predict(x, points) / points.shown - 1.0


def loss(x: FloatArray, points: Points) -> FloatArray:
    """(P,): sum of squared relative errors; inf where the model has no answer."""
    with np.errstate(over="ignore"):
        total = np.square(residuals(x, points)).sum(axis=(1, 2))
    return np.where(np.isnan(total), np.inf, total)


def vector_of(timing: ChunkedTiming) -> FloatArray:
    """(3,): alpha, beta, gamma."""
    return np.array([timing.alpha, timing.beta, timing.gamma])


def timing_of(x: FloatArray) -> ChunkedTiming:
    """The parameters of a vector (3,)."""
    return ChunkedTiming(*map(float, x))
