"""A fleet that has what it needs costs the API server little, however large it is."""

from __future__ import annotations

from collections import Counter

import pytest
from lightkube.codecs import from_dict
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Namespace

from tests.clusters import eventually
from tests.kubernetes_faults.world import LoopProcess, World, said, workload

pytestmark = pytest.mark.slow
CYCLES = 4
FEW, MANY = 3, 30
RATE = 0.5
"""Requests a second of each server."""


def ready(world: World) -> int:
    """How many have a replica that is ready."""
    there = world.client.list(Deployment, namespace="many")
    return sum(bool(one.status and one.status.readyReplicas) for one in there)


def counted(loop: LoopProcess) -> tuple[Counter[tuple[str, str]], float]:
    """Requests of quiet cycles by verb and kind, without the lease's own; and reads in a cycle."""
    eventually(lambda: len(loop.cycles()) > 3 and not any(c.refused for c in loop.cycles()[-2:]))
    begun, first = len(loop.cluster.passed), len(loop.cycles())
    eventually(lambda: len(loop.cycles()) >= first + CYCLES)
    passed = [p for p in loop.cluster.passed[begun:] if "/leases" not in p.path]
    cycles = len(loop.cycles()) - first
    kinds = Counter((p.method, p.path.partition("?")[0].rpartition("/")[2]) for p in passed)
    reads = sum(n for (method, _), n in kinds.items() if method == "GET") / cycles
    return Counter({key: n for key, n in kinds.items() if key[0] != "GET"}), reads


def test_quiet_cycles_write_nothing_and_read_as_much_for_many_servers_as_for_few(world: World) -> None:
    client = world.client
    world.put("chat", 300, 1)  # the other cards are for these
    client.create(from_dict({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "many"}}))
    reads = {}
    try:
        for count in (FEW, MANY):
            for number in range(count):
                made = workload(
                    f"s{number}", round(60 * RATE), 1, "many", card="A100-SXM4-80GB" if number % 2 else ""
                )
                if number >= (FEW if count == MANY else 0):
                    client.create(made)
            eventually(lambda count=count: ready(world) == count)
            with world.loop("quiet", "", watch="many") as loop:
                writes, reads[count] = counted(loop)
                assert len(loop.cycles()[-1].snapshot.fleet.servers) == count
                assert not loop.cycles()[-1].errors, said(loop.cycles()[-1:])
                assert not writes
                # All serve one model, of which the router only tells the whole.
                rates = [one.arrival_rate for one in loop.cycles()[-1].snapshot.seen.servers]
                assert all(rate is not None and rate.value < 10 * RATE for rate in rates)
                assert "does not tell their requests apart" in said(loop.cycles()[-1:])
                # One at the beginning: the memory is kept every five minutes.
                kept = [p for p in loop.cluster.passed if p.wrote and "/configmaps" in p.path]
                assert len(kept) <= 1
    finally:
        client.delete(Namespace, "many")
        for deployment in client.list(Deployment, namespace="many"):
            client.delete(Deployment, deployment.metadata.name, namespace="many")
    print(f"reads in a cycle: {reads}")
    assert reads[MANY] <= reads[FEW] + 1
