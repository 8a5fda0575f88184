"""What is known of one pair of a model and an accelerator: a value, exchanged as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from flyball.calibrate.inferno.model import credible, vector_of
from flyball.spec.calibration import Observation, Pair, Tuning
from flyball.spec.profile import ChunkedTiming
from flyball.units import Seconds

Row: TypeAlias = tuple[float, float, float]


class Learned(msgspec.Struct, frozen=True):
    """The parameters of a pair; ValueError where they are none, so that such are never kept nor shown."""

    timing: ChunkedTiming
    updates: int
    updated: Seconds
    """When: seconds of the caller's clock."""
    nis: float = 0.0
    """Of the last observation; 0 while outliers are not refused, and without a filter."""
    covariance: tuple[Row, Row, Row] | None = None
    """Of alpha, beta and gamma; None: no filter has run."""

    def __post_init__(self) -> None:
        figures = (self.updated, self.nis, *(value for row in self.covariance or () for value in row))
        if not (credible(vector_of(self.timing)).all() and all(map(math.isfinite, figures))):
            raise ValueError(
                f"{self.timing} with NIS {self.nis:g} are no parameters: each is finite, above 0"
            )


class State(msgspec.Struct, frozen=True):
    """One pair; ValueError as of `Learned`."""

    target: int
    """Observations that the first fit takes."""
    collected: tuple[Observation, ...] = ()
    """Those before the first fit."""
    seen: int = 0
    """Observations since the beginning, or since the calibration."""
    condition_number: float | None = 0.0
    """Of the first fit, or of the calibration; None: without bound."""
    fitted: bool = False
    last_fit: ChunkedTiming | None = None
    """Of the first observations, the calibration, or the window."""
    window: tuple[Observation, ...] = ()
    filter_only: bool = False
    """The first fit was poor: no window for this pair."""
    calibrated: bool = False
    learned: Learned | None = None

    def __post_init__(self) -> None:
        if self.last_fit is not None and not credible(vector_of(self.last_fit)).all():
            raise ValueError(f"{self.last_fit} are no parameters: each is finite, above 0")

    @property
    def updates(self) -> int:
        """How often its parameters were changed."""
        return 0 if self.learned is None else self.learned.updates


States: TypeAlias = Mapping[Pair, State]


def windowed(state: State, tuning: Tuning) -> bool:
    """Whether it is followed by the window, else by the filter."""
    return tuning.estimator == "sliding-window" and not state.filter_only


def least_window(tuning: Tuning) -> int:
    """Observations that a window is fitted to at least."""
    return min(tuning.initial_observations, tuning.window_size)


def warming_up(states: States, tuning: Tuning) -> bool:
    """Whether any pair is still to be learned; False before anything was observed."""
    return any(_is_warming_up(state, tuning) for state in states.values())


def _is_warming_up(state: State, tuning: Tuning) -> bool:
    if not state.fitted:
        return tuning.hold_back
    if windowed(state, tuning) and len(state.window) < least_window(tuning):
        return True
    return state.learned is not None and state.updates < tuning.warm_up_cycles


def ill_conditioned(state: State, tuning: Tuning) -> bool:
    """Whether what it was fitted to does not tell its parameters apart."""
    found = math.inf if state.condition_number is None else state.condition_number
    return 0 < tuning.max_condition_number < found


def needs_calibration(state: State, tuning: Tuning) -> bool:
    """Whether points are to be measured for it: what came by itself did not tell its parameters apart."""
    return state.fitted and ill_conditioned(state, tuning) and not state.calibrated
