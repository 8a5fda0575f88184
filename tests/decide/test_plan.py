"""The decision as a whole: what every plan owes its reader."""

from __future__ import annotations

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.decide.explain import options_of, percentiles_of
from flyball.decide.plan import plan
from flyball.profiles.sample import sample_fleet
from flyball.solve.candidates import candidates
from flyball.spec.fleet import Fleet, Generation, Settings
from flyball.spec.plan import Plan
from flyball.spec.server import Allocation
from flyball.spec.service_class import Target
from flyball.testing.make import make_fleet, make_server

GENERATIONS: tuple[Generation, ...] = ("G2", "G3", "flyball")


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    names = [f"s{i}" for i in range(draw(st.integers(1, 6)))]
    held = st.sampled_from([Allocation(), Allocation("A", 2, 64, 2.0), Allocation("B", 1, 64, 1.5)])
    servers = [
        make_server(
            name,
            draw(st.sampled_from([0.0, 0.3, 4.0, 50.0, 2000.0, -1.0])),
            draw(st.sampled_from(["Gold", "Bronze", "None"])),
            model=draw(st.sampled_from(["m", "m", "m", "other"])),
            min_replicas=draw(st.sampled_from([0, 0, 1, 3])),
            max_batch_size=draw(st.sampled_from([0, 0, 1, 8])),
            keep_accelerator=draw(st.booleans()),
            current=draw(held),
            in_tokens=draw(st.sampled_from([0, 1, 300, 20_000])),
            out_tokens=draw(st.sampled_from([0, 1, 300, 4000])),
        )
        for name in names
    ]
    targets = [
        Target("itl", draw(st.sampled_from([0.001, 0.03, 0.5])), draw(st.sampled_from([0.0, 0.95]))),
        Target("ttft", draw(st.sampled_from([0.01, 0.5, 20.0])), draw(st.sampled_from([0.0, 0.99]))),
    ]
    return make_fleet(
        servers,
        prices={"A": 1.0, "B": draw(st.sampled_from([0.0, 1.0, 3.0])), "C": 5.0},
        speed={"C": 4.0},
        capacity={"A": draw(st.integers(0, 6)), "B": draw(st.integers(0, 40)), "C": draw(st.integers(0, 10))},
        targets=targets,
        generation=draw(st.sampled_from(GENERATIONS)),
        settings=Settings(
            solver=draw(st.sampled_from(["auto", "greedy", "exact"])),
            saturation_policy=draw(st.sampled_from(["None", "PriorityExhaustive", "RoundRobin"])),
            heterogeneous=draw(st.sampled_from([False, False, True])),
        ),
    )


@given(fleets())
def test_every_plan_keeps_its_word(fleet: Fleet) -> None:
    made = plan(fleet)
    assert [s.server for s in made.servers] == sorted(s.name for s in fleet.servers)
    assert all(use.used <= use.limit + 1e-9 for use in made.resources)
    assert made.bound <= made.objective + 1e-6
    assert made.gap >= 0
    total = 0.0
    for server in made.servers:
        asked = next(s for s in fleet.servers if s.name == server.server)
        if server.allocation is None:
            assert server.status == "unserved"
            explained = server.shortages or server.exclusions
            assert explained or server.reason in ("no_profile", "no_target", "bad_load")
            continue
        parts = server.mix or (server.allocation,)
        total += sum(part.cost for part in parts)
        if server.status == "served":
            assert sum(part.replicas for part in parts) >= max(asked.min_replicas, 1)
            assert all(promise.met for promise in server.promises)
            if asked.keep_accelerator and asked.current.accelerator:
                assert {part.accelerator for part in parts} == {asked.current.accelerator}
        if server.reason == "capacity":
            assert server.shortages
    assert made.cost == pytest.approx(total)


@given(fleets(), st.randoms(use_true_random=False))
def test_order_of_the_input_does_not_matter(fleet: Fleet, shuffler: random.Random) -> None:
    def mixed(items: tuple) -> tuple:  # type: ignore[type-arg]
        return tuple(shuffler.sample(items, len(items)))

    other = msgspec.structs.replace(
        fleet,
        servers=mixed(fleet.servers),
        accelerators=mixed(fleet.accelerators),
        profiles=mixed(fleet.profiles),
        service_classes=mixed(fleet.service_classes),
        capacity=dict(mixed(tuple(fleet.capacity.items()))),
    )
    assert msgspec.json.encode(plan(fleet)) == msgspec.json.encode(plan(other))


