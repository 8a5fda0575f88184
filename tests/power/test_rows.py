"""Watts and heat as rows of the solver's problem, and what one more kilowatt is worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.power.rows import (
    Answered,
    Rows,
    affine,
    heat_rows,
    joined,
    landing,
    price_sentence,
    prices,
    stacked,
    watt_rows,
)
from flyball.solve import auto
from flyball.solve.exact import single
from flyball.solve.problem import Problem, cost_of, served_by_priority, used
from flyball.spec.fleet import Settings


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


def problem_of(cost: list[list[float]], priority: list[int] | None = None) -> Problem:
    """Servers with options of these costs, one replica each, and no rows."""
    start = np.cumsum([0, *map(len, cost)])
    count = int(start[-1])
    flat = array(*(c for row in cost for c in row))
    return Problem(
        names=tuple(f"s{i:03}" for i in range(len(cost))),
        priority=np.array(priority or [1] * len(cost), dtype=np.int64),
        start=start.astype(np.int64),
        server=np.repeat(np.arange(len(cost)), np.diff(start)),
        value=flat,
        cost=flat,
        replicas=np.ones(count),
        rows=(),
        limit=np.zeros(0),
        use_start=np.zeros(count + 1, dtype=np.int64),
        use_row=np.zeros(0, dtype=np.int64),
        use_fixed=np.zeros(0),
        use_load=np.zeros(0),
        unit_cost=flat,
    )


def with_rows(problem: Problem, rows: Rows) -> Problem:
    start, row, fixed, load = joined(
        problem.use_start, problem.use_row, problem.use_fixed, problem.use_load, rows, len(problem.rows)
    )
    return replace(
        problem,
        rows=(*problem.rows, *rows.names),
        limit=np.concatenate([problem.limit, rows.limit]),
        use_start=start,
        use_row=row,
        use_fixed=fixed,
        use_load=load,
    )


def answer(problem: Problem, limit: np.ndarray) -> Answered:
    found = auto.solve(replace(problem, limit=limit), Settings(solver="exact"))
    counts = served_by_priority(problem, found)
    return Answered(tuple(count for _, count in counts), cost_of(problem, found))


def two_cards(servers: int, watts: float) -> Problem:
    """Cheap cards draw 1,000 W and cost 1, costly ones draw 400 W and cost 5.1."""
    problem = problem_of([[1.0, 5.1]] * servers)
    idle = np.tile(array(600.0, 250.0), servers)
    load = np.tile(array(400.0, 150.0), servers)
    return with_rows(problem, watt_rows(["rack-7"], array(watts), np.ones((2 * servers, 1)), idle, load))


def test_watts_hold_and_the_price_of_a_kilowatt_is_that_of_its_switch() -> None:
    problem = two_cards(5, 3800.0)  # three cheap ones and two costly: 3,000 + 800
    solution = auto.solve(problem, Settings(solver="exact"))
    assert used(problem, solution)[0] == 3800.0
    assert cost_of(problem, solution) == pytest.approx(13.2)
    found = prices(
        lambda limit: answer(problem, limit),
        problem.rows,
        problem.limit,
        used(problem, solution),
    )
    assert found["rack-7"].saves == pytest.approx(4.1)  # one switch wants 600 W, two want 1,200
    assert price_sentence("rack-7", found["rack-7"]) == "one more kilowatt in rack-7 saves 4.10 an hour"


def test_the_relaxation_has_a_price_too_which_is_the_slope() -> None:
    """4.1 for each 600 W, whatever the step: what large fleets are asked, where gaps are above prices."""
    problem = two_cards(5, 3500.0)
    goal = {1: 5}

    def relaxed(limit: np.ndarray) -> Answered:
        return Answered((5,), single.bound(replace(problem, limit=limit), goal)[0])

    for step in (100.0, 1000.0):
        found = prices(relaxed, problem.rows, problem.limit, problem.limit, step)
        assert found["rack-7"].saves == pytest.approx(4.1 / 0.6)


def test_a_row_with_room_has_no_price_and_nothing_is_solved() -> None:
    def never(limit: np.ndarray) -> Answered:
        raise AssertionError

    assert prices(never, ("H100", "watts rack-7"), array(1.0, 9000.0), array(1.0, 5000.0)) == {}


def test_where_servers_are_left_out_a_kilowatt_serves_more() -> None:
    problem = two_cards(5, 1300.0)
    solution = auto.solve(problem, Settings(solver="exact"))
    assert int(solution.served.sum()) == 3
    found = prices(lambda limit: answer(problem, limit), problem.rows, problem.limit, used(problem, solution))
    assert found["rack-7"].served == 2
    assert price_sentence("rack-7", found["rack-7"]) == "one more kilowatt in rack-7 serves 2 more servers"


def test_the_important_is_served_where_watts_are_short() -> None:
    problem = problem_of([[1.0], [1.0], [1.0]], [3, 1, 2])
    rows = watt_rows(["d"], array(2000.0), np.ones((3, 1)), array(900.0, 900.0, 900.0), np.zeros(3))
    solution = auto.solve(with_rows(problem, rows), Settings(solver="exact"))
    assert solution.served.tolist() == [False, True, True]


@given(st.lists(st.floats(200.0, 9000.0), min_size=2, max_size=4, unique=True))
def test_a_lower_budget_never_serves_more_nor_costs_less_for_the_same(budgets: list[float]) -> None:
    low, *_, high = sorted(budgets)
    less, more = (answer(two_cards(4, w), two_cards(4, w).limit) for w in (low, high))
    assert less.served <= more.served
    if less.served == more.served:
        assert less.cost >= more.cost - 1e-9


def test_rows_are_the_share_of_each_domain_and_only_where_there_is_a_limit() -> None:
    share = np.array([[1.0, 0.25, 0.75], [1.0, 1.0, 0.0]])
    rows = watt_rows(
        ["site", "a", "b"], array(np.inf, 500.0, -20.0), share, array(100.0, 60.0), array(40.0, 8.0)
    )
    assert rows.names == ("watts a", "watts b")
    assert rows.limit.tolist() == [500.0, 0.0]
    assert rows.option.tolist() == [0, 0, 1]
    assert rows.row.tolist() == [0, 1, 0]
    assert rows.fixed.tolist() == [25.0, 75.0, 60.0]
    assert rows.load.tolist() == [10.0, 30.0, 8.0]


def test_heat_is_recirculated_watts() -> None:
    """T = T_supply + D P: 3 kW in a and 1 kW of others in b, with D as below."""
    d = np.array([[2e-3, 1e-3], [0.5e-3, 2e-3]])
    share = np.array([[1.0, 0.0]])
    rows = heat_rows(["a", "b"], d, array(10.0, 10.0), array(0.0, 1000.0), share, array(3000.0), array(0.0))
    assert rows.names == ("heat a", "heat b")
    assert rows.limit == pytest.approx([10.0 - 1.0, 10.0 - 2.0])
    assert rows.fixed == pytest.approx([6.0, 1.5])


def test_rows_stand_beside_those_of_cards() -> None:
    cards = replace(
        problem_of([[1.0], [2.0]]),
        rows=("H100",),
        limit=array(8.0),
        use_start=np.array([0, 1, 2]),
        use_row=np.zeros(2, dtype=np.int64),
        use_fixed=array(1.0, 4.0),
        use_load=np.zeros(2),
    )
    watts = watt_rows(["a"], array(900.0), np.ones((2, 1)), array(300.0, 500.0), array(50.0, 60.0))
    heat = heat_rows(
        ["a"],
        np.array([[1e-2]]),
        array(9.0),
        array(0.0),
        np.ones((2, 1)),
        array(300.0, 500.0),
        array(50.0, 60.0),
    )
    whole = with_rows(cards, stacked(watts, heat))
    assert whole.rows == ("H100", "watts a", "heat a")
    assert whole.per_replica(0) == [(0, 1.0), (1, 350.0), (2, pytest.approx(3.5))]
    assert whole.per_replica(1) == [(0, 4.0), (1, 560.0), (2, pytest.approx(5.6))]


def test_affine_draw_meets_the_curve_at_its_load() -> None:
    a, b = affine(array(120.0), array(300.0), array(4.0))
    assert 4.0 * a + b == pytest.approx(4 * 300.0)
    assert affine(array(120.0), array(100.0), array(4.0))[1] == 0.0


def test_where_replicas_land() -> None:
    assert landing({"a": 2, "b": 2}, 4, {"b": 9}) == {"a": 0.5, "b": 0.5}
    assert landing({"a": 2, "b": 2}, 2, {}) == {"a": 0.5, "b": 0.5}
    assert landing({"a": 2}, 6, {"a": 1, "b": 3}) == {"a": 0.5, "b": 0.5}
    assert landing({"a": 2}, 4, {}) == {"a": 1.0}
    assert landing({}, 4, {}) == landing({"a": 1}, 0, {"a": 1}) == {}


PLACES = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9), max_size=4)


@given(PLACES, st.integers(1, 30), PLACES)
def test_all_replicas_land_somewhere(now: dict[str, int], replicas: int, free: dict[str, int]) -> None:
    found = landing(now, replicas, free)
    there = sum(now.values()) > 0 or sum(free.values()) > 0
    room = sum(free.values()) > 0 or sum(now.values()) > 0
    if there and room:
        assert sum(found.values()) == pytest.approx(1.0)
    assert all(0.0 <= share <= 1.0 + 1e-9 for share in found.values())
