"""Watts and heat as rows of the solver's problem: what they count, and that solvers hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.solve import auto, exact, greedy
from flyball.solve.build import problem_of, with_rows
from flyball.solve.candidates import candidates
from flyball.solve.problem import Problem, cost_of, served_by_priority, used, value_of, with_cards_only
from flyball.solve.watts import Draw, Landing, heat_rows, stacked, watt_rows
from flyball.spec.accelerator import PowerCurve
from flyball.spec.fleet import Fleet, Settings
from flyball.spec.power_plan import HeatLimit, PodDraw, WattLimits
from flyball.spec.server import Allocation
from flyball.testing.make import make_fleet, make_problem, make_server
from tests.solve.test_solvers import POLICIES, enumerated, problems

CURVE = PowerCurve(100.0, 500.0, 350.0, 0.5)
PLACES = {"r0": ("rack-0", "site"), "r1": ("rack-1", "site"), "r2": ("rack-2", "site")}
COUNTS = st.dictionaries(st.sampled_from(sorted(PLACES)), st.integers(0, 9), max_size=3)


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


def draw(idle: np.ndarray, load: np.ndarray) -> Draw:
    return Draw(idle, load, idle + load)


def powered(fleet: Fleet) -> Fleet:
    """The fleet with a power curve for every accelerator, of other watts each."""
    curves = [
        msgspec.structs.replace(a, power=PowerCurve(100.0 + 30 * i, 500.0 - 90 * i, 350.0 - 60 * i, 0.5))
        for i, a in enumerate(fleet.accelerators)
    ]
    return msgspec.structs.replace(fleet, accelerators=tuple(curves))


def two_cards(servers: int, watts: float) -> Problem:
    """Cheap cards draw 1,000 W and cost 1, costly ones draw 400 W and cost 5.1."""
    problem = make_problem([[(1.0, {}), (5.1, {})]] * servers, {})
    ones = np.ones((2 * servers, 1))
    of = draw(np.tile(array(600.0, 250.0), servers), np.tile(array(400.0, 150.0), servers))
    return with_rows(problem, watt_rows(["rack-7"], array(watts), ones, ones, of))


def test_watts_hold_at_the_least_cost() -> None:
    problem = two_cards(5, 3800.0)  # three cheap ones and two costly: 3,000 + 800
    solution = auto.solve(problem, Settings(solver="exact"))
    assert used(problem, solution)[0] == 3800.0
    assert cost_of(problem, solution) == pytest.approx(13.2)


def test_the_important_is_served_where_watts_are_short() -> None:
    problem = make_problem([[(1.0, {})]] * 3, {}, [3, 1, 2])
    ones = np.ones((3, 1))
    rows = watt_rows(["d"], array(2000.0), ones, ones, draw(np.full(3, 900.0), np.zeros(3)))
    solution = auto.solve(with_rows(problem, rows), Settings(solver="exact"))
    assert solution.served.tolist() == [False, True, True]


@given(st.lists(st.floats(200.0, 9000.0), min_size=2, max_size=4, unique=True))
def test_a_lower_budget_never_serves_more_nor_costs_less_for_the_same(budgets: list[float]) -> None:
    low, *_, high = sorted(budgets)
    less, more = (auto.solve(two_cards(4, w), Settings(solver="exact")) for w in (low, high))
    assert less.served.sum() <= more.served.sum()
    if less.served.sum() == more.served.sum():
        assert cost_of(two_cards(4, low), less) >= cost_of(two_cards(4, high), more) - 1e-9


def test_rows_are_the_share_of_each_domain_and_only_where_there_is_a_limit() -> None:
    share = np.array([[1.0, 0.25, 0.75], [1.0, 1.0, 0.0]])
    of = Draw(array(100.0, 60.0), array(40.0, 8.0), array(200.0, 80.0))
    rows = watt_rows(["site", "a", "b"], array(np.inf, 500.0, -20.0), share, share, of)
    assert rows.names == ("watts a", "watts b")
    assert rows.limit.tolist() == [500.0, 0.0]
    assert rows.option.tolist() == [0, 0, 1]
    assert rows.row.tolist() == [0, 1, 0]
    assert rows.fixed.tolist() == [25.0, 75.0, 60.0]
    assert rows.load.tolist() == [10.0, 30.0, 8.0]
    assert rows.most.tolist() == [50.0, 150.0, 80.0]


def test_heat_is_recirculated_watts() -> None:
    """T = T_supply + D P: 3 kW in a, with D as below."""
    d = np.array([[2e-3, 1e-3], [0.5e-3, 2e-3]])
    share = np.array([[1.0, 0.0]])
    rows = heat_rows(["a", "b"], d, array(9.0, 8.0), share, share, draw(array(3000.0), array(0.0)))
    assert rows.names == ("heat a", "heat b")
    assert rows.limit.tolist() == [9.0, 8.0]
    assert rows.fixed == pytest.approx([6.0, 1.5])


def test_rows_stand_behind_those_of_cards() -> None:
    cards = make_problem([[(1.0, {"H100": 1.0})], [(2.0, {"H100": 4.0})]], {"H100": 8.0})
    ones, of = np.ones((2, 1)), draw(array(300.0, 500.0), array(50.0, 60.0))
    watts = watt_rows(["a"], array(900.0), ones, ones, of)
    whole = with_rows(cards, stacked(watts, heat_rows(["a"], array(1e-2)[None], array(9.0), ones, ones, of)))
    assert whole.rows == ("H100", "watts a", "heat a")
    assert whole.watts == 2
    assert whole.per_replica(0) == [(0, 1.0), (1, 350.0), (2, pytest.approx(3.5))]
    assert whole.per_replica(1) == [(0, 4.0), (1, 560.0), (2, pytest.approx(5.6))]
    again = with_cards_only(whole)
    assert again.rows == cards.rows
    assert again.amount.tolist() == cards.amount.tolist()
    assert again.use_start.tolist() == cards.use_start.tolist()


# ---- where replicas land -----------------------------------------------------------------------


def landing(now: Mapping[str, int], replicas: float, free: Mapping[str, int]) -> dict[str, float]:
    """Share by place, one by one: they stay, new ones go where room is, without room where they are."""
    have = float(sum(now.values()))
    kept = min(have, replicas)
    room = {p: r for p, r in free.items() if r > 0} or {p: n for p, n in now.items() if n > 0}
    found = {p: kept * n / have for p, n in now.items() if n > 0}
    for place, r in room.items():
        found[place] = found.get(place, 0.0) + (replicas - kept) * r / sum(room.values())
    return {place: n / replicas for place, n in found.items()}


@given(COUNTS, st.dictionaries(st.sampled_from("AB"), COUNTS), st.sampled_from("AB"), st.floats(1, 3000))
def test_all_options_land_as_one_by_one(
    now: dict[str, int], free: dict[str, dict[str, int]], held: str, rate: float
) -> None:
    fleet = powered(make_fleet([make_server("s", rate, current=Allocation(held, sum(now.values())))]))
    sized = candidates(fleet)
    limits = WattLimits({"site": 1e9, "rack-0": 1e9}, (), PLACES, {"s": now}, free)
    at = np.flatnonzero(sized.excluded == 0)
    shares, most = Landing(fleet, sized, limits, ["rack-0", "rack-1", "rack-2", "site"]).shares(
        at, sized.replicas[at]
    )
    assert np.all(most >= shares)
    assert shares[:, :3].sum(axis=1) == pytest.approx(1.0)
    assert shares[:, 3] == pytest.approx(1.0)
    for row, pair in zip(shares, at.tolist(), strict=True):
        name = fleet.accelerators[int(sized.pairs.accelerator[pair])].name
        mine = now if name == held else {}
        if sum(mine.values()) or sum(free.get(name, {}).values()):
            wanted = landing(mine, float(sized.replicas[pair]), free.get(name, {}))
            assert row[:3] == pytest.approx([wanted.get(place, 0.0) for place in sorted(PLACES)])


def test_without_any_free_card_replicas_land_where_others_of_the_type_are_else_anywhere() -> None:
    fleet = powered(
        make_fleet(
            [make_server("s", current=Allocation("A", 1)), make_server("t", current=Allocation("B", 2))]
        )
    )
    sized = candidates(fleet)
    domains = ["rack-0", "rack-1", "rack-2"]
    on_b = np.flatnonzero((sized.pairs.accelerator == 1) & (sized.pairs.server == 0))
    limits = WattLimits({"site": 1e9}, (), PLACES, {"t": {"r2": 2}, "s": {"r0": 1}})
    share, _ = Landing(fleet, sized, limits, domains).shares(on_b, sized.replicas[on_b])
    assert share.tolist() == [[0.0, 0.0, 1.0]]
    nowhere = msgspec.structs.replace(limits, replicas={})
    share, _ = Landing(fleet, sized, nowhere, domains).shares(on_b, sized.replicas[on_b])
    assert share.sum() == pytest.approx(1.0)
    assert share[0, 0] == share[0, 1] == share[0, 2]
    unknown = WattLimits({"site": 1e9})
    share, _ = Landing(fleet, sized, unknown, ["site"]).shares(on_b, sized.replicas[on_b])
    assert share.tolist() == [[1.0]]


# ---- rows of a fleet ---------------------------------------------------------------------------


@given(st.floats(1, 3000), st.sampled_from(["G2", "G3", "flyball"]))
def test_the_rows_of_a_domain_with_all_in_it_are_the_candidates_watts(rate: float, generation: str) -> None:
    fleet = powered(make_fleet([make_server("s", rate)], generation=generation))  # type: ignore[arg-type]
    sized = candidates(fleet)
    problem, pair = problem_of(fleet, sized, WattLimits({"site": 5e4}))
    assert problem.rows[-1] == "watts site"
    assert problem.limit[-1] == 5e4
    at = problem.use_row == len(problem.rows) - 1
    assert problem.amount[at] == pytest.approx(sized.watts[pair])
    each = sized.watts[pair] / sized.replicas[pair]
    mid = np.array([fleet.accelerators[a].power.mid_power for a in sized.pairs.accelerator[pair]])  # type: ignore[union-attr]
    full = np.array([fleet.accelerators[a].power.full for a in sized.pairs.accelerator[pair]])  # type: ignore[union-attr]
    # The upper piece at no load: its middle is at half the utilization.
    assert problem.use_fixed[at] == pytest.approx(np.minimum(each, 2.0 * mid - full))
    assert problem.use_most[at] == pytest.approx(full)


def test_what_is_exempt_idle_or_without_a_curve_uses_no_watts() -> None:
    fleet = powered(make_fleet([make_server("a"), make_server("b"), make_server("c", 0.0)]))
    dark = msgspec.structs.replace(fleet.accelerators[1], power=None)
    fleet = msgspec.structs.replace(fleet, accelerators=(fleet.accelerators[0], dark))
    sized = candidates(fleet)
    problem, pair = problem_of(fleet, sized, WattLimits({"site": 9e3}, exempt=("b",)))
    option = np.repeat(np.arange(problem.server.size), np.diff(problem.use_start))
    by = option[problem.use_row == len(problem.rows) - 1]
    assert {(problem.names[problem.server[o]], int(sized.pairs.accelerator[pair[o]])) for o in by} == {
        ("a", 0)
    }


def test_an_inlet_takes_the_watts_of_every_domain_that_warms_it() -> None:
    fleet = powered(make_fleet([make_server("s", 50.0)]))
    heat = HeatLimit("rack-0", 7.0, {"rack-0": 2e-3, "rack-1": 1e-3})
    limits = WattLimits({"site": 1e6}, (heat,), PLACES, {}, {"A": {"r0": 1, "r1": 3}, "B": {"r2": 1}})
    problem, pair = problem_of(fleet, candidates(fleet), limits)
    assert problem.rows[-2:] == ("watts site", "heat rack-0")
    assert problem.limit[-1] == 7.0
    sized = candidates(fleet)
    at = problem.use_row == len(problem.rows) - 1
    on_a = pair[sized.pairs.accelerator[pair] == 0]
    assert problem.amount[at] == pytest.approx(sized.watts[on_a] * (0.25 * 2e-3 + 0.75 * 1e-3))


# ---- solvers -----------------------------------------------------------------------------------


@st.composite
def with_watts(draw: st.DrawFn) -> Problem:
    """Problems whose last rows are of watts, of which too few replicas draw more each than enough do."""
    problem = draw(problems())
    rows = draw(st.integers(1, len(problem.rows)))
    limit = problem.limit.copy()
    if draw(st.booleans()):
        limit[: limit.size - rows] = np.inf
    load = np.where(problem.use_row >= limit.size - rows, draw(st.sampled_from([0.0, 1.5])), 0.0)
    problem = replace(problem, limit=limit, use_load=load * problem.use_fixed, watts=rows)
    return replace(problem, use_most=problem.each * draw(st.sampled_from([1.0, 1.5, 4.0])))


@given(with_watts())
def test_exact_finds_what_enumeration_finds_within_watts(problem: Problem) -> None:
    counts, value = enumerated(problem)
    for found in (exact.solve(problem), auto.solve(problem, Settings(solver="exact"))):
        assert tuple(count for _, count in served_by_priority(problem, found)) == counts
        assert value_of(problem, found) == pytest.approx(value, abs=1e-6)
        assert found.bound <= value_of(problem, found) + 1e-9
        assert found.proved or not problem.server.size


@given(with_watts(), st.sampled_from(POLICIES), st.booleans(), st.booleans())
def test_no_solver_and_no_policy_exceeds_a_row(
    problem: Problem, policy: str, delayed: bool, heterogeneous: bool
) -> None:
    asked = Settings(saturation_policy=policy, delayed_best_effort=delayed, heterogeneous=heterogeneous)  # type: ignore[arg-type]
    for solution in (auto.solve(problem, asked), greedy.solve(problem, policy, delayed)):
        total = np.zeros(len(problem.rows))
        for server, option in enumerate(solution.option.tolist()):
            for o, n in solution.mix.get(
                server, [(option, solution.replicas[server])] if option >= 0 else []
            ):
                for u in range(problem.use_start[o], problem.use_start[o + 1]):
                    whole = problem.use_fixed[u] + problem.use_load[u] / problem.replicas[o]
                    each = whole if solution.served[server] else problem.use_most[u]
                    total[problem.use_row[u]] += n * each
        assert np.all(total <= problem.limit + 1e-9)


@given(with_watts())
def test_unlimited_cards_leave_watts_as_they_are(problem: Problem) -> None:
    limit = problem.limit.copy()
    limit[: limit.size - problem.watts] = np.inf
    free = replace(problem, limit=limit)
    found = auto.solve(free, Settings(unlimited=True))
    assert np.all(used(free, found) <= limit + 1e-9)
    counts, value = enumerated(free)
    assert tuple(count for _, count in served_by_priority(free, found)) == counts
    assert value_of(free, found) <= value + 0.05 * max(cost_of(free, found), 1.0)


@given(problems(), st.sampled_from(POLICIES), st.sampled_from(["auto", "exact", "greedy", "unlimited"]))
def test_watts_that_do_not_bind_change_nothing(problem: Problem, policy: str, solver: str) -> None:
    ones = np.ones((problem.server.size, 1))
    of = draw(np.full(problem.server.size, 100.0), np.full(problem.server.size, 50.0))
    asked = Settings(solver=solver, saturation_policy=policy)  # type: ignore[arg-type]
    before = auto.solve(problem, asked)
    roomy = with_rows(problem, watt_rows(["site"], array(1e6), ones, ones, of))
    after = auto.solve(roomy, asked)
    for name in ("option", "replicas", "served"):
        assert getattr(before, name).tolist() == getattr(after, name).tolist()
    assert (before.solver, before.bound, before.proved) == (after.solver, after.bound, after.proved)


def test_many_racks_are_solved_to_a_stated_gap_and_the_same_again() -> None:
    random = np.random.default_rng(7)
    servers, options, racks = 80, 5, 8
    costs = np.sort(random.uniform(1.0, 6.0, (servers, options)), axis=1)
    problem = make_problem(
        [[(float(c), {}) for c in row] for row in costs], {}, random.integers(1, 4, servers).tolist()
    )
    # What is cheap draws more, spread over one to four racks of all.
    watts = (900.0 - 120.0 * (costs - costs.min(axis=1, keepdims=True))).ravel()
    share = random.dirichlet(np.full(racks, 0.2), servers).repeat(options, axis=0)
    share = np.hstack([share, np.ones((share.shape[0], 1))])
    limit = 0.8 * (share * watts[:, None])[::options].sum(axis=0)
    names = [f"rack-{i}" for i in range(racks)] + ["site"]
    rows = watt_rows(names, limit, share, share, draw(watts / 2, watts / 2))
    problem = with_rows(problem, rows)
    found = auto.solve(problem, Settings())
    assert problem.watts * problem.server.size > exact.single.PROVABLE
    assert np.all(used(problem, found) <= limit + 1e-6)
    assert 0.0 <= value_of(problem, found) - found.bound <= 0.03 * cost_of(problem, found)
    counts, greedily = (served_by_priority(problem, s) for s in (found, greedy.solve(problem)))
    assert counts > greedily
    assert auto.solve(problem, Settings()).option.tolist() == found.option.tolist()


def test_what_pods_draw_counts_instead_of_the_curve_and_empty_cards_do_not() -> None:
    fleet = powered(make_fleet([make_server("s", 100.0)]))
    server = fleet.servers[0]
    on = fleet.accelerators[0]
    held = msgspec.structs.replace(server, current=Allocation(on.name, 1))
    fleet = msgspec.structs.replace(fleet, servers=(held,))
    sized = candidates(fleet)
    limits = WattLimits(
        {"site": 5e4}, pods={"s": PodDraw(40.0, 140.0)}, empty={a.type: 10.0 for a in fleet.accelerators}
    )
    problem, pair = problem_of(fleet, sized, limits)
    bare, _ = problem_of(fleet, sized, WattLimits({"site": 5e4}))
    at = problem.use_row == len(problem.rows) - 1
    mine = np.array([fleet.accelerators[a].name == on.name for a in sized.pairs.accelerator[pair]])
    assert mine.any()
    assert not mine.all()
    assert problem.use_fixed[at][mine] == pytest.approx(40.0)
    assert problem.use_most[at][mine] == pytest.approx(140.0)
    units = (
        np.array([fleet.accelerators[a].multiplicity for a in sized.pairs.accelerator[pair]])
        * sized.pairs.units[pair]
    )
    assert problem.use_fixed[at][~mine] == pytest.approx((bare.use_fixed[at] - 10.0 * units)[~mine])
