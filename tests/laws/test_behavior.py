"""Windows, policies and bounds of the HorizontalPodAutoscaler, by hand and as properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.laws.behavior import DEFAULT, Behavior, Event, History, Policy, Side, settle, within_tolerance
from flyball.laws.slo_aware import BEHAVIOR as SLO_AWARE

NONE = History()
COUNTS = st.integers(1, 60)


@pytest.mark.parametrize(
    ("current", "wish", "expected"),
    [
        (1, 40, 5),  # max(100 %, 4 pods): 1 + 4
        (3, 40, 7),
        (6, 40, 12),  # 100 % is more than 4
        (6, 9, 9),
        (30, 40, 40),
        (30, 60, 50),  # the ceiling
    ],
)
def test_default_growth_is_the_larger_of_twice_and_four_more(current: int, wish: int, expected: int) -> None:
    assert settle(wish, current, 1, 50, DEFAULT, 0.0, NONE)[0] == expected


def test_growth_counts_from_where_the_period_began() -> None:
    first, held, history = settle(40, 2, 1, 50, DEFAULT, 0.0, NONE)
    assert (first, held) == (6, "step")
    again, _, history = settle(40, 6, 1, 50, DEFAULT, 10.0, history)
    assert again == 6  # 2 at the beginning of the period, so 6 at most
    assert settle(40, 6, 1, 50, DEFAULT, 15.0, history)[0] == 12  # a new period


def test_what_shrank_in_the_period_may_come_back() -> None:
    history = History(changes=(Event(10.0, -6),))
    # 8 at the beginning of the period: twice that is allowed.
    assert settle(40, 2, 1, 50, DEFAULT, 12.0, history)[0] == 16


def test_shrinking_takes_the_largest_wish_of_five_minutes() -> None:
    history = NONE
    replicas = []
    for time, wish in [(0.0, 8), (100.0, 3), (200.0, 5), (299.0, 3), (300.0, 3), (500.0, 3), (600.0, 2)]:
        number, held, history = settle(wish, 8, 1, 50, DEFAULT, time, history)
        replicas.append((number, held))
    # At 300 the wish of 0 is out of the window, at 500 that of 200.
    assert replicas == [
        (8, None),
        (8, "stabilisation"),
        (8, "stabilisation"),
        (8, "stabilisation"),
        (5, "stabilisation"),
        (3, None),
        (3, "stabilisation"),
    ]


def test_one_pod_in_two_minutes_and_the_least_wish_of_thirty_seconds() -> None:
    history = History(wishes=(Event(0.0, 3),))
    number, _, history = settle(3, 8, 1, 50, SLO_AWARE, 200.0, history)
    assert number == 7
    assert settle(3, 7, 1, 50, SLO_AWARE, 300.0, history)[0] == 7
    assert settle(3, 7, 1, 50, SLO_AWARE, 320.0, history)[0] == 6
    up = NONE
    for time, wish, expected in [(0.0, 4, 4), (15.0, 9, 4), (30.0, 9, 8)]:
        number, _, up = settle(wish, 4, 1, 50, SLO_AWARE, time, up)
        assert number == expected, time


def test_a_percentage_down_is_cut_off_not_rounded_up() -> None:
    half = Behavior(DEFAULT.up, Side(0.0, (Policy("percent", 50.0, 15.0),)))
    assert settle(0, 5, 0, 50, half, 0.0, NONE)[0] == 2


@pytest.mark.parametrize(("current", "expected"), [(0, 3), (1, 3), (12, 8)])
def test_out_of_bounds_it_goes_to_the_bound_at_once_without_any_metric(current: int, expected: int) -> None:
    assert settle(None, current, 3, 8, DEFAULT, 0.0, NONE)[:2] == (expected, None)


def test_without_a_wish_nothing_moves_and_nothing_is_noted() -> None:
    history = History(wishes=(Event(0.0, 3),))
    assert settle(None, 5, 1, 8, DEFAULT, 15.0, history) == (5, None, history)


@pytest.mark.parametrize(("ratio", "within"), [(0.9, True), (1.1, True), (0.89, False), (1.11, False)])
def test_the_tolerance_is_a_tenth(ratio: float, within: bool) -> None:
    assert within_tolerance(ratio) is within


@given(COUNTS, st.lists(st.tuples(st.integers(0, 80), st.integers(1, 100)), max_size=30))
def test_bounds_hold_and_no_move_goes_past_the_wishes(start: int, wishes: list[tuple[int, int]]) -> None:
    current, time, history, seen = min(max(start, 2), 40), 0.0, NONE, []
    for wish, gap in wishes:
        time += gap
        seen.append(wish)
        number, _, history = settle(wish, current, 2, 40, DEFAULT, time, history)
        assert 2 <= number <= 40
        if number > current:
            assert number <= max(wish, 2)
            assert number <= max(2 * current, current + 4) or any(e.replicas < 0 for e in history.changes)
        if number < current:
            assert number >= min(wish, 40)
        assert all(e.time > time - 300.0 for e in history.wishes)
        current = number
    assert len(history.wishes) <= 301


@given(COUNTS, st.integers(2, 40))
def test_a_wish_that_stays_is_reached(start: int, wish: int) -> None:
    current, history = min(start, 40), NONE
    for tick in range(60):
        current, _, history = settle(wish, current, 2, 40, DEFAULT, 15.0 * tick, history)
    assert current == wish
