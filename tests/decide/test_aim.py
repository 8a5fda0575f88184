"""What a plan means for each server: the promises that make changes necessary."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from flyball.decide.aim import Change, plan_of, with_latencies
from flyball.spec.decision import Step
from flyball.spec.fleet import Fleet
from flyball.spec.service_class import MEAN, ModelTargets, ServiceClass, Target
from tests.decide.worlds import fleet_of, server_of


def fleet() -> Fleet:
    """Servers of four promises: none, a mean, percentiles, and both."""
    promised = {
        "None": (),
        "Mean": (Target("itl", 0.03),),
        "Percentile": (Target("ttft", 1.0, 0.95), Target("itl", 0.05, 0.99)),
        "Both": (Target("ttft", 0.05, MEAN), Target("itl", 0.04, 0.95)),
    }
    servers = [server_of(f"{name}-{i}", name, 1.0 + 3.0 * i) for name in promised for i in range(4)]
    classes = tuple(ServiceClass(name, 1, (ModelTargets("m", t),)) for name, t in promised.items())
    return replace(fleet_of(servers, {"A": 1000, "B": 1000}), service_classes=classes)


def changes(of: Fleet) -> list[Change]:
    """From one replica to several, of some even to none, or where it cannot be."""
    steps = [Step(server.name, (), demand=server.load.arrival_rate) for server in of.servers]
    return [
        Change(step, ("A", "B", "C")[i % 3] if i % 7 else "A", (i % 4, 2)[i % 2])
        for i, step in enumerate(steps)
    ]


def test_all_at_once_are_as_one_by_one() -> None:
    of = fleet()
    made = plan_of(of, of)
    together = with_latencies(changes(of), made)
    assert together == {
        change.step.server: with_latencies([change], made)[change.step.server] for change in changes(of)
    }
    assert {one.metric for one in together.values()} == {"", "itl", "ttft"}
    assert with_latencies([], made) == {}


@pytest.mark.parametrize("replicas", [1, 5])
def test_it_is_the_promise_nearest_to_its_limit(replicas: int) -> None:
    of = fleet()
    made = plan_of(of, of)
    step = Step("Percentile-3", (), demand=10.0)
    found = with_latencies([Change(step, "A", replicas)], made)["Percentile-3"]
    pair = next(
        i
        for i, (s, a) in enumerate(zip(made.sized.pairs.server, made.sized.pairs.accelerator, strict=True))
        if made.sized.pairs.servers[s].name == "Percentile-3" and of.accelerators[a].name == "A"
    )
    at, count, share = (made.sized.pairs.server[pair : pair + 1] * 0 + n for n in (pair, replicas, 1))
    wanted = [("ttft", 0.95), ("itl", 0.99)]
    values = made.sized.pairs.quantiles_at_load(at, count * 1.0, share * 1.0, wanted)[:, 0]  # type: ignore[arg-type]
    over = {"ttft": values[0] / 1.0, "itl": values[1] / 0.05}
    assert found.metric == max(over, key=lambda name: over[name])
    assert found.value / found.limit == pytest.approx(max(over.values()))
    assert math.isfinite(found.value) or replicas == 1


def test_what_says_nothing_is_left_as_it_is() -> None:
    of = fleet()
    made = plan_of(of, of)
    for change in (
        Change(Step("None-1", (), demand=4.0), "A", 2),  # nothing is promised
        Change(Step("Mean-1", (), demand=0.0), "A", 2),
        Change(Step("Mean-1", (), demand=4.0), "A", 0),
        Change(Step("Mean-1", (), demand=4.0), "C", 2),  # there is no such accelerator
        Change(Step("stranger", (), demand=4.0), "A", 2),
    ):
        assert with_latencies([change], made) == {change.step.server: change.step}
