"""What is governed and what is left, of draws whose parts are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.power.balance import LEAST, MOST, Balance, balanced


def run(series: list[tuple[float, float]], every: float = 15.0) -> Balance:
    found = Balance()
    for i, (watts, governed) in enumerate(series):
        found = balanced(found, i * every, watts, governed)
    return found


def test_the_rest_is_without_the_noise_of_readings() -> None:
    noise = np.random.default_rng(3).uniform(-900.0, 900.0, 40)
    found = run([(5000.0 + 2000.0 + n, 2000.0) for n in noise])
    assert found.gain == 1.0
    assert found.rest == pytest.approx(5000.0, abs=500.0)
    assert found.level == pytest.approx(7000.0, abs=700.0)


@given(st.floats(LEAST, MOST), st.floats(0.0, 1e4), st.floats(0.3, 0.7))
def test_the_gain_is_learned_where_what_is_governed_changes_by_much(
    gain: float, rest: float, less: float
) -> None:
    steps = [4000.0, 4000.0 * less] * 6
    found = run([(rest + gain * governed, governed) for governed in steps for _ in range(12)])
    assert found.gain == pytest.approx(gain, rel=0.01)
    assert found.rest == pytest.approx(rest, abs=0.01 * 4000.0 + 1e-6)


def test_small_changes_and_those_of_others_at_the_same_time_teach_little() -> None:
    small = run([(5000.0 + 1.4 * g, g) for g in [4000.0, 3700.0] * 6 for _ in range(12)])
    assert small.gain == 1.0
    wild = run([(5000.0, 4000.0)] * 12 + [(20000.0, 3000.0)] * 12)
    assert LEAST <= wild.gain <= MOST


def test_what_others_drew_is_remembered_for_ten_minutes_and_silence_teaches_nothing() -> None:
    found = run([(3000.0, 1000.0)] * 8 + [(2500.0, 1000.0)] * 8)
    assert found.most == pytest.approx(2000.0)
    assert found.rest == pytest.approx(1500.0)
    later = balanced(found, 15 * 15.0 + 1000.0, None, 1000.0)
    assert later.level is None
    assert later.most == 0.0
