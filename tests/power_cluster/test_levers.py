"""Caps on a real control plane with a real KEDA: maximums follow, pods go, and all is given back."""

from __future__ import annotations

from typing import Any

import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError
from flyball.adapters.kubernetes.governed import DEPLOYMENT
from flyball.adapters.kubernetes.lease import Lease
from flyball.adapters.kubernetes.listing import AUTOSCALERS, PODS, SCALED_OBJECTS
from flyball.adapters.kubernetes.power_levers import PowerLevers
from flyball.adapters.kubernetes.power_original import MANAGER, ORIGINAL, PAUSED, WROTE
from flyball.adapters.kubernetes.power_write import JOB
from flyball.sandbox.cluster import Sandbox
from flyball.spec.power import PowerWorkload, WorkloadRef
from flyball.spec.power_plan import WorkloadCap
from tests.adapters.kubernetes.governing import replicas
from tests.clusters import deployment, eventually, pod_spec

pytestmark = pytest.mark.slow
COST = "controller.kubernetes.io/pod-deletion-cost"
H100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}


def make(api: Api, namespace: str, name: str, count: int, **spec: Any) -> None:
    body = deployment(name, node="a100-1", replicas=count)
    body["spec"]["template"]["spec"] |= spec  # type: ignore[index]
    api.post(DEPLOYMENT.path(namespace), body, dict)


def scaled(name: str, load: str, **more: Any) -> dict[str, object]:
    """A ScaledObject: as many pods as there are of the load."""
    asked = {"podSelector": f"app={load}", "value": "1"}
    quickly = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    spec = {
        "scaleTargetRef": {"name": name},
        "pollingInterval": 1,
        "minReplicaCount": 1,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": quickly}},
        "triggers": [{"type": "kubernetes-workload", "metadata": asked}],
        **more,
    }
    about = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name}}
    return {**about, "spec": spec}


def workload(namespace: str, name: str, *kinds: str, **more: Any) -> PowerWorkload:
    refs = tuple(WorkloadRef(kind, name) for kind in ("Deployment", *kinds))
    return PowerWorkload(name, namespace, {"app": name}, refs, **more)


def cap(name: str, most: int, **more: Any) -> WorkloadCap:
    return WorkloadCap(name, most, most, mode="Enforce", **more)


def document(api: Api, kind: Any, namespace: str, name: str) -> dict[str, Any]:
    return api.get(kind.path(namespace, name), dict[str, Any])


def ours(document: dict[str, Any]) -> set[str]:
    """The paths of fields that carry our manager."""
    found: set[str] = set()

    def walk(fields: dict[str, Any], path: str) -> None:
        for key, below in fields.items():
            if key != ".":
                at = f"{path}/{key.removeprefix('f:')}"
                walk(below, at) if set(below) - {"."} else found.add(at)

    for entry in document["metadata"].get("managedFields", ()):
        if entry["manager"] == MANAGER:
            walk(entry["fieldsV1"], "")
    return found


NOTES = {f"/metadata/annotations/{key}" for key in (ORIGINAL, WROTE)}


