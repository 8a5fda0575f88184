"""What nodes truly draw, and what of it is seen: sums, phases, heat, faults; and levers that lag."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from flyball.loop import ports
from flyball.power.sensing import domain_reading
from flyball.power.tree import tree_of
from flyball.simulate.hall import STEP, Bursts
from flyball.simulate.levers import Levers
from flyball.simulate.plant import Plant
from flyball.simulate.power_sensor import PowerSensor
from flyball.spec.decision import Order
from flyball.spec.power import Domain, PowerReading, PowerSeen, Slot
from flyball.spec.scenario import (
    Air,
    Draw,
    Duration,
    Event,
    Hall,
    Host,
    Node,
    Others,
    PowerFault,
    PowerMeasuring,
)
from tests.simulate.worlds import world

DRAWS = (Draw("H100", 70.0, 300.0, 700.0, 120.0, 0.1), Draw("A100", 60.0, 300.0, 400.0))
HOSTS = (Host("H100", 800.0, 0.1), Host("A100", 500.0))
NODES = (Node("n0", "H100", 4, "r0"), Node("n1", "H100", 4, "r1"), Node("old", "A100", 2, "r1"))
AIR = Air(20.0, 100.0, {"r0": {"r0": 2e-3, "r1": 1e-3}, "r1": {"r1": 2e-3}})
RACKS = (
    Domain("hall", "Site", watts=9000.0),
    Domain("r0", "Rack", "hall", {"rack": "r0"}),
    Domain("r1", "Rack", "hall", {"rack": "r1"}),
)


def made(hall: Hall | None = Hall(HOSTS, air=AIR), seed: int = 1, **more: Any) -> Plant:  # noqa: B008
    given: dict[str, Any] = {"rate": 4.0, "replicas": 2, "draws": DRAWS, "nodes": NODES, "hall": hall, **more}
    return Plant(world(**given), seed, compiled=False)


def sensor(plant: Plant, measuring: PowerMeasuring, **more: Any) -> PowerSensor:
    return PowerSensor(plant, plant.world.fleet, RACKS, (), measuring, tau=60.0, **more)


def look(plant: Plant, eyes: PowerSensor) -> PowerSeen:
    return eyes.look(plant.observe())


def of(seen: PowerSeen, part: str, node: str = "n0") -> list[PowerReading]:
    return [r for r in seen.readings if r.part == part and r.node == node]


def test_energy_of_the_series_is_what_was_counted() -> None:
    plant = made()
    plant.run(300.0)
    watch = plant.watch
    assert watch.times() == pytest.approx(np.arange(STEP, 301.0, STEP))
    cards = sum(STEP * sum(row.cards.values()) for row in watch.rows)
    assert cards == pytest.approx(sum(plant.power.joules.values()))
    host = 300.0 * (2 * 800.0 + 500.0) + 0.1 * (plant.power.joules["n0"] + plant.power.joules["n1"])
    assert STEP * watch.watts().sum() == pytest.approx(cards + host)
    assert watch.watts(["n0", "n1"]) + watch.watts(["old"]) == pytest.approx(watch.watts())


def test_what_a_card_draws_by_what_it_has() -> None:
    nothing = made(streams=())
    nothing.run(60.0)
    last = nothing.watch.rows[-1]
    assert last.cards["n0"] == pytest.approx(2 * 120.0 + 2 * 70.0)  # two with a model, two without
    assert nothing.act([Order("chat", "H100", 3)]) == ()
    nothing.run(90.0)  # that one still loads
    assert nothing.watch.rows[-1].cards["n0"] == pytest.approx(last.cards["n0"])
    busy = made(rate=20.0)
    busy.run(300.0)
    counters = busy.serving("chat").replicas.totals(300.0)
    two = counters.busy - counters.prefill
    extra = 50.0 * 600.0 + (300.0 - 120.0) * two + (700.0 - 120.0) * counters.prefill + 0.1 * counters.tokens
    assert busy.power.joules["n0"] == pytest.approx(300.0 * 4 * 70.0 + extra)
    row = busy.watch.rows[-1]
    assert sum(row.card[number] for number in row.places["n0"]) + 2 * 70.0 == pytest.approx(row.cards["n0"])


def test_a_lost_node_draws_nothing() -> None:
    plant = made(events=(Event(50.0, "lose_node", "n0"), Event(100.0, "return_node", "n0")))
    plant.run(150.0)
    watts = plant.watch.watts(["n0"])
    assert (watts[10:20] == 0.0).all()
    assert (watts[:10] > 800.0).all()
    assert watts[-1] >= 800.0


def test_inlets_follow_the_watts_of_racks_with_a_lag() -> None:
    plant = made(streams=())
    plant.run(2000.0)
    r0, r1 = plant.watch.watts(["n0"])[-1], plant.watch.watts(["n1", "old"])[-1]
    assert plant.watch.inlet("r0")[-1] == pytest.approx(20.0 + 2e-3 * r0 + 1e-3 * r1, abs=1e-3)
    assert plant.watch.inlet("r1")[-1] == pytest.approx(20.0 + 2e-3 * r1, abs=1e-3)
    begun = plant.watch.inlet("r1")[int(100.0 / STEP) - 1]
    assert begun - 20.0 == pytest.approx((1.0 - math.exp(-1.0)) * 2e-3 * r1)


def test_no_card_draws_more_than_in_prefill() -> None:
    plant = made(rate=60.0, replicas=1, draws=(replace(DRAWS[0], token=3.0), DRAWS[1]))
    plant.run(200.0)
    row = plant.watch.rows[-1]
    assert [row.card[number] for number in row.places["n0"]] == pytest.approx([700.0])


def test_bursts_have_their_mean_and_do_not_depend_on_steps() -> None:
    others = Others(100.0, 400.0, 60.0, 30.0)
    fine, coarse = (Bursts(others, np.random.default_rng(5)) for _ in range(2))
    small = [fine.mean(5.0 * i, 5.0 * (i + 1)) for i in range(40_000)]
    large = [coarse.mean(500.0 * i, 500.0 * (i + 1)) for i in range(400)]
    assert np.mean(small) == pytest.approx(np.mean(large))
    assert np.mean(small) == pytest.approx(100.0 + 400.0 * 0.5, rel=0.05)
    assert max(small) >= 100.0 + 2 * 400.0
    assert min(small) == 100.0


def test_pausing_looking_and_copying_change_no_watt() -> None:
    hall = Hall(HOSTS, Others(50.0, 300.0, 100.0), AIR)
    one, other = made(hall), made(hall)
    one.run(200.0)
    eyes = sensor(other, PowerMeasuring())
    for until in (3.0, 17.5, 60.0, 60.1, 140.0):
        other.run(until)
        look(other, eyes)
    third = other.copy()
    other.run(200.0)
    third.run(200.0)
    for same in (other.watch, third.watch):
        assert one.watch.watts() == pytest.approx(same.watts())
        assert one.watch.inlet("r0") == pytest.approx(same.inlet("r0"))


def test_the_hall_is_not_felt_by_requests() -> None:
    with_hall, without = made(), made(hall=None)
    with_hall.run(200.0)
    without.run(200.0)
    for one, two in zip(with_hall.record("chat").finished, without.record("chat").finished, strict=True):
        assert one == pytest.approx(two, rel=1e-12)
    with pytest.raises(ValueError, match="give the world a hall"):
        _ = without.watch


def test_without_errors_what_is_seen_is_the_truth_of_some_seconds_ago() -> None:
    plant = made(rate=20.0)
    eyes: ports.PowerSensor = sensor(plant, PowerMeasuring(error=0.0, delay=10.0, model=0.0))
    plant.run(122.0)
    seen = eyes.look(plant.observe())
    nodes = {n.name: n for n in seen.nodes}
    for domain, members in (("hall", None), ("r0", ["n0"]), ("r1", ["n1", "old"])):
        reading = domain_reading(tree_of(RACKS, seen.nodes), domain, nodes, seen.readings, seen.pods)
        assert reading.known.complete
        assert reading.known.watts == pytest.approx(plant.watch.watts(members)[-3])  # 110 s
        assert reading.known.age == pytest.approx(12.0)
    assert seen.now == 122.0
    for each in seen.nodes:
        drawn = plant.watch.watts([each.name])
        assert each.least <= drawn.min() + 1e-6
        assert drawn.max() <= each.most


def test_pods_explain_what_is_drawn_by_cards_in_use() -> None:
    plant = made(rate=20.0)
    plant.run(120.0)
    plant.act([Order("chat", "H100", 1)])
    seen = look(plant, sensor(plant, PowerMeasuring(error=0.0, model=0.0)))
    assert sorted(p.phase for p in seen.pods) == ["running", "terminating"]
    rows = list(plant.watch.rows)[-6:]
    used = np.mean([row.cards["n0"] for row in rows]) - 2 * 70.0
    assert sum(p.idle + p.load for p in seen.pods) == pytest.approx(used)
    assert all(p.idle == pytest.approx(300.0) for p in seen.pods)  # it decodes all the time
    plant.act([Order("chat", "H100", 7)])
    waiting = [p for p in look(plant, sensor(plant, PowerMeasuring())).pods if p.phase == "pending"]
    assert len(waiting) == 6
    assert all(p.load == 0.0 < p.idle < p.most for p in waiting)
    work = seen.workloads[0]
    assert (work.name, work.replicas, work.governed) == ("chat", 1, True)


def test_each_sensor_is_off_by_its_own_constant_share() -> None:
    plant = made(streams=())
    eyes = sensor(plant, PowerMeasuring(error=0.05), seed=3)
    plant.run(60.0)
    first = [r.watts for r in of(look(plant, eyes), "card")]
    plant.run(120.0)
    assert [r.watts for r in of(look(plant, eyes), "card")] == first
    off = [w / t - 1.0 for w, t in zip(first, (120.0, 120.0, 70.0, 70.0), strict=True) if w is not None]
    assert len(set(off)) == 4
    assert all(abs(x) <= 0.05 for x in off)


@pytest.mark.parametrize(
    ("fault", "ratio", "age"),
    [
        (PowerFault("drop", 100.0, 50.0), None, None),
        (PowerFault("zero", 100.0, 50.0, "n0"), 0.0, 5.0),
        (PowerFault("wrong", 100.0, 50.0, "n0", value=3.0), 3.0, 5.0),
        (PowerFault("stale", 100.0, 50.0, "n0", "whole"), 1.0, 45.0),
        (PowerFault("stuck", 100.0, 50.0), 1.0, 5.0),
    ],
)
def test_faults_last_as_long_as_they_say(fault: PowerFault, ratio: float | None, age: float | None) -> None:
    plant = made(streams=(), events=(Event(101.0, "lose_replica", "chat"),), cold_start=Duration(1e6))
    eyes = sensor(plant, PowerMeasuring(error=0.0, faults=(fault,)))
    plant.run(90.0)
    before = of(look(plant, eyes), "whole")[0]
    plant.run(140.0)  # a replica less by now
    here, others = of(look(plant, eyes), "whole"), of(look(plant, eyes), "whole", "n1")
    assert bool(others) == (fault.name == "n0" or ratio is not None)
    if ratio is None:
        assert not here
    else:
        assert before.watts is not None
        was = before.watts if fault.what in ("stale", "stuck") else plant.watch.watts(["n0"])[-1]
        assert was == before.watts or was == pytest.approx(before.watts - 1.1 * 50.0)
        assert here[0].watts == pytest.approx(ratio * was)
        assert here[0].age == age
    if fault.part:
        assert of(look(plant, eyes), "card")[0].age == 5.0
    plant.run(150.0)
    after = of(look(plant, eyes), "whole")[0]
    assert after.watts == pytest.approx(plant.watch.watts(["n0"])[-2])
    assert after.age == 5.0


def test_budgets_change_by_schedule_or_by_a_function() -> None:
    plant = made()
    cut = Domain("hall", "Site", watts=9000.0, schedule=(Slot(1060.0, 1120.0, 6000.0),))
    by_function = PowerSensor(
        plant, plant.world.fleet, lambda t: (cut, *RACKS[1:]) if t >= 60.0 else RACKS, tau=60.0, epoch=1000.0
    )
    assert look(plant, by_function).domains[0].schedule == ()
    plant.run(60.0)
    seen = look(plant, by_function)
    assert (seen.now, seen.domains[0].schedule[0].watts) == (1060.0, 6000.0)


# ---- levers ------------------------------------------------------------------------------------


def wanted(plant: Plant) -> int:
    return plant.serving("chat").wanted["H100"]


def test_an_order_is_taken_at_the_next_sync() -> None:
    plant = made()
    levers = Levers(plant, np.random.default_rng(0), phase=4.0)
    actuator: ports.Actuator = levers
    levers.run(10.0)
    assert actuator.act([Order("chat", "H100", 3)]) == ()
    levers.run(18.9)
    assert wanted(plant) == 2
    levers.run(19.0)
    assert (wanted(plant), plant.now()) == (3, 19.0)
    actuator.act([Order("chat", "H100", 4)])
    actuator.act([Order("chat", "H100", 1)])  # the newer counts
    levers.run(40.0)
    assert wanted(plant) == 1


def test_orders_are_refused_or_late_by_their_shares() -> None:
    plant = made(streams=())
    refusing = Levers(plant, np.random.default_rng(0), refused=0.3)
    told = [refusing.act([Order("chat", "H100", n % 3)]) for n in range(1000)]
    assert sum(map(bool, told)) == pytest.approx(300, abs=60)
    assert "were refused" in next(t[0] for t in told if t)
    late = Levers(plant, np.random.default_rng(0), late=1.0)
    found = []
    for count in itertools.islice(itertools.cycle((1, 2)), 20):
        asked = plant.now()
        late.act([Order("chat", "H100", 3 - wanted(plant))])
        before = wanted(plant)
        while wanted(plant) == before:
            late.act([Order("chat", "H100", 3 - before)])  # asked again: no later for that
            late.run(plant.now() + 5.0)
        found.append(plant.now() - asked)
        assert count
    assert {min(found), max(found)} <= {30.0, 45.0, 60.0, 75.0}
    assert len(set(found)) > 2


def test_replicas_go_from_shunned_nodes_first_and_to_them_last() -> None:
    plant = made(streams=(), replicas=6)  # four on n0, two on n1
    plant.shun(("n1", "n0"))
    plant.act([Order("chat", "H100", 4)])
    plant.run(10.0)
    assert [s.nodes for s in plant.standing("chat")] == [{"n0": 1}] * 4
    plant.shun(("n0",))
    plant.act([Order("chat", "H100", 3)])
    plant.run(20.0)
    plant.act([Order("chat", "H100", 4)])
    assert plant.standing("chat")[-1].nodes == {"n1": 1}
    plant.shun(())
    plant.act([Order("chat", "H100", 5)])
    assert plant.standing("chat")[-1].nodes == {"n0": 1}


def test_a_scheduler_that_spreads_takes_the_emptiest_node_of_those_that_are_preferred() -> None:
    def where(plant: Plant) -> list[str]:
        return [node for one in plant.standing("chat") for node in one.nodes]

    assert where(made(streams=(), replicas=5)) == ["n0"] * 4 + ["n1"]
    plant = made(streams=(), replicas=5, placing="spread")
    assert where(plant) == ["n0", "n1", "n0", "n1", "n0"]
    plant.prefer(("n0",))
    plant.act([Order("chat", "H100", 7)])
    assert where(plant)[5:] == ["n0", "n1"]  # it has no card left, and this was only a preference
    plant.prefer(())
    plant.act([Order("chat", "H100", 8)])
    assert where(plant)[7:] == ["n1"]


def test_large_replicas_are_a_pod_on_each_node() -> None:
    base = world(replicas=0, draws=DRAWS, nodes=NODES, hall=Hall(HOSTS))
    engines = (replace(base.engines[0], accelerator_count=8),)
    plant = Plant(replace(base, engines=engines, start={"chat": {"H100": 1}}), 1, compiled=False)
    plant.run(30.0)
    pods = look(plant, sensor(plant, PowerMeasuring())).pods
    assert sorted(p.node for p in pods) == ["n0", "n1"]
    assert len({p.name for p in pods}) == 2
