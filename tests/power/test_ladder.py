"""Levels: up at once, down slowly, frozen where watts are not known."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.power.ladder import Act, LadderSettings, LadderState, Signal, step
from flyball.spec.power import LEVELS, Known

C, S = 100.0, 10.0  # the threshold is 90: hold begins at 85, warn at 80
SETTINGS = LadderSettings()


def known(watts: float) -> Known:
    return Known(watts, watts, True, least=watts)


def signal(watts: float, **more: float) -> Signal:
    return Signal(known(watts), C, S, **more)


def walk(signals: list[Signal], every: float = 15.0) -> list[tuple[LadderState, Act]]:
    state, found = LadderState(), []
    for i, one in enumerate(signals):
        state, act = step(state, one, i * every)
        found.append((state, act))
    return found


@pytest.mark.parametrize(
    ("watts", "level", "frozen", "ceiling"),
    [
        (83.0, "normal", False, None),
        (84.0, "warn", False, None),
        (89.0, "hold", True, None),
        (91.0, "shed", True, 90.0),
        (101.0, "shed", True, 90.0),
    ],
)
def test_levels_begin_where_they_should_and_at_once(
    watts: float, level: str, frozen: bool, ceiling: float | None
) -> None:
    ((_, act),) = walk([signal(watts)])
    assert (act.level, act.frozen, act.ceiling, act.at_once) == (level, frozen, ceiling, False)
    assert act.shed == (0.0 if ceiling is None else watts - 90.0)
    assert act.grow_to == 88.0
    assert act.changed is (level != "normal")


def test_what_is_believed_above_a_cut_budget_is_not_waited_for() -> None:
    """Of 105 W half is read, it may be up to 150."""
    half = Known(120.0, 150.0, False, least=50.0)
    ((state, act),) = walk([Signal(half, C, S, believed=105.0)])
    assert (act.level, act.by_model, act.ceiling, act.shed) == ("shed", True, 90.0, 15.0)
    assert act.reason == "105 W, by the models, are above the threshold of 90 W"
    assert state.over_since is None  # an emergency is for what is known
    for believed in (None, 99.0):
        ((_, act),) = walk([Signal(half, C, S, believed=believed)])
        assert (act.level, act.by_model) == ("hold", False)
    last = walk([Signal(half, C, S, believed=105.0)] * 4)[-1][1]  # dark by now: the upper bound counts
    assert (last.level, last.by_model, last.ceiling) == ("shed", False, C)
    ((_, act),) = walk([signal(70.0, believed=105.0)])
    assert act.level == "normal"


def test_above_the_budget_for_too_long_or_above_the_breaker_is_an_emergency() -> None:
    acts = [a for _, a in walk([signal(101.0)] * 3, every=5.0)]
    assert [a.level for a in acts] == ["shed", "shed", "emergency"]
    assert acts[-1].at_once
    assert acts[-1].reason == "above the budget of 100 W for 10 s"
    ((_, act),) = walk([signal(121.0, breaker=120.0)])
    assert act.level == "emergency"
    assert "breaker" in act.reason


def test_error_lowers_the_threshold() -> None:
    ((_, act),) = walk([Signal(Known(86.0, 91.0, True, error=0.05, least=86.0), C, S)])
    assert (act.level, act.ceiling) == ("shed", 85.0)


def test_a_forecast_warns_and_does_no_more() -> None:
    assert walk([signal(50.0, ahead=95.0)])[0][1].level == "warn"
    assert walk([signal(50.0, ahead=89.0)])[0][1].level == "normal"


def test_unknown_watts_freeze_at_once_and_shed_after_thirty_seconds_only() -> None:
    dark = Signal(Known(120.0, 120.0, False, least=40.0), C, S)
    acts = [a for _, a in walk([dark] * 4, every=15.0)]
    assert [a.level for a in acts] == ["hold", "hold", "shed", "shed"]
    assert all(a.frozen for a in acts)
    assert [a.shed for a in acts] == [0.0, 0.0, 20.0, 20.0]
    assert acts[2].ceiling == C


def test_a_bound_under_the_budget_never_sheds_and_a_light_in_between_starts_anew() -> None:
    low = Signal(Known(99.0, 99.0, False, least=0.0), C, S)
    assert {a.level for _, a in walk([low] * 20)} == {"hold"}
    dark = Signal(Known(120.0, 120.0, False, least=40.0), C, S)
    acts = [a for _, a in walk([dark, dark, signal(40.0), dark, dark])]
    assert {a.level for a in acts} == {"hold"}


def test_what_is_measured_alone_sheds_at_once_even_in_the_dark() -> None:
    half = Signal(Known(150.0, 150.0, False, least=95.0), C, S)
    ((_, act),) = walk([half])
    assert (act.level, act.ceiling, act.shed) == ("shed", 90.0, 5.0)


def test_it_comes_down_rung_by_rung_and_only_well_below() -> None:
    found = walk([signal(95.0), *[signal(88.0)] * 10, *[signal(50.0)] * 20])
    levels = [a.level for _, a in found]
    assert levels[:11] == ["shed"] * 11  # 88 is under the threshold, and not by enough
    times = [i * 15.0 for i in range(1, len(levels)) if levels[i] != levels[i - 1]]
    assert [levels[int(t / 15)] for t in times] == ["hold", "warn", "normal"]
    assert all(b - a >= SETTINGS.hold_time for a, b in pairwise(times))
    assert "still at shed" in found[5][1].reason


SIGNALS = st.builds(
    lambda w, complete, unseen: Signal(
        Known(w + unseen * (not complete), w + unseen, complete, least=w), C, S
    ),
    st.floats(0.0, 130.0),
    st.booleans(),
    st.floats(0.0, 60.0),
)


@given(st.lists(SIGNALS, min_size=1, max_size=60), st.sampled_from([1.0, 5.0, 15.0]))
def test_it_never_chatters_faster_than_its_hold_and_never_sleeps(signals: list[Signal], every: float) -> None:
    found = walk(signals, every)
    levels = [LEVELS.index("normal"), *(LEVELS.index(a.level) for _, a in found)]
    changed: float | None = None
    for i, (one, (state, act)) in enumerate(zip(signals, found, strict=True)):
        now, before, here = i * every, levels[i], levels[i + 1]
        if here < before:
            assert before - here == 1
            assert changed is None or now - changed >= SETTINGS.hold_time
        if here != before:
            changed = now
            assert act.changed
        sure = one.known.watts if one.known.complete else one.known.least
        theta = C * (1 - one.known.error) - S
        assert (sure > theta) <= (here >= LEVELS.index("shed"))
        assert one.known.complete or act.frozen
        assert act.frozen == (here >= LEVELS.index("hold"))
        assert (act.ceiling is not None) == (here >= LEVELS.index("shed"))
        assert state.level == act.level


@given(st.lists(SIGNALS, min_size=1, max_size=40), st.floats(0.0, 30.0))
def test_more_watts_are_never_taken_for_less(signals: list[Signal], more: float) -> None:
    """From the same state a higher reading never leads to a lower level."""
    state = LadderState()
    for i, one in enumerate(signals):
        k = one.known
        higher = Signal(Known(k.watts + more, k.most + more, k.complete, least=k.least + more), C, S)
        after, act = step(state, one, i * 15.0)
        _, above = step(state, higher, i * 15.0)
        assert LEVELS.index(above.level) >= LEVELS.index(act.level)
        assert above.shed >= act.shed - 1e-9 or above.ceiling != act.ceiling
        state = after


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ValueError, match="write warn >= hold"):
        LadderSettings(warn=0.01)


def test_noise_in_a_reading_sheds_nothing_until_it_is_above_the_budget() -> None:
    noisy = msgspec.structs.replace(signal(99.0), level=85.0)
    assert [a.level for _, a in walk([noisy] * 3)] == ["warn"] * 3
    above = msgspec.structs.replace(signal(101.0), level=85.0)
    ((_, act),) = walk([above])
    assert (act.level, act.shed) == ("shed", 11.0)
    rising = msgspec.structs.replace(signal(85.0), level=99.0)  # it falls: the level lags behind
    assert walk([rising])[0][1].level == "warn"
