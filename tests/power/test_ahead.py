"""Forecasts of watts on series with known law."""

from __future__ import annotations

import numpy as np
import pytest

from flyball.forecast.history import History
from flyball.power.ahead import HORIZONS, QUANTILES, Ahead, ahead, seen

EVERY = 15.0


def day_of_watts(rng: np.random.Generator, days: float, noise: float = 0.01) -> np.ndarray:
    """A row of 40 kW peak: half idle, the rest with the day, and correlated noise of a share of it."""
    at = np.arange(0.0, days * 86400.0, EVERY)
    level = 30000.0 + 10000.0 * np.sin(2.0 * np.pi * at / 86400.0)
    slow = np.zeros(at.size)
    steps = rng.standard_normal(at.size)
    for i in range(1, at.size):
        slow[i] = 0.99 * slow[i - 1] + np.sqrt(1 - 0.99**2) * steps[i]
    result: np.ndarray = level * (1.0 + noise * slow)
    return result


@pytest.mark.slow
def test_quantiles_of_a_day_cover_what_they_say_and_are_near() -> None:
    series = day_of_watts(np.random.default_rng(7), 2.5)
    minute = np.convolve(series, np.ones(4) / 4, mode="valid")
    history: History | None = None
    passed = np.zeros((len(HORIZONS), len(QUANTILES)))
    error = np.zeros(len(HORIZONS))
    checks = 0
    last = series.size - int(3600 / EVERY) - 4
    for i, watts in enumerate(series[:last]):
        history = seen(history, i * EVERY, float(watts))
        if i < 86400 / EVERY or i % 8:
            continue
        assert history is not None
        checks += 1
        for h, found in enumerate(ahead(history)):
            came = minute[i + int(found.horizon / EVERY) - 3]
            passed[h] += came <= np.array(found.watts)
            error[h] += abs(found.watts[0] / came - 1.0)
    passed /= checks
    assert checks > 900
    assert passed[:3, 1] == pytest.approx(0.90, abs=0.05)
    assert passed[3, 1] == pytest.approx(0.90, abs=0.08)  # a day and a half has few independent hours
    assert (passed[:, 2] >= 0.97).all()
    assert error[1] / checks <= 0.02  # five minutes ahead; the goal is 5 %
    assert history is not None
    for found in ahead(history):
        assert found.coverage[1] == pytest.approx(0.90, abs=0.05)
        assert found.checks > 100


def test_a_constant_draw_stays_what_it_is_and_quantiles_rise() -> None:
    history: History | None = None
    for i in range(400):
        history = seen(history, i * EVERY, 20000.0)
    assert history is not None
    found = ahead(history)
    assert [a.horizon for a in found] == list(HORIZONS)
    for one in found:
        assert one.watts[0] == pytest.approx(20000.0, rel=0.01)
        assert one.watts == tuple(sorted(one.watts))


def test_what_is_planned_comes_on_top_and_nothing_is_below_zero() -> None:
    history: History | None = None
    for i in range(100):
        history = seen(history, i * EVERY, 1000.0)
    assert history is not None
    plain, planned = ahead(history), ahead(history, {60.0: 700.0, 3600.0: -1e9})
    assert planned[0].watts == tuple(w + 700.0 for w in plain[0].watts)
    assert planned[1] == plain[1]
    assert planned[3].watts == (0.0, 0.0, 0.0)


def test_nothing_seen_is_nothing_known() -> None:
    assert seen(None, 0.0, None) is None
    first = seen(None, 0.0, 500.0)
    assert first is not None
    assert isinstance(ahead(first)[0], Ahead)
