"""The estimator `sliding-window`: a fit of the last observations, made anew with each.

Where the window does not tell the parameters apart, its last fit is held, and moved by one step of a filter
that begins there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from flyball.calibrate.inferno.fit import Fit, fit, is_degenerate
from flyball.calibrate.inferno.guess import guess_from
from flyball.calibrate.inferno.kalman import filter_around, fresh_estimate, step
from flyball.calibrate.inferno.model import Points, residuals, timing_of, vector_of
from flyball.calibrate.inferno.pair import Learned, State, least_window
from flyball.spec.calibration import Observation, Prior, Tuning
from flyball.spec.profile import ChunkedTiming
from flyball.units import Seconds


def follow(state: State, newest: Observation, tuning: Tuning, now: Seconds) -> tuple[State, str]:
    """The state after a fit of its window, which has the newest observation; else as it was, and why."""
    least = least_window(tuning)
    if len(state.window) < least:
        return state, f"filling the window: {len(state.window)} of {least}"
    last = state.last_fit or guess_from(tuning.prior.timing, newest)
    made = fit_without_outlier(state.window, last, tuning.residual_threshold)
    held = is_degenerate(made, tuning) or not made.loss < math.inf
    timing = _moved(last, newest, tuning.prior) if held else made.timing
    learned = Learned(timing, state.updates + 1, now)
    return replace(state, last_fit=last if held else timing, learned=learned), ""


def fit_without_outlier(observations: Sequence[Observation], start: ChunkedTiming, threshold: float) -> Fit:
    """The fit; where the worst observation is off by more than the threshold, again without that one."""
    first = fit(observations, start)
    if threshold <= 0 or len(observations) < 2:
        return first
    errors = np.sqrt(
        np.square(residuals(vector_of(first.timing)[None], Points.of(observations))[0]).sum(axis=1)
    )
    errors = np.where(np.isnan(errors), np.inf, errors)
    worst = int(errors.argmax())
    if errors[worst] <= threshold:
        return first
    # From the start again: what an outlier has bent is no good place to begin.
    return fit([each for i, each in enumerate(observations) if i != worst], start)


def _moved(timing: ChunkedTiming, newest: Observation, prior: Prior) -> ChunkedTiming:
    """One step of a filter that begins there; it hardly moves what the observation does not tell."""
    made = filter_around(timing, prior)
    found = step(made, fresh_estimate(timing, made), newest, gate=False)
    return timing_of(found.estimate.x)
