"""Heat in the plant: a hall whose racks are known is cooler, and last replicas leave one that is too warm."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from benchmarks.power_heat import END, KEPT, SUPPLY, made, run
from flyball.decide.law import Flyball
from flyball.loop.ports import Configured
from flyball.loop.runner import Runner
from flyball.simulate.plant import Plant
from flyball.simulate.power_sensor import RACK, PowerSensor, leaving
from flyball.spec.accelerator import Accelerator, PowerCurve
from flyball.spec.fleet import Fleet
from flyball.spec.power import Domain, Policy, Thermal
from flyball.spec.power_plan import PowerPlan
from flyball.spec.profile import IterationTiming, Profile
from flyball.spec.scenario import (
    Air,
    Draw,
    Duration,
    Engine,
    Hall,
    Host,
    Lengths,
    Node,
    PowerMeasuring,
    Steady,
    Stream,
    World,
)
from flyball.spec.server import Load, Server
from flyball.spec.service_class import ModelTargets, ServiceClass, Target
from flyball.spec.steering import Steering

PERIOD, LIMIT, LEAST = 15.0, 26.6, 2
RACKS = ("r0", "r1", "r2")
WARMS = {
    "r0": {"r0": 2.5e-3, "r1": 2e-4},
    "r1": {"r0": 2e-4, "r1": 1e-3},
    "r2": {"r2": 1e-3},
}


@pytest.mark.slow
def test_a_hall_whose_racks_are_known_is_cooler_for_the_same_work() -> None:
    one = made(2)
    end = END / 2
    blind = run(one, 2, 1.0, None, end)
    limit = blind.hottest - 1.0
    aware = run(one, 2, 1.0, limit, end)
    assert aware.hottest <= limit
    assert aware.tokens >= KEPT * blind.tokens


def tight(levers: tuple[Any, ...]) -> tuple[Plant, list[PowerPlan], list[int]]:
    """Two servers with their least replicas in one rack, which four of them warm too much; three do not."""
    engine = Engine(
        "m", "H100", 0.03, 4e-4, 2e-7, 5e-5, kv_tokens=100_000, max_sequences=64, accelerator_count=2
    )
    timing = IterationTiming(engine.alpha, engine.beta, engine.kappa, engine.delta)
    promise = ModelTargets("*", (Target("ttft", 3.0, 0.95), Target("itl", 0.08)))
    servers = tuple(Server(name, "m", "all", Load(2.0, 500, 200), min_replicas=LEAST) for name in ("a", "b"))
    believed = Fleet(
        accelerators=(Accelerator("H100", "H100", 1, 3.0, power=PowerCurve(120.0, 500.0, 360.0, 0.05)),),
        profiles=(Profile("m", "H100", timing, 2, 64, kv_tokens=engine.kv_tokens),),
        service_classes=(ServiceClass("all", 10, (promise,)),),
        servers=servers,
        capacity={"H100": 24},
    )
    world = World(
        fleet=believed,
        engines=(engine,),
        streams=tuple(Stream(s.name, Steady(2.0), Lengths(500, 0.5), Lengths(200, 0.5)) for s in servers),
        nodes=tuple(Node(f"n-{rack}", "H100", 8, rack) for rack in RACKS),
        draws=(Draw("H100", 70.0, 360.0, 700.0, 120.0),),
        hall=Hall((Host("H100", 500.0, 0.1),), air=Air(SUPPLY, 120.0, WARMS)),
        cold_start=Duration(60.0),
        grace=30.0,
        start={s.name: {"H100": LEAST} for s in servers},
    )
    plant = Plant(world, 1)
    racks = (Domain(r, "Rack", "", {RACK: r}, thermal=Thermal(LIMIT, SUPPLY, WARMS[r])) for r in RACKS)
    policy = Policy("all", mode="Enforce", levers=levers)
    eyes = PowerSensor(
        plant, believed, tuple(racks), (policy,), PowerMeasuring("whole", error=0.01, model=0.02), tau=65.0
    )
    law = Flyball(Steering(calibrate=False))
    runner = Runner(law, Configured(believed), plant, plant, plant, power=eyes, limit=None, wall=lambda: 0.0)
    plans, serving = [], []
    for tick in range(100):
        plant.run(PERIOD * tick)
        cycle = runner.cycle()
        assert cycle is not None
        assert cycle.errors == ()
        assert cycle.decision is not None
        assert cycle.decision.power is not None
        plan = cycle.decision.power
        plant.shun(plan.hot, leaving(plan))
        plant.prefer(plan.cool)
        plans.append(plan)
        for server in servers:
            serving.append(sum(one.state == "ready" for one in plant.standing(server.name)))
    return plant, plans, serving


def where(plant: Plant) -> dict[str, int]:
    """Replicas by node."""
    found: dict[str, int] = {}
    for server in ("a", "b"):
        for one in plant.standing(server):
            for node in one.nodes:
                found[node] = found.get(node, 0) + 1
    return found


@pytest.mark.slow
def test_the_last_replicas_of_a_server_leave_a_rack_that_is_too_warm() -> None:
    plant, plans, serving = tight(("hold", "replicas", "placement"))
    inlet = plant.watch.inlet("r0")
    assert inlet.max() < LIMIT  # it is seen in the watts before the air is warm
    assert where(plant)["n-r0"] == 3
    assert sum(where(plant).values()) == 2 * LEAST
    assert min(serving) == LEAST
    begun = [bool(b.surge) and not a.surge for a, b in pairwise(plans)]
    assert sum(begun) == 1
    assert any("relocated" in note for plan in plans for note in plan.notes)


@pytest.mark.slow
def test_without_that_lever_they_stay_and_it_stays_too_warm() -> None:
    plant, plans, serving = tight(("hold", "replicas"))
    assert plant.watch.inlet("r0")[-1] > LIMIT
    assert where(plant) == {"n-r0": 4}
    assert set(serving) == {LEAST}
    assert any("r0" in sentence for sentence in plans[-1].infeasible)
