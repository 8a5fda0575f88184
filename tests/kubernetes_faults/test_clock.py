"""Our own wall clock is wrong, or jumps: ages, leases and decisions do not notice."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
from lightkube.resources.core_v1 import Pod

from flyball.adapters.cluster import ClusterReader
from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.assemble import Assembler
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.kubernetes.listing import Scope
from tests.clusters import eventually
from tests.kubernetes_faults.world import NAMESPACE, PERIOD, World, blind, scales_of

pytestmark = pytest.mark.slow
HOUR = 3600.0
JUMPING = """
import pathlib, time
real = time.time
def jumping():
    try:
        return real() + float(pathlib.Path({file!r}).read_text())
    except (OSError, ValueError):
        return real()
time.time = jumping
"""


@pytest.mark.parametrize("wrong", [-HOUR, HOUR])
def test_ages_are_those_of_the_cluster(world: World, wrong: float) -> None:
    api = Api(world.sandbox.kubeconfig)
    wall = [time.time() + wrong]
    reader = ClusterReader(api, Assembler(Library()), Scope(namespace=NAMESPACE), wall=lambda: wall[0])
    try:
        world.scale("chat", 17)  # one more than there are cards
        eventually(lambda: len(list(world.client.list(Pod, namespace=NAMESPACE))) == 17)
        eventually(lambda: world.ready("chat") == 16)
        before = time.time()
        first = reader.observe()
        wall[0] -= 2 * wrong
        second = reader.observe()
        after = time.time()
    finally:
        api.close()
        world.put("chat", 300, 1)
    for seen in (first, second):
        (one,) = seen.servers
        assert sum(v.pending for v in one.variants) == 1
        assert 0.0 < max(v.waited for v in one.variants) < HOUR / 10
        assert before - 2.0 <= seen.time <= after + 2.0
    assert second.time >= first.time


def test_a_clock_that_jumps_changes_nothing(world: World, tmp_path: Path) -> None:
    file = tmp_path / "jump"
    code = JUMPING.format(file=str(file))
    world.put("chat", 300, 1)
    with world.loop("a", code=code) as loop:
        eventually(lambda: len(loop.cycles()) > 2)
        record = world.lease(loop.home)
        assert record is not None
        for jump in (HOUR, -HOUR):
            file.write_text(str(jump))
            before = len(loop.cycles())
            eventually(lambda before=before: len(loop.cycles()) > before + 1)
            (cycle,) = loop.cycles()[-1:]
            assert abs(cycle.time - time.time() - jump) < HOUR / 10, "it has not seen the jump"
        cycles = loop.cycles()
        now = world.lease(loop.home)
        file.write_text(str(-HOUR))
        loop.process.stop(15.0)
        loop.start()  # its clock is an hour behind, and what it remembers is of now
        eventually(lambda: len(loop.cycles()) > len(cycles) + 2)
        after = loop.cycles(len(cycles))
    times = [c.snapshot.seen.time for c in (*cycles, *after)]
    steps = [b - a for a, b in pairwise(times)]
    assert min(steps) > 0
    assert max(steps) < HOUR
    assert min(steps[: len(cycles) - 1]) > PERIOD / 2
    assert now is not None
    assert now.spec.leaseTransitions == record.spec.leaseTransitions
    assert not blind([*cycles, *after])
    assert not scales_of(loop)
    ages = [o.arrival_rate.age for c in after for o in c.snapshot.seen.servers if o.arrival_rate]
    assert ages
    assert max(ages) < 90.0