def test_same_fleet_same_plan_to_the_bit() -> None:
    assert msgspec.json.encode(plan(sample_fleet())) == msgspec.json.encode(plan(sample_fleet()))


def test_the_sample_fleet_is_served_and_some_move() -> None:
    made = plan(sample_fleet())
    assert len(made.servers) == 27
    assert all(s.status in ("served", "idle") for s in made.servers)
    assert made.proved
    assert sum(s.reason == "capacity" for s in made.servers) >= 2
    assert sum(s.next_best is not None for s in made.servers) >= 20


def test_percentiles_rise_and_surround_the_mean() -> None:
    fleet = sample_fleet()
    sized = candidates(fleet)
    made = plan(fleet, sized)
    for server in made.servers[:10]:
        found = percentiles_of(fleet, sized, server)
        for metric in ("ttft", "itl", "e2e"):
            if found:
                values = found[metric]
                assert values["p50"] <= values["p95"] <= values["p99"]
                assert values["mean"] <= values["p99"]


def test_options_of_a_server_are_in_order_of_value_and_one_is_chosen() -> None:
    fleet = sample_fleet()
    sized = candidates(fleet)
    made = plan(fleet, sized)
    options = options_of(fleet, sized, made.servers[0])
    values = [option.value for option, _ in options]
    assert values == sorted(values)
    assert [option for option, chosen in options if chosen] == [made.servers[0].allocation]


def test_out_of_reach_of_a_quantile_is_told_in_seconds() -> None:
    fleet = make_fleet([make_server()], targets=[Target("ttft", 0.001, 0.99)], generation="flyball")
    exclusion = plan(fleet).servers[0].exclusions[0]
    assert (exclusion.metric, exclusion.statistic) == ("ttft", "p99")
    assert exclusion.best > exclusion.limit
    assert math.isfinite(exclusion.best)
    # alpha + beta L and so on of one request alone: about ten milliseconds and five of prompt
    assert exclusion.best == pytest.approx(0.0152, rel=0.1)


def test_own_objective_weighs_the_switch_against_what_it_saves() -> None:
    held = Allocation("B", 1, 64, 1.1)
    for hold, expected in ((0.1, "B"), (10.0, "A")):
        fleet = make_fleet(
            [make_server(current=held)],
            prices={"A": 1.0, "B": 1.1},
            generation="flyball",
            settings=Settings(hold_hours=hold, cold_start=120.0),
        )
        chosen = plan(fleet).servers[0].allocation
        assert chosen is not None
        assert chosen.accelerator == expected


def served(found: Plan) -> list[int]:
    """How many are served whole, first priority first."""
    priorities = sorted({s.priority for s in found.servers})
    whole = [s.priority for s in found.servers if s.status in ("served", "idle")]
    return [whole.count(p) for p in priorities]


@given(fleets())
def test_a_plan_that_the_clock_stopped_is_valid_and_no_worse_than_greedys(fleet: Fleet) -> None:
    stopped = plan(fleet, budget=0.0)
    assert all(row.used <= row.limit + 1e-9 for row in stopped.resources)
    if not stopped.notes:
        assert stopped == plan(fleet)
        return
    assert stopped.notes == ("stopped by the clock: the same input may give another plan",)
    assert not stopped.proved
    undivided = replace(fleet.settings, solver="greedy", heterogeneous=False)
    greedy = plan(replace(fleet, settings=undivided))
    assert served(stopped) >= served(greedy)
    if served(stopped) == served(greedy) and not fleet.settings.heterogeneous:
        assert stopped.objective <= greedy.objective + 1e-9


def test_a_budget_of_nothing_stops_the_exact_solvers_and_one_of_an_hour_does_not() -> None:
    fleet = sample_fleet()
    for divided in (False, True):
        fleet = replace(fleet, settings=replace(fleet.settings, heterogeneous=divided))
        stopped = plan(fleet, budget=0.0)
        assert stopped.notes[-1].startswith("stopped by the clock")
        assert sum(served(stopped)) > 20
    whole = replace(fleet, settings=replace(fleet.settings, heterogeneous=False))
    assert plan(whole, budget=3600.0) == plan(whole)
    assert plan(whole).objective < plan(whole, budget=0.0).objective
