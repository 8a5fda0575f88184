"""What is known of a pair, and how it grows: collecting, fitted, tracking, calibrated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.calibrate.inferno.model import vector_of
from flyball.calibrate.inferno.pair import (
    Learned,
    State,
    States,
    ill_conditioned,
    needs_calibration,
    warming_up,
)
from flyball.calibrate.inferno.tuner import calibrate, tune
from flyball.spec.calibration import Observation, Prior, Tuning
from flyball.spec.profile import ChunkedTiming
from tests.calibrate.inferno.points import LOADS, TRUE, all_shown, shown

PAIR = ("granite", "H100")
OTHER = ("llama", "A100")
EKF = Tuning(initial_observations=3, warm_up_cycles=2)
SLIDING = Tuning(estimator="sliding-window", initial_observations=3, warm_up_cycles=2, window_size=4)
POINTS = all_shown()
SAME = [shown(LOADS[1])] * 3


def fed(tuning: Tuning, observations: Sequence[Observation], states: States | None = None) -> States:
    """The states after one call for each observation, the clock at the number of calls."""
    states = states or {}
    for number, each in enumerate(observations, 1):
        states, _ = tune(states, {PAIR: [each]}, tuning, float(number))
    return states


def learned(states: States) -> Learned:
    found = states[PAIR].learned
    assert found is not None
    return found


def nearly(timing: ChunkedTiming, rel: float = 1e-3) -> bool:
    return bool(vector_of(timing) == pytest.approx(vector_of(TRUE), rel=rel))


# ---- collecting, and the first fit ---------------------------------------------------------------


@pytest.mark.parametrize("tuning", [EKF, SLIDING], ids=["ekf", "sliding-window"])
def test_it_collects_then_fits(tuning: Tuning) -> None:
    states: States = {}
    for number in (1, 2):
        states, reasons = tune(states, {PAIR: [POINTS[number]]}, tuning, 0.0)
        assert reasons == {PAIR: f"collecting first observations: {number} of 3"}
        assert states[PAIR].learned is None
        assert warming_up(states, tuning)
        assert not warming_up(states, replace(tuning, hold_back=False))
    states, reasons = tune(states, {PAIR: [POINTS[3]]}, tuning, 7.0)
    assert reasons == {}
    assert nearly(learned(states).timing)
    assert (learned(states).updates, learned(states).updated) == (1, 7.0)
    assert 1 < states[PAIR].condition_number < 100
    assert warming_up(states, tuning)
    states, _ = tune(states, {PAIR: [POINTS[4]]}, tuning, 8.0)
    assert not warming_up(states, tuning)
    assert not needs_calibration(states[PAIR], tuning)
    assert states[PAIR].seen == 4
    assert states[PAIR].collected == ()


def test_nothing_is_warming_up_before_anything_is_seen() -> None:
    assert not warming_up({}, EKF)


def test_one_point_again_and_again_gives_the_guess_and_asks_for_a_calibration() -> None:
    tuning = replace(EKF, prior=Prior(change=(1e-9, 1e-9, 1e-9)))
    states = fed(tuning, SAME)
    # Those of the recorded session, before its filter moved them.
    assert vector_of(learned(states).timing) * 1e3 == pytest.approx([10.2002, 0.0353054, 5e-5], rel=1e-4)
    assert ill_conditioned(states[PAIR], tuning)
    assert needs_calibration(states[PAIR], tuning)
    unguarded = replace(EKF, max_condition_number=0.0)
    assert not needs_calibration(fed(unguarded, SAME)[PAIR], unguarded)


def test_a_single_observation_never_tells_the_parameters_apart() -> None:
    tuning = replace(EKF, initial_observations=1)
    states = fed(tuning, SAME[:1])
    assert states[PAIR].condition_number is None
    assert needs_calibration(states[PAIR], tuning)
    assert learned(states).updates == 1


def test_an_empty_call_changes_nothing() -> None:
    states = fed(EKF, POINTS)
    after, reasons = tune(states, {PAIR: [], OTHER: []}, EKF, 0.0)
    assert after == states
    assert set(reasons) == {PAIR, OTHER}


# ---- the filter ----------------------------------------------------------------------------------


def test_the_filter_takes_each_replica_and_counts_the_call_once() -> None:
    states = fed(EKF, POINTS[:3])
    one, _ = tune(states, {PAIR: POINTS[3:4]}, EKF, 9.0)
    both, _ = tune(states, {PAIR: POINTS[3:5]}, EKF, 9.0)
    assert learned(one).updates == learned(both).updates == 2
    assert learned(one).covariance != learned(both).covariance
    assert states[PAIR].seen + 1 == both[PAIR].seen


def test_a_refused_observation_leaves_what_was_learned() -> None:
    states = fed(EKF, POINTS)
    before = learned(states)
    wild = replace(POINTS[0], ttft=3.0, itl=1.0)
    after, reasons = tune(states, {PAIR: [wild]}, EKF, 99.0)
    assert "refused every observation (NIS" in reasons[PAIR]
    assert learned(after) == before
    assert after[PAIR] == replace(states[PAIR], seen=states[PAIR].seen + 1)
    among, reasons = tune(states, {PAIR: [wild, POINTS[0]]}, EKF, 99.0)
    assert reasons == {}
    assert learned(among).updates == before.updates + 1
    assert learned(among).nis < 7.378


def test_outliers_are_taken_while_warming_up() -> None:
    wild = replace(POINTS[0], ttft=3.0, itl=1.0)
    slow = replace(EKF, warm_up_cycles=100)
    states, reasons = tune(fed(slow, POINTS), {PAIR: [wild]}, slow, 0.0)
    assert reasons == {}
    assert learned(states).nis == 0.0
    assert learned(states).timing.alpha > 0.01


def test_the_filter_follows_drift() -> None:
    slower = ChunkedTiming(*(1.5 * vector_of(TRUE)).tolist())
    states = fed(EKF, POINTS)
    states = fed(
        replace(EKF, prior=Prior(deviation=(0.002, 0.001)), warm_up_cycles=99),
        all_shown(LOADS * 6, slower),
        states,
    )
    assert vector_of(learned(states).timing) == pytest.approx(vector_of(slower), rel=0.03)


# ---- the window ----------------------------------------------------------------------------------


def test_the_window_holds_the_last_observations() -> None:
    states = fed(SLIDING, POINTS)
    assert states[PAIR].window == tuple(POINTS[-4:])
    assert nearly(learned(states).timing)
    assert learned(states).covariance is None
    assert states[PAIR].last_fit == learned(states).timing


def test_the_window_forgets() -> None:
    slower = ChunkedTiming(*(1.5 * vector_of(TRUE)).tolist())
    states = fed(replace(SLIDING, residual_threshold=0.0), [*POINTS, *all_shown(LOADS[:4], slower)])
    assert vector_of(learned(states).timing) == pytest.approx(vector_of(slower), rel=1e-3)


def test_an_outlier_in_the_window_is_left_out() -> None:
    tuning = replace(SLIDING, window_size=6)
    wild = replace(POINTS[2], ttft=4 * POINTS[2].ttft, itl=3 * POINTS[2].itl)
    states = fed(tuning, [*POINTS, wild])
    assert nearly(learned(states).timing)
    deaf = fed(replace(tuning, residual_threshold=0.0), [*POINTS, wild])
    assert not nearly(learned(deaf).timing, rel=0.05)


def test_a_window_of_one_point_holds_the_last_fit_and_moves_it_by_one_step() -> None:
    tuning = replace(SLIDING, window_size=1)
    states = fed(tuning, POINTS[:3])
    fitted = states[PAIR].last_fit
    assert fitted is not None
    assert nearly(fitted)
    slow = replace(POINTS[1], ttft=1.5 * POINTS[1].ttft, itl=1.5 * POINTS[1].itl)
    for updates in (2, 3):
        states, reasons = tune(states, {PAIR: [slow]}, tuning, 0.0)
        assert reasons == {}
        assert states[PAIR].last_fit == fitted, "what comes next begins there again"
        moved = vector_of(learned(states).timing) / vector_of(fitted)
        assert 1.01 < moved[0] < 1.2, "slower, as far as one step goes"
        assert moved[1:] == pytest.approx(1.0, abs=0.01), "the point does not tell these"
        assert learned(states).updates == updates


def test_a_poor_first_fit_leaves_the_pair_to_the_filter() -> None:
    tuning = replace(SLIDING, fit_threshold=0.01)
    torn = [POINTS[0], replace(POINTS[1], ttft=1.0, itl=0.2), POINTS[2]]
    states: States = fed(tuning, torn[:2])
    states, reasons = tune(states, {PAIR: torn[2:]}, tuning, 0.0)
    assert reasons == {PAIR: "the first fit is poor: from now on by the filter"}
    assert states[PAIR].filter_only
    assert states[PAIR].learned is None
    assert not warming_up(states, tuning)
    states, reasons = tune(states, {PAIR: [POINTS[3]]}, tuning, 0.0)
    assert reasons == {}
    assert learned(states).covariance is not None
    assert states[PAIR].window == ()


# ---- calibration ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tuning", [EKF, SLIDING], ids=["ekf", "sliding-window"])
def test_a_calibration_replaces_what_was_learned(tuning: Tuning) -> None:
    states = fed(tuning, SAME)
    assert needs_calibration(states[PAIR], tuning)
    states, reasons = calibrate(states, {PAIR: POINTS}, tuning, 50.0)
    assert reasons == {}
    state = states[PAIR]
    assert nearly(learned(states).timing)
    assert (learned(states).updates, learned(states).updated) == (2, 50.0)
    assert (state.seen, state.target, state.calibrated) == (5, 5, True)
    assert not needs_calibration(state, tuning)
    assert not warming_up(states, tuning)
    states, reasons = tune(states, {PAIR: [POINTS[0]]}, tuning, 51.0)
    assert reasons == {}
    assert nearly(learned(states).timing)
    assert learned(states).updates == 3


@pytest.mark.parametrize(
    ("points", "why"),
    [
        (POINTS[:1], "1 usable points: a calibration takes 2 or more"),
        (SAME, "do not tell the parameters apart"),
        (
            [replace(p, ttft=p.ttft * f) for p, f in zip(POINTS, (1, 9, 1, 30, 1), strict=True)],
            "does not explain",
        ),
    ],
)
def test_a_calibration_that_is_not_taken_changes_nothing(points: list[Observation], why: str) -> None:
    tuning = replace(EKF, fit_threshold=0.5)
    states = fed(tuning, SAME)
    after, reasons = calibrate(states, {PAIR: points, OTHER: POINTS}, tuning, 0.0)
    assert why in reasons[PAIR]
    assert after[PAIR] == states[PAIR]
    assert set(after) == {PAIR, OTHER}


def test_a_calibration_with_few_points_fills_the_window_first() -> None:
    tuning = replace(SLIDING, max_condition_number=0.0)
    states, _ = calibrate({}, {PAIR: POINTS[:2]}, tuning, 0.0)
    assert warming_up(states, tuning)
    before = learned(states)
    states, reasons = tune(states, {PAIR: [POINTS[2]]}, replace(tuning, initial_observations=4), 0.0)
    assert reasons == {PAIR: "filling the window: 3 of 4"}
    assert learned(states) == before


# ---- whatever comes ------------------------------------------------------------------------------

ANY = st.builds(
    Observation,
    arrival_rate=st.floats(1e-6, 1e4),
    in_tokens=st.floats(0.01, 9000),
    out_tokens=st.floats(1, 1000),
    max_batch_size=st.integers(1, 300),
    ttft=st.floats(1e-9, 1e6),
    itl=st.floats(1e-9, 1e6),
    queue_size=st.integers(0, 50),
)


WILD = Prior(change=(1e12, 1e12, 1e12), deviation=(1e-12, 1e-12), bounded=False)


@pytest.mark.slow
@pytest.mark.parametrize("prior", [Prior(), WILD], ids=["usual", "wild"])
@pytest.mark.parametrize("tuning", [EKF, SLIDING], ids=["ekf", "sliding-window"])
@given(observations=st.lists(ANY, min_size=3, max_size=4), guarded=st.booleans())
@settings(max_examples=5)
def test_whatever_comes_parameters_are_finite_and_positive(
    tuning: Tuning, prior: Prior, observations: list[Observation], guarded: bool
) -> None:
    tuning = replace(tuning, prior=prior)
    if not guarded:
        tuning = replace(tuning, max_condition_number=0.0, fit_threshold=0.0)
    states = fed(tuning, observations)
    found = states[PAIR].learned
    if found is not None:
        assert all(math.isfinite(x) and x > 0 for x in vector_of(found.timing))
    assert states[PAIR].seen == len(observations)
    assert len(states[PAIR].window) <= tuning.window_size


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 0.0, -1e-3, 1e10])
def test_what_are_no_parameters_cannot_be_kept(wrong: float) -> None:
    with pytest.raises(ValueError, match="are no parameters: each is finite, above 0"):
        Learned(ChunkedTiming(0.01, wrong, 1e-7), 1, 0.0)
    with pytest.raises(ValueError, match="are no parameters: each is finite, above 0"):
        State(target=3, last_fit=ChunkedTiming(wrong, 1e-5, 1e-7))


def test_a_covariance_that_is_not_finite_cannot_be_kept() -> None:
    row = (1.0, math.nan, 0.0)
    with pytest.raises(ValueError, match="are no parameters"):
        Learned(TRUE, 1, 0.0, 0.0, (row, row, row))


def test_an_estimator_takes_over_what_the_other_has_learned() -> None:
    """As after a restart with another one."""
    for before, after in ((EKF, SLIDING), (SLIDING, EKF)):
        states = fed(before, POINTS)
        states = fed(after, POINTS[:3], states)
        assert nearly(learned(states).timing)
        assert learned(states).updates > 3


def test_the_same_gives_the_same() -> None:
    assert fed(SLIDING, POINTS) == fed(SLIDING, POINTS)
    assert fed(EKF, POINTS) == fed(EKF, POINTS)


def test_pairs_do_not_touch_each_other_and_states_are_values() -> None:
    alone = fed(EKF, POINTS)
    kept = dict(alone)
    both, _ = tune(alone, {OTHER: [POINTS[0]]}, EKF, 0.0)
    assert both[PAIR] is alone[PAIR]
    assert alone == kept
    assert OTHER not in alone
    assert both[OTHER] == State(target=3, collected=(POINTS[0],), seen=1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"estimator": "guess"}, "the estimator is 'guess': it is ekf or sliding-window"),
        ({"window_size": 0}, "the window size is 0: it is a number from 1 to 1,000"),
        ({"initial_observations": -1}, "the number of initial observations is -1"),
        ({"warm_up_cycles": 10**6}, "the number of warm-up cycles is 1000000"),
        ({"max_condition_number": math.nan}, "the largest condition number is nan"),
        ({"residual_threshold": -0.1}, "the residual threshold is -0.1"),
        ({"fit_threshold": math.inf}, "the threshold of the first fit is inf"),
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Tuning(**wrong)
