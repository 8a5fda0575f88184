"""Parameters that explain several observations together: least squares of the relative errors."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from flyball.calibrate.inferno.identifiability import condition_number
from flyball.calibrate.inferno.model import Points, loss, timing_of, vector_of
from flyball.calibrate.inferno.simplex import minimise
from flyball.spec.calibration import Observation, Tuning
from flyball.spec.profile import ChunkedTiming


class Fit(msgspec.Struct, frozen=True):
    """Parameters, and how far to believe them."""

    timing: ChunkedTiming
    loss: float
    """Sum of squared relative errors; inf: the model explains nothing near the start, which `timing` is."""
    condition_number: float


def fit(observations: Sequence[Observation], start: ChunkedTiming) -> Fit:
    """The best parameters near `start`; each is scaled by its value there."""
    points, scale = Points.of(observations), vector_of(start)
    found = minimise(lambda x: loss(x * scale, points), np.ones(3))
    x = found.x * scale
    return Fit(timing_of(x), found.value, condition_number(x, points))


def is_degenerate(made: Fit, tuning: Tuning) -> bool:
    """Whether the observations do not tell the parameters apart."""
    return 0 < tuning.max_condition_number < made.condition_number
