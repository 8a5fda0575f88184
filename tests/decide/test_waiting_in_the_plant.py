"""Batch work beside people, through the peak of a day under a budget of watts: waiting makes the peak lower.

The same requests twice: with batch work served as it comes, and with a class whose requests may wait. What
the rest draws over a day is known from the day before, as it is where the loop ran then.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from msgspec.structs import replace

from flyball.decide.cycle import decide
from flyball.decide.memory import Memory
from flyball.power.ahead import seen as taught
from flyball.simulate.plant import Plant
from flyball.simulate.power_sensor import PowerSensor
from flyball.spec.accelerator import Accelerator, PowerCurve
from flyball.spec.fleet import Fleet, Settings
from flyball.spec.power import Domain, Policy
from flyball.spec.profile import IterationTiming, Profile
from flyball.spec.scenario import (
    Draw,
    Duration,
    Engine,
    Hall,
    Host,
    Lengths,
    Node,
    PowerMeasuring,
    Stage,
    Stages,
    Steady,
    Stream,
    World,
)
from flyball.spec.server import Load, Server
from flyball.spec.service_class import ModelTargets, ServiceClass, Target
from flyball.spec.snapshot import Snapshot
from flyball.spec.steering import Steering
from flyball.units import Seconds, Watts

HOUR = 3600.0
DAY = 24.0 * HOUR
EPOCH = 20_000 * DAY
PERIOD, END = 60.0, 2.75 * HOUR
DEADLINE = 1.5 * HOUR
BUDGET: Watts = 33_500.0
QUIET, BUSY, BATCH = 7.0, 15.4, 8.0
"""Requests per second of people, and of batch work."""
TTFT = 2.0


def world(deadline: Seconds) -> tuple[World, Fleet]:
    """64 cards; people's requests more than double for three quarters of an hour."""
    engines = tuple(
        Engine(m, "H100", 0.03, 5e-4, 4e-7, 6e-5, kv_tokens=100_000, max_sequences=16, accelerator_count=2)
        for m in ("m-bulk", "m-chat")
    )
    profiles = tuple(
        Profile(e.model, "H100", IterationTiming(e.alpha, e.beta, e.kappa, e.delta), 2, 16, kv_tokens=100_000)
        for e in engines
    )
    itl = Target("itl", 0.06)
    fleet = Fleet(
        accelerators=(Accelerator("H100", "H100", 1, 3.0, power=PowerCurve(120.0, 483.0, 420.0, 0.05)),),
        profiles=profiles,
        service_classes=(
            ServiceClass("Gold", 1, (ModelTargets("*", (Target("ttft", TTFT, 0.95), itl)),)),
            ServiceClass("Batch", 90, (ModelTargets("*", (itl,)),), deferrable=deadline),
        ),
        servers=(
            Server("bulk", "m-bulk", "Batch", Load(BATCH, 1500, 300), min_replicas=1),
            Server("chat", "m-chat", "Gold", Load(QUIET, 1000, 250), min_replicas=1),
        ),
        capacity={"H100": 64},
        settings=Settings(cold_start=90.0),
    )
    shape = [(0.0, 0.6 * HOUR), *((f, 300.0) for f in (0.3, 0.6, 0.9)), (1.0, 0.75 * HOUR)]
    shape += [*((f, 300.0) for f in (0.8, 0.5, 0.2)), (0.0, HOUR)]
    day = Stages(tuple(Stage(QUIET + (BUSY - QUIET) * f, duration) for f, duration in shape))
    return World(
        fleet=replace(fleet, profiles=()),
        engines=engines,
        streams=(
            Stream("chat", day, Lengths(1000, 0.5), Lengths(250, 0.5)),
            Stream("bulk", Steady(BATCH), Lengths(1500, 0.5), Lengths(300, 0.5)),
        ),
        nodes=tuple(Node(f"n{i}", "H100", 8, "r0") for i in range(8)),
        draws=(Draw("H100", 70.0, 420.0, 700.0, 120.0, 0.3),),
        hall=Hall((Host("H100", 400.0, 0.1),), keep=DAY),
        cold_start=Duration(90.0, 0.2),
        grace=60.0,
        hold={"bulk": 20},
        start={"chat": {"H100": 6}, "bulk": {"H100": 8}},
    ), fleet


class Came(NamedTuple):
    """What came of a run."""

    plant: Plant
    rest: dict[Seconds, Watts]
    """What all but batch work drew."""
    notes: list[str]

    @property
    def peak(self) -> Watts:
        """Of means over a minute, without the start."""
        watts = self.plant.watch.watts()
        return float(watts[: watts.size // 12 * 12].reshape(-1, 12).mean(axis=1)[10:].max())

    @property
    def kept(self) -> float:
        """Share of people's requests whose first token came in time."""
        return float((self.plant.record("chat").finished.ttft <= TTFT).mean())

    @property
    def longest(self) -> Seconds:
        """That a batch request took as a whole."""
        done = self.plant.record("bulk").finished
        return float((done.finish - done.arrival).max())


def run(deadline: Seconds, memory: Memory | None = None) -> Came:
    made, fleet = world(deadline)
    plant = Plant(made, 3)
    sensor = PowerSensor(
        plant,
        fleet,
        (Domain("hall", "Site", watts=BUDGET),),
        (Policy("all", mode="Enforce"),),
        PowerMeasuring(error=0.02, model=0.05),
        tau=PERIOD + 60.0,
        seed=1,
        epoch=EPOCH,
    )
    steering = Steering(period=PERIOD, plan_period=300.0, calibrate=False)
    rest, notes = {}, []
    for k in range(int(END / PERIOD) + 1):
        plant.run(PERIOD * k)
        seen = plant.observe()
        power = sensor.look(seen)
        decision, memory = decide(Snapshot(fleet, seen, power=power), memory, steering)
        plant.act([order for step in decision.steps for order in step.orders])
        assert decision.power is not None
        batch = sum(
            p.idle + p.load - p.empty for p in power.pods if p.server == "bulk" and p.phase != "pending"
        )
        rest[PERIOD * k] = decision.power.domains[0].watts - batch
        notes += [note for note in decision.notes if note.startswith("bulk: ")]
    return Came(plant, rest, notes)


def the_days_before(rest: dict[Seconds, Watts]) -> Memory:
    """A loop that saw the same three times; outside of these hours the rest draws as when it is quiet."""
    quiet = float(np.mean([watts for time, watts in rest.items() if 600.0 < time < 2000.0]))
    history = None
    for day in (3, 2, 1):
        for time in np.arange(0.0, DAY, 120.0).tolist():
            watts = rest.get(time, quiet) if time > 600.0 else quiet
            history = taught(history, EPOCH - day * DAY + time, watts)
    assert history is not None
    return Memory(rest={"hall": history})


@pytest.mark.slow
def test_batch_work_waits_for_the_valley_and_the_peak_is_lower() -> None:
    at_once = run(0.0)
    waits = run(DEADLINE, the_days_before(at_once.rest))
    assert at_once.notes == []
    assert any("hall is at" in note for note in waits.notes)
    # People come first in any case: the less important pay for what they need.
    assert min(at_once.kept, waits.kept) > 0.99
    assert waits.peak < 0.995 * at_once.peak < 0.95 * BUDGET
    # All of it in time, and of the last ten minutes no more is left than came.
    assert 2.0 * at_once.longest < waits.longest < DEADLINE
    bulk = waits.plant.serving("bulk").replicas
    assert waits.plant.record("bulk").lost == 0
    assert bulk.present < 600.0 * BATCH
    assert waits.plant.record("bulk").served + bulk.present == bulk.arrived
