"""The loop around the plant: model error, noise, delays and gaps, in a world that batches like vLLM."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NoReturn

import numpy as np
import pytest
from msgspec.structs import replace

from flyball.decide.cycle import decide
from flyball.decide.memory import Memory
from flyball.profiles.sample import catalogue
from flyball.simulate.compiled import available
from flyball.simulate.plant import Plant
from flyball.spec.decision import Decision
from flyball.spec.scenario import Scenario
from flyball.spec.snapshot import Scrape, Snapshot
from flyball.wire.scenario import Sources, scenario_from_own
from tests.decide import calibrating
from tests.decide.worlds import reversals

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not available(), reason="takes minutes without numba"),
]

DOCUMENT = calibrating.DOCUMENT | {
    "duration": "80min",
    "truth": {"error": "15%", "seed": 1, "coldStart": {"mean": "100s", "cov": 0.2}},
}
WARM = 1800.0


class Ran:
    """One run of the loop in the plant."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.plant = Plant(scenario.world, seed)
        self.scenario, self.decisions = scenario, list[Decision]()
        self.seen: list[Scrape] = []
        memory: Memory | None = None
        for _ in self._periods():
            seen = self.plant.observe()
            decision, memory = decide(Snapshot(scenario.believed, seen), memory)
            self.plant.act([order for step in decision.steps for order in step.orders])
            self.decisions.append(decision)
            self.seen.append(seen)

    def _periods(self) -> Iterator[None]:
        while self.plant.now() < self.scenario.duration:
            yield
            self.plant.run(self.plant.now() + 15.0)


@cache
def ran(truth: int) -> Ran:
    document = DOCUMENT | {"truth": {**DOCUMENT["truth"], "seed": truth}}  # type: ignore[dict-item]
    return Ran(scenario_from_own(document, "steady", catalogue(), Sources(_none, _none)), seed=truth)


def _none(name: str) -> NoReturn:
    raise KeyError(name)


@pytest.mark.parametrize("truth", [1, 2, 3])
def test_steady_load_turns_at_most_once_in_ten_minutes_and_keeps_its_targets(truth: int) -> None:
    run = ran(truth)
    for server in run.scenario.believed.servers:
        assert reversals(run.decisions, server.name, after=WARM) <= 1
        limits = {
            t.metric: t.limit
            for c in run.scenario.believed.service_classes
            if c.name == server.service_class
            for t in c.models[0].targets
        }
        done = run.plant.record(server.name).finished
        late = done.arrival > WARM
        assert np.mean(done.ttft[late] <= limits["ttft"]) > 0.95
        assert np.mean(done.tpot[late] <= limits["itl"]) > 0.95


@pytest.mark.parametrize("truth", [1, 2, 3])
def test_orders_stay_within_the_cards(truth: int) -> None:
    run = ran(truth)
    fleet = run.scenario.believed
    kinds = {a.name: (a.type, a.multiplicity) for a in fleet.accelerators}
    for decision in run.decisions:
        used: dict[str, int] = {}
        for order in (o for s in decision.steps for o in s.orders):
            type_, cards = kinds[order.accelerator]
            used[type_] = used.get(type_, 0) + order.replicas * cards
        assert all(count <= fleet.capacity[type_] for type_, count in used.items())


def test_a_blind_server_never_shrinks() -> None:
    scenario = ran(1).scenario
    measuring = replace(scenario.world.measuring, gaps=0.6)
    run = Ran(replace(scenario, world=replace(scenario.world, measuring=measuring), duration=1800.0), seed=5)
    blind = 0
    for seen, decision in zip(run.seen, run.decisions, strict=True):
        for found in seen.servers:
            step = next((s for s in decision.steps if s.server == found.server), None)
            if step is None or found.arrival_rate is not None:
                continue
            blind += 1
            asked = sum(v.ready + v.pending for v in found.variants)
            assert sum(o.replicas for o in step.orders) >= asked
    assert blind > 50
