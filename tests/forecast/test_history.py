"""What a history keeps, forgets and gives: state, gaps, floors, tokens."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.forecast.history import DAY, QUARTER, QUARTERS, UNSEEN, ForecastSettings, History
from flyball.forecast.observe import coverage, observe, tokens
from flyball.forecast.predict import forecast

rates = st.floats(0.0, 1e4)
readings = st.lists(
    st.tuples(st.floats(0.1, 400.0), st.none() | rates | st.just(0.0), st.none() | st.floats(0.0, 1e5)),
    min_size=1,
    max_size=60,
)
Readings = list[tuple[float, float | None, float | None]]


def fed(steps: Readings, history: History | None = None, at: float = 0.0) -> History | None:
    for gap, rate, length in steps:
        at += gap
        history = observe(history, at, rate, length, length)
    return history


def steady(rate: float, steps: int, gap: float = 15.0, settings: ForecastSettings | None = None) -> History:
    history = None
    for i in range(steps):
        history = observe(history, i * gap, rate, settings=settings or ForecastSettings())
    assert history is not None
    return history


@given(readings, readings, st.booleans())
def test_a_history_that_was_written_and_read_continues_to_the_bit(
    first: Readings, second: Readings, json: bool
) -> None:
    history = fed(first)
    if history is None:
        return
    if json:
        read = msgspec.json.decode(msgspec.json.encode(history), type=History)
    else:
        read = msgspec.msgpack.decode(msgspec.msgpack.encode(history), type=History)
    on, again = fed(second, history, history.time), fed(second, read, read.time)
    assert on is not None
    assert again is not None
    assert msgspec.msgpack.encode(on) == msgspec.msgpack.encode(again)
    ahead = (0.0, 60.0, 115.0, 3600.0, 1e5)
    assert forecast(on, ahead, (0.5, 0.95)) == forecast(again, ahead, (0.5, 0.95))


@given(readings, st.lists(st.floats(0.0, 1e5), min_size=1, max_size=4), st.integers(0, 3))
def test_a_forecast_is_finite_ordered_and_never_below_what_is_measured(
    steps: Readings, horizons: list[float], silent: int
) -> None:
    history = fed(steps + [(3000.0, None, None)] * silent)
    if history is None:
        return
    levels = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
    made = forecast(history, horizons, levels)
    assert made.rate == history.rate >= 0.0
    for expected, plain, provision, reserve in zip(
        made.expected, made.plain, made.provision, made.reserve, strict=True
    ):
        assert all(math.isfinite(x) and x >= 0.0 for x in (expected, reserve, *plain, *provision))
        assert list(plain) == sorted(plain)
        assert list(provision) == sorted(provision)
        for p, low, high in zip(levels, plain, provision, strict=True):
            assert high >= max(low, made.rate, expected)
            if p >= 0.9:
                assert high >= made.rate + reserve
    for counted in coverage(history):
        assert all(0.0 <= share <= 1.0 for share in counted.shares)


@given(st.floats(0.01, 1e4), st.sampled_from([60.0, 115.0, 3600.0]))
def test_however_regular_the_past_the_spread_is_that_of_counting_at_least(rate: float, ahead: float) -> None:
    made = forecast(steady(rate, 300), (ahead,), (0.8, 0.9, 0.95))
    assert made.expected[0] == pytest.approx(rate, rel=1e-6)
    for value, z in zip(made.plain[0], (0.841, 1.281, 1.644), strict=True):
        assert value >= rate + z * math.sqrt(rate / 60.0) * (1.0 - 1e-6)


def test_the_first_forecasts_have_the_spread_of_the_settings() -> None:
    wide, narrow = (
        forecast(observe(None, 0.0, 100.0), (60.0,), (0.95,), ForecastSettings(spread=spread))
        for spread in (0.4, 0.1)
    )
    assert wide.plain[0][0] == pytest.approx(
        100.0 + 1.645 * math.hypot(40.0, math.sqrt(100.0 / 60.0)), rel=1e-3
    )
    assert narrow.plain[0][0] < 120.0


def test_a_gap_teaches_nothing_and_ages() -> None:
    before = steady(8.0, 200)
    after = observe(before, before.time + 600.0, None)
    assert after is not None
    assert after == msgspec.structs.replace(before, time=before.time + 600.0)
    assert (before.age, after.age) == (0.0, 600.0)
    fresh, old = (forecast(h, (60.0,), (0.9,)) for h in (before, after))
    assert old.age == 600.0
    assert old == msgspec.structs.replace(
        forecast(before, (660.0,), (0.9,)), time=after.time, age=600.0, horizons=(60.0,)
    )
    assert old.provision[0][0] >= fresh.rate
    again = observe(after, after.time + 15.0, 8.0)
    assert again is not None
    assert again.age == 0.0
    assert again.rate == 8.0


def test_an_old_forecast_is_not_checked_long_after_its_time() -> None:
    before = steady(8.0, 200)
    after = observe(before, before.time + 1e5, 80.0)
    assert after is not None
    assert [t.checks for t in after.tracks] == [t.checks for t in before.tracks]
    assert all(t.jump == 0.0 for t in after.tracks)


def test_what_is_not_later_teaches_nothing() -> None:
    history = steady(8.0, 20)
    assert observe(history, history.time, 100.0) is history
    assert observe(history, history.time - 40.0, 100.0) is history


def test_nothing_seen_is_no_history() -> None:
    assert observe(None, 0.0, None) is None


@pytest.mark.parametrize(
    ("time", "rate", "length", "message"),
    [
        (math.nan, 1.0, None, "time is nan"),
        (0.0, -1.0, None, "rate is -1.0; it must be from 0"),
        (0.0, math.inf, None, "rate is inf"),
        (0.0, 1.0, math.nan, "in_tokens is nan"),
    ],
)
def test_a_reading_that_cannot_be_is_refused(
    time: float, rate: float, length: float | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        observe(None, time, rate, length, length)


@pytest.mark.parametrize(
    ("horizons", "quantiles", "message"),
    [
        ((-1.0,), (0.9,), "horizon is -1.0"),
        ((60.0,), (0.4,), "quantile is 0.4"),
        ((60.0,), (1.0,), "quantile is 1.0"),
    ],
)
def test_a_forecast_that_cannot_be_is_refused(
    horizons: tuple[float, ...], quantiles: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        forecast(steady(1.0, 3), horizons, quantiles)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="window is 0; it must be above 0"):
        ForecastSettings(window=0.0)
    with pytest.raises(ValueError, match="horizons are"):
        ForecastSettings(horizons=(300.0, 60.0))


def test_other_horizons_keep_what_was_learned_at_those_that_stay() -> None:
    before = steady(8.0, 300)
    after = observe(before, before.time + 15.0, 8.0, settings=ForecastSettings(horizons=(60.0, 200.0)))
    assert after is not None
    assert [t.horizon for t in after.tracks] == [60.0, 200.0]
    assert after.tracks[0].checks == before.tracks[0].checks + 1
    assert after.tracks[1].checks == 0


def test_tokens_are_means_over_requests_that_forget() -> None:
    settings = ForecastSettings()
    history = None
    for i in range(400):
        many = i % 2 == 0
        history = observe(history, i * 15.0, 9.0 if many else 1.0, 1000.0 if many else 5000.0, 200.0)
    assert history is not None
    seen = tokens(history)
    assert seen is not None
    assert seen.in_tokens == pytest.approx(1400.0, rel=0.02)  # by requests; by readings it would be 3000
    assert seen.out_tokens == pytest.approx(200.0)
    at = history.time
    for i in range(1, 1 + int(2 * settings.tokens_time / 15.0)):
        history = observe(history, at + i * 15.0, 5.0, 3000.0, 400.0)
    assert history is not None
    later = tokens(history)
    assert later is not None
    assert later.out_tokens == pytest.approx(400.0 - 200.0 * math.exp(-2.0), rel=0.02)
    unknown = observe(history, history.time + 15.0, 5.0, 3000.0, None)
    assert unknown is not None
    assert tokens(unknown) == later


def test_without_tokens_there_are_none() -> None:
    assert tokens(steady(5.0, 10)) is None


def test_the_day_is_known_when_each_quarter_was_seen() -> None:
    history = None
    for i in range(QUARTERS * 15 + 1):
        assert history is None or history.day.complete == (history.quarter >= QUARTERS)
        time = i * 60.0
        history = observe(history, time, 2.0 if time % DAY < DAY / 2 else 6.0)
    assert history is not None
    assert history.day.complete
    assert history.day.rates[10] == pytest.approx(2.0)
    assert history.day.rates[80] == pytest.approx(6.0)


def test_a_quarter_that_was_hardly_seen_is_not_learned() -> None:
    history = None
    for i in range(90):
        time = i * 60.0
        seen = not QUARTER <= time < 2 * QUARTER - 180.0
        history = observe(history, time, 3.0 if seen else None)
    assert history is not None
    assert history.day.rates[1] == UNSEEN
    assert history.day.rates[0] == history.day.rates[2] == 3.0


def test_a_history_is_small() -> None:
    history = None
    for i in range(2 * 5760):
        history = observe(history, i * 15.0, 5.0 + i % 7, 1000.0, 200.0)
    assert history is not None
    assert len(msgspec.msgpack.encode(history)) < 6000
