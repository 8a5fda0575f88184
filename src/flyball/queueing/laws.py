"""Laws of latency from moments: a shifted gamma law by its cube root, and the mixture with those that wait.

(X - least) ^ (1/3) of a gamma law is nearly normal (Wilson and Hilferty 1931): both the tail and the quantile
are one line, at any shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from flyball.queueing.arrays import FloatArray

SMALL = 1e-9


@dataclass(frozen=True, eq=False)
class Law:
    """A latency of (C,) replicas by mean, standard deviation and least value [s]."""

    mean: FloatArray
    deviation: FloatArray
    least: FloatArray

    def _scales(self) -> tuple[FloatArray, FloatArray]:
        over = np.maximum(self.mean - self.least, SMALL * self.mean)
        return over, 3.0 * over / np.maximum(self.deviation, SMALL * over)

    def after(self, time: FloatArray) -> Law:
        """This, begun after a time that is always the same."""
        return Law(self.mean + time, self.deviation, self.least + time)

    def then(self, other: Law, times: FloatArray) -> Law:
        """This, and `other` so many times over; both apart from each other."""
        return Law(
            self.mean + times * other.mean,
            np.hypot(self.deviation, times * other.deviation),
            self.least + times * other.least,
        )

    def tail(self, limit: FloatArray) -> FloatArray:
        """P(latency > limit)."""
        over, root = self._scales()
        z = (np.cbrt(np.maximum(limit - self.least, 0.0) / over) - 1.0) * root + 1.0 / root
        late: FloatArray = np.where(limit < self.least, 1.0, normal_tail(z))
        return late

    def quantile(self, q: float) -> FloatArray:
        """The time that a share q does not exceed."""
        over, root = self._scales()
        cube = np.maximum(1.0 - 1.0 / (root * root) + NormalDist().inv_cdf(q) / root, 0.0)
        time: FloatArray = self.least + over * cube**3
        return time


def normal_tail(z: FloatArray) -> FloatArray:
    """P(Z > z) of the normal law, to 2e-7 (Abramowitz and Stegun 7.1.26)."""
    x = np.minimum(np.abs(z), 38.0) * np.sqrt(0.5)
    t = 1.0 / (1.0 + 0.3275911 * x)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    half = 0.5 * series * np.exp(-x * x)
    tail: FloatArray = np.where(z < 0, 1.0 - half, half)
    return tail
