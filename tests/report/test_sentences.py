"""Every reason, refusal and shortage has a sentence that a person can act on."""

from __future__ import annotations

import math
from typing import Any, get_args, get_type_hints

import pytest
from msgspec.structs import replace

from flyball.report.sentences import (
    BRIEF,
    FIX,
    LIMITED_BY,
    REASON,
    duration,
    excluded,
    explanation,
    headline,
    money,
    monthly,
    printable,
    short_of,
    summary,
    what,
)
from flyball.spec.plan import Binding, Exclusion, Reason, ServerPlan, Shortage
from tests.report.builders import H100, L40S, SERVED, some_plan

REASONS: tuple[Any, ...] = get_args(Reason)
BINDINGS: tuple[Any, ...] = get_args(Binding)
EXCLUSIONS: tuple[Any, ...] = get_args(get_type_hints(Exclusion)["reason"])
NOTHING_GIVEN = {"no_capacity", "out_of_reach", "no_profile", "no_target", "bad_load"}


def test_every_reason_has_its_words() -> None:
    assert set(REASON) == set(BRIEF) == set(REASONS)
    assert set(LIMITED_BY) == set(BINDINGS)
    assert NOTHING_GIVEN.issubset(FIX)
    assert len(set(REASON.values())) == len(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_a_headline_says_what_a_server_gets_and_why(reason: Any) -> None:
    if reason in NOTHING_GIVEN:
        assert headline(ServerPlan("chat", 1, "unserved", reason)) == f"chat: not served; {REASON[reason]}."
    else:
        expected = f"chat: 2 x H100, batch 64 at $6.00/h; {REASON[reason]}."
        assert headline(replace(SERVED, reason=reason)) == expected


def test_a_headline_of_a_resting_server() -> None:
    resting = replace(SERVED, status="idle", reason="no_load", allocation=replace(H100, replicas=0))
    assert headline(resting).startswith("chat: scaled to zero; no load")


def test_a_headline_of_a_mix_has_all_parts_and_their_cost() -> None:
    mixed = replace(SERVED, reason="mix", mix=(H100, L40S))
    assert headline(mixed).startswith("chat: 2 x H100, batch 64 + 5 x L40S, batch 16 at $11.00/h; its load")


@pytest.mark.parametrize("kind", EXCLUSIONS)
def test_every_exclusion_names_the_accelerator_and_the_cause(kind: Any) -> None:
    sentence = excluded(Exclusion("H100", kind, "ttft", "mean", 0.5, 0.75))
    assert sentence.startswith("H100: ")
    assert len(sentence) > len("H100: ") + 10


def test_out_of_reach_says_by_how_much() -> None:
    missed = Exclusion("H100", "out_of_reach", "ttft", "mean", 0.5, 0.75)
    assert excluded(missed) == "H100: ttft 750 ms even when idle, target 500 ms (50% over)"
    assert "ttft p95 " in excluded(replace(missed, statistic="p95"))


@pytest.mark.parametrize(("limit", "best"), [(0.0, 0.5), (0.5, math.inf), (0.5, math.nan), (0.0, 0.0)])
def test_out_of_reach_without_bound_says_no_inf(limit: float, best: float) -> None:
    for statistic in ("mean", "p95"):
        sentence = excluded(Exclusion("H100", "out_of_reach", "ttft", statistic, limit, best))
        assert "inf" not in sentence
        assert "nan" not in sentence


def test_a_shortage_counts_the_cards() -> None:
    assert short_of(Shortage("H100x2", "H100", 1200, 1000)) == (
        "H100x2 needs 1,200 H100 cards, 1,000 are free: 200 short"
    )


def test_an_explanation_tells_everything_about_one_decision() -> None:
    server = replace(
        SERVED,
        reason="capacity",
        next_best=L40S,
        turned_away=0.0123,
        shortages=(Shortage("A100", "A100", 8, 3),),
        exclusions=(Exclusion("T4", "kv_too_small"),),
    )
    assert explanation(server) == [
        "chat: 2 x H100, batch 64 at $6.00/h; the best option that capacity allows.",
        "Its number of replicas is fixed by the time between tokens.",
        "1.23% of its requests are turned away: its queue is full then.",
        "Next best: 5 x L40S, batch 16 at $5.00/h (-17%), ttft 1.25 s, itl 50 ms.",
        "Short: A100 needs 8 A100 cards, 3 are free: 5 short.",
        "Not a candidate: T4: its KV cache does not hold one request.",
    ]


def test_an_explanation_of_generation_1_speaks_of_the_wait() -> None:
    lines = explanation(replace(SERVED, next_best=L40S), "wait")
    assert "wait 1.25 s" in lines[-1]
    assert not any("ttft" in line for line in lines)


def test_the_next_best_is_compared_to_the_whole_mix() -> None:
    mixed = replace(SERVED, reason="mix", mix=(H100, L40S), next_best=replace(H100, cost=22.0))
    assert any("(+100%)" in line for line in explanation(mixed))


def test_what_costs_nothing_is_not_compared_in_percent() -> None:
    free = replace(SERVED, allocation=replace(H100, cost=0.0), next_best=L40S)
    assert "Next best: 5 x L40S, batch 16 at $5.00/h, ttft" in explanation(free)[-1]


@pytest.mark.parametrize("reason", sorted(FIX))
def test_who_is_not_served_whole_is_told_the_mend(reason: Any) -> None:
    status: Any = "best_effort" if reason == "short" else "unserved"
    lines = explanation(ServerPlan("chat", 1, status, reason))
    assert lines[-1] == f"To mend it: {FIX[reason]}."


def test_the_summary_counts_and_adds_up() -> None:
    part = ServerPlan("b", 1, "best_effort", "short", L40S)
    none = ServerPlan("c", 1, "unserved", "no_capacity")
    rest = ServerPlan("d", 1, "idle", "no_load")
    lines = summary(some_plan(SERVED, part, none, rest, watts=12_345.0, notes=("be careful",), seconds=1.5))
    assert lines == [
        "2 of 4 servers served, 1 in part, 1 not at all (1 without load); $11.00/h, $8,030/month, "
        "about 12.3 kW.",
        "Solver exact: proved best; 1.50 s.",
        "Note: be careful.",
    ]


@pytest.mark.parametrize(
    ("changes", "quality"),
    [
        ({"proved": True}, "proved best"),
        ({"proved": False, "gap": 0.0123}, "at most 1.23% of its cost above the best"),
        ({"proved": False, "gap": math.inf}, "not bounded"),
        ({"proved": False, "gap": math.nan}, "not bounded"),
    ],
)
def test_the_summary_says_how_good_the_plan_is(changes: dict[str, Any], quality: str) -> None:
    assert summary(some_plan(SERVED, **changes))[1] == f"Solver exact: {quality}."


def test_one_server_is_no_servers() -> None:
    assert summary(some_plan(SERVED))[0].startswith("1 of 1 server served;")
    assert summary(some_plan())[0].startswith("0 of 0 servers served;")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (1e-9, "0 ms"),
        (0.0000123, "0.0123 ms"),
        (0.01234, "12.3 ms"),
        (0.9996, "1 s"),
        (0.9994, "999 ms"),
        (1.25, "1.25 s"),
        (999.4, "999 s"),
        (12_345.0, "12,345 s"),
        (math.inf, "never"),
        (math.nan, "-"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_money_reads_well() -> None:
    assert (money(1234.5), monthly(1.0), money(0.0)) == ("$1,234.50/h", "$730/month", "$0.00/h")


def test_what_nothing_is() -> None:
    assert what(replace(H100, replicas=0)) == "nothing"


def test_printable_text_commands_no_terminal() -> None:
    assert printable("a\x1b[2J\x9b\x07\r\ud800b\n\tc é名") == "a\\x1b[2J\\x9b\\x07\\r\\ud800b\n\tc é名"
