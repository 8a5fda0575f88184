"""What a cycle lists: a constant number of requests, and what it may not see is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, cast

import msgspec
import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.assemble import Assembler, observe
from flyball.adapters.kubernetes.errors import ApiError, NotFound
from flyball.adapters.kubernetes.governed import DEPLOYMENT, Kind
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.kubernetes.labels import SELECTOR
from flyball.adapters.kubernetes.listing import Scope, kind_of, list_cluster
from flyball.adapters.kubernetes.objects import Workload
from flyball.sandbox.cluster import Sandbox
from flyball.testing.cluster import NOW, metadata, node, pod_of, workload
from tests.clusters import deployment, eventually

GROUPS = kind_of("leaderworkersets.leaderworkerset.x-k8s.io/v1")


class Recorded:
    """An API server that has some objects and refuses some paths."""

    def __init__(self, objects: Mapping[str, Any], refused: Mapping[str, int] | None = None) -> None:
        self.objects, self.refused = objects, refused or {}
        self.asked: list[tuple[str, str, str, bool]] = []

    def items(
        self,
        path: str,
        kind: type[Any],
        *,
        selector: str = "",
        fields: str = "",
        cached: bool = False,
        until: float = 0.0,
    ) -> list[Any]:
        self.asked.append((path, selector, fields, cached))
        status = self.refused.get(path, 200 if path in self.objects else 404)
        if status == 404:
            raise NotFound("GET", path, 404, "NotFound", "")
        if status != 200:
            raise ApiError("GET", path, status, "Forbidden", "may not")
        return msgspec.convert(self.objects[path], list[kind])  # type: ignore[valid-type]


def objects(workloads: int = 1, namespace: str = "") -> dict[str, Any]:
    within = f"/namespaces/{namespace}" if namespace else ""
    deployments = [workload(f"s{i}") for i in range(workloads)]
    return {
        f"/apis/apps/v1{within}/deployments": deployments,
        f"/apis/apps/v1{within}/statefulsets": [],
        f"/api/v1{within}/pods": [pod_of(one) for one in deployments],
        f"/api/v1{within}/resourcequotas": [],
        f"/apis/autoscaling/v2{within}/horizontalpodautoscalers": [],
        "/api/v1/nodes": [node()],
    }


def listed(api: Recorded, scope: Scope | None = None) -> Any:
    return list_cluster(cast(Api, api), NOW, scope)


def test_the_number_of_requests_does_not_grow() -> None:
    one, many = Recorded(objects(1)), Recorded(objects(50))
    assert len(listed(many).workloads) == 50
    assert listed(one).notes == ()
    assert many.asked == one.asked
    assert len(one.asked) == 7
    assert [path for path, selector, _, _ in one.asked if selector == SELECTOR] == [
        "/apis/apps/v1/deployments",
        "/apis/apps/v1/statefulsets",
    ]
    assert [path for path, _, _, cached in one.asked if not cached] == [
        "/apis/apps/v1/deployments",
        "/apis/apps/v1/statefulsets",
    ]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/v1/nodes", "nodes may not be listed in all namespaces: capacity is not known from the nodes"),
        ("/apis/autoscaling/v2/horizontalpodautoscalers", "horizontalpodautoscalers.autoscaling may not"),
        ("/apis/keda.sh/v1alpha1/scaledobjects", "scaledobjects.keda.sh may not be listed"),
        ("/api/v1/resourcequotas", "resourcequotas may not be listed"),
    ],
)
def test_what_may_not_be_seen_is_told(path: str, says: str) -> None:
    seen = listed(Recorded(objects(), {path: 403}))
    (note,) = seen.notes
    assert note.startswith(says)
    assert "Allow its service account to list" in note
    assert len(seen.workloads) == 1
    assert (seen.nodes is None) is (path == "/api/v1/nodes")


@pytest.mark.parametrize("path", ["/apis/apps/v1/deployments", "/api/v1/pods"])
def test_without_workloads_or_pods_there_is_no_cycle(path: str) -> None:
    with pytest.raises(ApiError, match="403"):
        listed(Recorded(objects(), {path: 403}))


@pytest.mark.parametrize("path", ["/api/v1/nodes", "/apis/autoscaling/v2/horizontalpodautoscalers"])
def test_a_failing_server_is_no_refusal(path: str) -> None:
    with pytest.raises(ApiError, match="500"):
        listed(Recorded(objects(), {path: 500}))


def test_of_one_namespace_others_pods_are_still_seen_where_that_is_allowed() -> None:
    there = {**objects(namespace="infer"), "/api/v1/pods": [pod_of(workload("s0"))] * 3}
    scope = Scope(namespace="infer")
    assert len(listed(Recorded(there), scope).pods) == 3
    alone = listed(Recorded(there, {"/api/v1/pods": 403}), scope)
    assert len(alone.pods) == 1
    assert "cards that pods outside infer take are counted as free" in alone.notes[0]


def test_further_kinds() -> None:
    assert Kind("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "") == GROUPS
    path = GROUPS.path()
    group = {"kind": "LeaderWorkerSet", "metadata": metadata("big"), "spec": {"replicas": 2}}
    seen = listed(Recorded({**objects(0), path: [group]}), Scope(kinds=(GROUPS,)))
    (one,) = seen.workloads
    assert (one.kind.name, one.kind.plural, one.workload.spec.replicas) == (
        "LeaderWorkerSet",
        "leaderworkersets",
        2,
    )
    missing = listed(Recorded(objects()), Scope(kinds=(GROUPS,)))
    assert missing.notes[0].startswith(
        "leaderworkersets.leaderworkerset.x-k8s.io/v1: the cluster has no such"
    )
    refused = listed(Recorded(objects(), {path: 403}), Scope(kinds=(GROUPS,)))
    assert refused.notes[0].startswith("leaderworkersets.leaderworkerset.x-k8s.io/v1 is not governed: ")


@pytest.mark.parametrize("text", ["", "pods", "pods/v1", "a.b", "a.b/", ".b/v1", "a.b/v1/x"])
def test_a_kind_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"plural\.group/version"):
        kind_of(text)


# ---- on a real cluster ---------------------------------------------------------------------------

HPA = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers"


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[Api]:
    with closing(Api(sandbox.kubeconfig)) as api:
        yield api


def test_a_real_cluster_is_read_as_it_is(api: Api, namespace: str) -> None:
    labels = {"inferno.server.managed": "true", "inferno.server.name": "chat"}
    for name, at in (("fast", "h100-1"), ("slow", "a100-1")):
        body = deployment(name, node=at, replicas=2)
        body["metadata"] = {
            "name": name,
            "labels": labels,
            "annotations": {"flyball.dev/model": "Qwen/Qwen3-8B"},
        }
        api.post(DEPLOYMENT.path(namespace), body, Workload)
    other = deployment("other", node="h100-1", replicas=3)
    api.post(DEPLOYMENT.path(namespace), other, Workload)
    target = {"kind": "Deployment", "name": "slow", "apiVersion": "apps/v1"}
    hpa = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "of-slow"},
        "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 3},
    }
    api.post(HPA.format(namespace), hpa, dict)
    assembler = Assembler(Library())
    scope = Scope(namespace=namespace)

    def read() -> Any:
        before = api.requests
        cluster = assembler.cluster(list_cluster(api, NOW, scope))
        assert api.requests - before == 7
        ready = all(pod.state == "ready" for one in cluster.governed for pod in one.pods)
        return cluster if ready and cluster.capacity["H100"] == 16 - 3 else None

    cluster = eventually(read)
    assert [(one.name, one.server, one.accelerator, one.pinned) for one in cluster.governed] == [
        ("fast", "chat", "H100", True),
        ("slow", "chat", "A100", True),
    ]
    assert cluster.notes == ()
    assert cluster.capacity == {"A100": 16, "H100": 13, "L40S": 8, "MI300X": 8}
    fast, slow = cluster.governed
    assert (fast.owner, slow.owner) == ("", f"HorizontalPodAutoscaler {namespace}/of-slow")
    assert [pod.node for pod in fast.pods] == ["h100-1"] * 2
    assert fast.cold_start is not None
    assert 0 <= fast.cold_start < 60
    assert {v.accelerator: v.ready for v in observe(cluster)["chat"]} == {"A100": 2, "H100": 2}
    (chat,) = cluster.fleet.servers
    assert (chat.model, chat.accelerators) == ("Qwen/Qwen3-8B", ("A100", "H100"))
    assert {p.accelerator for p in cluster.fleet.profiles} == {"A100", "H100"}


def test_pods_that_find_no_place(api: Api, namespace: str) -> None:
    body = deployment("chat", node="l40s-2", replicas=5)  # of which four have a card
    body["metadata"] = {"name": "chat", "labels": {"inferno.server.managed": "true"}}
    body["metadata"]["annotations"] = {"flyball.dev/model": "Qwen/Qwen3-8B"}
    api.post(DEPLOYMENT.path(namespace), body, Workload)
    assembler, scope = Assembler(Library()), Scope(namespace=namespace)

    def read() -> Any:
        (one,) = assembler.cluster(list_cluster(api, NOW, scope)).governed
        stuck = [pod for pod in one.pods if pod.state == "pending"]
        return one if len(one.pods) == 5 and len(stuck) == 1 and stuck[0].reason == "Unschedulable" else None

    one = eventually(read)
    assert (one.accelerator, one.replicas) == ("L40S", 5)
    assert one.generation == 1
