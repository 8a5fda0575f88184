"""The estimator `ekf`: an extended Kalman filter that takes a step with each replica, call after call."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from flyball.calibrate.inferno.guess import guess_from
from flyball.calibrate.inferno.kalman import Estimate, filter_around, fresh_estimate, step
from flyball.calibrate.inferno.model import timing_of
from flyball.calibrate.inferno.pair import Learned, State
from flyball.spec.calibration import Observation, Tuning
from flyball.units import Seconds


def follow(
    state: State, observations: Sequence[Observation], tuning: Tuning, now: Seconds
) -> tuple[State, str]:
    """The state after a step with each observation, one update in all; else as it was, and why."""
    learned = state.learned
    start = state.last_fit if learned is None else learned.timing
    start = start or guess_from(tuning.prior.timing, observations[0])
    made = filter_around(start, tuning.prior)
    estimate = fresh_estimate(start, made)
    if learned is not None and learned.covariance is not None:
        estimate = Estimate(estimate.x, np.array(learned.covariance))
    gate = state.updates >= tuning.warm_up_cycles
    nis, accepted, refused = 0.0, False, math.nan
    for observation in observations:
        found = step(made, estimate, observation, gate=gate)
        estimate = found.estimate
        if found.accepted:
            nis, accepted = found.nis if gate else 0.0, True
        else:
            refused = found.nis
    if not accepted:
        why = f"NIS {refused:.3g}" if math.isfinite(refused) else "the model does not explain them"
        return state, f"the filter refused every observation ({why})"
    one, two, three = estimate.covariance.tolist()
    learned = Learned(
        timing_of(estimate.x), state.updates + 1, now, nis, (tuple(one), tuple(two), tuple(three))
    )
    return replace(state, learned=learned), ""
