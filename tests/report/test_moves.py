"""Moves in words: what changes, why, what else, and what is held back."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from flyball.report.moves import held, next_best, sentence, why
from flyball.spec.decision import Hold, Order, Step
from flyball.spec.plan import Option

GOAL = Option("H100", 4, 64, 12.0, 12.0, 0.02, 0.3, 0.5, 4.0, None, "ttft")
OTHER = replace(GOAL, accelerator="A100", replicas=7, cost=14.16)


def moved(was: dict[str, int], now: dict[str, int], **changes: object) -> Step:
    orders = [tuple(Order("s", a, n) for a, n in side.items()) for side in (now, was)]
    return Step("s", *orders, **changes)  # type: ignore[arg-type]


GREW = moved(
    {"H100": 3},
    {"H100": 4},
    cause="demand",
    demand=14.2,
    metric="ttft",
    statistic="p95",
    limit=1.0,
    value=1.31,
    goal=GOAL,
    next_best=OTHER,
)


def test_a_change_is_one_sentence() -> None:
    assert sentence(GREW, "Premium") == (
        "Premium/s: 3 to 4 x H100 because ttft p95 1.31 s would pass 1 s at 14.2 req/s; "
        "next best 7 x A100, +18%"
    )


def test_what_stays_says_what_holds_it() -> None:
    hold = Hold("stabilisation", 2, 3)
    kept = moved({"A": 3}, {"A": 3}, holds=(hold,))
    assert sentence(kept) == "s: stays at 3 x A (2 wanted, 3 allowed: not for long enough yet)"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metric": ""}, "more is needed at 14.2 req/s"),
        ({"metric": "", "demand": 0.0}, "more is needed"),
        ({"value": math.inf}, "its queue would grow without end at 14.2 req/s"),
        ({"value": 0.9}, "ttft p95 900 ms of 1 s at 14.2 req/s leaves too little to spare"),
        ({"cause": "latency"}, "ttft p95 is 1.31 s, over 1 s at 14.2 req/s"),
        ({"statistic": "mean"}, "mean ttft 1.31 s would pass 1 s at 14.2 req/s"),
        (
            {"cause": "cheaper", "value": 0.9},
            "it serves the same at less cost: ttft p95 900 ms is within 1 s at 14.2 req/s",
        ),
    ],
)
def test_why(changes: dict[str, object], words: str) -> None:
    assert why(replace(GREW, **changes)) == words


def test_less_load_needs_less() -> None:
    assert why(moved({"A": 3}, {"A": 2}, cause="demand", demand=1.5)) == "less is enough at 1.5 req/s"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (None, ""),
        (replace(OTHER, replicas=0), ""),
        (replace(OTHER, cost=6.0), "next best 7 x A100, -50%"),
        (replace(OTHER, cost=600.0), "next best 7 x A100, at 50 times the cost"),
    ],
)
def test_next_best(other: Option | None, words: str) -> None:
    assert next_best(replace(GREW, next_best=other)) == words
    if other is not None and other.replicas:
        assert next_best(replace(GREW, next_best=other, goal=None)) == "next best 7 x A100"


def test_a_hand_over_needs_no_numbers() -> None:
    assert held(Hold("hand_over", 0, 3)) == "the old ones stay until the new ones are ready"
