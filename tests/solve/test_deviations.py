"""What the original gets wrong, and what is done instead: one test a row of docs/deviations.md."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from flyball.decide.plan import plan
from flyball.solve.build import problem_of
from flyball.solve.candidates import candidates
from flyball.spec.fleet import Settings
from flyball.spec.plan import Plan, ServerPlan
from flyball.spec.server import Allocation
from flyball.spec.service_class import Target
from flyball.testing.make import make_fleet, make_server
from flyball.wire.inferno import fleet_from_system


def of(made: Plan, name: str) -> ServerPlan:
    return next(s for s in made.servers if s.server == name)


@pytest.mark.parametrize("solver", ["greedy", "auto", "exact"])
def test_zero_load_server_is_kept_in_limited_mode(solver: str) -> None:
    fleet = make_fleet([make_server("busy"), make_server("idle", 0.0)], settings=Settings(solver=solver))  # type: ignore[arg-type]
    made = plan(fleet)
    assert of(made, "idle").status == "idle"
    assert of(made, "idle").allocation is not None
    assert of(made, "busy").status == "served"


@pytest.mark.parametrize("generation", ["G2", "G3", "flyball"])
@pytest.mark.parametrize("solver", ["greedy", "auto", "exact"])
def test_one_unservable_server_blocks_nobody(solver: str, generation: str) -> None:
    fleet = make_fleet(
        [make_server("fine"), make_server("unknown", model="other"), make_server("broken", rate=-1.0)],
        generation=generation,  # type: ignore[arg-type]
        settings=Settings(solver=solver),  # type: ignore[arg-type]
    )
    made = plan(fleet)
    assert of(made, "fine").status == "served"
    assert of(made, "unknown").reason == "no_target"
    assert of(made, "broken").reason == "bad_load"


@pytest.mark.parametrize("solver", ["greedy", "auto", "exact", "unlimited"])
def test_ties_break_by_name(solver: str) -> None:
    prices = {"C": 1.0, "A": 1.0, "B": 1.0}
    servers = [make_server(name) for name in ("z", "y", "x")]
    for order in (prices, dict(reversed(prices.items()))):
        fleet = make_fleet(servers, prices=order, settings=Settings(solver=solver))  # type: ignore[arg-type]
        made = plan(fleet)
        assert [s.server for s in made.servers] == ["x", "y", "z"]
        assert {s.allocation.accelerator for s in made.servers if s.allocation} == {"A"}


def test_equal_servers_are_served_in_order_of_name() -> None:
    one = plan(make_fleet([make_server()], prices={"A": 1.0}))
    needed = one.servers[0].allocation
    assert needed is not None
    fleet = make_fleet(
        [make_server("b"), make_server("a")],
        prices={"A": 1.0},
        capacity={"A": needed.replicas},
        settings=Settings(solver="greedy"),
    )
    made = plan(fleet)
    assert of(made, "a").status == "served"
    assert of(made, "b").reason == "no_capacity"


def test_mix_is_the_plan_that_was_solved() -> None:
    """The original gave each server its full size on one of the accelerators: more than there are."""
    alone = plan(make_fleet([make_server(rate=40.0)], prices={"A": 1.0}))
    full = alone.servers[0].allocation
    assert full is not None
    half = full.replicas // 2 + 1
    fleet = make_fleet(
        [make_server(rate=40.0)],
        capacity={"A": half, "B": half},
        settings=Settings(heterogeneous=True, solver="exact"),
    )
    made = plan(fleet)
    server = made.servers[0]
    assert server.status == "served"
    assert server.reason == "mix"
    assert {part.accelerator for part in server.mix} == {"A", "B"}
    for use in made.resources:
        assert use.used == next(p.replicas for p in server.mix if p.accelerator == use.name)
        assert use.used <= use.limit
    assert made.cost == pytest.approx(sum(part.cost for part in server.mix))
    assert sum(part.max_rate * part.replicas for part in server.mix) >= 40.0 * (1 - 1e-9)
    assert all(promise.met for promise in server.promises)


@pytest.mark.parametrize("heterogeneous", [False, True])
def test_exact_keeps_priorities_and_least_replicas(heterogeneous: bool) -> None:
    fleet = make_fleet(
        [make_server("gold", 0.5, "Gold", min_replicas=3), make_server("bronze", 0.5, "Bronze")],
        prices={"A": 1.0},
        capacity={"A": 3},
        settings=Settings(solver="exact", heterogeneous=heterogeneous),
    )
    made = plan(fleet)
    gold = of(made, "gold").allocation
    assert gold is not None
    assert gold.replicas == 3
    assert of(made, "bronze").status == "unserved"
    assert of(made, "bronze").shortages[0].free == 0.0


def test_exact_weighs_the_switch() -> None:
    """Staying costs 1.05, moving 1.0: the original's integer program moved, the penalty says stay."""
    held = Allocation("B", 1, 64, 1.05)
    fleet = make_fleet(
        [make_server(current=held)], prices={"A": 1.0, "B": 1.05}, settings=Settings(solver="exact")
    )
    made = plan(fleet)
    chosen = made.servers[0].allocation
    assert chosen is not None
    assert chosen.accelerator == "B"
    assert made.servers[0].reason == "kept"


