"""An API server that is away, busy, slow or refuses: nothing is lost, and no hand is needed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.clusters import eventually
from tests.kubernetes_faults.proxy import Fault, Plan
from tests.kubernetes_faults.world import LoopProcess, World, blind, said, scales_of, strangers

pytestmark = pytest.mark.slow

STATUS = b'{"kind":"Status","status":"Failure","reason":"Injected","message":"by the test"}'
FAULTS = {
    "busy": Fault(429, {"Retry-After": "1"}, STATUS),
    "conflict": Fault(409, {}, STATUS),
    "broken": Fault(500, {}, STATUS),
    "cut": Fault(cut=True),
    "lost": Fault(lost=True),
    "slow": Fault(delay=1.0),
    "no JSON": Fault(200, {}, b"<html>"),
}


@pytest.fixture(scope="module")
def loop(world: World) -> Iterator[LoopProcess]:
    with world.loop() as one:
        eventually(lambda: len(one.cycles()) > 2)
        yield one
        assert one.process.alive
        assert not blind(one.cycles())
        assert not strangers([one])


def some(faults: list[Fault], share: float, seed: int) -> Plan:
    """So large a share of all requests, by chance."""
    chance = random.Random(seed)
    return lambda method, path: chance.choice(faults) if chance.random() < share else None


def grows(world: World, loop: LoopProcess) -> None:
    """It follows the load up, and only up."""
    begun = len(scales_of(loop))
    world.load("chat", 2400)
    eventually(lambda: world.replicas("chat") > 1, 40.0)
    up = [w.replicas for w in scales_of(loop)[begun:] if w.replicas is not None]
    assert up == sorted(up)
    world.load("chat", 300)
    world.scale("chat", 1)


def test_a_third_of_all_requests_fails(world: World, loop: LoopProcess) -> None:
    world.put("chat", 300, 1)
    with loop.cluster.faulty(some(list(FAULTS.values()), 1 / 3, seed=1)):
        grows(world, loop)
    assert loop.process.alive


def test_every_first_write_of_a_server_fails(world: World, loop: LoopProcess) -> None:
    for name in ("busy", "conflict", "broken", "lost"):
        failed: list[str] = []

        def once(method: str, path: str, name: str = name, failed: list[str] = failed) -> Fault | None:
            if failed or "/scale" not in path:
                return None
            failed.append(path)
            return FAULTS[name]

        world.put("chat", 2400, 1)
        with loop.cluster.faulty(once):
            eventually(lambda: world.replicas("chat") > 1, 40.0)
        assert failed
    world.put("chat", 300, 1)


def test_an_answer_that_never_ends_holds_nothing_up(world: World, loop: LoopProcess) -> None:
    """Each byte comes within a read's timeout, so only a limit on the whole ends it."""
    before = len(loop.cycles())
    with loop.cluster.faulty(lambda method, path: Fault(drip=0.3) if "/pods" in path else None):
        eventually(lambda: "no whole answer within" in said(loop.cycles(before)))
    eventually(lambda: not loop.cycles()[-1].errors, 30.0)


def test_parts_that_are_still_busy_are_waited_for(world: World, loop: LoopProcess) -> None:
    before = len(loop.cycles())
    slow = Fault(delay=4.0)  # seven lists take longer than a part may, and none longer than a request
    with loop.cluster.faulty(lambda method, path: None if "/leases" in path else slow):
        eventually(lambda: "no answer within 10 s" in said(loop.cycles(before)))
        writes = len(scales_of(loop))  # what was decided before the fault is written by now
        eventually(lambda: "still busy with an earlier call" in said(loop.cycles(before)))
        assert len(scales_of(loop)) == writes
    eventually(lambda: not loop.cycles()[-1].errors)


def test_the_api_server_is_killed_and_comes_back(world: World, loop: LoopProcess) -> None:
    world.put("chat", 300, 1)
    before = len(loop.cycles())
    world.sandbox.kill("kube-apiserver")
    try:
        eventually(lambda: "does not answer" in said(loop.cycles(before)))
    finally:
        world.sandbox.restart("kube-apiserver")
    before = len(loop.cycles())
    eventually(lambda: len(loop.cycles()) > before and not loop.cycles()[-1].errors, 30.0)
    grows(world, loop)


def test_etcd_stops_and_goes_on(world: World, loop: LoopProcess) -> None:
    before = len(loop.cycles())
    world.sandbox.pause("etcd")
    try:
        eventually(lambda: "the lease cannot be had or kept" in loop.words)
        assert "the lease cannot be had or kept" in loop.page
    finally:
        world.sandbox.resume("etcd")
    begun = len(loop.cycles())
    eventually(lambda: len(loop.cycles()) > begun + 1 and not loop.cycles()[-1].errors, 40.0)
    assert loop.process.alive
    assert not blind(loop.cycles(before))
