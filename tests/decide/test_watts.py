"""Watts in the joint choice: no plan passes them, and plans say where they are short."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.decide.aim import plan_of
from flyball.decide.plan import plan
from flyball.decide.power_prices import per_kilowatt
from flyball.decide.priority import by_priority
from flyball.report.sentences import short_of
from flyball.solve.candidates import candidates
from flyball.spec.fleet import Fleet, Settings
from flyball.spec.plan import Plan
from flyball.spec.power_plan import HeatLimit, WattLimits
from flyball.spec.server import Allocation
from flyball.testing.make import make_fleet, make_server
from tests.solve.test_watts import COUNTS, PLACES, landing, powered

KELVIN = {"rack-0": 2e-3, "rack-1": 1e-3}


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Fleet, WattLimits]:
    """Up to five servers on two cards in three racks; limits from nothing to plenty."""
    servers, replicas = [], {}
    for i in range(draw(st.integers(1, 5))):
        mine = draw(COUNTS)
        held = draw(st.sampled_from("AB"))
        replicas[f"s{i}"] = mine
        servers.append(
            make_server(
                f"s{i}",
                draw(st.sampled_from([0.0, 0.3, 4.0, 50.0, 500.0])),
                draw(st.sampled_from(["Gold", "Bronze"])),
                min_replicas=draw(st.sampled_from([0, 1, 3])),
                current=Allocation(held, sum(mine.values()), 64, 2.0),
            )
        )
    fleet = make_fleet(
        servers,
        capacity={"A": draw(st.integers(0, 30)), "B": draw(st.integers(0, 30))},
        generation=draw(st.sampled_from(["G2", "G3", "flyball"])),
        settings=Settings(
            solver=draw(st.sampled_from(["auto", "greedy", "exact", "unlimited"])),
            saturation_policy=draw(
                st.sampled_from(["None", "PriorityExhaustive", "PriorityRoundRobin", "RoundRobin"])
            ),
            heterogeneous=draw(st.booleans()),
            delayed_best_effort=draw(st.booleans()),
        ),
    )
    budget = st.floats(0.0, 1.5e4)
    return powered(fleet), WattLimits(
        {"site": draw(budget), "rack-0": draw(budget), "rack-2": draw(st.sampled_from([300.0, 9e4]))},
        (HeatLimit("rack-0", draw(st.floats(0.0, 12.0)), KELVIN),),
        PLACES,
        replicas,
        {"A": draw(COUNTS), "B": draw(COUNTS)},
        ("s4",),
    )


def drawn(made: Plan, fleet: Fleet, limits: WattLimits) -> dict[str, float]:
    """Watts by domain, from what the plan says of each server, where it is known where they are."""
    found = dict.fromkeys(("site", "rack-0", "rack-1", "rack-2"), 0.0)
    held = {s.name: s.current.accelerator for s in fleet.servers}
    for server in made.servers:
        if server.allocation is None or server.server in limits.exempt:
            continue
        for part in server.mix or (server.allocation,):
            now: Mapping[str, int] = (
                limits.replicas[server.server] if part.accelerator == held[server.server] else {}
            )
            free = limits.free.get(part.accelerator, {})
            if part.replicas and (sum(now.values()) or sum(free.values())):
                for place, share in landing(now, part.replicas, free).items():
                    for domain in PLACES[place]:
                        found[domain] += share * (part.watts or 0.0)
    return found


@given(fleets())
def test_no_plan_passes_its_watts(world: tuple[Fleet, WattLimits]) -> None:
    fleet, limits = world
    made = plan(fleet, watts=limits)
    watts = drawn(made, fleet, limits)
    for domain, limit in limits.watts.items():
        assert watts[domain] <= limit + 1e-6
    heat = sum(KELVIN[name] * watts[name] for name in KELVIN)
    assert heat <= limits.heat[0].margin + 1e-9
    for use in made.resources:
        assert use.used <= use.limit + 1e-6
    if fleet.settings.solver == "unlimited":
        assert {use.limit for use in made.resources if use.name in "AB"} == {float("inf")}


@settings(max_examples=40)
@given(fleets())
def test_nor_does_the_plan_of_the_loop_nor_one_by_priority(world: tuple[Fleet, WattLimits]) -> None:
    fleet, limits = world
    for made in (
        plan_of(fleet, fleet, limits).plan,
        by_priority(fleet, plan(fleet, watts=limits), limits),
    ):
        for use in made.resources:
            assert use.used <= use.limit + 1e-6
        watts = drawn(made, fleet, limits)
        assert all(watts[domain] <= limit + 1e-6 for domain, limit in limits.watts.items())


def one_rack(watts: float) -> tuple[Fleet, WattLimits]:
    """A draws up to 500 W and is cheap, B up to 410 W; both have cards in rack-7 alone."""
    fleet = powered(make_fleet([make_server("chat", 40.0), make_server("mail", 40.0, "Bronze")]))
    return fleet, WattLimits({"rack-7": watts}, (), {"r": ("rack-7",)}, {}, {"A": {"r": 9}, "B": {"r": 9}})


def needed(fleet: Fleet) -> tuple[float, float]:
    """Watts of the first choice of both servers, and of what takes least."""
    sized = candidates(fleet)
    first = sum(s.allocation.watts or 0.0 for s in plan(fleet, sized).servers if s.allocation)
    least = sum(float(sized.watts[sized.pairs.server == s].min()) for s in range(2))
    return first, least


def test_where_watts_are_short_a_dearer_option_is_taken_and_the_plan_says_why() -> None:
    fleet, plenty = one_rack(1e6)
    first, least = needed(fleet)
    assert least < first
    before = plan(fleet, watts=plenty)
    assert before.servers == plan(fleet).servers
    short = plan(fleet, watts=replace(plenty, watts={"rack-7": (first + least) / 2}))
    assert short.cost > before.cost
    changed = next(s for s in short.servers if s.reason == "capacity")
    (shortage,) = changed.shortages
    assert shortage.resource == "watts rack-7"
    lacking = shortage.needed - shortage.free
    assert lacking == pytest.approx(
        sum(s.allocation.watts for s in before.servers) - (first + least) / 2, rel=0.5
    )  # type: ignore[union-attr,misc]
    said = short_of(shortage)
    assert said.startswith(f"{shortage.accelerator} needs {shortage.needed:,.0f} W in rack-7, ")
    assert said.endswith(f": {lacking:,.0f} W short")


def test_where_there_is_not_enough_for_all_the_important_is_served() -> None:
    fleet, limits = one_rack(1.0)
    none = plan(fleet, watts=limits)
    assert [s.status for s in none.servers] == ["unserved", "unserved"]
    assert {x.resource for s in none.servers for x in s.shortages} == {"watts rack-7"}
    _, least = needed(fleet)
    some = plan(fleet, watts=replace(limits, watts={"rack-7": 0.7 * least}))
    assert [(s.server, s.status) for s in some.servers] == [("chat", "served"), ("mail", "unserved")]


def test_what_is_exempt_takes_nothing_from_the_others() -> None:
    fleet, limits = one_rack(1e6)
    _, least = needed(fleet)
    tight = replace(limits, watts={"rack-7": 0.7 * least})
    free = plan(fleet, watts=replace(tight, exempt=("chat",)))
    assert [s.status for s in free.servers] == ["served", "served"]
    assert next(u.used for u in free.resources if u.name == "watts rack-7") == pytest.approx(
        free.servers[1].allocation.watts  # type: ignore[union-attr]
    )


def test_an_accelerator_without_a_curve_is_told() -> None:
    fleet, limits = one_rack(1e6)
    dark = replace(fleet, accelerators=tuple(replace(a, power=None) for a in fleet.accelerators))
    made = plan(dark, watts=limits)
    assert any("no power curve is known of A" in note for note in made.notes)
    assert made.servers == plan(dark).servers


def test_a_kilowatt_is_worth_the_switches_that_it_spares() -> None:
    fleet, limits = one_rack(1e6)
    assert per_kilowatt(fleet, plan(fleet, watts=limits), limits) == {}
    first, least = needed(fleet)
    assert first - least > 1000.0
    tight = replace(limits, watts={"rack-7": first - 1000.0})
    sized = candidates(fleet)
    cheap, dear = (int(i) for i in sized.cost[:2].argsort())  # of the first server; the other is as large
    a_watt = (sized.value[dear] - sized.value[cheap]) / (sized.watts[cheap] - sized.watts[dear])
    found = per_kilowatt(fleet, plan(fleet, watts=tight), tight)
    assert found == {"rack-7": pytest.approx(1000.0 * a_watt)}


@settings(max_examples=40)
@given(fleets())
def test_no_price_is_negative_and_none_is_told_where_there_is_room(world: tuple[Fleet, WattLimits]) -> None:
    fleet, limits = world
    made = plan(fleet, watts=limits)
    used = {use.name: use for use in made.resources}
    for domain, price in per_kilowatt(fleet, made, limits).items():
        use = used["watts " + domain]
        assert price >= 0.0
        assert use.limit - use.used < max(1000.0, 0.02 * use.limit)
