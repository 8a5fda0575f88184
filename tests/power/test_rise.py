"""S(tau) on series whose rises are known, and the threshold that follows."""

from __future__ import annotations

from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.power.rise import (
    LEARNED,
    RARE,
    START,
    STEP,
    Rises,
    learned,
    quantile_of,
    rise,
    threshold,
    to_shed,
)

BUDGET = 40000.0


def run(series: list[float] | np.ndarray, tau: float = 45.0, every: float = 15.0) -> Rises:
    rises = Rises(tau)
    for i, watts in enumerate(series):
        rises = learned(rises, i * every, float(watts))
    return rises


def test_a_ramp_rises_by_its_slope_times_tau() -> None:
    found = quantile_of(run([10.0 * i for i in range(400)]), 0.9)
    assert 30.0 <= found <= 30.0 * STEP


def test_a_rise_counts_from_its_lowest_point_within_tau_only() -> None:
    found = run([10.0, 500.0, 500.0, 500.0, 500.0, 300.0, 400.0, 420.0, 500.0])
    assert found.largest == (45.0, 490.0)  # the newest of equals
    assert found.samples[0] == (75.0, 300.0)
    later = run([100.0] + [500.0] * 6 + [510.0])
    assert sum(n for p, n in later.days[-1][1].items() if p > 60) == 3  # 400 W for 45 s, not for ever


def test_falls_and_gaps_are_no_rises() -> None:
    assert quantile_of(run([1000.0 - i for i in range(300)]), 0.9999) == 0.0
    rises = learned(run([100.0] * 10), 5000.0, 900.0)
    assert quantile_of(rises, 0.9999) == 0.0


def test_readings_further_apart_than_tau_still_show_rises() -> None:
    found = run([100.0, 400.0], tau=5.0, every=15.0)
    assert found.largest == (15.0, 300.0)


@pytest.mark.parametrize("quantile", [0.9, 0.99, 0.999])
def test_the_share_of_rises_above_the_quantile_is_as_said(quantile: float) -> None:
    """White noise of deviation d on a base: its steps are normal with sqrt(2) d."""
    series = 20000.0 + 1000.0 * np.random.default_rng(5).standard_normal(40000)
    s = quantile_of(run(series[:20000], tau=14.0), quantile)
    law = 1000.0 * np.sqrt(2.0) * NormalDist().inv_cdf(quantile)
    assert 0.97 * law <= s <= 1.05 * STEP * law
    above = np.count_nonzero(np.diff(series[20000:]) > s)
    expected = (1 - quantile) * 20000
    assert above <= expected + 3.0 * np.sqrt(expected)


def test_the_start_share_that_is_kept_free_goes_as_an_hour_is_seen() -> None:
    assert rise(run([]), 0.9999, BUDGET) == START * BUDGET
    half = run([1000.0] * 121)
    assert half.seen == LEARNED / 2
    assert rise(half, 0.9999, BUDGET) == pytest.approx(START / 2 * BUDGET)
    long = run([1000.0] * int(LEARNED / 15 + 10))
    assert rise(long, 0.9999, BUDGET, floor=0.03) == pytest.approx(0.03 * BUDGET)


def test_a_new_largest_rise_counts_at_once_and_for_an_hour() -> None:
    rises = run([1000.0] * 60000)
    at = 60000 * 15.0
    rises = learned(rises, at, 9000.0)
    assert rise(rises, 0.999, BUDGET) == 8000.0
    assert rise(rises, 0.99, BUDGET) == pytest.approx(0.03 * BUDGET)  # that is seen more often
    for i in range(1, 250):
        rises = learned(rises, at + 15.0 * i, 1000.0)
    assert rise(rises, 0.995, BUDGET) == pytest.approx(0.03 * BUDGET)
    assert rise(rises, 0.999999, BUDGET) >= 8000.0  # the quantile knows it still


def test_a_week_is_remembered_and_no_more() -> None:
    rises = Rises(45.0)
    for day in range(10):
        for i in range(10):
            rises = learned(rises, day * 86400.0 + 15.0 * i, 100.0 + (900.0 if day == 0 and i == 5 else 0.0))
    assert len(rises.days) == 7
    assert quantile_of(rises, 0.9999) == 0.0


def test_the_threshold_and_what_must_go_are_two_sides_of_one_figure() -> None:
    theta = threshold(BUDGET, 0.02, 2000.0)
    assert theta == BUDGET * 0.98 - 2000.0 == 37200.0
    assert to_shed(38000.0, BUDGET, 0.02, 2000.0) == pytest.approx(38000.0 - theta)
    assert to_shed(37000.0, BUDGET, 0.02, 2000.0) == threshold(100.0, 0.0, 500.0) == 0.0


@given(
    st.lists(st.floats(0.0, 1e5), min_size=2, max_size=80),
    st.floats(0.9, 0.9999),
    st.floats(1000.0, 1e6),
)
def test_s_is_never_below_floor_and_the_largest_rise_just_seen(
    series: list[float], quantile: float, budget: float
) -> None:
    rises = run(series)
    s = rise(rises, quantile, budget)
    steps = [max(b - a, 0.0) for a, b in pairwise(series)]
    start = START * budget * (1.0 - rises.seen / LEARNED)
    assert s >= max([start, *(steps if quantile >= RARE else ())]) - 1e-9
    assert s <= max(start, max(series) * STEP, 1.0) + 1e-6
    assert threshold(budget, 0.01, s) <= budget
