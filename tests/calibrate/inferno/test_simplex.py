"""Nelder and Mead's simplex beside SciPy's, and on functions whose lowest point is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from flyball.calibrate.inferno.simplex import minimise

COORDINATES = st.lists(st.floats(-2, 2), min_size=2, max_size=4)


def bowl(at: Any, weights: Any) -> Any:
    return lambda x: (weights * np.square(x - at)).sum(axis=-1)


def rosenbrock(x: Any) -> Any:
    return 100.0 * (x[..., 1] - x[..., 0] ** 2) ** 2 + (1.0 - x[..., 0]) ** 2


@given(COORDINATES, st.floats(0.1, 30))
def test_the_bottom_of_a_bowl(at: list[float], steep: float) -> None:
    goal, weights = np.array(at), np.linspace(1.0, steep, len(at))
    found = minimise(bowl(goal, weights), np.ones(len(at)), evaluations=3000)
    assert found.value == pytest.approx(0.0, abs=1e-8)
    assert found.x == pytest.approx(goal, abs=1e-3)


@given(COORDINATES, st.floats(0.1, 30))
def test_as_low_as_scipy(at: list[float], steep: float) -> None:
    goal, weights = np.array(at), np.linspace(1.0, steep, len(at))
    start = np.ones(len(at))

    def curved(x: Any) -> Any:
        return bowl(goal, weights)(x) + 0.1 * np.cos(x - goal).sum(axis=-1)

    there = optimize.minimize(
        curved, start, method="Nelder-Mead", options={"adaptive": True, "xatol": 1e-6, "fatol": 1e-10}
    )
    assert minimise(curved, start, evaluations=3000).value <= there.fun + 1e-8


def test_the_bent_valley() -> None:
    found = minimise(rosenbrock, np.array([-1.2, 1.0]), evaluations=1000)
    assert found.x == pytest.approx([1.0, 1.0], abs=1e-4)
    assert found.evaluations < 1000


def test_the_first_steps_by_hand() -> None:
    """In one dimension: 0 and 0.05; reflected 0.1, expanded by 3 to 0.2, which is lower still: taken."""
    found = minimise(lambda x: -x[:, 0], np.array([0.0]), evaluations=3)
    assert (found.x.tolist(), found.value) == ([pytest.approx(0.2)], pytest.approx(-0.2))
    assert found.evaluations == 4


def test_it_stops_by_counted_evaluations() -> None:
    counted = [minimise(rosenbrock, np.array([-1.2, 1.0]), evaluations=n) for n in (3, 20, 100)]
    assert [each.evaluations <= n + 4 for each, n in zip(counted, (3, 20, 100), strict=True)] == [True] * 3
    assert counted[0].value > counted[1].value > counted[2].value


def test_it_stops_where_nothing_gets_better() -> None:
    found = minimise(lambda x: np.zeros(len(x)), np.array([1.0, 1.0]), evaluations=10_000)
    assert found.value == 0.0
    assert found.evaluations < 1000


def test_it_keeps_out_of_what_has_no_value() -> None:
    def walled(x: Any) -> Any:
        return np.where(x[:, 0] > 0, np.abs(x).sum(axis=1), np.inf)

    found = minimise(walled, np.array([1.0, 1.0]), evaluations=2000)
    assert found.x[0] > 0
    assert found.value < 1e-3
    nowhere = minimise(lambda x: np.full(len(x), np.inf), np.array([1.0, 1.0]))
    assert nowhere.value == np.inf
    assert np.isfinite(nowhere.x).all()


def test_it_changes_nothing_it_was_given() -> None:
    start = np.array([-1.2, 1.0])
    minimise(rosenbrock, start)
    assert start.tolist() == [-1.2, 1.0]
