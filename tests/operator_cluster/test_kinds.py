"""The six kinds on a cluster: what is asked for is planned, what is wrong said; what goes leaves nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.clusters import eventually
from tests.operator_cluster.desk import Desk, Running, condition, holds, made, sample

pytestmark = pytest.mark.slow

NAME = "premium-granite-13b"


@pytest.fixture(scope="module")
def operator(desk: Desk, kinds: None) -> Iterator[Running]:
    """Outside of the cluster, with webhooks."""
    with desk.running(
        "operator", "--local", "--namespace", "home", "--webhook-port", "0", "--no-loop"
    ) as one:
        yield one
        assert "Traceback" not in one.words
    assert "flyball" not in desk.kubectl("get", "validatingwebhookconfigurations")
    desk.kubectl("delete", "namespace", "home", "--wait=false")


def planned(desk: Desk, space: str, name: str = "inferno") -> None:
    """Ask for a plan, and wait until it is there."""
    desk.optimize(name, space)
    eventually(lambda: not desk.get("optimizer", name, space)["spec"]["optimize"])
    eventually(lambda: desk.get("optimizer", name, space)["status"]["done"])


def test_every_object_says_how_it_stands(desk: Desk, operator: Running, space: str) -> None:
    desk.apply(*sample(), namespace=space)
    for kind in (
        "accelerator/a100",
        "model/granite-13b",
        "serviceclass/premium",
        "server/" + NAME,
        "capacity/capacity",
    ):
        found = eventually(lambda kind=kind: desk.get(*kind.split("/"), space).get("status"))
        assert found["active"] is True
    planned(desk, space)
    server = desk.get("server", NAME, space)
    assert [holds(server, c) for c in ("Ready", "Feasible", "Limited", "Stale")] == [
        "True Accepted",
        "True Cheapest",
        "False Enough",
        "False Decided",
    ]
    assert server["status"]["reason"] == "cheapest"


def test_a_bad_object_is_named_and_holds_up_nobody(desk: Desk, operator: Running, space: str) -> None:
    bad = made(
        "Model",
        "bad",
        name="bad",
        data=[{"acc": "A100", "alpha": -1.0, "beta": 0.4, "maxBatchSize": 8, "atTokens": 512}],
    )
    lost = made("Server", "lost", name="lost", **{"class": "Premium", "model": "nowhere"})
    said = desk.apply(bad, namespace=space, fails=True)  # the webhook says it before it is stored
    assert "spec.data[0].alpha is -1" in said
    said = desk.apply(*sample(), lost, namespace=space)
    assert "Warning: there is no Model of the name nowhere" in said
    planned(desk, space)
    assert desk.get("server", NAME, space)["spec"]["desiredAlloc"]["accelerator"] == "A100"
    one = desk.get("server", "lost", space)
    assert holds(one, "Ready") == "False Lacking"
    assert "Model of the name nowhere" in condition(one, "Ready")["message"]
    assert holds(desk.get("optimizer", "inferno", space), "Feasible") == "False NotServed"
    assert "lost" in condition(desk.get("optimizer", "inferno", space), "Feasible")["message"]
    # and what was stored while nobody asked us is told afterwards
    text = desk.kubectl("get", "validatingwebhookconfigurations", "flyball", "-o", "yaml")
    desk.kubectl("delete", "validatingwebhookconfigurations", "flyball")
    try:
        desk.apply(bad, namespace=space)
    finally:
        lines = (x for x in text.splitlines() if not x.strip().startswith(("resourceVersion", "uid")))
        desk.kubectl("create", "-f", "-", stdin="\n".join(lines))
    eventually(lambda: holds(desk.get("model", "bad", space), "Ready") == "False Invalid")
    assert desk.get("model", "bad", space)["status"]["active"] is False


def test_one_that_was_changed_since_is_stale(desk: Desk, operator: Running, space: str) -> None:
    desk.apply(*sample(), namespace=space)
    planned(desk, space)
    changed = '{"spec": {"currentAlloc": {"load": {"arrivalRate": 400}}}}'
    desk.kubectl("patch", "server", NAME, "-n", space, "--type", "merge", "-p", changed)
    eventually(lambda: holds(desk.get("server", NAME, space), "Stale") == "True Changed")
    planned(desk, space)
    server = desk.get("server", NAME, space)
    assert (server["spec"]["desiredAlloc"]["numReplicas"], server["spec"]["desiredAlloc"]["cost"]) == (
        19,
        760,
    )
    assert holds(server, "Stale") == "False Decided"


def test_with_a_period_it_follows_the_load(desk: Desk, operator: Running, space: str) -> None:
    objects = sample()
    objects[5]["spec"]["period"] = 1
    desk.apply(*objects, namespace=space)
    eventually(lambda: desk.get("server", NAME, space)["spec"]["desiredAlloc"]["numReplicas"] == 2)
    version = desk.get("server", NAME, space)["metadata"]["resourceVersion"]
    changed = '{"spec": {"currentAlloc": {"load": {"arrivalRate": 400}}}}'
    before = desk.get("optimizer", "inferno", space)["metadata"]["resourceVersion"]
    time.sleep(3.0)  # plans that change nothing write nothing
    assert desk.get("server", NAME, space)["metadata"]["resourceVersion"] == version
    assert desk.get("optimizer", "inferno", space)["metadata"]["resourceVersion"] == before
    desk.kubectl("patch", "server", NAME, "-n", space, "--type", "merge", "-p", changed)
    eventually(lambda: desk.get("server", NAME, space)["spec"]["desiredAlloc"]["numReplicas"] == 19)


def test_short_cards_are_said(desk: Desk, operator: Running, space: str) -> None:
    objects = sample(400.0)
    objects[5]["spec"]["data"]["optimizer"]["unlimited"] = False
    desk.apply(*objects, namespace=space)
    planned(desk, space)
    server = desk.get("server", NAME, space)
    assert holds(server, "Feasible").startswith("False")
    assert holds(server, "Limited") == "True Short"
    assert "A100 cards" in condition(server, "Limited")["message"]


def test_with_the_operator_down_everything_can_be_deleted(desk: Desk, kinds: None, space: str) -> None:
    with desk.running("operator", "--namespace", "home-2", "--no-loop"):
        desk.apply(*sample(), namespace=space)
        planned(desk, space)
    for kind in ("optimizers", "servers", "models", "serviceclasses", "capacities", "accelerators"):
        desk.kubectl("delete", kind, "--all", "-n", space, "--timeout=10s")
    assert "No resources found" in desk.kubectl("get", "inferno", "-n", space)
    desk.kubectl("delete", "namespace", "home-2", "--wait=false")
