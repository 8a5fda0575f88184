"""The plant: replicas that come and go, what happens to them, what it costs, and that it repeats."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.loop import ports
from flyball.simulate.cluster import Cluster
from flyball.simulate.compiled import available
from flyball.simulate.plant import LOG, Plant
from flyball.spec.decision import Order
from flyball.spec.fleet import Fleet
from flyball.spec.scenario import Duration, Engine, Event, Lengths, Node, Steady, Stream, World
from tests.simulate.worlds import ENGINE, world


def states(plant: Plant, server: str = "chat") -> list[str]:
    return [s.state for s in plant.standing(server)]


def here(plant: Plant, server: str = "chat") -> int:
    return plant.serving(server).replicas.present


def accounted(plant: Plant, server: str = "chat") -> int:
    record = plant.record(server)
    return record.served + record.lost + here(plant, server)


def plain(world: World, seed: int = 1) -> Plant:
    return Plant(world, seed, compiled=False)


def test_it_is_the_ports() -> None:
    plant = plain(world())
    clock: ports.Clock = plant
    sensor: ports.Sensor = plant
    actuator: ports.Actuator = plant
    assert clock.now() == 0.0
    assert sensor.observe().time == 0.0
    assert actuator.act([]) == ()


def test_cold_start_then_ready() -> None:
    plant = plain(world(replicas=1))
    plant.run(10.0)
    assert plant.act([Order("chat", "H100", 3)]) == ()
    assert states(plant) == ["ready", "pending", "pending"]
    plant.run(69.9)
    assert states(plant).count("pending") == 2
    assert plant.observe().servers[0].variants[0].waited == pytest.approx(59.9)
    plant.run(70.0)
    assert states(plant) == ["ready"] * 3
    seen = plant.observe().servers[0].cold_start
    assert seen is not None
    assert seen.value == 60.0


def test_cold_starts_have_their_law() -> None:
    many = replace(world(replicas=0), cold_start=Duration(100.0, 0.3), nodes=(Node("n", "H100", 4000),))
    plant = plain(replace(many, streams=()))
    plant.act([Order("chat", "H100", 4000)])
    times = np.array([r.due for r in plant.cluster.replicas])
    assert times.mean() == pytest.approx(100.0, rel=0.02)
    assert times.std() == pytest.approx(30.0, rel=0.05)


def test_pending_until_a_node_has_room() -> None:
    plant = plain(world(replicas=8))
    plant.act([Order("chat", "H100", 9)])
    plant.run(500.0)
    assert states(plant) == ["ready"] * 8 + ["pending"]
    plant.happen(Event(0.0, "lose_replica", "chat"))
    assert states(plant).count("pending") == 2  # the failed one is replaced, and the older one has its cards
    plant.run(560.0)
    assert states(plant) == ["ready"] * 8 + ["pending"]


def test_scale_down_takes_pending_first_then_the_least_loaded() -> None:
    plant = plain(world(rate=20.0, replicas=3))
    plant.run(30.0)
    plant.act([Order("chat", "H100", 5)])
    plant.act([Order("chat", "H100", 3)])
    assert states(plant) == ["ready"] * 3
    loads = {s.number: s.gauges.running + s.gauges.waiting for s in plant.standing("chat") if s.gauges}
    plant.act([Order("chat", "H100", 2)])
    drained = next(s for s in plant.standing("chat") if s.state == "draining")
    assert loads[drained.number] == min(loads.values())


def test_a_drained_replica_finishes_and_goes() -> None:
    plant = plain(world(rate=10.0, replicas=2))
    plant.run(20.0)
    plant.act([Order("chat", "H100", 1)])
    assert sorted(states(plant)) == ["draining", "ready"]
    plant.run(60.0)
    assert states(plant) == ["ready"]
    assert plant.record("chat").lost == 0
    held = plant.held("chat")
    assert 60.0 + 20.0 < held.held < 2 * 60.0
    assert held.asked == pytest.approx(60.0 + 20.0)
    assert held.cards == pytest.approx(held.held)
    assert held.dollars == pytest.approx(held.held * 3.0 / 3600)


def test_what_is_unfinished_after_the_grace_is_lost() -> None:
    long = Stream("chat", Steady(2.0), Lengths(100), Lengths(20_000))
    plant = plain(replace(world(replicas=1), streams=(long,), grace=5.0))
    plant.run(20.0)
    before = here(plant)
    plant.act([Order("chat", "H100", 0)])
    plant.run(26.0)
    record = plant.record("chat")
    assert states(plant) == []
    assert record.lost == before == record.lost_arrivals.size > 0
    assert (
        plant.serving("chat").replicas.queued == here(plant) > 0
    )  # those that came since wait at the gateway


def test_what_cannot_be_asked_for_is_said() -> None:
    plant = plain(world())
    said = plant.act(
        [
            Order("nobody", "H100", 1),
            Order("chat", "H200", 1),
            Order("chat", "H100", -1),
        ]
    )
    assert [s.split(";")[0] for s in said] == [
        "there is no server 'nobody'",
        "'chat' cannot run on 'H200': there is no such accelerator",
        "'chat' cannot have -1 replicas on 'H100'",
    ]
    other = plain(replace(world(), engines=(ENGINE,)))
    assert other.act([Order("chat", "A100x2", 1)]) == (
        "'chat' cannot run on 'A100x2': there is no engine of m for it",
    )
    assert states(plant) == ["ready"] * 2


def test_a_start_without_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="'chat' on 'H200', for which 'm' has no engine"):
        plain(replace(world(), start={"chat": {"H200": 1}}))


def test_hand_over_between_accelerators_loses_nothing() -> None:
    plant = plain(world(rate=5.0, replicas=1))
    plant.run(30.0)
    plant.act([Order("chat", "A100x2", 1)])
    plant.run(100.0)
    both = plant.observe().servers[0].variants
    assert {(v.accelerator, v.ready) for v in both} == {("H100", 1), ("A100x2", 1)}
    plant.act([Order("chat", "H100", 0)])
    plant.run(200.0)
    assert [s.accelerator for s in plant.standing("chat")] == ["A100x2"]
    assert plant.record("chat").lost == 0
    assert accounted(plant) == plant.serving("chat").replicas.arrived
    # a replica on A100x2 is one unit of two cards at 4 $/h
    assert plant.held("chat").cards == pytest.approx(plant.held("chat").held + (200.0 - 30.0), rel=0.01)


def test_a_lost_node_loses_its_requests_and_replicas_come_back() -> None:
    plant = plain(world(rate=20.0, replicas=5))
    plant.run(50.0)
    on_n1 = [s for s in plant.standing("chat") if "n1" in s.nodes]
    theirs = sum(s.gauges.running + s.gauges.waiting for s in on_n1 if s.gauges)
    assert plant.happen(Event(0.0, "lose_node", "n1")) == "node n1 failed, and 1 replicas with it"
    assert plant.record("chat").lost == theirs > 0
    assert plant.observe().capacity == {"H100": 4, "A100": 2}
    assert states(plant) == ["ready"] * 4 + ["pending"]
    plant.run(100.0)
    assert plant.happen(Event(0.0, "return_node")) == "back: n1"
    plant.run(160.0)
    assert states(plant) == ["ready"] * 5
    assert accounted(plant) == plant.serving("chat").replicas.arrived


def test_less_capacity_drains_what_is_over_it() -> None:
    plant = plain(world(rate=5.0, replicas=6))
    plant.run(20.0)
    plant.happen(Event(0.0, "capacity", "H100", 5.0))
    assert sorted(states(plant)) == ["draining"] + ["pending"] + ["ready"] * 5
    plant.run(400.0)
    assert states(plant) == ["ready"] * 5 + ["pending"]
    assert plant.record("chat").lost == 0
    assert plant.observe().capacity == {"H100": 5, "A100": 2}
    plant.happen(Event(0.0, "capacity", "H100", 8.0))
    plant.run(460.0)
    assert states(plant) == ["ready"] * 6


def test_load_and_speed_by_events() -> None:
    events = (Event(200.0, "load", "chat", 3.0), Event(400.0, "slow", "", 2.0))
    plant = plain(world(rate=4.0, replicas=4, events=events))
    counts = [0]
    latency = []
    for until in (200.0, 400.0, 600.0):
        plant.run(until)
        counts.append(plant.serving("chat").replicas.arrived)
        done = plant.record("chat").finished
        latency.append(np.median(done.tpot[done.arrival > until - 150.0]))
    rates = np.diff(counts) / 200.0
    assert rates == pytest.approx([4.0, 12.0, 12.0], rel=0.15)
    assert 2.0 < latency[2] / latency[1] < 3.0  # twice, and more of them at once
    assert [t for t, _ in plant.log] == [200.0, 400.0]


def test_energy_by_hand() -> None:
    # One request of 1 prompt token and 1001 more tokens: prefill 1.0 s, decode 0.5 s, on one of ten cards.
    engine = Engine("m", "H100", 0.0005, 0.0, 0.0, 0.9995)
    stream = Stream("chat", Steady(1.0, 0.0), Lengths(1), Lengths(1001))
    plant = plain(replace(world(replicas=1), engines=(engine,), streams=(stream,)))
    plant.run(1.5)
    idle = 100.0 * 8 * 1.5 + 60.0 * 2 * 1.5
    began = plant.record("chat")
    assert began.served == 0
    seconds = plant.serving("chat").replicas.busy(0, 1.5)
    assert seconds[0] <= 1.5
    expected = idle + (500.0 - 100.0) * (seconds[0] - seconds[1]) + (700.0 - 100.0) * seconds[1]
    assert sum(plant.power.joules.values()) == pytest.approx(expected)
    assert plant.held("chat").joules == pytest.approx(expected - idle + 150.0)


def test_watts_and_heat() -> None:
    plant = plain(world(rate=0.0, replicas=1, streams=()))
    plant.run(3600.0)
    scrape = plant.observe()
    assert scrape.watts is not None
    assert scrape.watts.value == pytest.approx(8 * 100.0 + 2 * 60.0)
    assert plant.power.heat["n0"].temperature == pytest.approx(25.0 + 0.08 * 100.0)
    busy = plain(world(rate=60.0, replicas=4))
    busy.run(300.0)
    assert busy.power.heat["n0"].watts > 4 * 450.0
    assert busy.power.heat["n0"].temperature > busy.power.heat["n1"].temperature


def test_large_replicas_span_nodes_and_nodes_come_from_capacity() -> None:
    cluster = Cluster(Fleet(capacity={"H100": 20}), ())
    assert [m.node.cards for m in cluster.machines.values()] == [8, 8, 4]
    sixteen = replace(ENGINE, accelerator_count=16)
    plant = plain(replace(world(replicas=0), engines=(sixteen,), nodes=(), start={"chat": {"H100": 1}}))
    assert states(plant) == ["pending"]
    large = replace(world(), engines=(replace(ENGINE, accelerator_count=8),), start={"chat": {"H100": 1}})
    assert plain(large).standing("chat")[0].nodes == {"n0": 4, "n1": 4}


EVENTS = (
    Event(20.0, "load", "", 2.0),
    Event(35.5, "lose_replica", "chat"),
    Event(50.0, "lose_node"),
    Event(60.0, "slow", "H100", 1.3),
    Event(90.0, "return_node"),
    Event(110.0, "capacity", "H100", 3.0),
)


def script(plant: Plant, pauses: list[float], end: float = 200.0) -> None:
    """Orders at fixed times, pauses anywhere."""
    orders = {25.0: 5, 70.0: 2, 130.25: 4}
    for time in sorted({*pauses, *orders, end}):
        plant.run(time)
        if time in orders:
            plant.act([Order("chat", "H100", orders[time])])


def same(a: Plant, b: Plant) -> None:
    x, y = a.record("chat"), b.record("chat")
    for one, other in zip(x.finished, y.finished, strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(x.lost_arrivals, y.lost_arrivals)
    assert a.log == b.log
    assert a.standing("chat") == b.standing("chat")
    assert tuple(a.held("chat")) == pytest.approx(tuple(b.held("chat")))


@pytest.mark.slow
@settings(max_examples=20)
@given(st.lists(st.floats(0.0, 200.0), max_size=8), st.integers(0, 5))
def test_pausing_and_looking_change_nothing(pauses: list[float], seed: int) -> None:
    made = world(rate=8.0, replicas=3, events=EVENTS, cold_start=Duration(20.0, 0.5))
    a, b = plain(made, seed), plain(made, seed)
    script(a, [])
    for time in sorted(pauses):
        if time < 25.0:
            b.run(time)
            b.observe()
    script(b, pauses)
    same(a, b)
    assert a.record("chat").lost > 0
    assert accounted(a) == a.serving("chat").replicas.arrived


@pytest.mark.slow
@settings(max_examples=10)
@given(st.floats(0.0, 200.0))
def test_a_copy_goes_on_alike_and_apart(at: float) -> None:
    made = world(rate=8.0, replicas=3, events=EVENTS, cold_start=Duration(20.0, 0.5))
    plant = plain(made, 3)
    plant.run(at)
    before = here(plant), plant.record("chat").served
    other = plant.copy()
    other.act([Order("chat", "H100", 4)])
    other.run(250.0)
    assert (here(plant), plant.record("chat").served) == before
    assert plant.now() == at
    plant.act([Order("chat", "H100", 4)])
    plant.run(250.0)
    same(plant, other)
    assert plant.observe() == other.observe()


@pytest.mark.slow
@pytest.mark.skipif(not available(), reason="numba is not installed")
def test_compiled_is_equal_to_the_last_bit() -> None:
    made = world(rate=8.0, replicas=3, events=EVENTS, cold_start=Duration(20.0, 0.5))
    a, b = plain(made, 3), Plant(made, 3, compiled=True)
    script(a, [])
    script(b, [])
    same(a, b)
    assert a.observe() == b.observe()
    other = b.copy()
    for plant in (b, other):
        plant.run(300.0)
    same(b, other)


def test_seeds_count() -> None:
    def ttft(seed: int) -> list[float]:
        plant = plain(world(), seed)
        plant.run(60.0)
        return cast("list[float]", plant.record("chat").finished.ttft.tolist())

    assert ttft(1) == ttft(1) != ttft(2)


def test_other_servers_do_not_matter() -> None:
    def tpot(servers: tuple[str, ...]) -> Any:
        plant = plain(world(servers=servers, replicas=1))
        plant.run(60.0)
        return plant.record("chat").finished.tpot

    assert np.array_equal(tpot(("chat",)), tpot(("chat", "code")))


def test_the_log_keeps_the_last_entries() -> None:
    plant = plain(world(rate=0.0))
    for number in range(LOG + 5):
        plant.happen(Event(0.0, "load", "", float(number)))
    assert plant.happened == LOG + 5
    assert len(plant.log) == LOG
    assert plant.log[-1][1].startswith(f"the load of all servers is {LOG + 4} ")


def test_records_forget_when_asked_to() -> None:
    plant = Plant(world(), 1, compiled=False, keep=30.0)
    plant.run(300.0)
    record = plant.record("chat")
    assert record.finished.finish.min() >= 300.0 - 30.0 - 15.0
    assert record.served > 2 * record.finished.finish.size
    assert math.isclose(plant.now(), 300.0)
    plant.run(600.0)  # also where they were read in between
    assert record.finished.finish.min() >= 600.0 - 30.0 - 15.0
