"""Beliefs: exact where there is no noise, never less sure for having seen, and moved only where seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from flyball.calibrate.belief import Belief, FloatArray, fitted, predicted
from flyball.calibrate.design import design, running
from flyball.physics import roofline

TRUE = np.log([10e-3, 40e-6, 30e-9, 50e-6, 8e-3])
EXPERTS = (64, 4)


def belief(size: int = 5, off: float = 0.5, spread: float = 1.0) -> Belief:
    shape = EXPERTS if size == 5 else (0, 0)
    return Belief(TRUE[:size] + off, spread * roofline.COVARIANCE[:size, :size], 0.03, *shape)


def grid(size: int = 5) -> FloatArray:
    """(15, size): five loads of three shapes."""
    n = np.array([1.0, 4.0, 16.0, 64.0, 200.0])
    shapes = ((200, 800), (4000, 300), (1000, 1000))
    return np.concatenate([design(n, *shape, *(EXPERTS if size == 5 else (0, 0))) for shape in shapes])


# ---- design --------------------------------------------------------------------------------------


def test_columns_by_hand() -> None:
    found = design(8, 1000, 500, 64, 4)
    q = 60 / 64
    assert found == pytest.approx(np.array([[1, 8, 8 * 1250, 16, q - q**8]]))
    assert design([1, 2], 100, [10, 20]).shape == (2, 4)
    assert design(0.5, 100, 10, 64, 4)[0, 4] == 0.0


def test_no_operating_point_without_requests_or_output() -> None:
    for point in ((0, 1, 1), (1, 1, 0), (1, -1, 1), (np.nan, 1, 1)):
        with pytest.raises(ValueError, match="leave it out"):
            design(*point)


def test_who_decodes_by_littles_law() -> None:
    assert running(10, 1.0, 0.03, 100) == pytest.approx(7.5)


# ---- fit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("off", [-1.0, 0.5, 2.0])
def test_parameters_are_found_again_without_noise(size: int, off: float) -> None:
    X = grid(size)
    after = fitted(belief(size, off), X, X @ np.exp(TRUE[:size]), sigma=1e-6)
    assert after.mean == pytest.approx(TRUE[:size], abs=1e-5)
    assert predicted(after, X).time == pytest.approx(X @ np.exp(TRUE[:size]), rel=1e-6)


@given(st.integers(0, 10**6), st.integers(1, 12))
def test_the_mode_is_the_mode(seed: int, points: int) -> None:
    """Beside a general minimiser, on noisy times at random operating points."""
    rng = np.random.default_rng(seed)
    X = grid()[rng.integers(0, len(grid()), points)]
    times = X @ np.exp(TRUE) * np.exp(rng.normal(0, 0.05, points))
    before = belief(off=0.3)
    after = fitted(before, X, times)
    inverse = np.linalg.inv(before.covariance)

    def cost(z: FloatArray) -> float:
        r = np.log(X @ np.exp(z) / times) / before.residual
        return float(r @ r + (z - before.mean) @ inverse @ (z - before.mean))

    best = min(minimize(cost, start).fun for start in (before.mean, after.mean))
    assert cost(after.mean) <= best + 1e-4 * (1 + best)


@given(st.integers(0, 10**6), st.integers(0, 12), st.booleans())
def test_nothing_seen_makes_less_sure(seed: int, points: int, robust: bool) -> None:
    """The prior's covariance less the posterior's is positive semidefinite; predictions are no wider."""
    rng = np.random.default_rng(seed)
    X = grid()[rng.integers(0, len(grid()), points)]
    times = X @ np.exp(TRUE) * np.exp(rng.normal(0, 0.5, points))
    before = belief()
    after = fitted(before, X, times, robust=robust)
    assert np.linalg.eigvalsh(before.covariance - after.covariance).min() > -1e-9
    assert np.linalg.eigvalsh(after.covariance).min() > 0


@given(st.integers(0, 14), st.floats(0.5, 2.0))
def test_one_operating_point_moves_only_what_it_can(point: int, times: float) -> None:
    """Along covariance x slopes; whatever is orthogonal to that in the prior's metric stays."""
    X = grid()[[point]]
    before = belief()
    after = fitted(before, X, X @ np.exp(before.mean) * times)
    slopes = X[0] * np.exp(after.mean)
    direction = before.covariance @ (slopes / slopes.sum())
    moved = after.mean - before.mean
    assert moved == pytest.approx(direction * (moved @ direction) / (direction @ direction), abs=1e-4)
    still = np.linalg.svd(slopes[None])[2][1:]  # the prior is not narrowed across the slopes
    inverse = np.linalg.inv(after.covariance) - np.linalg.inv(before.covariance)
    assert np.abs(still @ inverse @ still.T).max() < 1e-6 * np.abs(inverse).max()


def test_what_is_known_exactly_stays() -> None:
    before = belief()
    covariance = before.covariance.copy()
    covariance[2], covariance[:, 2] = 0.0, 0.0
    before = Belief(before.mean, covariance, 0.03, *EXPERTS)
    after = fitted(before, grid(), grid() @ np.exp(TRUE))
    assert after.mean[2] == before.mean[2]
    assert after.sigmas[2] < 1e-7
    assert after.mean[0] != before.mean[0]


def test_an_outlier_counts_less_when_robust() -> None:
    X = grid()
    times = X @ np.exp(TRUE)
    times[7] *= 3.0
    plain, robust = (fitted(belief(off=0.1), X, times, robust=r) for r in (False, True))
    errors = [np.abs(predicted(b, X).time / (X @ np.exp(TRUE)) - 1).max() for b in (plain, robust)]
    assert errors[1] < 0.3 * errors[0]


def test_no_observation_leaves_the_belief() -> None:
    before = belief()
    assert fitted(before, np.empty((0, 5)), np.empty(0)) is before


@pytest.mark.parametrize("time", [0.0, -1.0, np.nan, np.inf])
def test_times_that_are_none(time: float) -> None:
    with pytest.raises(ValueError, match="not positive and finite"):
        fitted(belief(), grid()[:1], np.array([time]))


# ---- prediction ----------------------------------------------------------------------------------


def test_intervals_cover_what_is_drawn_from_the_belief() -> None:
    rng = np.random.default_rng(5)
    before = belief(off=0.0, spread=0.1)
    X = grid()
    time, sigma = predicted(before, X)
    drawn = rng.multivariate_normal(before.mean, before.covariance, 4000)
    logs = np.log(X @ np.exp(drawn).T) + rng.normal(0, before.residual, (len(X), 4000))
    inside = np.mean(np.abs(logs - np.log(time)[:, None]) < 1.2816 * sigma[:, None])
    assert inside == pytest.approx(0.8, abs=0.03)


def test_sure_predictions_leave_the_residual() -> None:
    sure = Belief(TRUE, np.zeros((5, 5)), 0.03, *EXPERTS)
    assert predicted(sure, grid()).sigma == pytest.approx(np.full(len(grid()), 0.03))