def test_a_cap_is_followed_in_steps_from_hot_nodes_and_all_is_given_back(
    keda: None, api: Api, levers: PowerLevers, namespace: str
) -> None:
    make(api, namespace, "load", 6)
    make(api, namespace, "chat", 1, nodeSelector=H100)
    api.post(SCALED_OBJECTS.path(namespace), scaled("chat", "load", maxReplicaCount=7), dict)
    eventually(lambda: _ready(api, namespace) == 6, limit=120)
    known = [workload(namespace, "chat", "ScaledObject", replicas=6)]
    before = document(api, SCALED_OBJECTS, namespace, "chat")
    nodes = sorted(pod["spec"]["nodeName"] for pod in _pods(api, namespace))
    assert set(nodes) == {"h100-1", "h100-2"}

    assert levers.apply([cap("chat", 5)], known, ["h100-1"]) == ()
    eventually(lambda: _ready(api, namespace) == 5)
    for pod in _pods(api, namespace):
        is_hot = pod["spec"]["nodeName"] == "h100-1"
        assert (COST in pod["metadata"].get("annotations", {})) == is_hot
        assert ours(pod) == ({f"/metadata/annotations/{COST}"} if is_hot else set())
    assert levers.apply([cap("chat", 4)], known, ["h100-1"]) == ()
    there = document(api, SCALED_OBJECTS, namespace, "chat")
    assert ours(there) == NOTES | {"/spec/maxReplicaCount"}
    assert there["spec"] == before["spec"] | {"maxReplicaCount": 4}
    assert there["metadata"]["annotations"][ORIGINAL] == "7"
    eventually(lambda: _maximum_of_hpa(api, namespace) == 4)
    eventually(lambda: _ready(api, namespace) == 4)
    left = [pod["spec"]["nodeName"] for pod in _pods(api, namespace)]
    assert left.count("h100-2") == min(nodes.count("h100-2"), 4)

    asked = api.requests
    assert levers.apply([cap("chat", 4)], known, ["h100-1"]) == ()
    assert api.requests == asked + 2  # the pods and the ScaledObject are read, and nothing is written

    _load(api, namespace, 3)  # what it wants itself, below the cap, is KEDA's affair
    eventually(lambda: _ready(api, namespace) == 3)
    _load(api, namespace, 6)
    eventually(lambda: _ready(api, namespace) == 4)

    assert levers.apply((), (), ()) == ()  # the policy is gone
    there = document(api, SCALED_OBJECTS, namespace, "chat")
    assert there["spec"] == before["spec"]
    assert there["metadata"].get("annotations", {}) == before["metadata"].get("annotations", {})
    assert _written(there) == _written(before)
    eventually(lambda: _ready(api, namespace) == 6)
    for pod in _pods(api, namespace):
        assert COST not in pod["metadata"].get("annotations", {})
        assert ours(pod) == set()


def test_a_pause_takes_all_and_lets_it_grow_again(
    keda: None, api: Api, lease: Lease, levers: PowerLevers, namespace: str
) -> None:
    make(api, namespace, "load", 2)
    make(api, namespace, "chat", 1)
    api.post(SCALED_OBJECTS.path(namespace), scaled("chat", "load", minReplicaCount=0), dict)
    eventually(lambda: replicas(api, namespace, "chat") == 2, limit=120)
    known = [workload(namespace, "chat", "ScaledObject", replicas=2)]
    (said,) = levers.apply([cap("chat", 0)], known)
    assert "gets 1: maxReplicaCount cannot be less: the lever pause takes it further" in said
    eventually(lambda: replicas(api, namespace, "chat") == 1)
    assert levers.apply([cap("chat", 0, lever="pause")], known) == ()
    there = document(api, SCALED_OBJECTS, namespace, "chat")
    assert "maxReplicaCount" not in there["spec"]
    assert there["metadata"]["annotations"][PAUSED] == "0"
    assert there["metadata"]["annotations"][ORIGINAL] == "100"
    assert ours(there) == NOTES | {f"/metadata/annotations/{PAUSED}"}
    eventually(lambda: replicas(api, namespace, "chat") == 0)

    restarted = PowerLevers(api, lease, lambda: "", namespace=namespace)
    assert restarted.release() == ()
    restarted.close()
    there = document(api, SCALED_OBJECTS, namespace, "chat")
    assert ours(there) == set()
    assert not {PAUSED, ORIGINAL, WROTE} & set(there["metadata"].get("annotations", {}))
    eventually(lambda: replicas(api, namespace, "chat") == 2, limit=90)


