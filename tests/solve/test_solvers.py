"""Solvers against enumeration, and what must hold of every solution."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyball.solve import auto, exact, greedy, unlimited
from flyball.solve.problem import NONE, Problem, Solution, served_by_priority, used, value_of
from flyball.spec.fleet import Settings
from flyball.testing.make import make_problem

POLICIES = ("None", "PriorityExhaustive", "PriorityRoundRobin", "RoundRobin")


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to six servers with up to three options over up to three rows; some options use two rows."""
    rows = draw(st.integers(1, 3))
    names = [f"r{i}" for i in range(rows)]
    option = st.tuples(
        st.integers(-20, 60).map(float),
        st.dictionaries(st.sampled_from(names), st.integers(1, 8).map(float), min_size=1, max_size=2),
    )
    options = draw(st.lists(st.lists(option, max_size=3), min_size=1, max_size=6))
    limits = {name: float(draw(st.integers(0, 20))) for name in names}
    priority = [draw(st.integers(1, 3)) for _ in options]
    return make_problem(options, limits, priority, replicas=draw(st.sampled_from([1, 4])))


def enumerated(problem: Problem) -> tuple[tuple[int, ...], float]:
    """Best (served by priority, least value) over every choice."""
    choices = [
        [NONE, *range(int(problem.start[s]), int(problem.start[s + 1]))] for s in range(len(problem.names))
    ]
    best: tuple[tuple[int, ...], float] | None = None
    for combination in itertools.product(*choices):
        option = np.array(combination)
        served = option != NONE
        replicas = np.array([problem.replicas[o] if o != NONE else 0.0 for o in combination])
        solution = Solution("all", option, replicas, served, 0.0, False)
        if np.all(used(problem, solution) <= problem.limit + 1e-9):
            counts = tuple(count for _, count in served_by_priority(problem, solution))
            merit = (counts, value_of(problem, solution))
            if best is None or merit[0] > best[0] or (merit[0] == best[0] and merit[1] < best[1] - 1e-9):
                best = merit
    assert best is not None
    return best


@given(problems())
def test_exact_finds_what_enumeration_finds(problem: Problem) -> None:
    counts, value = enumerated(problem)
    found = exact.solve(problem)
    assert tuple(count for _, count in served_by_priority(problem, found)) == counts
    assert value_of(problem, found) == pytest.approx(value, abs=1e-6)
    assert found.proved
    assert found.bound <= value_of(problem, found) + 1e-9


@given(problems(), st.sampled_from(POLICIES), st.booleans())
def test_capacity_is_never_exceeded(problem: Problem, policy: str, delayed: bool) -> None:
    for solution in (
        greedy.solve(problem, policy, delayed),
        auto.solve(problem, Settings(saturation_policy=policy, delayed_best_effort=delayed)),  # type: ignore[arg-type]
    ):
        assert np.all(used(problem, solution) <= problem.limit + 1e-9)
        whole = solution.option[solution.served]
        assert np.all(solution.replicas[solution.served] == problem.replicas[whole])
        partly = ~solution.served & (solution.option != NONE)
        assert np.all(solution.replicas[partly] >= 1)


@given(problems(), st.sampled_from(POLICIES), st.booleans())
def test_auto_is_never_worse_than_greedy(problem: Problem, policy: str, delayed: bool) -> None:
    asked = Settings(saturation_policy=policy, delayed_best_effort=delayed)  # type: ignore[arg-type]
    found, start = auto.solve(problem, asked), greedy.solve(problem, policy, delayed)

    def merit(solution: Solution) -> tuple[tuple[int, ...], float]:
        counts = tuple(count for _, count in served_by_priority(problem, solution))
        return counts, -round(value_of(problem, solution), 9)

    assert merit(found) >= merit(start)


@given(problems())
def test_bounds_are_bounds(problem: Problem) -> None:
    for solver in ("greedy", "exact", "auto"):
        found = auto.solve(problem, Settings(solver=solver))  # type: ignore[arg-type]
        assert found.bound <= value_of(problem, found) + 1e-6


@given(problems())
def test_same_problem_same_solution(problem: Problem) -> None:
    for solver in ("greedy", "exact"):
        first, second = (auto.solve(problem, Settings(solver=solver)) for _ in range(2))  # type: ignore[arg-type]
        assert np.array_equal(first.option, second.option)
        assert first.bound == second.bound


@given(problems())
def test_unlimited_takes_the_first_option(problem: Problem) -> None:
    found = unlimited.solve(problem)
    for s in range(len(problem.names)):
        mine = problem.value[problem.start[s] : problem.start[s + 1]]
        assert found.served[s] == bool(mine.size)
        if mine.size:
            assert problem.value[found.option[s]] == mine.min()


def test_watts_are_a_row_like_any_other() -> None:
    # two cards free, but watts for one: fixed 100 W each and 50 W for the load
    options = [[(1.0, {"cards": 1.0, "watts": 100.0})]] * 2
    problem = make_problem(options, {"cards": 2.0, "watts": 250.0}, [2, 1], load_use={"watts": 50.0})
    for found in (greedy.solve(problem), exact.solve(problem)):
        assert found.served.tolist() == [False, True]
    more = make_problem(options, {"cards": 2.0, "watts": 300.0}, [2, 1], load_use={"watts": 50.0})
    assert exact.solve(more).served.all()
    assert greedy.solve(more).served.all()


def test_a_big_server_waits_where_many_small_ones_of_its_priority_fit() -> None:
    options = [[(1.0, {"r": 6.0})], [(5.0, {"r": 3.0})], [(5.0, {"r": 3.0})]]
    found = exact.solve(make_problem(options, {"r": 6.0}))
    assert found.served.tolist() == [False, True, True]
    assert found.proved


def test_a_higher_priority_is_never_traded_for_more_of_a_lower() -> None:
    options = [[(9.0, {"r": 6.0})], [(1.0, {"r": 1.0})], [(1.0, {"r": 1.0})]]
    found = exact.solve(make_problem(options, {"r": 6.0}, [1, 2, 2]))
    assert found.served.tolist() == [True, False, False]


def test_begin_is_taken_up_and_bettered() -> None:
    problem = make_problem(
        [[(1.0, {"a": 2.0}), (9.0, {"b": 1.0})], [(2.0, {"a": 2.0}), (3.0, {"b": 1.0})]], {"a": 2, "b": 1}
    )
    start = Solution("given", np.array([1, 2]), np.ones(2), np.ones(2, dtype=bool), 0.0, False)
    assert value_of(problem, start) == 11.0
    assert value_of(problem, exact.solve(problem, begin=start)) == 4.0


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_cores_serve_as_many_as_the_whole_program(seed: int) -> None:
    """The quick effort, whose programs are small parts of the whole, on fleets of forty servers."""
    rng = np.random.default_rng(seed)
    options = [
        [
            (float(v), {f"r{r}": float(u)})
            for v, r, u in zip(rng.integers(1, 99, 3), range(3), rng.integers(1, 9, 3), strict=True)
        ]
        for _ in range(40)
    ]
    problem = make_problem(options, {"r0": 30.0, "r1": 40.0, "r2": 25.0}, rng.integers(1, 4, 40).tolist())
    whole = exact.solve(problem)
    quick = exact.solve(problem, exact.Effort(nodes=300, gap=4e-4, small=0))
    assert served_by_priority(problem, quick) == served_by_priority(problem, whole)
    assert whole.bound <= value_of(problem, quick) + 1e-6
    assert quick.bound <= value_of(problem, whole) + 1e-6
