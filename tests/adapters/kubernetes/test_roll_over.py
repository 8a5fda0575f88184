"""Templates changed on a real API server: all at once or not at all, noted, and given back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from flyball.adapters.kubernetes.actuator import KubernetesActuator
from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.assemble import Assembler, Rules
from flyball.adapters.kubernetes.errors import ApiError, Conflict
from flyball.adapters.kubernetes.governed import DEPLOYMENT, Cluster
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.kubernetes.labels import BATCH
from flyball.adapters.kubernetes.lease import Lease
from flyball.adapters.kubernetes.listing import Scope, list_cluster
from flyball.adapters.kubernetes.objects import Workload
from flyball.adapters.kubernetes.release import release
from flyball.adapters.kubernetes.rollout import ROLLED
from flyball.adapters.kubernetes.write import FOUND
from flyball.sandbox.cluster import Sandbox
from tests.adapters.kubernetes.governing import leading, order
from tests.clusters import deployment, eventually

pytestmark = pytest.mark.slow

FLAG = "--max-num-seqs"
KEY = "nvidia.com/gpu.product"
FOUND_ARGS = ["serve", "Qwen/Qwen3-8B", FLAG, "64"]


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[Api]:
    api = Api(sandbox.kubeconfig)
    yield api
    api.close()


@pytest.fixture
def lease(api: Api, namespace: str) -> Lease:
    return leading(api, namespace)


def create(api: Api, namespace: str, **annotations: str) -> dict[str, Any]:
    """A Deployment with two replicas that are ready; as it is then."""
    product = api.get("/api/v1/nodes/h100-1", dict)["metadata"]["labels"][KEY]
    body: dict[str, Any] = deployment("chat", node="", replicas=2)
    body["metadata"] |= {
        "labels": {"inferno.server.managed": "true", BATCH: "64"},
        "annotations": {f"flyball.dev/{key}": value for key, value in annotations.items()},
    }
    spec = body["spec"]["template"]["spec"]
    spec["nodeSelector"] = {KEY: product}
    spec["containers"][0] |= {"image": "vllm", "command": ["vllm"], "args": FOUND_ARGS}
    api.post(DEPLOYMENT.path(namespace), body, Workload)
    path = DEPLOYMENT.path(namespace, "chat")
    eventually(lambda: api.get(path, dict)["status"].get("readyReplicas") == 2)
    return dict(api.get(path, dict))


def seen(api: Api, namespace: str) -> Cluster:
    api.get("/version", dict)
    listed = list_cluster(api, api.date or 0.0, Scope(namespace=namespace))
    return Assembler(Library(), Rules(mode="act")).cluster(listed)


def act(api: Api, lease: Lease, cluster: Cluster, *orders: Any) -> tuple[str, ...]:
    actuator = KubernetesActuator(api, lease, lambda: cluster, lambda: "", limit=60.0)
    try:
        return actuator.act(orders)
    finally:
        actuator.close()


def pod_spec(there: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = there["spec"]["template"]["spec"]
    return found


def test_flag_label_and_notes_are_one_write_and_release_puts_all_back(
    api: Api, lease: Lease, namespace: str
) -> None:
    made = create(api, namespace, batch="apply", accelerator="apply")
    path = DEPLOYMENT.path(namespace, "chat")
    here = seen(api, namespace)
    assert "A100" in here.fleet.servers[0].accelerators
    orders = order("chat", 2, "H100"), order("chat", 3, "A100", 96)
    assert act(api, lease, here, *orders) == ()
    there = api.get(path, dict)
    spec = pod_spec(there)
    assert spec["containers"][0]["args"] == ["serve", "Qwen/Qwen3-8B", FLAG, "96"]
    assert "A100" in spec["nodeSelector"][KEY]
    assert there["spec"]["replicas"] == 3
    assert there["metadata"]["labels"][BATCH] == "96"
    notes = there["metadata"]["annotations"]
    assert json.loads(notes[FOUND])["template"] == {
        "flags": {FLAG: "64"},
        "selector": pod_spec(made)["nodeSelector"],
    }
    assert any(
        one["manager"] == "flyball" and one["operation"] == "Update"
        for one in there["metadata"]["managedFields"]
    )
    # It is known as what it is now, and left alone for as long as it takes, and then for a while.
    here = seen(api, namespace)
    (governed,) = here.governed
    assert (governed.accelerator, governed.max_batch_size) == ("A100", 96)
    assert governed.rolling is not None
    assert governed.rolling.refused
    asked = api.requests
    assert act(api, lease, here, order("chat", 3, "A100", 128)) == ()
    assert api.requests == asked
    eventually(lambda: "was rolled over" in seen(api, namespace).governed[0].rolling.refused)  # type: ignore[union-attr]
    # A second rollout keeps what was found at first.
    api.patch(path, {"metadata": {"annotations": {ROLLED: "2026-01-01T00:00:00+00:00"}}}, Workload)
    eventually(lambda: sum(p.state == "ready" for p in seen(api, namespace).governed[0].pods) == 3)
    eventually(lambda: not seen(api, namespace).governed[0].rolling.refused)  # type: ignore[union-attr]
    assert act(api, lease, seen(api, namespace), order("chat", 3, "A100", 128)) == ()
    there = api.get(path, dict)
    assert pod_spec(there)["containers"][0]["args"][-1] == "128"
    assert json.loads(there["metadata"]["annotations"][FOUND])["template"]["flags"] == {FLAG: "64"}
    said = release(api, DEPLOYMENT, namespace, "chat")
    assert f"its template has {FLAG} 64, {KEY} {pod_spec(made)['nodeSelector'][KEY]} again" in said
    there = api.get(path, dict)
    assert pod_spec(there) == pod_spec(made)
    assert there["metadata"]["labels"] == made["metadata"]["labels"]
    assert not {FOUND, ROLLED} & set(there["metadata"]["annotations"])


def test_what_somebody_changed_since_is_left_and_what_does_not_matter_is_not(
    api: Api, lease: Lease, namespace: str
) -> None:
    create(api, namespace, batch="apply")
    path = DEPLOYMENT.path(namespace, "chat")
    old = seen(api, namespace)
    # An annotation counts in a Deployment's generation, a label does not.
    api.patch(path, {"metadata": {"labels": {"by": "somebody"}}}, Workload)
    assert act(api, lease, old, order("chat", 3, batch=96)) == ()
    assert api.get(path, dict)["spec"]["replicas"] == 3
    assert pod_spec(api.get(path, dict))["containers"][0]["args"][-1] == "96"
    (said,) = act(api, lease, old, order("chat", 2, batch=128))
    assert "since it was read; the next cycle decides anew" in said
    assert pod_spec(api.get(path, dict))["containers"][0]["args"][-1] == "96"


@pytest.mark.parametrize("key", ["batch", "mode"])
def test_who_takes_the_permission_back_has_the_last_word(
    api: Api, lease: Lease, namespace: str, key: str
) -> None:
    create(api, namespace, batch="apply")
    old = seen(api, namespace)
    path = DEPLOYMENT.path(namespace, "chat")
    value = None if key == "batch" else "freeze"
    api.patch(path, {"metadata": {"annotations": {f"flyball.dev/{key}": value}}}, Workload)
    (said,) = act(api, lease, old, order("chat", 2, batch=96))
    assert f"somebody set its flyball.dev/{key}" in said
    assert pod_spec(api.get(path, dict))["containers"][0]["args"] == FOUND_ARGS


def test_a_rollout_whose_answer_was_lost_is_not_made_twice(api: Api, lease: Lease, namespace: str) -> None:
    create(api, namespace, batch="apply")
    old = seen(api, namespace)
    assert act(api, lease, old, order("chat", 2, batch=96)) == ()
    before = api.get(DEPLOYMENT.path(namespace, "chat"), dict)["metadata"]
    assert act(api, lease, old, order("chat", 2, batch=96)) == ()
    after = api.get(DEPLOYMENT.path(namespace, "chat"), dict)["metadata"]
    assert after["annotations"][ROLLED] == before["annotations"][ROLLED]


def test_an_edit_whose_test_fails_is_a_conflict_and_one_that_is_wrong_is_not(
    api: Api, namespace: str
) -> None:
    create(api, namespace)
    path = DEPLOYMENT.path(namespace, "chat")
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": "1"}
    add = {"op": "add", "path": "/metadata/annotations/x", "value": "y"}
    with pytest.raises(Conflict):
        api.edit(path, [test, add], Workload)
    with pytest.raises(ApiError) as caught:
        api.edit(path, [{"op": "replace", "path": "/spec/replicas", "value": -1}], Workload)
    assert not isinstance(caught.value, Conflict)
    version = api.get(path, Workload).metadata.resource_version
    after = api.edit(path, [test | {"value": version}, add], Workload, fieldManager="flyball")
    assert after.metadata.annotations["x"] == "y"