def test_what_nothing_scales_is_scaled_and_has_its_own_number_again(
    sandbox: Sandbox, api: Api, levers: PowerLevers, namespace: str
) -> None:
    make(api, namespace, "batch", 4)
    api.apply(
        DEPLOYMENT.path(namespace, "batch"),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "batch"},
            "spec": {"replicas": 4},
        },
        dict,
        "kubectl",
    )
    job = {"template": {"spec": pod_spec("a100-2", 1) | {"restartPolicy": "Never"}}}
    scaler = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"},
        "maxReplicas": 6,
    }
    api.post(AUTOSCALERS.path(namespace), {"metadata": {"name": "plain"}, "spec": scaler}, dict)
    hpa = document(api, AUTOSCALERS, namespace, "plain")
    body = {"metadata": {"name": "train"}, "spec": {**job, "parallelism": 3, "completions": 9}}
    api.post(JOB.path(namespace), body, dict)
    before = document(api, DEPLOYMENT, namespace, "batch")
    name, train = f"{namespace}/Deployment/batch", f"{namespace}/Job/train"
    known = [
        PowerWorkload(name, namespace, {}, (WorkloadRef("Deployment", "batch"),), 4, governed=False),
        PowerWorkload("plain", namespace, {}, (WorkloadRef("HorizontalPodAutoscaler", "plain"),), 4),
        PowerWorkload(train, namespace, {}, (WorkloadRef("Job", "train"),), 3, governed=False),
    ]
    assert levers.apply([cap(name, 2), cap(train, 0), cap("plain", 3)], known) == ()
    there = document(api, AUTOSCALERS, namespace, "plain")
    assert there["spec"] == hpa["spec"] | {"maxReplicas": 3}
    assert ours(there) == NOTES | {"/spec/maxReplicas"}
    there = document(api, DEPLOYMENT, namespace, "batch")
    assert there["spec"]["replicas"] == 2
    assert there["metadata"]["annotations"][ORIGINAL] == "4"
    assert ours(there) == NOTES | {"/spec/replicas"}
    assert document(api, JOB, namespace, "train")["spec"]["parallelism"] == 0
    eventually(lambda: document(api, JOB, namespace, "train")["status"].get("active", 0) == 0)
    # What its user writes meanwhile is what it gets back.
    api.patch(
        DEPLOYMENT.path(namespace, "batch"), {"spec": {"replicas": 5}}, dict, fieldManager="kubectl-edit"
    )
    assert levers.apply([cap(name, 2), cap(train, 1)], known) == ()
    there = document(api, DEPLOYMENT, namespace, "batch")
    assert (there["spec"]["replicas"], there["metadata"]["annotations"][ORIGINAL]) == (2, "5")
    assert levers.apply([], known) == ()
    there = document(api, DEPLOYMENT, namespace, "batch")
    assert there["spec"] == before["spec"] | {"replicas": 5}
    assert ours(there) == set()
    there = document(api, AUTOSCALERS, namespace, "plain")
    assert there["spec"] == hpa["spec"]
    assert _written(there) == _written(hpa)
    train_now = document(api, JOB, namespace, "train")
    assert (train_now["spec"]["parallelism"], ours(train_now)) == (3, set())


def test_what_is_gone_is_not_made_anew_by_what_is_applied(api: Api, namespace: str) -> None:
    for kind, version, known in (
        (PODS, "v1", {"uid": "u"}),
        (DEPLOYMENT, "apps/v1", {"uid": "u", "resourceVersion": "7"}),
    ):
        metadata = {"name": "gone", "namespace": namespace, "annotations": {COST: "-1"}, **known}
        body = {"apiVersion": version, "kind": kind.name, "metadata": metadata}
        with pytest.raises(ApiError) as refused:
            api.apply(kind.path(namespace, "gone"), body, dict, MANAGER)
        assert refused.value.status in (404, 409)


def _load(api: Api, namespace: str, pods: int) -> None:
    api.patch(DEPLOYMENT.path(namespace, "load"), {"spec": {"replicas": pods}}, dict)


def _pods(api: Api, namespace: str) -> list[dict[str, Any]]:
    found = api.items(PODS.path(namespace), dict[str, Any], selector="app=chat")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def _ready(api: Api, namespace: str) -> int:
    """Ready pods of chat, where no others are left."""
    conditions = [pod["status"].get("conditions", []) for pod in _pods(api, namespace)]
    ready = [any(c["type"] == "Ready" and c["status"] == "True" for c in each) for each in conditions]
    return len(ready) if all(ready) else -1


def _maximum_of_hpa(api: Api, namespace: str) -> int:
    return int(document(api, AUTOSCALERS, namespace, "keda-hpa-chat")["spec"]["maxReplicas"])


def _written(document: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Who wrote fields of the specification."""
    return {
        (entry["manager"], entry["operation"], key)
        for entry in document["metadata"]["managedFields"]
        for key in entry["fieldsV1"].get("f:spec", {})
    }
