"""A Prometheus that is down, slow, empty or lies: nothing shrinks blindly, and it is said and got over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.commands.loop_parts import Request, reader_of
from tests.clusters import eventually
from tests.kubernetes_faults.proxy import Fault, Proxy, nothing
from tests.kubernetes_faults.world import (
    MOST,
    NAMESPACE,
    PERIOD,
    SPEED,
    LoopProcess,
    World,
    blind,
    lasts,
    said,
    scales_of,
)

pytestmark = pytest.mark.slow

LATE = 3.0
"""Seconds after which this loop gives up a query, for the 10 of others."""
CODE = f"""
from flyball.adapters.prometheus.client import Prometheus
*others, timeout = Prometheus.__init__.__defaults__
assert timeout == 10.0
Prometheus.__init__.__defaults__ = (*others, {LATE})
"""
HELD = 4.0
"""Longer than stabilisation, 3 s of ours: what may shrink has begun to by then."""


@pytest.fixture(scope="module")
def loop(world: World) -> Iterator[LoopProcess]:
    with world.loop(code=CODE) as one:
        eventually(lambda: len(one.cycles()) > 2)
        yield one


def changed(to: Callable[[float], float]) -> Callable[[bytes], bytes]:
    """Other values for the pods of `chat`."""

    def change(body: bytes) -> bytes:
        answer = json.loads(body)
        for sample in answer["data"]["result"]:
            if sample["metric"].get("pod", "").startswith("chat-"):
                at, value = sample["value"]
                sample["value"] = [at, repr(to(float(value)))]
        return json.dumps(answer).encode()

    return change


def empty(body: bytes) -> bytes:
    answer = json.loads(body)
    if "pod" in str(answer["data"]["result"]):
        answer["data"]["result"] = []
    return json.dumps(answer).encode()


FAULTS: dict[str, tuple[Fault, str, float]] = {
    "down": (Fault(cut=True), "no metrics", 0.0),
    "refuses": (Fault(status=503, body=b"<html>busy</html>"), "503", 0.0),
    "slow": (Fault(delay=30.0), "no answer within", 0.0),
    "drips": (Fault(drip=0.5), "no answer within", 0.0),
    "no JSON": (Fault(change=lambda body: body[: len(body) // 2]), "cannot be understood", 0.0),
    "empty": (Fault(change=empty), "unknown to Prometheus", HELD),
    "NaN": (Fault(change=changed(lambda value: float("nan"))), "unknown to Prometheus", HELD),
    "zeros": (Fault(change=changed(lambda value: 0.0)), "s old", HELD),
    "negative": (Fault(change=changed(lambda value: -value)), "s old", HELD),
}


def test_what_is_not_known_never_shrinks_a_server(world: World, loop: LoopProcess) -> None:
    for name, (plan, words, held) in FAULTS.items():
        with loop.metrics.faulty(lambda method, path, plan=plan: plan):
            eventually(lambda words=words: words in said(loop.cycles()[-1:]))
            if name == "down":
                world.put("chat", 300, MOST)
            assert words in loop.page, name
            before = len(loop.cycles())
            lasts(lambda: world.replicas("chat") == MOST, held)
            eventually(lambda before=before: len(loop.cycles()) > before)  # it goes on all the same
            cycles = loop.cycles(before)
            assert words in said(cycles[-1:]), name
            assert not cycles[-1].errors, said(cycles)  # replicas are seen
    eventually(lambda: world.replicas("chat") < MOST)
    assert not blind(loop.cycles())


def test_a_loop_that_has_just_begun_says_what_prometheus_does_not_know_and_holds(
    world: World, loop: LoopProcess
) -> None:
    """Labels state less, but they may be old: they do not count before there was time to scrape."""
    loop.pause()
    try:
        world.put("chat", 300, MOST)
        with world.loop("b", metrics=lambda method, path: Fault(change=empty)) as one:
            eventually(lambda: one.newest()[0] > 0)
            assert f"of {MOST} pods {MOST} unknown to Prometheus" in said(one.cycles())
            lasts(lambda: world.replicas("chat") == MOST, HELD)
            one.metrics.plan = nothing
            eventually(lambda: world.replicas("chat") < MOST)
            assert not blind(one.cycles())
    finally:
        loop.resume()


@pytest.mark.parametrize("remembers", [True, False])
def test_what_was_measured_before_the_loop_began_is_not_what_labels_state(
    world: World, loop: LoopProcess, remembers: bool
) -> None:
    """Prometheus shows none of its pods, but knows that there were; where it does not, labels count."""
    eventually(lambda: loop.is_well(0))
    with ExitStack() as stack:
        metrics = stack.enter_context(closing(Proxy(world.sandbox.urls["prometheus"])))
        metrics.plan = lambda method, path: (
            None if remembers and "present_over_time" in path else Fault(change=empty)
        )
        api = stack.enter_context(closing(Api(world.sandbox.kubeconfig)))
        request = Request(prometheus=metrics.url, watch=NAMESPACE, speed=SPEED)
        (seen,) = reader_of(request, api, stack, scraped=0.0).observe().servers
    assert seen.stated != remembers
    assert (seen.arrival_rate is None) == remembers


def idle(value: float) -> float:
    """Nothing but times stays as it is."""
    return value if value > 1e8 else 0.0


def test_pods_that_seem_idle_are_not_believed_where_the_router_knows_better(
    world: World, loop: LoopProcess
) -> None:
    before = len(loop.cycles())
    with loop.metrics.faulty(lambda method, path: Fault(change=changed(idle))):
        world.load("chat", 2400)
        world.scale("chat", 2)
        eventually(lambda: "not all reach a pod; the larger counts" in said(loop.cycles(before)))
        lasts(lambda: world.replicas("chat") >= 2, 2 * HELD)
    assert not blind(loop.cycles())


def test_ten_times_the_load_stays_within_bounds_and_is_said(world: World, loop: LoopProcess) -> None:
    world.load("chat", 300)
    before = len(loop.cycles())
    with loop.metrics.faulty(lambda method, path: Fault(change=changed(lambda value: 10.0 * value))):
        eventually(lambda: "not all requests pass the router" in said(loop.cycles(before)))
        lasts(lambda: 1 <= world.replicas("chat") <= MOST, HELD)
    assert not blind(loop.cycles())


def test_a_prometheus_that_was_killed_begins_anew(world: World, loop: LoopProcess) -> None:
    world.sandbox.kill("prometheus")
    try:
        eventually(lambda: "no metrics" in said(loop.cycles()[-1:]))
        world.put("chat", 300, MOST)
        lasts(lambda: world.replicas("chat") == MOST, HELD)
    finally:
        world.sandbox.restart("prometheus")
    eventually(lambda: world.replicas("chat") < MOST)
    assert not blind(loop.cycles())
    assert scales_of(loop)
    assert PERIOD / SPEED < HELD / 3
