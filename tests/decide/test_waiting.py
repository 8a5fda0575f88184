"""Work that may wait, in the cycle: how much is served now, what is remembered, and what is told."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.decide.cycle import decide
from flyball.decide.defer import POINTS, counted, may_wait, waiting_since
from flyball.decide.memory import Memory
from flyball.decide.seen import see
from flyball.report.moves import held
from flyball.spec.power import Domain, Slot
from flyball.spec.service_class import ModelTargets, Target
from flyball.spec.snapshot import Observation, Reading, Variant
from flyball.spec.steering import Steering
from tests.decide.powered import PoweredRun, policy
from tests.decide.worlds import PERIOD, fleet_of, server_of, world_of

HOUR = 3600.0
DEADLINE = 1.25 * HOUR
CUT = (600.0, 2400.0)
AMPLE, LESS = 20_000.0, 11_000.0
"""The budget, and that of the schedule; together the two draw some 11.4 kW."""


def run_of(deadline: float, mode: str = "Enforce", budget: float = AMPLE) -> PoweredRun:
    """Two servers with steady loads, one of which may wait; for an hour there are fewer watts."""
    fleet = fleet_of(
        [server_of("chat", "Gold", 100.0), server_of("bulk", "Bronze", 100.0)], {"A": 60, "B": 0}
    )
    classes = tuple(
        replace(c, deferrable=deadline if c.name == "Bronze" else 0.0) for c in fleet.service_classes
    )
    world = world_of(replace(fleet, service_classes=classes), lambda name, t: 100.0, cold_start=30.0)
    peak = (Slot(*CUT, LESS, reason="grid peak"),) if budget > LESS else ()
    run = PoweredRun(world, (Domain("site", "Site", watts=budget, schedule=peak),), (policy(mode),))
    run.steering = Steering(plan_period=300.0)
    return run


def hold_of(run: PoweredRun, server: str = "bulk") -> Any:
    steps = {s.server: s for s in run.decisions[-1].steps}
    return next((h for h in steps[server].holds if h.guard == "deferral"), None)


@pytest.mark.slow
def test_what_may_wait_waits_for_the_end_of_a_shorter_budget_and_is_in_time() -> None:
    run = run_of(DEADLINE)
    run.until(CUT[1] - 300.0)
    assert run.asked["bulk"][-1] < run.asked["bulk"][0]
    assert run.world.takes("chat") >= 100.0
    assert run.world.waiting.get("chat", 0.0) == 0.0
    (note,) = [one for one in run.decisions[-1].notes if one.startswith("bulk: ")]
    assert re.fullmatch(
        r"bulk: [0-9.]+ of [0-9.]+ requests/s wait until \d\d:\d\d UTC: site is at \d+% of its budget", note
    )
    hold = hold_of(run)
    assert hold.allowed < hold.wanted
    assert "may wait until there are more watts" in held(hold)
    waited = run.world.waiting["bulk"]
    assert waited > 1000.0
    # As the queue is in order: all that waits at the cut's end is gone when the first of it is due.
    run.until(CUT[0] + DEADLINE)
    assert run.world.waiting["bulk"] < 0.05 * waited
    assert hold_of(run) is None
    step = next(s for s in run.decisions[-1].steps if s.server == "bulk")
    assert step.demand == pytest.approx(100.0, rel=0.1)


@pytest.mark.slow
def test_from_a_checkpoint_it_goes_on_to_the_bit() -> None:
    run = run_of(DEADLINE)
    run.until(CUT[0] + 300.0)
    memory = run.memory
    assert memory is not None
    assert memory.servers["bulk"].patient
    assert len(memory.servers["bulk"].arrived) <= POINTS + 3
    assert set(memory.rest) == {"site"}
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(memory), type=Memory)
    snapshot = run.look()
    assert decide(snapshot, again, run.steering) == decide(snapshot, memory, run.steering)


@pytest.mark.parametrize(
    ("deadline", "mode", "budget"),
    [(600.0, "Enforce", AMPLE), (DEADLINE, "Recommend", AMPLE), (DEADLINE, "Enforce", 1e6)],
    ids=["too short to wait", "not enforced", "watts are slack"],
)
def test_else_it_is_served_at_once(deadline: float, mode: str, budget: float) -> None:
    asked: list[dict[str, list[int]]] = []
    for seconds in (deadline, 0.0):
        run = run_of(seconds, mode, budget)
        if budget > AMPLE:
            run.domains = (replace(run.domains[0], schedule=()),)
        run.until(CUT[0] + 300.0)
        asked.append(run.asked)
        assert hold_of(run) is None
        assert not [note for note in run.decisions[-1].notes if "wait" in note]
    assert asked[0] == asked[1]


def test_without_anybody_who_looks_at_power_it_is_as_if_it_could_not_wait() -> None:
    made = []
    for deadline in (DEADLINE, 0.0):
        run = run_of(deadline)
        memory, orders = None, []
        for _ in range(20):
            snapshot = replace(run.look(), power=None)
            decision, memory = decide(snapshot, memory, run.steering)
            for step in decision.steps:
                run.world.act(step.orders)
            orders.append([step.orders for step in decision.steps])
            run.world.step(PERIOD)
        made.append(orders)
        assert memory is not None
        assert not memory.servers["bulk"].patient
    assert made[0] == made[1]


def test_waiting_is_no_alarm_where_it_is_by_choice() -> None:
    server = server_of("bulk")
    promise = ModelTargets("*", (Target("itl", 0.05, 0.95),))
    crowd = Observation(
        "bulk",
        (Variant("A", 2),),
        Reading(0.0),
        ttft={"mean": Reading(900.0)},
        itl={"mean": Reading(0.02)},
        running=Reading(20.0),
        waiting=Reading(5000.0),
    )
    alarmed, patient = (see(server, crowd, promise, Steering(), choice) for choice in (False, True))
    assert alarmed is not None
    assert patient is not None
    assert alarmed.saturated
    assert alarmed.blind == "no requests arrive, yet some are there"
    assert not patient.saturated
    assert (patient.blind, patient.waiting) == ("", 5000.0)
    unseen = see(server, replace(crowd, waiting=None), promise, Steering(), True)
    assert unseen is not None
    assert unseen.blind == "the queue is not known"


def test_a_deadline_leaves_time_for_replicas_to_come() -> None:
    assert may_wait(7200.0, 120.0, 10.0) == pytest.approx(6480.0 - 130.0)
    assert may_wait(0.0, 120.0, 10.0) == may_wait(700.0, 120.0, 10.0) == 0.0


@given(
    st.lists(st.tuples(st.floats(1.0, 200.0), st.floats(0.0, 50.0)), min_size=1, max_size=300),
    st.floats(600.0, 7200.0),
    st.floats(0.0, 1.0),
)
def test_who_waits_came_last(steps: list[tuple[float, float]], deadline: float, share: float) -> None:
    count, now, total = counted((), 0.0, 0.0, deadline), 0.0, 0.0
    for dt, rate in steps:
        now += dt
        total += rate * dt
        count = counted(count, now, rate, deadline)
    assert count[-1] == (now, pytest.approx(total))
    assert len(count) <= POINTS + 3
    assert count[0][0] == 0.0 or count[1][0] > now - deadline
    assert all(t0 < t1 and n0 <= n1 for (t0, n0), (t1, n1) in pairwise(count))
    waiting = share * (count[-1][1] - count[0][1])
    came = waiting_since(count, waiting, [now - deadline + s * deadline / 10.0 for s in range(11)])
    assert came == sorted(came)
    assert came[-1] == pytest.approx(waiting, abs=1e-6)  # the last time is now, but for rounding
    # More wait than are known to have come: of the rest it is not known since when, so they are due.
    more = waiting_since(count, count[-1][1] - count[0][1] + 7.0, [count[0][0] - 1.0])
    assert more == [pytest.approx(7.0)]
