"""Calibration: what a replica showed, what is believed before it shows anything, and how to learn from it."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import msgspec

from flyball.spec.profile import ChunkedTiming
from flyball.units import RequestsPerSecond, Seconds, Tokens

Pair: TypeAlias = tuple[str, str]
"""A model and the accelerator that it runs on: what parameters belong to."""
Estimator = Literal["ekf", "sliding-window"]


class Observation(msgspec.Struct, frozen=True):
    """Mean latencies of one replica over a while, and the load under which it showed them; all above 0."""

    arrival_rate: RequestsPerSecond
    in_tokens: Tokens
    out_tokens: Tokens
    max_batch_size: int
    ttft: Seconds
    itl: Seconds
    queue_size: int = 0
    """Requests that may wait; 0: those beyond the batch are turned away."""


class Prior(msgspec.Struct, frozen=True):
    """What the filter believes before it has seen anything; ValueError where a value makes no sense."""

    timing: ChunkedTiming = ChunkedTiming(0.005, 5e-5, 5e-8)
    change: tuple[float, float, float] = (0.15, 0.15, 0.15)
    """Standard deviation of alpha, beta and gamma from one step to the next, over their value."""
    deviation: tuple[Seconds, Seconds] = (0.5 / 1.96 * 0.2, 0.5 / 1.96 * 0.04)
    """Standard deviation of an observed TTFT and ITL."""
    bounded: bool = True
    """Keep the parameters within a tenth and ten times what they were when the step began."""

    def __post_init__(self) -> None:
        timing = self.timing
        for name, values in (
            ("the initial state", (timing.alpha, timing.beta, timing.gamma)),
            ("the change of the state", self.change),
            ("the deviation of the observations", self.deviation),
        ):
            if not all(math.isfinite(value) and value > 0 for value in values):
                shown = ", ".join(f"{value:g}" for value in values)
                raise ValueError(f"{name} is {shown}: each is a finite number above 0")


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """How parameters are learned; ValueError where a value makes no sense."""

    estimator: Estimator = "ekf"
    window_size: int = 10
    """Observations that the sliding window holds."""
    initial_observations: int = 5
    """Observations to collect before the first fit."""
    warm_up_cycles: int = 5
    """Updates of a pair before it has warmed up and its filter refuses outliers."""
    max_condition_number: float = 1000.0
    """Above it a fit is not taken: the observations do not tell the parameters apart. 0: any is taken."""
    residual_threshold: float = 0.5
    """Relative error above which the worst observation of the window is left out; 0: none is."""
    fit_threshold: float = 10.0
    """Sum of squared relative errors above which a first fit is poor; 0: none is."""
    hold_back: bool = True
    """A pair that collects its first observations counts as warming up."""
    prior: Prior = Prior()

    def __post_init__(self) -> None:
        if self.estimator not in get_args(Estimator):
            known = " or ".join(get_args(Estimator))
            raise ValueError(f"the estimator is '{self.estimator}': it is {known}")
        for what, count, least in (
            ("the window size", self.window_size, 1),
            ("the number of initial observations", self.initial_observations, 1),
            ("the number of warm-up cycles", self.warm_up_cycles, 0),
        ):
            if not least <= count <= 1000:
                raise ValueError(f"{what} is {count}: it is a number from {least} to 1,000")
        for what, limit in (
            ("the largest condition number", self.max_condition_number),
            ("the residual threshold", self.residual_threshold),
            ("the threshold of the first fit", self.fit_threshold),
        ):
            if not (math.isfinite(limit) and limit >= 0):
                raise ValueError(f"{what} is {limit:g}: it is a number from 0, where 0 turns it off")
