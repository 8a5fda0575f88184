"""Watts in the cycle: a budget is held where that is allowed, told where it is not, and never in the way."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from flyball.decide.cycle import decide
from flyball.decide.memory import Memory
from flyball.spec.power import AbsoluteCap, Answer, Domain, PowerWorkload, Thermal, WorkloadRef
from flyball.spec.snapshot import Snapshot
from tests.decide.powered import PoweredRun, policy, rack
from tests.decide.worlds import Run, fleet_of, server_of, world_of

AMPLE = {"A": 60, "B": 60}


def two(gold: float = 200.0, bulk: float = 200.0) -> list[Any]:
    return [server_of("gold", "Gold", gold), server_of("bulk", "Bronze", bulk)]


def run_of(
    watts: float | None, mode: str = "Enforce", servers: list[Any] | None = None, **more: Any
) -> PoweredRun:
    world = world_of(fleet_of(servers or two(), AMPLE), lambda name, t: 200.0, cold_start=30.0)
    return PoweredRun(world, (Domain("site", "Site", watts=watts),), (policy(mode),), **more)


def unlimited() -> float:
    """What the two draw where nothing holds them."""
    free = run_of(None)
    free.until(900.0)
    return free.watts[-1]


def test_nothing_changes_where_watts_are_enough_or_only_looked_at() -> None:
    bare = Run(world_of(fleet_of(two(), AMPLE), lambda name, t: 200.0, cold_start=30.0))
    ample, observed = run_of(1e6), run_of(3000.0, "Observe")
    for run in (bare, ample, observed):
        run.until(900.0)
    assert ample.asked == bare.asked == observed.asked
    last = ample.decisions[-1].power
    assert last is not None
    assert (last.caps, last.recommendations, last.infeasible) == ((), (), ())
    assert [(d.domain, d.level, d.feasible) for d in last.domains] == [("site", "normal", True)]


def test_a_budget_is_held_and_the_last_priority_pays() -> None:
    whole = unlimited()
    run = run_of(0.8 * whole)
    run.until(1800.0)
    assert max(run.watts[20:]) <= 0.8 * whole
    assert run.world.takes("gold") >= 200.0
    last = run.decisions[-1].power
    assert last is not None
    assert [(c.workload, c.mode, c.policy) for c in last.caps] == [("bulk", "Enforce", "infer/all")]
    assert last.infeasible == ()


def test_a_cut_is_followed_by_steps_the_least_important_first_and_undone() -> None:
    whole = unlimited()
    run = run_of(1.5 * whole)
    run.until(900.0)
    before = {name: asked[-1] for name, asked in run.asked.items()}
    run.domains = (replace(run.domains[0], watts=0.75 * whole),)
    run.until(1050.0)
    assert run.watts[-1] <= 0.75 * whole
    first = next(d for d in run.decisions if any(s.cause == "power" for s in d.steps))
    assert {s.server for s in first.steps if s.cause == "power"} == {"bulk"}
    assert run.asked["gold"][-1] >= before["gold"] or run.asked["bulk"][-1] == 1
    run.domains = (replace(run.domains[0], watts=1.5 * whole),)
    run.until(2400.0)
    assert all(run.asked[name][-1] >= count for name, count in before.items())


def test_what_is_recommended_is_told_and_not_done() -> None:
    whole = unlimited()
    told, free = run_of(0.7 * whole, "Recommend"), run_of(None)
    told.until(900.0)
    free.until(900.0)
    assert told.asked == free.asked
    last = told.decisions[-1].power
    assert last is not None
    assert last.caps
    assert {c.mode for c in last.caps} == {"Recommend"}
    (one,) = last.recommendations
    assert one.policy == "infer/all"
    assert one.domain == "site"
    assert one.actions[0].server == "bulk"
    assert one.actions[0].after < one.actions[0].before
    assert "saves" in one.reason


def test_a_budget_that_cannot_be_held_is_said_at_once() -> None:
    run = run_of(10_000.0)
    run.least = {"gold": 40, "bulk": 40}
    run.cycle()
    decision = run.cycle()
    assert decision.power is not None
    assert "raise the budget" in decision.power.infeasible[0]
    assert not decision.power.domains[0].feasible


@pytest.mark.parametrize(
    "answer",
    [
        Answer("mine", {"gold": 1e18, "bulk": -5.0, "stranger": 3.0}),
        Answer("mine", {"gold": math.nan, "bulk": math.inf}),
        Answer("mine", None, "mine gave no answer within 2 s"),
    ],
)
def test_whatever_an_algorithm_answers_the_budget_is_held(answer: Answer) -> None:
    whole = unlimited()
    run = run_of(0.8 * whole)
    run.hostile = answer
    run.until(1500.0)
    assert max(run.watts[20:]) <= 0.8 * whole
    assert min(run.asked["gold"][-1], run.asked["bulk"][-1]) >= 1
    last = run.decisions[-1].power
    assert last is not None
    assert bool(answer.problem) == any("no answer" in note for note in last.notes)


def test_meters_that_go_dark_let_nothing_grow_and_the_bound_counts() -> None:
    whole = unlimited()
    run = run_of(1.3 * whole)
    run.until(900.0)
    before = {name: asked[-1] for name, asked in run.asked.items()}
    run.dark = {node.name for node in run.nodes}
    run.until(930.0)
    last = run.decisions[-1].power
    assert last is not None
    assert last.domains[0].level == "hold"
    assert not last.domains[0].complete
    assert {name: asked[-1] for name, asked in run.asked.items()} == before


def test_a_rack_of_its_own_sheds_alone_and_its_nodes_are_the_hot_ones() -> None:
    run = run_of(None)
    run.domains = (Domain("site", "Site"), rack("r0", 1e6), rack("r1", 1e6))
    run.until(600.0)
    half = run.watts[-1] / 2
    run.domains = (Domain("site", "Site"), rack("r0", 0.6 * half), rack("r1", 1e6))
    run.cycle()
    last = run.decisions[-1].power
    assert last is not None
    assert last.hot
    assert all(node.startswith("n0") for node in last.hot)
    run.until(900.0)
    assert run.draws_of("r0") <= 0.6 * half


def test_warm_inlets_hold_growth_and_shed() -> None:
    run = run_of(None)
    run.until(900.0)
    whole = run.watts[-1]
    per_watt = 10.0 / (0.8 * whole)  # ten kelvin at four fifths of it
    warm = Thermal(max_inlet=28.0, supply=18.0, kelvin_per_watt={"r0": per_watt, "r1": per_watt})
    run.domains = (Domain("site", "Site"), rack("r0", None, thermal=warm), rack("r1", None))
    run.until(1800.0)
    assert run.watts[-1] <= 0.8 * whole + 1.0
    assert run.decisions[-1].power is not None
    assert run.decisions[-1].power.hot[0].startswith("n0")


def test_a_training_job_is_paused_before_any_server_sheds() -> None:
    whole = unlimited()
    job = PowerWorkload(
        "infer/Deployment/train",
        "infer",
        {"app": "train"},
        (WorkloadRef("Deployment", "train"),),
        4,
        0,
        4,
        4,
        False,
    )
    run = run_of(0.9 * whole + 800.0)
    run.workloads = (job,)
    run.trains = 4
    run.policies = (
        policy(labels={"app": "gold"}),
        replace(policy(labels={"app": "bulk"}), name="bulk"),
        replace(policy(labels={"app": "train"}, priority=900, levers=("pause", "replicas")), name="train"),
    )
    run.until(900.0)
    last = run.decisions[-1].power
    assert last is not None
    (cap,) = [c for c in last.caps if c.workload == "infer/Deployment/train"]
    assert (cap.most, cap.goal, cap.lever, cap.policy) == (0, 0, "pause", "infer/train")


def test_the_most_restrictive_policy_wins_and_the_other_is_told() -> None:
    run = run_of(1e6)
    strict = replace(policy("Enforce"), name="strict", cap=AbsoluteCap(2000.0))
    run.policies = (replace(policy("Recommend"), cap=AbsoluteCap(1e6)), strict)
    run.until(600.0)
    last = run.decisions[-1].power
    assert last is not None
    assert "strict" in last.overruled["infer/all"]
    assert {c.policy for c in last.caps} == {"infer/strict"}
    assert run.watts[-1] <= 2000.0 or min(run.asked["gold"][-1], run.asked["bulk"][-1]) == 1


def test_the_same_bits_again_and_memory_survives() -> None:
    run = run_of(3000.0)
    run.until(300.0)
    snapshot = msgspec.msgpack.decode(msgspec.msgpack.encode(run.snapshot), type=Snapshot)
    packed = msgspec.msgpack.decode(msgspec.msgpack.encode(run.memory), type=Memory)
    one, other = decide(snapshot, run.memory), decide(snapshot, packed)
    assert msgspec.msgpack.encode(one) == msgspec.msgpack.encode(other)
