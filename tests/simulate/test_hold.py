"""A queue in front of the replicas: each takes so many requests at most, and what waits goes in order."""

from __future__ import annotations

import numpy as np
import pytest

from flyball.simulate.compiled import available
from flyball.simulate.plant import Plant
from flyball.spec.accelerator import Accelerator
from flyball.spec.decision import Order
from flyball.spec.fleet import Fleet
from flyball.spec.scenario import Duration, Engine, Lengths, Steady, Stream, World
from flyball.spec.server import Server

HOLD = 24


def plant(compiled: bool = False, hold: int | None = HOLD) -> Plant:
    """One replica, for which far too much comes."""
    fleet = Fleet(
        accelerators=(Accelerator("A", "A", 1, 1.0),), servers=(Server("s", "m"),), capacity={"A": 8}
    )
    world = World(
        fleet=fleet,
        engines=(Engine("m", "A", 0.02, 1e-3, 0.0, 1e-5, max_sequences=4),),
        streams=(Stream("s", Steady(8.0), Lengths(100), Lengths(50)),),
        cold_start=Duration(20.0),
        hold={} if hold is None else {"s": hold},
        start={"s": {"A": 1}},
    )
    return Plant(world, 1, compiled)


def waiting(one: Plant) -> float:
    found = one.observe().servers[0].waiting
    assert found is not None
    return found.value


def test_a_replica_takes_so_many_at_most_and_all_that_wait_are_seen() -> None:
    held, free = plant(), plant(hold=None)
    for one in (held, free):
        one.run(120.0)
    replicas = held.serving("s").replicas
    assert max(replicas.load(r) for r in replicas.route) <= HOLD
    assert replicas.queued > 50
    assert replicas.queued <= waiting(held) <= replicas.present
    assert free.serving("s").replicas.queued == 0


def test_what_waits_goes_to_new_replicas_in_order() -> None:
    held, free = plant(), plant(hold=None)
    for one in (held, free):
        one.run(120.0)
        one.act([Order("s", "A", 6)])
        one.run(400.0)
    assert held.serving("s").replicas.queued == 0
    done = [one.record("s").finished for one in (held, free)]
    first = [c.arrival[np.argsort(c.arrival + c.ttft)] for c in done]
    back = [float(np.max(np.maximum.accumulate(arrivals) - arrivals)) for arrivals in first]
    assert back[0] < 10.0 < 30.0 < back[1]


@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.skipif(not available(), reason="no numba"))]
)
def test_pausing_changes_nothing(compiled: bool) -> None:
    whole, paused = plant(compiled), plant(compiled)
    whole.run(300.0)
    for time in (0.3, 7.0, 61.25, 62.0, 149.9, 300.0):
        paused.run(time)
    one, other = (p.record("s").finished for p in (whole, paused))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert whole.serving("s").replicas.queued == paused.serving("s").replicas.queued > 0
