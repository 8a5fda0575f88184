"""Forecasts against what came, on series with known law, on recorded ones, and beside statsmodels."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.forecast import DAY_STEPS, HORIZONS, constant, diurnal, histories, poisson, recorded, score
from benchmarks.forecast import staircase as steps_of
from flyball.forecast.history import ForecastSettings, History
from flyball.forecast.members import advance
from flyball.forecast.observe import coverage, observe
from flyball.forecast.predict import forecast
from tests.conftest import shared_dir

AHEAD = 115.0
LONG = ForecastSettings(horizons=(60.0, 120.0, 300.0))


def last(series: np.ndarray, settings: ForecastSettings | None = None) -> History:
    for history in histories(series, settings or ForecastSettings()):
        found = history
    return found


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.2, 5.0, 200.0])
def test_quantiles_of_a_constant_load_cover_what_they_say(rate: float) -> None:
    found = score(constant(np.random.default_rng(11), rate), warm=480, every=4)
    for h, horizon in enumerate(HORIZONS[:4]):
        assert found.covered[h, 2] == pytest.approx(0.90, abs=0.03), horizon
        assert found.covered[h, 3] == pytest.approx(0.95, abs=0.03), horizon
        assert found.ratio[h] < 0.85, horizon  # the mean of long is better than that of the last minute


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4])
def test_quantiles_of_days_with_bursts_cover_what_they_say_and_the_season_pays(seed: int) -> None:
    series = diurnal(np.random.default_rng(seed), days=3)
    found = score(series, warm=DAY_STEPS, every=4)
    assert found.covered[:, 2] == pytest.approx(0.90, abs=0.03)
    assert found.covered[:, 3] == pytest.approx(0.95, abs=0.03)
    assert found.ratio[-1] < 0.85  # an hour ahead, over persistence
    assert (found.ratio < 1.1).all()
    for counted in coverage(last(series)):
        assert counted.checks > 400
        assert counted.shares[2] == pytest.approx(0.90, abs=0.03)
        assert counted.shares[3] == pytest.approx(0.95, abs=0.03)


@pytest.mark.slow
def test_a_quiet_day_is_known_by_heart_the_next_day() -> None:
    at = np.arange(0.0, 2 * 86400.0, 15.0)
    series = 50.0 * (1.0 + 0.8 * np.sin(2.0 * np.pi * at / 86400.0))
    found = score(series, warm=DAY_STEPS + 600, every=20)
    assert found.ratio[-1] < 0.2
    first = score(series[:DAY_STEPS], warm=600, every=20)
    assert first.ratio[-1] > 0.4  # what it falls back on: the trend


def test_measured_coverage_is_of_the_errors_that_came() -> None:
    rng = np.random.default_rng(5)
    calm, wild = np.full(1500, 20.0), 20.0 * np.exp(rng.normal(0.0, 0.4, 300)).repeat(8)
    before = coverage(last(calm, LONG))[1]
    assert before.shares[3] > 0.99  # no errors: never above
    series = np.concatenate([calm, wild])
    shares = [coverage(h)[1].shares[3] for h in histories(series, LONG)]
    assert min(shares[1500:]) < before.shares[3] - 0.01  # the first wild ones were not foreseen
    assert shares[-1] == pytest.approx(0.95, abs=0.04)  # the quantile has followed
    made = forecast(last(series, LONG), (120.0,), (0.95,), LONG)
    assert made.plain[0][0] > 26.0


def test_a_trend_is_followed_and_damped() -> None:
    history = last(np.linspace(10.0, 40.0, 400))
    slope = 30.0 / (400 * 15.0)
    near, far = forecast(history, (120.0, 36_000.0), (0.5,)).expected
    assert near == pytest.approx(40.0 + 120.0 * slope, rel=0.03)
    assert far < 40.0 + 2.0 * 600.0 * slope  # ten hours ahead: worth the damping time
    down = forecast(last(np.linspace(40.0, 10.0, 400)), (300.0,), (0.5, 0.9))
    assert down.expected[0] < down.rate
    assert min(down.provision[0]) >= down.rate


def test_after_a_step_the_next_one_is_in_reserve() -> None:
    series = steps_of(np.random.default_rng(2))
    off = ForecastSettings(burst_share=0.0)
    every, without = list(histories(series)), list(histories(series, off))
    first = forecast(every[330 // 15 - 1], (AHEAD,), (0.9,))
    assert first.reserve[0] == 0.0
    for stage, rate in ((1, 4.0), (2, 6.0), (3, 8.0)):
        place = (330 + 360 * stage) // 15 - 1
        made = forecast(every[place], (AHEAD,), (0.8, 0.9))
        assert 1.4 < made.reserve[0] < 2.8
        assert made.provision[0][1] >= made.rate + made.reserve[0]
        assert made.provision[0][1] > rate + 1.4, "the step to come fits"
        assert forecast(without[place], (AHEAD,), (0.9,), off).reserve[0] == 0.0


def test_a_reserve_is_of_the_smaller_of_rate_and_share_and_is_forgotten() -> None:
    steps = [100.0] * 100 + [120.0] * 40 + [10.0] * 40
    history = last(np.array(steps))
    high = forecast(last(np.array(steps[:140])), (AHEAD,), (0.9,))
    low = forecast(history, (AHEAD,), (0.9,))
    assert high.reserve[0] == pytest.approx(20.0, rel=0.25)
    assert low.reserve[0] < 2.5  # a fifth of ten, not twenty
    later = forecast(last(np.array(steps[:140] + [120.0] * 180)), (AHEAD,), (0.9,))
    assert later.reserve[0] == pytest.approx(high.reserve[0] / 2.0, rel=0.02)  # one half-life


def test_a_small_jump_does_not_revive_a_large_one() -> None:
    steps = [100.0] * 100 + [200.0] * 400 + [100.0] * 400 + [130.0] * 20
    made = forecast(last(np.array(steps), LONG), (120.0,), (0.9,), LONG)
    assert made.reserve[0] == pytest.approx(30.0, rel=0.2)  # of the 100 of three hours ago, 6 are left
    low = forecast(last(np.array(steps + [10.0] * 20), LONG), (120.0,), (0.9,), LONG)
    assert low.reserve[0] == pytest.approx(3.0, rel=0.2)  # a share of 0.3, not of 1


@pytest.mark.parametrize("rate", [0.1, 5.0, 200.0])
def test_counting_noise_is_no_jump(rate: float) -> None:
    history = last(constant(np.random.default_rng(8), rate, 2000), LONG)
    assert forecast(history, (AHEAD,), (0.9,), LONG).reserve[0] < 0.35 * rate


def test_quantiles_between_and_above_the_learned_ones_are_in_order() -> None:
    history = last(poisson(np.random.default_rng(9), np.linspace(5.0, 20.0, 600)))
    levels = (0.5, 0.6, 0.8, 0.85, 0.9, 0.93, 0.95, 0.99, 0.999)
    plain = forecast(history, (AHEAD,), levels).plain[0]
    assert all(a < b for a, b in pairwise(plain))


def test_irregular_times_give_the_same_level() -> None:
    rng = np.random.default_rng(4)
    history, time = None, 0.0
    while time < 20_000.0:
        history = observe(history, time, float(rng.poisson(30.0 * 15.0)) / 15.0)
        time += float(rng.uniform(5.0, 60.0))
    assert history is not None
    made = forecast(history, (AHEAD,), (0.95,))
    assert made.expected[0] == pytest.approx(30.0, rel=0.04)
    assert made.plain[0][0] == pytest.approx(30.0 + 1.645 * np.sqrt(30.0 / 45.0), rel=0.08)


@pytest.mark.slow
def test_level_and_trend_are_those_of_holts_damped_method() -> None:
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    rng = np.random.default_rng(6)
    series = 20.0 + np.cumsum(rng.normal(0.0, 1.0, 200))
    settings = ForecastSettings(level_time=40.0, trend_time=200.0, damping_time=500.0)
    dt = 15.0
    phi = np.exp(-dt / 500.0)
    alpha, gain = 1.0 - np.exp(-dt / 40.0), 1.0 - np.exp(-dt / 200.0)
    model = ExponentialSmoothing(
        series,
        trend="add",
        damped_trend=True,
        initialization_method="known",
        initial_level=20.0,
        initial_trend=0.5,
    )
    fit = model.fit(smoothing_level=alpha, smoothing_trend=gain, damping_trend=phi, optimized=False)
    per_step = 500.0 * (1.0 - phi) / phi
    level, trend = 20.0, 0.5 / per_step
    levels, trends = [], []
    for rate in series.tolist():
        level, trend = advance(level, trend, rate, dt, settings)
        levels.append(level)
        trends.append(trend * per_step)
    assert np.array(levels) == pytest.approx(fit.level, rel=1e-9)
    assert np.array(trends) == pytest.approx(fit.trend, rel=1e-9, abs=1e-12)
    ahead = level + trend * 500.0 * (1.0 - phi ** np.arange(1, 20))
    assert ahead == pytest.approx(fit.forecast(19), rel=1e-9)


if (DATA := shared_dir()) is not None and (TRACES := DATA / "data" / "traces").is_dir():

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["conv", "code"])
    def test_what_is_provided_for_suffices_on_recorded_load(name: str, compared: Counter[str]) -> None:
        series = recorded(Path(TRACES) / f"azure_llm_2023_{name}.csv")
        found = score(series, warm=40)
        near = HORIZONS.index(AHEAD)
        assert found.provided[near, 2] >= 0.87
        assert found.provided[near, 3] >= 0.92
        assert found.covered[near, 3] >= 0.92
        compared["rates of recorded load"] += series.size
