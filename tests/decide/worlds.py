"""Worlds for the loop: the fluid fleet with errors in the model, noise, delays and gaps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from msgspec.structs import replace

from flyball.decide.cycle import decide
from flyball.decide.memory import Memory
from flyball.solve.candidates import candidates
from flyball.spec.decision import Decision
from flyball.spec.fleet import Fleet
from flyball.spec.server import Server
from flyball.spec.service_class import Target
from flyball.spec.snapshot import Snapshot
from flyball.spec.steering import Steering
from flyball.testing.fluid import FluidWorld
from flyball.testing.make import make_fleet, make_server

PERIOD = 15.0


def fleet_of(servers: list[Server], capacity: dict[str, int]) -> Fleet:
    """Accelerators A and B (faster, dearer) of Flyball's own form, with p95 targets."""
    return make_fleet(
        servers,
        speed={"B": 2.0},
        capacity=capacity,
        targets=(Target("ttft", 2.0, 0.95), Target("itl", 0.1, 0.95)),
        generation="flyball",
    )


def server_of(name: str, service_class: str = "Gold", rate: float = 5.0) -> Server:
    return make_server(name, rate, service_class, in_tokens=1000, out_tokens=200)


def believed_rates(fleet: Fleet) -> dict[tuple[str, str], float]:
    """What the decision thinks that a replica takes within the targets, by model and accelerator."""
    loaded = replace(
        fleet,
        servers=tuple(replace(s, load=replace(s.load, arrival_rate=1.0)) for s in fleet.servers),
    )
    sized = candidates(loaded)
    names = [a.name for a in fleet.accelerators]
    return {
        (sized.pairs.servers[int(s)].model, names[int(a)]): float(rate)
        for s, a, rate in zip(sized.pairs.server, sized.pairs.accelerator, sized.max_rate, strict=True)
    }


def world_of(
    fleet: Fleet,
    rate: Callable[[str, float], float],
    seed: int = 0,
    error: float = 0.0,
    **more: float,
) -> FluidWorld:
    """A world whose replicas are slower or faster than believed by up to `error`, each in its own way."""
    rng = np.random.default_rng(seed)
    truth = {
        key: value * (1.0 + error * float(rng.uniform(-1.0, 1.0)))
        for key, value in sorted(believed_rates(fleet).items())
    }
    return FluidWorld(fleet, rate, truth, rng, **more)  # type: ignore[arg-type]


class Run:
    """The loop in a world; what was asked for in every cycle."""

    def __init__(self, world: FluidWorld, steering: Steering | None = None) -> None:
        self.world, self.steering = world, steering or Steering()
        self.memory: Memory | None = None
        self.decisions: list[Decision] = []
        self.blind: set[str] = set()
        """Servers whose demand was not seen in the last cycle."""
        self.asked: dict[str, list[int]] = {s.name: [] for s in world.configured.servers}

    def look(self) -> Snapshot:
        """What is seen now."""
        return Snapshot(self.world.configured, self.world.observe())

    def cycle(self) -> Decision:
        """One period of the world, then one decision."""
        snapshot = self.look()
        self.blind = {o.server for o in snapshot.seen.servers if o.arrival_rate is None}
        decision, self.memory = decide(snapshot, self.memory, self.steering)
        for step in decision.steps:
            self.world.act(step.orders)
        for name, asked in self.asked.items():
            asked.append(self.world.asked(name))
        self.decisions.append(decision)
        self.world.step(PERIOD)
        return decision

    def until(self, time: float) -> None:
        """Cycle until a time."""
        while self.world.time < time:
            self.cycle()


def reversals(decisions: list[Decision], server: str, after: float, within: float = 600.0) -> int:
    """The most reversals in any window of so many seconds: changes against the one before, made within it.

    A hand-over is no change of direction: both accelerators are there for a while.
    """
    turns: list[float] = []
    way, changed_at = 0, -within
    for decision in decisions:
        step = next((s for s in decision.steps if s.server == server), None)
        if step is None or decision.time < after:
            continue
        was, now = (
            {o.accelerator: o.replicas for o in side if o.replicas} for side in (step.was, step.orders)
        )
        if was == now:
            continue
        if was.keys() != now.keys() or len(now) != 1:
            way = 0
            continue
        new = 1 if sum(now.values()) > sum(was.values()) else -1
        if way and new != way and decision.time - changed_at < within:
            turns.append(decision.time)
        way, changed_at = new, decision.time
    return max((sum(t <= u < t + within for u in turns) for t in turns), default=0)
