"""A fleet whose profiles are wrong, in the plant: how soon what is foretold comes true."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np
from msgspec.structs import replace

from flyball.calibrate.belief import predicted
from flyball.calibrate.design import design
from flyball.calibrate.learn import belief
from flyball.decide.calibration import key, prior_of
from flyball.decide.cycle import decide
from flyball.decide.memory import Memory
from flyball.profiles.sample import catalogue
from flyball.simulate.plant import Plant
from flyball.spec.decision import Decision
from flyball.spec.profile import IterationTiming, Profile
from flyball.spec.scenario import Event
from flyball.spec.snapshot import Scrape, Snapshot
from flyball.units import Seconds
from flyball.wire.scenario import Sources, scenario_from_own
from tests.decide.worlds import reversals

SERVER = {"class": "Standard", "in": 800, "out": 200}
NAMES = ("chat", "code", "talk")
DOCUMENT: dict[str, Any] = {
    "apiVersion": "flyball/v1",
    "kind": "Scenario",
    "name": "wrong profiles",
    "fleet": {
        "catalogue": "sample",
        "classes": [
            {"name": "Premium", "priority": 1, "targets": {"ttft": "p95<1s", "itl": "p95<60ms"}},
            {"name": "Standard", "priority": 5, "targets": {"ttft": "p95<2s", "itl": "p95<100ms"}},
        ],
        "capacity": {"H100": 24, "A100": 16},
        "servers": [
            SERVER | {"name": "chat", "model": "Qwen/Qwen3-32B", "class": "Premium", "rate": "8/s"},
            SERVER | {"name": "code", "model": "Qwen/Qwen3-8B", "rate": "20/s"},
            SERVER | {"name": "talk", "model": "meta-llama/Llama-3.1-8B", "rate": "6/s"},
        ],
    },
    "measuring": {"noise": "5%", "gaps": "3%", "delay": "15s"},
    "load": [
        {"server": name, "in": {"mean": 800, "cov": 0.5}, "out": {"mean": 200, "cov": 0.5}} for name in NAMES
    ],
}
CYCLE: Seconds = 60.0
"""Of the loop, by default; decisions in between follow saturation only."""
Lie = Callable[[Scrape, np.random.Generator], Scrape]


class Pair(NamedTuple):
    """A model on an accelerator at the load it last had: foretold over true, less one."""

    name: str
    before: float
    now: float
    changes: int


class Ran(NamedTuple):
    """What came of a run: pairs that are in use at its end, and the most turns of a server in ten minutes."""

    pairs: tuple[Pair, ...]
    turns: int


def run(
    seed: int,
    cycles: int = 20,
    off: float = 0.5,
    lie: Lie | None = None,
    slow: tuple[Seconds, float] | None = None,
) -> Ran:
    """One run; every profile is `off` too fast or too slow, by the seed. `slow`: at a time, by a factor."""
    seconds = cycles * CYCLE
    document = DOCUMENT | {
        "duration": f"{seconds}s",
        "truth": {"error": "0%", "seed": seed, "coldStart": {"mean": "60s", "cov": 0.2}},
    }
    scenario = scenario_from_own(document, "wrong", catalogue(), Sources(_none, _none))
    world, rng = scenario.world, np.random.default_rng(seed)
    if slow is not None:
        world = replace(world, events=(Event(slow[0], "slow", value=slow[1]),))
    fleet = replace(scenario.believed, profiles=tuple(_off(p, off, rng) for p in scenario.believed.profiles))
    plant, memory = Plant(world, seed), None
    decisions: list[Decision] = []
    while plant.now() < seconds:
        seen = plant.observe() if lie is None else lie(plant.observe(), rng)
        decision, memory = decide(Snapshot(fleet, seen), memory)
        plant.act([order for step in decision.steps for order in step.orders])
        decisions.append(decision)
        plant.run(plant.now() + 15.0)
    assert memory is not None
    turns = max(reversals(decisions, name, 0.0) for name in NAMES)
    factor = slow[1] if slow is not None and slow[0] < seconds else 1.0
    engines = {key(e.model, e.accelerator): e for e in world.engines}
    pairs = tuple(
        _pair(profile, memory, engines[pair], factor, plant.now())
        for profile in fleet.profiles
        if (learned := memory.learned.get(pair := key(profile.model, profile.accelerator)))
        and learned.at is not None
        and plant.now() - learned.at < 5 * CYCLE
    )
    return Ran(pairs, turns)


def _off(profile: Profile, off: float, rng: np.random.Generator) -> Profile:
    factor = 1.0 + off if rng.random() < 0.5 else 1.0 - off
    timing = profile.timing
    assert isinstance(timing, IterationTiming)
    names = ("alpha", "beta", "kappa", "delta")
    wrong = {name: getattr(timing, name) * factor * math.exp(rng.normal(0.0, 0.05)) for name in names}
    return replace(profile, timing=replace(timing, **wrong))


def _pair(profile: Profile, memory: Memory, engine: Any, factor: float, now: Seconds) -> Pair:
    """The time of an iteration at the load that was there last."""
    name = key(profile.model, profile.accelerator)
    learned, prior = memory.learned[name], prior_of(profile)
    if not learned.points:
        return Pair(name, math.inf, math.inf, learned.changes)
    last = max(learned.points, key=lambda p: p.at)
    columns = design([last.running], last.in_tokens, last.out_tokens)
    parameters = np.array([engine.alpha, engine.beta, engine.kappa, engine.delta])
    true = factor * float((columns @ parameters)[0])
    before, after = (
        float(predicted(known, columns).time[0]) / true - 1.0
        for known in (prior, belief(prior, learned, now))
    )
    return Pair(name, before, after, learned.changes)


def _none(name: str) -> NoReturn:
    raise KeyError(name)
