"""Caps of policies in the joint choice: rows of the plan over the servers that they select."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as given_with
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.decide.plan import plan
from flyball.decide.priority import by_priority
from flyball.power.govern import Need, Power, PowerMemory
from flyball.power.ladder import DEFAULTS
from flyball.power.limits import limits
from flyball.report.sentences import short_of
from flyball.solve.candidates import candidates
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Plan
from flyball.spec.power import (
    AbsoluteCap,
    Domain,
    PlacedPod,
    Policy,
    PowerNode,
    PowerReading,
    PowerSeen,
    PowerWorkload,
)
from flyball.spec.power_plan import CapLimit, WattLimits
from flyball.testing.make import make_fleet, make_server
from tests.decide.powered import PoweredRun, policy
from tests.decide.worlds import fleet_of, server_of, world_of
from tests.solve.test_watts import powered

NAMES = ("chat", "mail", "bulk")


def fleet_with(rates: tuple[float, ...] = (40.0, 40.0, 40.0)) -> Fleet:
    classes = ("Gold", "Bronze", "Bronze")
    return powered(make_fleet([make_server(*one) for one in zip(NAMES, rates, classes, strict=True)]))


def caps(watts: float, *servers: str) -> WattLimits:
    return WattLimits(caps=(CapLimit("infer/capped", watts, servers),))


def drawn(made: Plan, servers: tuple[str, ...]) -> float:
    return sum(s.allocation.watts or 0.0 for s in made.servers if s.allocation and s.server in servers)


def least(fleet: Fleet, name: str) -> float:
    """Watts of the option that takes least."""
    sized = candidates(fleet)
    server = [s.name for s in sized.pairs.servers].index(name)
    return float(sized.watts[(sized.pairs.server == server) & (sized.excluded == 0)].min())


@given_with(max_examples=40)
@given(
    st.floats(0.0, 2e4),
    st.sets(st.sampled_from(NAMES), min_size=1),
    st.tuples(*[st.sampled_from([0.0, 3.0, 40.0])] * 3),
    st.sampled_from(["auto", "greedy", "exact"]),
)
def test_no_plan_passes_a_cap_and_who_is_not_selected_is_as_without(
    watts: float, those: set[str], rates: tuple[float, float, float], solver: Any
) -> None:
    fleet = fleet_with(rates)
    fleet = replace(fleet, settings=replace(fleet.settings, solver=solver))
    limit = caps(watts, *sorted(those))
    free = {s.server: s.allocation for s in plan(fleet).servers}
    for made in (plan(fleet, watts=limit), by_priority(fleet, plan(fleet, watts=limit), limit)):
        assert drawn(made, tuple(those)) <= watts + 1e-6
        for server in made.servers:
            assert server.server in those or server.allocation == free[server.server]


def test_a_plan_under_a_cap_takes_what_draws_less_where_a_cut_after_the_plan_loses_load() -> None:
    fleet = fleet_with()
    first = plan(fleet)
    before = {s.server: s.allocation for s in first.servers}
    floor = least(fleet, "bulk")
    assert before["bulk"] is not None
    assert floor < 0.9 * (before["bulk"].watts or 0.0)
    cap = (floor + (before["bulk"].watts or 0.0)) / 2.0
    made = {s.server: s for s in plan(fleet, watts=caps(cap, "bulk")).servers}
    assert {s.status for s in made.values()} == {"served"}
    # The same cap on the first plan: replicas go until it holds.
    option = before["bulk"]
    each = (option.watts or 0.0) / option.replicas
    kept = min(int(cap / each), option.replicas) * option.max_rate
    assert kept < 40.0 <= made["bulk"].allocation.replicas * made["bulk"].allocation.max_rate  # type: ignore[union-attr]
    assert made["bulk"].allocation.accelerator != option.accelerator  # type: ignore[union-attr]


def test_a_cap_that_is_too_tight_is_told_by_the_name_of_its_policy() -> None:
    fleet = fleet_with()
    made = {s.server: s for s in plan(fleet, watts=caps(1.0, "bulk", "mail")).servers}
    assert [made[name].status for name in NAMES] == ["served", "unserved", "unserved"]
    (shortage, *_) = made["bulk"].shortages
    assert shortage.resource == "cap infer/capped"
    assert " W under the cap of infer/capped, " in short_of(shortage)


def test_limits_have_what_is_left_of_a_cap_for_the_enforced_that_it_selects() -> None:
    nodes = (PowerNode("n", cards=8, card_most=600.0),)
    pods = tuple(
        PlacedPod(f"infer/{name}-{i}", name, "n", "running", "A", 200.0, 100.0, 600.0)
        for name in NAMES
        for i in range(2)
    )
    those = {name: PowerWorkload(name, "infer", {"app": name}, replicas=2, wanted=2) for name in NAMES}
    policies = (
        Policy("one", "infer", "Enforce", AbsoluteCap(3000.0), labels={"app": "chat"}),
        Policy("other", "infer", "Recommend", labels={"app": "mail"}),
        Policy("all", "infer", "Enforce", AbsoluteCap(5000.0)),
    )
    seen = PowerSeen(
        1e9,
        30.0,
        (Domain("site", "Site", watts=1e5),),
        policies,
        nodes,
        (PowerReading("agent", "whole", "n", 1800.0),),
        pods,
        tuple(those.values()),
    )
    needs = {name: Need(2, 2, idle=200.0, full=600.0) for name in NAMES}
    power = Power(seen, PowerMemory(), needs)
    found = limits(power)
    assert found is not None
    enforced = {name for name in NAMES if power.policy_of(name).mode == "Enforce"}
    by = {cap.policy: cap for cap in found.caps}
    assert by["infer/one"] == CapLimit("infer/one", pytest.approx((1.0 - DEFAULTS.hold) * 3000.0), ("chat",))  # type: ignore[arg-type]
    beside = sum(600.0 for name in NAMES if name not in enforced)
    assert set(by["infer/all"].servers) == enforced
    assert by["infer/all"].watts == pytest.approx((1.0 - DEFAULTS.hold) * 5000.0 - beside)


def test_the_loop_plans_within_a_cap() -> None:
    fleet = powered(fleet_of([server_of("bulk", "Bronze", 200.0)], {"A": 40, "B": 40}))
    world = world_of(fleet, lambda name, t: 200.0, cold_start=30.0)
    site, cap = Domain("site", "Site", watts=1e6), 5600.0
    run = PoweredRun(world, (site,), (policy(cap=AbsoluteCap(cap)),))
    run.until(900.0)
    assert max(run.watts[20:]) <= cap
    made = run.decisions[-1].plan
    assert made is not None
    row = next(use for use in made.resources if use.name == "cap infer/all")
    assert 0.0 < row.used <= row.limit <= cap
