"""Guards alone: what each allows, in numbers that can be checked by hand, and as properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.guards import numbers
from flyball.guards.cards import Growth, grant, within_radius
from flyball.guards.hand_over import still_needed


def test_no_fewer_than_were_wanted_within_the_window() -> None:
    wanted: numbers.Wanted = ()
    for now, count in ((0.0, 5), (15.0, 3), (30.0, 4), (45.0, 2)):
        wanted = numbers.remember(wanted, now, count, 30.0)
    assert wanted == ((15.0, 3), (30.0, 4), (45.0, 2))
    assert numbers.stabilised(wanted, have=6) == 4
    assert numbers.stabilised(wanted, have=3) == 3
    assert numbers.covers(wanted, 45.0, 30.0, 15.0)
    assert not numbers.covers(wanted[1:], 45.0, 60.0, 15.0)


@pytest.mark.parametrize(
    ("have", "want", "allowed"),
    [(3, 20, 7), (10, 40, 20), (10, 12, 12), (10, 1, 5), (3, 1, 2), (1, 0, 0), (7, 7, 7)],
)
def test_a_step_is_a_share_and_at_least_a_few(have: int, want: int, allowed: int) -> None:
    assert numbers.step(have, want, up=1.0, down=0.5) == allowed


def test_a_load_has_fallen_by_a_share_and_by_more_than_chance() -> None:
    assert not numbers.has_fallen(90.0, 100.0, fallen=0.2)
    assert numbers.has_fallen(77.0, 100.0, fallen=0.2)  # 80 less twice the root of 100/60
    assert not numbers.has_fallen(0.8, 1.0, fallen=0.2)
    assert numbers.has_fallen(0.5, 1.0, fallen=0.2)
    assert not numbers.has_fallen(0.0, 0.02, fallen=0.2)  # one request more or less says nothing


def test_patience_doubles_with_each_flap_up_to_a_bound() -> None:
    assert [numbers.patience(600.0, n) for n in (0, 1, 2, 3, 9)] == [600.0, 1200.0, 2400.0, 4800.0, 4800.0]


def test_old_replicas_leave_as_new_ones_become_ready() -> None:
    rates = {"new": 5.0, "old": 2.0}
    asked = {"old": 6, "new": 2}

    def kept(ready: int) -> dict[str, int]:
        return still_needed(asked, {"new": ready, "old": 6}, "new", 2, 10.0, rates)

    assert kept(0) == {"old": 6}
    assert kept(1) == {"old": 3}
    assert kept(2) == {"old": 0}


def test_pending_replicas_do_not_stand_in_for_those_that_serve() -> None:
    rates = {"new": 5.0, "half": 5.0, "old": 5.0}
    asked = {"half": 4, "new": 2, "old": 3}
    assert still_needed(asked, {"old": 3}, "new", 2, 10.0, rates) == {"half": 0, "old": 3}
    assert still_needed(asked, {"old": 1}, "new", 2, 10.0, rates) == {"half": 1, "old": 1}


def test_an_accelerator_of_unknown_speed_is_kept_until_all_are_ready() -> None:
    assert still_needed({"old": 3, "new": 2}, {"new": 1}, "new", 2, 1.0, {"new": 9.0}) == {"old": 3}
    assert still_needed({"old": 3, "new": 2}, {"new": 2}, "new", 2, 1.0, {"new": 9.0}) == {"old": 0}


def test_cards_go_to_the_first_in_priority_then_by_name() -> None:
    wishes = [
        Growth("b", 2, "H100x2", "H100", 2, 3),
        Growth("a", 2, "H100", "H100", 1, 2),
        Growth("z", 1, "H100", "H100", 1, 4),
    ]
    assert grant(wishes, {"H100": 7}) == {("z", "H100"): 4, ("a", "H100"): 2, ("b", "H100x2"): 0}
    assert grant(wishes, {"H100": -3}) == {("z", "H100"): 0, ("a", "H100"): 0, ("b", "H100x2"): 0}


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(1, 3), st.sampled_from("XY"), st.integers(1, 4),
                  st.integers(1, 9)),
        unique_by=lambda w: (w[0], w[2]),
    ),
    st.dictionaries(st.sampled_from("XY"), st.integers(-5, 20)),
)  # fmt: skip
def test_never_more_cards_than_are_free(
    wanted: list[tuple[str, int, str, int, int]], free: dict[str, int]
) -> None:
    wishes = [
        Growth(name, priority, type_, type_, cards, more) for name, priority, type_, cards, more in wanted
    ]
    granted = grant(wishes, free)
    for type_ in "XY":
        used = sum(granted[w.server, w.accelerator] * w.cards for w in wishes if w.type == type_)
        assert used <= max(free.get(type_, 0), 0)
    assert all(0 <= granted[w.server, w.accelerator] <= w.more for w in wishes)


def test_those_that_save_most_change_first() -> None:
    saves = {"a": 1.0, "b": 5.0, "c": 5.0, "d": 0.5}
    assert within_radius(saves, servers=8, share=0.25) == {"b", "c"}
    assert within_radius(saves, servers=2, share=0.25) == {"b"}
