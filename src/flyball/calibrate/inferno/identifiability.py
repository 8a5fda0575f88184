"""Whether observations tell the parameters apart."""

from __future__ import annotations

import math

import numpy as np

from flyball.calibrate.inferno.model import Points, residuals
from flyball.queueing.arrays import FloatArray

DIFFERENCE = 1e-3
"""Step of the central differences, in the logarithm of a parameter."""


def condition_number(x: FloatArray, points: Points) -> float:
    """Largest over smallest singular value of the Jacobian of all relative errors by log parameters (3,).

    Where it is large, some mixture of the parameters changes nothing that was observed. inf: it changes
    nothing at all, there are fewer figures than parameters, or the model has no answer.
    """
    if 2 * points.arrival_rate.size < x.size:
        return math.inf
    steps = np.diag(DIFFERENCE * x)
    found = residuals(np.concatenate([x + steps, x - steps]), points).reshape(2, x.size, -1)
    jacobian = (found[0] - found[1]) / (2.0 * DIFFERENCE)
    if not np.isfinite(jacobian).all():
        return math.inf
    values = np.linalg.svd(jacobian, compute_uv=False)
    return float(values[0] / values[-1]) if values[-1] > 0 else math.inf
