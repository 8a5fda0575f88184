"""Cycles from little, and a small live fleet in a fluid world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flyball.decide.law import Flyball
from flyball.loop.record import Cycle
from flyball.loop.runner import Runner
from flyball.server.page.board import Board
from flyball.server.page.live import Live, Scenery
from flyball.server.page.stage import SimulatedStage
from flyball.spec.decision import Decision, Order, Step
from flyball.spec.fleet import Fleet
from flyball.spec.known import Known
from flyball.spec.scenario import Event
from flyball.spec.server import Server
from flyball.spec.snapshot import Observation, Reading, Scrape, Snapshot
from flyball.testing.fluid import FluidWorld
from flyball.testing.make import make_fleet, make_server

PERIOD = 15.0
NASTY = 'a/<b>&"c"'
"""A server's name with all that could go wrong."""


def seen(server: str = "s", **changes: Any) -> Observation:
    """A server that is seen to serve 2 requests/s."""
    return Observation(server, **{"arrival_rate": Reading(2.0), **changes})


def cycle(
    fleet: Fleet, *observations: Observation, time: float = 0.0, steps: Sequence[Step] = (), **changes: Any
) -> Cycle:
    """A cycle that saw these servers, and decided these steps."""
    scrape = Scrape(time, observations, **changes)
    return Cycle(0.0, "flyball", b"", Snapshot(fleet, scrape), Decision("flyball", time, tuple(steps)))


KNOWN = Known("org/<m>", "A", 24.0, 1000.0, 200.0, 0.027, 0.031, 0.06, 38, 3, 100.0, 1.08, 0.2, 1.09)
"""Of a model with a nasty name."""


def step(server: str, was: Mapping[str, int], now: Mapping[str, int], **changes: Any) -> Step:
    """A step from so many replicas by accelerator to so many."""
    orders = (tuple(Order(server, a, n) for a, n in m.items()) for m in (now, was))
    return Step(server, *orders, **changes)


@dataclass
class Fluid:
    """A fluid world as a stage wants it."""

    world: FluidWorld
    log: list[tuple[float, str]] = field(default_factory=list)
    happened: int = 0
    factor: float = 1.0

    def now(self) -> float:
        return self.world.now()

    def run(self, until: float) -> None:
        self.world.step(until - self.world.now())

    def happen(self, event: Event) -> str:
        if event.what == "load":
            self.factor = event.value
        if event.what == "capacity":
            self.world.capacity = {**self.world.configured.capacity, event.name: int(event.value)}
        self.log.append((self.now(), f"{event.what} {event.name} {event.value:g}"))
        self.happened += 1
        return self.log[-1][1]


def servers(count: int) -> list[Server]:
    """Servers of two classes, the first with a nasty name."""
    names = [NASTY, *(f"server-{i:02}" for i in range(1, count))]
    return [make_server(n, 2.0 + i, ("Gold", "Bronze")[i % 2]) for i, n in enumerate(names)]


def live(count: int = 3, cycles: int = 4, *, real: bool = False) -> tuple[Live, Fluid]:
    """A live fleet after some cycles. `real`: without a stage."""
    fleet = make_fleet(servers(count))
    rates = {s.name: s.load.arrival_rate for s in fleet.servers}
    rng = np.random.default_rng(1)
    world = FluidWorld(fleet, lambda n, t: rates[n] * fluid.factor, {("m", "A"): 5.0, ("m", "B"): 9.0}, rng)
    fluid = Fluid(world)

    def scenery() -> Scenery:
        names = tuple(rates)
        return Scenery("Fluid", "about <it>", (("n1", "A", True), ("n2", "B", False)), names, fleet.capacity)

    runner = Runner(Flyball(), world, world, world, world, limit=None)
    stage = SimulatedStage(fluid, scenery, PERIOD)
    made = Live(runner, Board(), None if real else stage, "Fluid")
    for i in range(cycles):
        if i:
            fluid.run(fluid.now() + PERIOD)
        made.cycle()
    return made, fluid
