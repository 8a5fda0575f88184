"""Power curves: the three given points, and the ends at which the original divides by zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flyball.physics.power import busy, busy_of, power, power_of
from flyball.spec.accelerator import PowerCurve


def watts(idle: float, full: float, mid: float, at: float, utilization: float) -> float:
    return float(power(*(np.array([v]) for v in (idle, full, mid, at, utilization)))[0])


def test_the_given_points_are_met() -> None:
    assert watts(150, 400, 320, 0.6, 0.0) == 150
    assert watts(150, 400, 320, 0.6, 0.6) == pytest.approx(320)
    assert watts(150, 400, 320, 0.6, 1.0) == pytest.approx(400)
    assert watts(150, 400, 320, 0.6, 0.3) == pytest.approx(235)


@pytest.mark.parametrize(
    ("at", "utilization", "expected"), [(0.0, 0.0, 320), (0.0, 0.5, 360), (1.0, 0.5, 235), (1.0, 1.0, 320)]
)
def test_one_piece_alone(at: float, utilization: float, expected: float) -> None:
    assert watts(150, 400, 320, at, utilization) == pytest.approx(expected)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
@example(1e-310, 0.2, 1.0)
def test_more_use_is_never_fewer_watts(at: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert watts(100, 700, 400, at, low) <= watts(100, 700, 400, at, high) + 1e-9


def test_beyond_the_ends_is_the_end() -> None:
    assert watts(100, 700, 400, 0.5, 1.7) == 700
    assert watts(100, 700, 400, 0.5, -1.0) == 100


@pytest.mark.parametrize("at", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("utilization", [0.0, 0.3, 0.8, 1.0])
def test_one_curve_is_as_an_array_of_it(at: float, utilization: float) -> None:
    points = (100.0, 700.0, 500.0, at)
    curve = PowerCurve(*points)
    assert power_of(curve, utilization) == watts(*points, utilization)
    assert busy_of(curve) == busy(*(np.array([v]) for v in points))[0]


def test_busy_is_the_upper_piece_at_no_use_but_idle_at_least() -> None:
    assert busy_of(PowerCurve(100.0, 700.0, 500.0, 0.5)) == 300.0
    assert busy_of(PowerCurve(100.0, 700.0, 300.0, 0.5)) == 100.0
    assert busy_of(PowerCurve(100.0, 700.0, 700.0, 1.0)) == 100.0
