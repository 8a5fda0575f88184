"""h(x), what it takes for one replica alone, and the guesses that start from that."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.calibrate.inferno.guess import guess_from
from flyball.calibrate.inferno.identifiability import condition_number
from flyball.calibrate.inferno.model import Points, loss, predict, residuals, timing_of, vector_of
from flyball.spec.calibration import Observation
from flyball.spec.profile import ChunkedTiming
from tests.calibrate.inferno.points import LOADS, TRUE, all_shown, shown

ALPHA = st.floats(1e-3, 0.1)
BETA = st.floats(1e-6, 1e-3)
GAMMA = st.floats(1e-9, 1e-5)


def test_an_idle_replica_takes_what_the_formulas_say() -> None:
    """alpha + beta L + gamma L + one decode; L = 100, m = 10 by hand."""
    one = shown((1e-6, 100.0, 10.0))
    itl = 0.008 + 1.6e-5 + 5e-7 * (100 + 5.5)
    # A request alone shares its work evenly over its 11 iterations.
    prefill = 0.008 + (1.6e-5 + 5e-7) * 100
    stay = 11 * 0.008 + 100 * (1.6e-5 + 5e-7) + 10 * (1.6e-5 + 5e-7 * 105.5)
    assert one.itl == pytest.approx(itl, rel=0.02)
    assert one.ttft + 9 * one.itl == pytest.approx(stay, rel=1e-4)
    assert one.ttft == pytest.approx(prefill + itl, rel=0.05)


@given(st.lists(st.tuples(ALPHA, BETA, GAMMA), min_size=1, max_size=5), st.integers(0, 20))
def test_many_sets_at_once_are_as_one_after_the_other(
    rows: list[tuple[float, float, float]], queue: int
) -> None:
    points = Points.of([shown(load, queue=queue) for load in LOADS])
    x = np.array(rows)
    together = predict(x, points)
    assert together.shape == (len(rows), len(LOADS), 2)
    for row, found in zip(x, together, strict=True):
        assert np.array_equal(predict(row[None], points)[0], found, equal_nan=True)
        assert (found > 0).all()


def test_without_parameters_above_zero_there_is_no_answer() -> None:
    points = Points.of(all_shown())
    wrong = [
        [0.0, 1.6e-5, 5e-7],
        [0.008, -1.0, 5e-7],
        [0.008, np.nan, 5e-7],
        [np.inf, 1.6e-5, 5e-7],
        [2e9] * 3,
    ]
    x = np.array([*wrong, vector_of(TRUE)])
    found = predict(x, points)
    assert np.isnan(found[:-1]).all()
    assert np.isfinite(found[-1]).all()
    assert loss(x, points).tolist() == [math.inf] * len(wrong) + [pytest.approx(0.0, abs=1e-25)]


def test_residuals_are_relative() -> None:
    points = Points.of([shown(LOADS[0])])
    doubled = residuals(2 * vector_of(TRUE)[None], Points.of([shown((1e-6, 512.0, 128.0))]))
    assert doubled == pytest.approx(1.0, rel=1e-6)
    assert residuals(vector_of(TRUE)[None], points) == pytest.approx(0.0, abs=1e-12)


def test_a_flood_has_an_answer_too() -> None:
    assert shown((1e9, 512.0, 128.0)).itl > shown((900.0, 512.0, 128.0)).itl


def test_a_vector_and_its_parameters() -> None:
    assert timing_of(vector_of(TRUE)) == TRUE


# ---- guesses -------------------------------------------------------------------------------------


def alone(true: ChunkedTiming, prompt: float, output: float) -> Observation:
    """What the formulas of the guess say."""
    ttft = true.alpha + (true.beta + true.gamma) * prompt
    itl = true.alpha + true.beta + true.gamma * (prompt + (output + 1) / 2)
    return Observation(1.0, prompt, output, 64, ttft, itl)


@given(ALPHA, BETA, GAMMA, st.floats(2, 4000), st.floats(1, 4000))
def test_with_the_true_gamma_the_guess_is_true(
    alpha: float, beta: float, gamma: float, prompt: float, output: float
) -> None:
    true = ChunkedTiming(alpha, beta, gamma)
    found = guess_from(ChunkedTiming(1.0, 1.0, gamma), alone(true, prompt, output))
    if found.alpha == 1.0:  # rounding may leave nothing of a beta that hardly shows
        assert beta * prompt < 1e-9 * alpha
        return
    assert found.gamma == gamma
    assert found.alpha == pytest.approx(alpha, rel=1e-6)
    assert found.beta == pytest.approx(beta, rel=1e-6, abs=1e-12)


def test_the_seed_stands_in_for_a_guess_that_makes_no_sense() -> None:
    assert guess_from(TRUE, Observation(1.0, 512.0, 128.0, 64, 0.001, 0.01)) is TRUE
    assert guess_from(TRUE, Observation(1.0, 1.0, 128.0, 64, 0.03, 0.01)) is TRUE


def test_the_seed_stands_in_for_a_guess_beyond_all_measure() -> None:
    assert guess_from(TRUE, Observation(1.0, 1.0 + 1e-15, 1.0, 64, 1e6, 0.01)) is TRUE


# ---- identifiability -----------------------------------------------------------------------------


def test_different_points_tell_the_parameters_apart_and_one_does_not() -> None:
    x = vector_of(TRUE)
    assert 1.0 <= condition_number(x, Points.of(all_shown())) < 20
    assert condition_number(x, Points.of([shown(LOADS[0])] * 4)) > 1e9
    assert condition_number(x, Points.of([shown(LOADS[0])])) == math.inf
    assert condition_number(-x, Points.of(all_shown())) == math.inf


def test_the_condition_number_does_not_depend_on_the_unit_or_on_what_is_off_evenly() -> None:
    points = all_shown()
    x = vector_of(TRUE)
    slower = ChunkedTiming(*(10 * x).tolist())
    tenth = [(rate / 10, prompt, output) for rate, prompt, output in LOADS]
    assert condition_number(10 * x, Points.of(all_shown(tenth, slower))) == pytest.approx(
        condition_number(x, Points.of(points)), rel=1e-6
    )
