"""Conditions: times move only with the status, those of others stay, and what is worth an Event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.operator.conditions import Holds, conditions, differs, turned

THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
READY = Holds("Ready", True, "Accepted")
HOLDS = st.builds(
    Holds,
    st.sampled_from(["Ready", "Feasible", "Limited", "Stale"]),
    st.sampled_from([True, False, None]),
    st.sampled_from(["A", "B"]),
    st.sampled_from(["", "because"]),
)
LISTS = st.lists(HOLDS, max_size=4, unique_by=lambda holds: holds.type)


def test_the_first_time() -> None:
    assert conditions(None, [READY], 3, THEN) == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Accepted",
            "message": "",
            "lastTransitionTime": THEN,
            "observedGeneration": 3,
        }
    ]


def test_time_moves_only_with_the_status() -> None:
    first = conditions(None, [READY], 1, THEN)
    same = conditions(first, [Holds("Ready", True, "Other", "text")], 2, NOW)
    assert (same[0]["lastTransitionTime"], same[0]["reason"]) == (THEN, "Other")
    assert same[0]["observedGeneration"] == 2
    turned_over = conditions(same, [Holds("Ready", None, "Other")], 2, NOW)
    assert (turned_over[0]["lastTransitionTime"], turned_over[0]["status"]) == (NOW, "Unknown")


def test_conditions_of_others_stay_where_they_are() -> None:
    other = {"type": "Theirs", "status": "True", "more": 5}
    made = conditions([other, *conditions(None, [READY], 1, THEN)], [READY], 1, NOW)
    assert made[0] == other
    assert [one["type"] for one in made] == ["Theirs", "Ready"]


@pytest.mark.parametrize("garbage", [None, "x", 5, {}, [None, 5, "x", {}, {"type": 5}, [READY]]])
def test_what_is_no_list_of_conditions_is_none(garbage: object) -> None:
    made = conditions(garbage, [READY], 1, THEN)
    assert [one["type"] for one in made] == ["Ready"]
    assert differs(garbage, made)
    assert not turned(garbage, made)


@given(LISTS, LISTS)
def test_the_same_again_is_no_difference_and_no_news(first: list[Holds], second: list[Holds]) -> None:
    once = conditions(conditions(None, first, 1, THEN), second, 2, NOW)
    again = conditions(once, second, 3, "2027-01-01T00:00:00Z")
    assert not differs(once, again)
    assert not turned(once, again)
    assert [one["lastTransitionTime"] for one in once] == [one["lastTransitionTime"] for one in again]


@given(LISTS, LISTS)
def test_another_status_reason_or_message_is_a_difference(first: list[Holds], second: list[Holds]) -> None:
    once = conditions(None, first, 1, THEN)
    again = conditions(once, second, 1, NOW)
    said = {holds.type: (holds.word, holds.reason, holds.message) for holds in first}
    now = said | {holds.type: (holds.word, holds.reason, holds.message) for holds in second}
    assert differs(once, again) is (said != now)
    assert differs(once, again, words=False) is (
        {key: value[:2] for key, value in said.items()} != {key: value[:2] for key, value in now.items()}
    )


def test_what_turned_bad_warns_and_what_turned_good_is_told() -> None:
    def one(holds: Holds, before: Holds | None) -> list[tuple[str, bool]]:
        stood = conditions(None, [before] if before else [], 1, THEN)
        return [(c["type"], bad) for c, bad in turned(stood, conditions(stood, [holds], 1, NOW))]

    fine, unmet = Holds("Feasible", True, "Cheapest"), Holds("Feasible", False, "OutOfReach")
    assert one(unmet, None) == [("Feasible", True)]
    assert one(unmet, unmet) == []
    assert one(fine, unmet) == [("Feasible", False)]
    assert one(fine, None) == []  # a beginning is no news
    assert one(Holds("Limited", True, "Short"), Holds("Limited", False, "Enough")) == [("Limited", True)]
    assert one(Holds("Limited", False, "Enough"), Holds("Limited", True, "Short")) == []
    assert one(Holds("Stale", True, "Changed"), None) == [("Stale", True)]
    assert one(Holds("Ready", False, "Invalid"), READY) == [("Ready", True)]
    assert one(READY, Holds("Ready", False, "Invalid")) == []
