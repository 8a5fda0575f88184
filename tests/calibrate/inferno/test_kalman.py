"""The filter: by hand, and what must hold whatever it sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.calibrate.inferno.kalman import GATE, Estimate, filter_around, fresh_estimate, step
from flyball.calibrate.inferno.model import Points, predict, vector_of
from flyball.spec.calibration import Observation, Prior
from flyball.spec.profile import ChunkedTiming
from tests.calibrate.inferno.points import LOADS, TRUE, all_shown, shown

PRIOR = Prior()
SHARP = Prior(change=(0.15, 0.15, 0.15), deviation=(0.001, 0.0002))
FACTOR = st.floats(0.4, 2.5)


def off(*factors: float) -> ChunkedTiming:
    return ChunkedTiming(*(vector_of(TRUE) * np.array(factors)).tolist())


def test_a_step_by_the_book() -> None:
    """Joseph's form and the information form give the same as (I - K H) P."""
    start = off(1.2, 1.2, 1.2)
    made = filter_around(start, PRIOR)
    estimate = fresh_estimate(start, made)
    found = step(made, estimate, shown(LOADS[1]), gate=False)
    x, P = vector_of(start), estimate.covariance + made.process
    H = np.empty((2, 3))
    for j in range(3):
        up, down = x.copy(), x.copy()
        up[j], down[j] = 1.01 * x[j], 0.99 * x[j]
        h = predict(np.array([up, down]), Points.of([shown(LOADS[1])]))[:, 0]
        H[:, j] = (h[0] - h[1]) / (0.02 * x[j])
    R = made.measurement
    information = np.linalg.inv(np.linalg.inv(P) + H.T @ np.linalg.inv(R) @ H)
    K = information @ H.T @ np.linalg.inv(R)
    assert found.estimate.x == pytest.approx(x + K @ found.innovation, rel=1e-9)
    assert found.estimate.covariance == pytest.approx(information, rel=1e-6)
    S = H @ P @ H.T + R
    assert found.nis == pytest.approx(found.innovation @ np.linalg.inv(S) @ found.innovation, rel=1e-9)


def test_the_noise_is_that_of_the_prior() -> None:
    made = filter_around(TRUE, PRIOR)
    assert np.sqrt(np.diag(made.process)) == pytest.approx(0.15 * vector_of(TRUE))
    assert np.sqrt(np.diag(made.measurement)) == pytest.approx([0.2 * 0.5 / 1.96, 0.04 * 0.5 / 1.96])
    assert made.high / made.low == pytest.approx(100.0)
    unbounded = filter_around(TRUE, replace(PRIOR, bounded=False))
    assert np.isinf(unbounded.high).all()


@given(FACTOR, FACTOR, FACTOR)
@settings(max_examples=20)
def test_with_an_exact_model_it_finds_the_parameters(alpha: float, beta: float, gamma: float) -> None:
    """Begun anew around what it has, as a service does call by call."""
    timing = off(alpha, beta, gamma)
    estimate = None
    points = all_shown()
    for _ in range(12):
        for point in points:
            made = filter_around(timing, SHARP)
            estimate = estimate or fresh_estimate(timing, made)
            estimate = step(made, estimate, point, gate=False).estimate
            timing = ChunkedTiming(*estimate.x.tolist())
    assert vector_of(timing) == pytest.approx(vector_of(TRUE), rel=0.01)


@given(
    st.lists(
        st.tuples(st.sampled_from(LOADS), st.floats(1e-4, 100.0), st.floats(1e-5, 100.0), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_it_sees_parameters_stay_positive_and_within_bounds(
    seen: list[tuple[tuple[float, float, float], float, float, bool]],
) -> None:
    made = filter_around(TRUE, PRIOR)
    estimate = fresh_estimate(TRUE, made)
    for load, ttft, itl, gate in seen:
        found = step(made, estimate, replace(shown(load), ttft=ttft, itl=itl), gate=gate)
        if not found.accepted:
            assert found.estimate is estimate, "what is refused changes nothing"
        if gate and found.accepted:
            assert found.nis < GATE
        estimate = found.estimate
        assert (made.low <= estimate.x).all()
        assert (estimate.x <= made.high).all()
        assert (estimate.x > 0).all()
        assert np.linalg.eigvalsh(estimate.covariance / np.outer(estimate.x, estimate.x)).min() > -1e-9


def test_an_outlier_is_refused_behind_the_gate_only() -> None:
    made = filter_around(TRUE, PRIOR)
    estimate = fresh_estimate(TRUE, made)
    wild = replace(shown(LOADS[0]), ttft=2.0, itl=0.5)
    assert not step(made, estimate, wild).accepted
    assert step(made, estimate, wild).nis > GATE
    assert step(made, estimate, wild, gate=False).accepted


def test_what_the_model_cannot_explain_is_refused() -> None:
    made = filter_around(TRUE, replace(PRIOR, bounded=False))
    lost = Estimate(-vector_of(TRUE), made.process)
    found = step(made, lost, shown(LOADS[0]), gate=False)
    assert not found.accepted
    assert found.estimate is lost


def test_what_is_beyond_all_measure_is_refused() -> None:
    """Without bounds, and with a prior that lets everything happen in one step."""
    made = filter_around(TRUE, Prior(change=(1e150, 1e150, 1e150), deviation=(1e-150, 1e-150), bounded=False))
    estimate = fresh_estimate(TRUE, made)
    for seen in (1e-300, 1e300):
        found = step(made, estimate, replace(shown(LOADS[0]), ttft=seen, itl=seen), gate=False)
        assert not found.accepted
        assert found.estimate is estimate


def test_an_observation_that_fits_makes_it_surer() -> None:
    made = filter_around(TRUE, PRIOR)
    before = fresh_estimate(TRUE, made)
    after = step(made, before, shown(LOADS[4])).estimate
    assert after.x == pytest.approx(before.x, rel=1e-9)
    predicted = before.covariance + made.process
    assert (np.diag(after.covariance) < np.diag(predicted)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"change": (0.1, 0.0, 0.1)},
        {"deviation": (float("nan"), 0.1)},
        {"timing": ChunkedTiming(0.01, -1.0, 1e-6)},
    ],
)
def test_a_prior_that_makes_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="each is a finite number above 0"):
        Prior(**wrong)  # type: ignore[arg-type]


def test_observations_have_no_queue_unless_told() -> None:
    assert Observation(1.0, 1.0, 1.0, 1, 1.0, 1.0).queue_size == 0
