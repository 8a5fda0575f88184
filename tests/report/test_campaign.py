"""From requests to figures, and from seeds to intervals, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from flyball.report.campaign import (
    Figures,
    Requests,
    Trail,
    Used,
    attained,
    estimate,
    groups,
    judge,
    quantile,
    rows,
    scale_moves,
    student_975,
)
from flyball.spec.service_class import ModelTargets, ServiceClass, Target
from flyball.testing.make import make_fleet, make_server

USED = Used(2.0, 2.5, 4.0, 12.0, 1.5)


def requests(ttft: list[float], tpot: list[float], offered: int | None = None) -> Requests:
    return Requests(np.array(ttft), np.array(tpot), len(ttft) if offered is None else offered)


def test_both_limits_count_and_one_token_has_no_tpot() -> None:
    ttft, tpot = np.array([1.0, 1.01, 0.5, 0.5]), np.array([0.1, 0.05, 0.11, math.nan])
    assert attained(ttft, tpot, 1.0, 0.1).tolist() == [True, False, False, True]


def test_what_is_lost_has_missed_and_is_infinitely_late() -> None:
    fleet = make_fleet(
        [make_server("a"), make_server("b")], targets=[Target("ttft", 1.0), Target("itl", 0.1)]
    )
    made = judge(
        "hpa",
        3,
        fleet,
        {"a": requests([0.5, 2.0], [0.05, 0.05]), "b": requests([0.5], [0.05], offered=3)},
        USED,
        [Trail("a", (0.0, 15.0, 30.0), (1, 2, 1), (1, 1, 2), (None, 1.0, 1.0))],
    )
    assert made.run["attainment"] == pytest.approx(2 / 5)
    assert (made.run["scale_events"], made.run["reversals"], made.run["dollars"]) == (2.0, 1.0, 12.0)
    gold = made.groups["Gold"]
    assert gold["attainment"] == pytest.approx(2 / 5)
    assert (gold["ttft_p50"], gold["ttft_p95"], gold["requests"]) == (2.0, math.inf, 5.0)
    assert made.trails == ()


def test_servers_are_grouped_by_class_and_limits() -> None:
    fleet = make_fleet(
        [make_server("a"), make_server("b", model="n"), make_server("c", service_class="Bronze")]
    )
    two = ServiceClass(
        "Gold",
        1,
        (ModelTargets("m", (Target("itl", 0.1),)), ModelTargets("*", (Target("ttft", 3.0, 0.95),))),
    )
    fleet = type(fleet)(service_classes=(two,), servers=fleet.servers)
    found = {g.name: (g.ttft, g.tpot, g.servers) for g in groups(fleet)}
    assert found == {
        "Gold (m)": (math.inf, 0.1, ("a",)),
        "Gold (n)": (3.0, math.inf, ("b",)),
        "Bronze": (math.inf, math.inf, ("c",)),
    }


@pytest.mark.parametrize(
    ("share", "count", "expected"), [(0.5, None, 2.0), (0.75, None, 3.0), (0.99, None, 4.0), (0.5, 8, 4.0)]
)
def test_quantiles(share: float, count: int | None, expected: float) -> None:
    assert quantile(np.array([4.0, 1.0, 3.0, 2.0]), share, count) == expected


def test_quantiles_of_nothing() -> None:
    assert math.isnan(quantile(np.empty(0), 0.5))
    assert quantile(np.empty(0), 0.5, 2) == math.inf


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_a_share_does_not_pass_its_quantile(values: list[float], share: float) -> None:
    found = quantile(np.array(values), share)
    assert sum(v <= found for v in values) >= share * len(values) - 1e-6
    assert sum(v < found for v in values) < share * len(values) + 1e-6


@pytest.mark.parametrize(
    ("time", "asked", "expected"),
    [
        ((0, 15, 30), (3, 3, 3), (0, 0)),
        ((0, 15, 30, 45), (3, 4, 5, 4), (3, 1)),
        ((0, 15, 615, 1230), (3, 4, 3, 4), (3, 1)),  # 600 s count, 615 s do not
        ((0, 15, 30, 45, 60), (3, 4, 4, 3, 4), (3, 2)),
    ],
)
def test_changes_and_reversals(
    time: tuple[float, ...], asked: tuple[int, ...], expected: tuple[int, int]
) -> None:
    assert scale_moves(time, asked) == expected


@pytest.mark.parametrize("freedom", [1, 2, 5, 10, 11, 15, 30, 100, 1000])
def test_students_t(freedom: int) -> None:
    assert student_975(freedom) == pytest.approx(student.ppf(0.975, freedom), abs=1e-4)


def test_intervals_by_hand() -> None:
    # Mean 2, standard deviation 1, so 4.3027 / sqrt(3).
    assert estimate([1.0, 2.0, 3.0]).half == pytest.approx(4.3027 / math.sqrt(3.0))
    assert estimate([1.0, 2.0, 3.0]).mean == 2.0
    assert estimate([2.0]).half is None
    assert estimate([2.0, math.inf]).mean == math.inf
    assert math.isnan(estimate([math.nan]).mean)
    assert estimate([math.nan, 4.0]).mean == 4.0


def test_rows_keep_the_order_asked_for_and_leave_out_what_has_no_run() -> None:
    fleet = make_fleet([make_server("s")])
    runs: list[Figures] = [
        judge(policy, seed, fleet, {"s": requests([0.1], [0.01])}, USED, [])
        for policy, seed in [("b", 2), ("a", 1), ("b", 1)]
    ]
    made = rows(runs, ["b", "c", "a"])
    assert [(r.policy, r.seeds) for r in made] == [("b", (1, 2)), ("a", (1,))]
    assert made[0].run["attainment"].mean == 1.0
    assert made[0].groups["Gold"]["ttft_p99"].half == 0.0
