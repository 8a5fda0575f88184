"""Nelder and Mead's simplex, with coefficients that adapt to the dimension.

Source of the coefficients: Gao and Han, "Implementing the Nelder-Mead simplex algorithm with adaptive
parameters", 2012. The four points that an iteration may need are evaluated at once: with a function that
takes many points, that is cheaper than one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flyball.queueing.arrays import FloatArray

EDGE = 0.05
"""Of the first simplex."""
SIGNIFICANT = 1e-10
PATIENCE = 100
"""Iterations without a significant decrease, after which it ends."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """The best point found (n,), its value, and how many values it took."""

    x: FloatArray
    value: float
    evaluations: int


def minimise(f: Callable[[FloatArray], FloatArray], start: FloatArray, *, evaluations: int = 500) -> Minimum:
    """The lowest point near `start` (n,), of a function from (P, n) to (P,) that may be inf, not nan.

    `evaluations` counts the points that the algorithm needed, not those evaluated beside them.
    """
    n = start.size
    expansion, contraction, shrink = 1.0 + 2.0 / n, 0.75 - 0.5 / n, 1.0 - 1.0 / n
    scales = np.array([1.0, expansion, contraction, -contraction])[:, None]
    points = np.concatenate([start[None], start + EDGE * np.eye(n)])
    values = f(points)
    used, best, quiet = n + 1, float(values.min()), 0
    while used < evaluations and quiet < PATIENCE:
        order = np.argsort(values, kind="stable")
        points, values = points[order], values[order]
        centre = points[:-1].mean(axis=0)
        tried = centre + scales * (centre - points[-1])
        reflected, expanded, outside, inside = at = f(tried)
        used += 2
        took: int | None
        if values[0] <= reflected < values[-2]:
            took, used = 0, used - 1
        elif reflected < values[0]:
            took = 1 if expanded < reflected else 0
        elif reflected < values[-1]:
            took = 2 if outside <= reflected else None
        else:
            took = 3 if inside < values[-1] else None
        if took is not None:
            points[-1], values[-1] = tried[took], at[took]
        else:
            points[1:] = points[0] + shrink * (points[1:] - points[0])
            values[1:] = f(points[1:])
            used += n
        lowest = float(values.min())
        quiet = quiet + 1 if not lowest < best - SIGNIFICANT else 0
        best = best if quiet else lowest
    found = int(values.argmin())
    return Minimum(points[found], float(values[found]), used)
