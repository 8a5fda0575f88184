"""Two replicas: one leads, the other answers webhooks and takes over; nothing is done twice, or lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from flyball.adapters.kubernetes.webhook import SECRET
from tests.clusters import eventually
from tests.kubernetes_faults.proxy import Fault
from tests.operator_cluster.desk import GROUP, Desk, made, sample
from tests.operator_cluster.replicas import HOME, Pair, Replica, deployed, paired, strangers, taken_back

pytestmark = pytest.mark.slow

SERVER = "premium-granite-13b"
ROW = {"acc": "A100", "alpha": -1.0, "beta": 0.4, "maxBatchSize": 8, "atTokens": 512}
BAD = made("Model", "bad", name="bad", data=[ROW])
"""Its schema lets it pass."""
QUIET = 15.0
WATCHES = 6


@pytest.fixture(scope="module")
def pair(desk: Desk) -> Iterator[Pair]:
    """Both run; the first leads at the beginning."""
    with ExitStack() as stack:
        stack.enter_context(deployed(desk))
        found = stack.enter_context(paired(desk))
        eventually(found.leader)
        yield found
        assert not strangers(found.replicas)
        for one in found.replicas:
            assert "Traceback" not in one.words


@pytest.fixture
def room(desk: Desk, pair: Pair) -> Iterator[str]:
    """A namespace with the sample, and who leads has looked at it."""
    name = desk.kubectl(
        *("create", "-f", "-", "-o", "name"),
        stdin="{apiVersion: v1, kind: Namespace, metadata: {generateName: t-}}",
    )
    name = name.strip().removeprefix("namespace/")
    desk.apply(*sample(), namespace=name)
    eventually(lambda: pair.told("Server", SERVER, name))
    yield name
    desk.kubectl("delete", "namespace", name, "--wait=false")


def done(pair: Pair, room: str) -> bool:
    one = pair.get("Optimizer", "inferno", room)
    return one["spec"]["optimize"] is False and bool(one.get("status", {}).get("done"))


def refused(desk: Desk, room: str) -> bool:
    """Whether the API server asks, and believes who answers."""
    said = desk.try_apply(BAD, namespace=room)
    if "spec.data[0].alpha is -1" in said:
        return True
    desk.kubectl("delete", "model", "bad", "-n", room, "--ignore-not-found")
    return False


def watches(one: Replica) -> int:
    """How often it began to watch one of our kinds."""
    return sum(GROUP in passed.path and "watch=true" in passed.path for passed in list(one.line.passed))


def listed(one: Replica) -> int:
    """How often it listed one of our kinds."""
    asked = [p.path for p in list(one.line.passed) if p.method == "GET" and GROUP in p.path]
    return sum("watch=true" not in path and "/namespaces/" not in path for path in asked)


def test_a_quiet_operator_only_renews_its_lease(pair: Pair, room: str) -> None:
    pair.optimize(room)
    eventually(lambda: done(pair, room))
    eventually(lambda: pair.led()[0].figure("flyball_reconcile_waiting") == 0)
    time.sleep(1.0)
    before = {one: len(one.line.passed) for one in pair.replicas}
    lists = {one: listed(one) for one in pair.replicas}
    time.sleep(QUIET)
    since = {one: [p for p in one.line.passed[count:] if p.wrote] for one, count in before.items()}
    leads, rests = pair.led()
    assert {one.path.partition("?")[0].rpartition("/")[0] for one in since[leads]} == {
        f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases"
    }
    assert not since[rests]
    assert {one: listed(one) for one in pair.replicas} == lists


def test_both_show_one_certificate_and_a_deleted_secret_is_made_anew(
    desk: Desk, pair: Pair, room: str
) -> None:
    eventually(lambda: refused(desk, room))
    a, b = (one.certificate for one in pair.replicas)
    assert a == b
    pair.api.delete(SECRET.path(HOME, "flyball-webhook"))
    eventually(lambda: {one.certificate for one in pair.replicas}.isdisjoint({a}))
    eventually(lambda: len({one.certificate for one in pair.replicas}) == 1)
    eventually(lambda: refused(desk, room), 10.0)


def test_the_other_takes_over_from_one_that_is_killed(desk: Desk, pair: Pair, room: str) -> None:
    leads, rests = pair.led()
    leads.process.kill()
    killed = time.monotonic()
    pair.optimize(room)
    assert refused(desk, room)  # while nobody leads
    eventually(lambda: done(pair, room))
    print(f"after a kill the other had planned {time.monotonic() - killed:.1f} s later")
    assert taken_back(pair.replicas, room) == 1
    assert pair.get("Server", SERVER, room)["spec"]["desiredAlloc"]["accelerator"] == "A100"
    assert pair.leader() is rests
    leads.start()


def test_a_leader_that_was_stopped_writes_nothing_that_is_stale(pair: Pair, room: str) -> None:
    # Its writes are on the way when it is stopped, and come when the other has long taken over.
    leads, rests = pair.led()
    under_way, gate = threading.Event(), threading.Event()

    def late(method: str, path: str) -> None:
        if method == "PATCH" and f"/{room}/servers" in path:
            under_way.set()
            gate.wait(60.0)

    with leads.line.faulty(late):
        pair.optimize(room)
        eventually(under_way.is_set)
        leads.pause()
        stopped = time.monotonic()
        eventually(lambda: done(pair, room))
        print(f"after a stop the other had planned {time.monotonic() - stopped:.1f} s later")
        before, version = len(leads.writes()), pair.get("Server", SERVER, room)["metadata"]["resourceVersion"]
        gate.set()
        eventually(lambda: [p for p in leads.line.passed if p.status == 409 and f"/{room}/" in p.path])
        leads.resume()
    assert pair.leader() is rests
    pair.change("Server", SERVER, room, minNumReplicas=3)
    pair.optimize(room)
    eventually(lambda: done(pair, room))
    eventually(lambda: pair.get("Server", SERVER, room)["spec"]["desiredAlloc"]["numReplicas"] == 3)
    assert len(leads.writes()) == before
    assert taken_back(pair.replicas, room) == 2
    assert version != pair.get("Server", SERVER, room)["metadata"]["resourceVersion"]
    assert leads.process.alive


def test_it_recovers_without_a_hand(desk: Desk, pair: Pair, room: str) -> None:
    leads, _ = pair.led()

    def follows(least: int) -> None:
        pair.change("Server", SERVER, room, minNumReplicas=least)
        began = time.monotonic()
        eventually(lambda: pair.told("Server", SERVER, room))
        print(f"told of {time.monotonic() - began:.1f} s later")

    # Watches are cut: they go on where they were, without another list.
    lists, began = listed(leads), watches(leads)
    assert leads.line.cut() == WATCHES
    follows(1)
    eventually(lambda: watches(leads) >= began + WATCHES)
    assert listed(leads) == lists
    # The API server has too much to do.
    busy = iter(range(10**6))
    fault = Fault(429, {"Retry-After": "1"})
    with leads.line.faulty(lambda method, path: fault if "leases" not in path and next(busy) < 6 else None):
        leads.line.cut()
        follows(2)
    # It is killed, and comes again.
    desk.sandbox.kill("kube-apiserver")
    time.sleep(2.0)
    desk.sandbox.restart("kube-apiserver")
    follows(3)
    eventually(lambda: pair.led()[0].figure("flyball_reconcile_waiting") == 0)
