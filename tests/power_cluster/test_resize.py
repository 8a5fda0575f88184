"""Running pods trimmed in place on a real API server, and given back as they were."""

from __future__ import annotations

from typing import Any

import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.governed import DEPLOYMENT
from flyball.adapters.kubernetes.lease import Lease
from flyball.adapters.kubernetes.listing import PODS
from flyball.adapters.kubernetes.power_levers import PowerLevers
from flyball.adapters.kubernetes.power_resize import RESOURCES
from flyball.spec.power import PowerWorkload, Trim, WorkloadRef
from flyball.spec.power_plan import Relief
from tests.clusters import deployment, eventually
from tests.power_cluster.test_levers import COST, cap, ours

pytestmark = pytest.mark.slow
ENGINE = {
    "requests": {"cpu": "4", "memory": "16Gi"},
    "limits": {"cpu": "8500m", "memory": "32Gi", "nvidia.com/gpu": "1"},
}
SIDECAR = {"requests": {"cpu": "1m"}}
NOTE = f"/metadata/annotations/{RESOURCES}"
SPEC = '/spec/containers/k:{{"name":"{}"}}/resources/{}/{}'


def chat(namespace: str) -> PowerWorkload:
    return PowerWorkload("chat", namespace, {"app": "chat"}, (WorkloadRef("Deployment", "chat"),), 3)


def relief(cpu: float = 0.5, memory: float = 1.0) -> Relief:
    return Relief("chat", "llm/brake", "resources", "Enforce", trim=Trim(cpu, memory))


def test_pods_are_trimmed_in_place_and_have_again_what_they_had(
    api: Api, lease: Lease, levers: PowerLevers, namespace: str
) -> None:
    body: dict[str, Any] = deployment("chat", node="a100-1", replicas=3)
    engine = body["spec"]["template"]["spec"]["containers"][0]
    sidecar = {"name": "sidecar", "image": "proxy", "resources": SIDECAR}
    body["spec"]["template"]["spec"]["containers"] = [{**engine, "resources": ENGINE}, sidecar]
    api.post(DEPLOYMENT.path(namespace), body, dict)
    running(api, namespace, 3)
    before = resources(api, namespace)
    known = [chat(namespace)]

    assert levers.apply((), known, (), [relief()]) == ()
    for pod in pods(api, namespace):
        first, second = (one["resources"] for one in pod["spec"]["containers"])
        assert first["requests"] == {"cpu": "2", "memory": "16Gi", "nvidia.com/gpu": "1"}
        assert first["limits"] == {"cpu": "4250m", "memory": "32Gi", "nvidia.com/gpu": "1"}
        assert second == SIDECAR
        written = {SPEC.format("engine", field, "cpu") for field in ("requests", "limits")}
        assert ours(pod) == {NOTE, *written}
    asked = api.requests
    assert levers.apply((), known, (), [relief()]) == ()
    assert api.requests == asked + 1  # they are listed, and nothing is written
    # Marks of the same manager neither take the note nor are taken by it.
    assert levers.apply([cap("chat", 3)], known, ["a100-1"], [relief(0.25, 0.5)]) == ()
    for pod in pods(api, namespace):
        assert pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "1"
        assert pod["spec"]["containers"][0]["resources"]["requests"]["memory"] == "8589934592"
        assert {COST, RESOURCES} <= set(pod["metadata"]["annotations"])
    assert levers.apply((), known, (), [relief(0.25, 0.5)]) == ()
    assert all(COST not in pod["metadata"]["annotations"] for pod in pods(api, namespace))

    edited, *others = sorted(before)
    own = {"op": "replace", "path": "/spec/containers/0/resources/requests/cpu", "value": "3"}
    path = f"{PODS.path(namespace, edited)}/resize"
    limit = {**own, "path": "/spec/containers/0/resources/limits/cpu"}
    api.edit(path, [own, limit], dict, fieldManager="kubectl-edit")
    (said,) = levers.apply((), known, (), [relief(0.25, 0.5)])
    assert said == f"Pod {namespace}/{edited} keeps the resources that somebody else gave it"
    assert levers.apply((), known, (), [relief(0.25, 0.5)]) == ()

    restarted = PowerLevers(api, lease, lambda: "", namespace=namespace)
    assert restarted.apply((), known) == ()
    restarted.close()
    after = resources(api, namespace)
    assert {name: after[name] for name in others} == {name: before[name] for name in others}
    assert after[edited][0]["requests"] == {"cpu": "3", "memory": "16Gi", "nvidia.com/gpu": "1"}
    assert after[edited][0]["limits"] == {"cpu": "3", "memory": "32Gi", "nvidia.com/gpu": "1"}
    for pod in pods(api, namespace):
        assert RESOURCES not in pod["metadata"].get("annotations", {})
        assert ours(pod) == set()


def test_what_cannot_be_resized_is_told_once_and_stays_as_it_is(
    api: Api, levers: PowerLevers, namespace: str
) -> None:
    body: dict[str, Any] = deployment("chat", node="a100-1", replicas=2)
    body["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "2"}
    api.post(DEPLOYMENT.path(namespace), body, dict)
    running(api, namespace, 2)
    least = {"limits": [{"type": "Container", "min": {"cpu": "1500m"}}]}
    path = f"/api/v1/namespaces/{namespace}/limitranges"
    api.post(path, {"metadata": {"name": "least"}, "spec": least}, dict)
    before = pods(api, namespace)
    (said,) = eventually(lambda: levers.apply((), [chat(namespace)], (), [relief()]))
    assert "is not resized" in said
    assert "minimum cpu usage per Container is 1500m" in said
    assert "the same of 1 more" in said
    assert "Allow" not in said
    assert [p["spec"] for p in pods(api, namespace)] == [p["spec"] for p in before]
    assert all(ours(pod) == set() for pod in pods(api, namespace))


def running(api: Api, namespace: str, count: int) -> None:
    """Wait for the pods."""
    eventually(lambda: [p["status"]["phase"] for p in pods(api, namespace)] == ["Running"] * count)


def pods(api: Api, namespace: str) -> list[dict[str, Any]]:
    return api.items(PODS.path(namespace), dict[str, Any], selector="app=chat")


def resources(api: Api, namespace: str) -> dict[str, list[dict[str, Any]]]:
    return {
        pod["metadata"]["name"]: [one["resources"] for one in pod["spec"]["containers"]]
        for pod in pods(api, namespace)
    }