@pytest.mark.parametrize("policy", ["PriorityExhaustive", "PriorityRoundRobin", "RoundRobin"])
def test_best_effort_reports_its_real_latencies(policy: str) -> None:
    server = make_server(rate=20.0, max_queue_size=50)
    whole = plan(make_fleet([server], prices={"A": 1.0})).servers[0].allocation
    assert whole is not None
    assert whole.replicas >= 2
    fleet = make_fleet(
        [server],
        prices={"A": 1.0},
        capacity={"A": 1},
        settings=Settings(saturation_policy=policy),  # type: ignore[arg-type]
    )
    short = plan(fleet).servers[0]
    assert short.status == "best_effort"
    assert short.reason == "short"
    assert short.allocation is not None
    assert short.allocation.replicas == 1
    assert short.allocation.itl > whole.itl
    assert short.allocation.ttft > whole.ttft
    assert short.allocation.utilization == pytest.approx(1.0, abs=0.01)
    assert not all(promise.met for promise in short.promises)


def test_best_effort_of_an_unbounded_queue_never_answers() -> None:
    fleet = make_fleet(
        [make_server(rate=200.0)],
        prices={"A": 1.0},
        capacity={"A": 1},
        generation="flyball",
        settings=Settings(saturation_policy="PriorityExhaustive"),
    )
    short = plan(fleet).servers[0]
    assert short.allocation is not None
    assert math.isinf(short.allocation.ttft)


def test_multiplicity_missing_is_one() -> None:
    document = {
        "acceleratorData": {"accelerators": [{"name": "A", "type": "A", "cost": 100}]},
        "modelData": {
            "models": [
                {
                    "name": "m",
                    "acc": "A",
                    "maxBatchSize": 64,
                    "atTokens": 256,
                    "perfParms": {"alpha": 20, "beta": 0.04},
                }
            ]
        },
        "serviceClassData": {
            "serviceClasses": [{"name": "c", "priority": 1, "modelTargets": [{"model": "m"}]}]
        },
        "serverData": {
            "servers": [
                {
                    "name": "s",
                    "class": "c",
                    "model": "m",
                    "currentAlloc": {"load": {"arrivalRate": 60, "avgInTokens": 64, "avgOutTokens": 64}},
                }
            ]
        },
        "optimizerData": {"optimizer": {}},
        "capacityData": {"count": [{"type": "A", "count": 7}]},
    }
    made = plan(fleet_from_system({"system": document}, "test"))
    chosen = made.servers[0].allocation
    assert chosen is not None
    assert made.resources[0].used == chosen.replicas == 1


def test_own_form_provides_for_load_and_class_alike() -> None:
    """Inferno sizes for slo-tps alone, however high the load."""
    little = make_fleet([make_server(rate=30.0)], generation="flyball")
    promise = replace(little.service_classes[0].models[0], throughput=1.0)
    gold = replace(little.service_classes[0], models=(promise,))
    both = plan(replace(little, service_classes=(gold, little.service_classes[1])))
    alone = plan(little)
    assert both.servers[0].allocation == alone.servers[0].allocation


def test_kv_cache_bounds_the_batch_in_the_own_form() -> None:
    fleet = make_fleet([make_server()], prices={"A": 1.0}, generation="flyball")
    small = replace(fleet.profiles[0], kv_tokens=512 * 10)
    none = replace(fleet.profiles[0], kv_tokens=100)
    chosen = plan(replace(fleet, profiles=(small,))).servers[0].allocation
    assert chosen is not None
    assert chosen.max_batch_size == 10
    refused = plan(replace(fleet, profiles=(none,))).servers[0]
    assert refused.status == "unserved"
    assert refused.exclusions[0].reason == "kv_too_small"


def test_out_of_reach_says_which_target_and_by_how_much() -> None:
    fleet = make_fleet([make_server()], targets=[Target("itl", 0.01)])
    refused = plan(fleet).servers[0]
    assert refused.reason == "out_of_reach"
    assert {e.accelerator for e in refused.exclusions} == {"A", "B"}
    for exclusion in refused.exclusions:
        assert (exclusion.metric, exclusion.statistic, exclusion.limit) == ("itl", "mean", 0.01)
        assert exclusion.best == pytest.approx(0.0204, rel=0.05)


def test_batch_is_clipped_at_what_any_engine_takes() -> None:
    fleet = make_fleet([make_server(out_tokens=1)], prices={"A": 1.0})
    huge = replace(fleet.profiles[0], max_batch_size=65_536, at_tokens=512)
    sized = candidates(replace(fleet, profiles=(huge,)))
    assert sized.pairs.batch[0] == 65_536
    problem, _ = problem_of(fleet, sized)
    assert np.all(np.isfinite(problem.value))


def test_requests_that_are_turned_away_are_told() -> None:
    """A class that provides for less than comes, and no waiting room: the original does not say so."""
    fleet = make_fleet([make_server(rate=100.0, max_queue_size=0)], prices={"A": 1.0}, targets=())
    promise = replace(fleet.service_classes[0].models[0], throughput=256.0)
    gold = replace(fleet.service_classes[0], models=(promise,))
    made = plan(replace(fleet, service_classes=(gold, fleet.service_classes[1])))
    assert made.servers[0].allocation is not None
    assert made.servers[0].allocation.replicas == 1
    assert made.servers[0].turned_away > 0.5
    assert plan(fleet).servers[0].turned_away < 0.2
