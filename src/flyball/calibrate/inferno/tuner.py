"""How what is known of pairs grows with what replicas show.

A pair collects its first observations, and fits its parameters to them. From then on one of the two
estimators follows their drift, `ekf` or `sliding_window`. What is refused changes nothing but the count of
observations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from flyball.calibrate.inferno import ekf, sliding_window
from flyball.calibrate.inferno.fit import Fit, fit, is_degenerate
from flyball.calibrate.inferno.guess import guess_from
from flyball.calibrate.inferno.pair import Learned, State, States, windowed
from flyball.spec.calibration import Observation, Pair, Tuning
from flyball.units import Seconds

LEAST_POINTS = 2
"""Observations that a calibration takes."""
Observed: TypeAlias = Mapping[Pair, Sequence[Observation]]
Reasons: TypeAlias = Mapping[Pair, str]
"""Why nothing was learned, by pair."""


def tune(states: States, observed: Observed, tuning: Tuning, now: Seconds) -> tuple[States, Reasons]:
    """Take in what replicas show, by pair."""
    after, reasons = dict(states), {}
    for pair, observations in observed.items():
        if not observations:
            reasons[pair] = "no replica shows latencies, tokens and a batch size that it can learn from"
            continue
        before = states.get(pair) or State(target=tuning.initial_observations)
        after[pair], reason = _tuned(before, observations, tuning, now)
        if reason:
            reasons[pair] = reason
    return after, reasons


def _tuned(
    before: State, observations: Sequence[Observation], tuning: Tuning, now: Seconds
) -> tuple[State, str]:
    newest = observations[0]
    state = replace(before, seen=before.seen + 1)
    if not state.fitted:
        state = replace(state, collected=(*state.collected, newest))
        if state.seen < state.target:
            return state, f"collecting first observations: {state.seen} of {state.target}"
        state = _first_fit(state, tuning)
        if state.filter_only:
            return state, "the first fit is poor: from now on by the filter"
    elif windowed(state, tuning):
        state = replace(state, window=(*state.window, newest)[-tuning.window_size :])
    if windowed(state, tuning):
        return sliding_window.follow(state, newest, tuning, now)
    return ekf.follow(state, observations, tuning, now)


def _first_fit(state: State, tuning: Tuning) -> State:
    """The fit of what was collected; a guess from the first where that does not tell the parameters apart."""
    points = state.collected
    guessed = guess_from(tuning.prior.timing, points[0])
    made = fit(points, guessed)
    sliding = tuning.estimator == "sliding-window"
    held = made.loss < math.inf and is_degenerate(made, tuning)
    poor = sliding and not held and _is_poor(made, tuning)
    return replace(
        state,
        collected=(),
        condition_number=_bounded(made.condition_number),
        fitted=True,
        last_fit=None if poor else guessed if held else made.timing,
        window=points[-tuning.window_size :] if sliding and not poor else (),
        filter_only=poor,
    )


def _is_poor(made: Fit, tuning: Tuning) -> bool:
    return 0 < tuning.fit_threshold < made.loss


def _bounded(value: float) -> float | None:
    return value if value < math.inf else None


def calibrate(states: States, observed: Observed, tuning: Tuning, now: Seconds) -> tuple[States, Reasons]:
    """Fit each pair to points that were measured for it; a fit that is not taken changes nothing."""
    after, reasons = dict(states), {}
    for pair, points in observed.items():
        if len(points) < LEAST_POINTS:
            reasons[pair] = f"{len(points)} usable points: a calibration takes {LEAST_POINTS} or more"
            continue
        made = fit(points, guess_from(tuning.prior.timing, points[0]))
        if is_degenerate(made, tuning):
            reasons[pair] = (
                f"the points do not tell the parameters apart (condition number {made.condition_number:.3g}, "
                f"at most {tuning.max_condition_number:g}): vary the load and the lengths"
            )
        elif not made.loss < math.inf or _is_poor(made, tuning):
            reasons[pair] = f"the model does not explain the points (loss {made.loss:.3g})"
        else:
            after[pair] = _calibrated(points, made, tuning, now)
    return after, reasons


def _calibrated(points: Sequence[Observation], made: Fit, tuning: Tuning, now: Seconds) -> State:
    return State(
        target=len(points),
        seen=len(points),
        condition_number=_bounded(made.condition_number),
        fitted=True,
        last_fit=made.timing,
        window=tuple(points[-tuning.window_size :]) if tuning.estimator == "sliding-window" else (),
        calibrated=True,
        learned=Learned(made.timing, tuning.warm_up_cycles, now),
    )
