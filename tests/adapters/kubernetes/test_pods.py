"""Pods: whose they are, and in which state."""

from __future__ import annotations

from typing import Any

import pytest

from flyball.adapters.kubernetes.governed import Kind, PodState
from flyball.adapters.kubernetes.objects import Pod
from flyball.adapters.kubernetes.pods import cold_start, pods_of, state_of
from flyball.testing.cluster import NOW, Object, listing, metadata, pod_of, time, workload

GROUPS = Kind("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet")


def decoded(*pods: Object) -> tuple[Pod, ...]:
    return listing(pods=pods).pods


def names(seen: Any) -> dict[str, list[str]]:
    found, _ = pods_of(seen.workloads, seen.pods)
    return {
        seen.workloads[i].workload.metadata.name: [p.metadata.name for p in of] for i, of in found.items()
    }


def test_pods_of_deployments_by_the_name_of_their_replica_set() -> None:
    chat, chat2 = workload("chat"), workload("chat-7d9f")  # one name begins as the other's ReplicaSet
    other = workload("chat", "elsewhere")
    pods = [pod_of(chat), pod_of(chat, 1), pod_of(chat2), pod_of(other)]
    seen = listing([chat, chat2], pods)
    assert names(seen) == {"chat": ["chat-7d9f-0", "chat-7d9f-1"], "chat-7d9f": ["chat-7d9f-7d9f-0"]}
    assert pods_of(seen.workloads, seen.pods)[1] == {
        "infer-chat-7d9f-0",
        "infer-chat-7d9f-1",
        "infer-chat-7d9f-7d9f-0",
    }


def test_pods_that_are_nobodys() -> None:
    chat = workload("chat")
    lone = pod_of(chat, ownerReferences=[])
    unhashed = pod_of(chat)
    unhashed["metadata"]["labels"].pop("pod-template-hash")
    relabelled = pod_of(chat)
    relabelled["metadata"]["labels"]["app"] = "debug"  # taken out of service by hand
    job = pod_of(chat, ownerReferences=[{"kind": "Job", "name": "chat", "uid": "j", "controller": True}])
    assert names(listing([chat], [lone, unhashed, relabelled, job])) == {}


def test_pods_of_a_stateful_set_by_its_uid() -> None:
    chat = workload("chat")
    owner = {"kind": "StatefulSet", "name": "chat", "uid": "infer-chat", "controller": True}
    pods = [pod_of(chat, ownerReferences=[owner]), pod_of(chat, 1)]
    assert names(listing(stateful_sets=[chat], pods=pods)) == {"chat": ["chat-7d9f-0"]}


def test_of_a_group_the_leader_is_the_replica() -> None:
    group = {"metadata": metadata("big"), "spec": {"replicas": 1}}
    label = "leaderworkerset.sigs.k8s.io/"
    pods = [
        {"metadata": metadata(f"big-0-{i}", labels={f"{label}name": "big", f"{label}worker-index": str(i)})}
        for i in range(3)
    ]
    seen = listing(others={GROUPS: [group]}, pods=pods)
    found, belonging = pods_of(seen.workloads, seen.pods)
    assert [pod.metadata.name for pod in found[0]] == ["big-0-0"]
    assert len(belonging) == 3


def test_states() -> None:
    chat = workload()
    states = ("ready", "pending", "unschedulable", "draining")
    pods = decoded(*(pod_of(chat, i, state=state) for i, state in enumerate(states)))
    ready, pending, unscheduled, draining = (state_of(pod, NOW) for pod in pods)
    assert ready == PodState("chat-7d9f-0", "ready", "infer-chat-7d9f-0", "h100-1", ready_for=510.0)
    assert (pending.state, pending.waited, pending.reason) == ("pending", 600.0, "Pending")
    assert (unscheduled.waited, unscheduled.reason, unscheduled.node) == (600.0, "Unschedulable", "")
    assert draining.state == "draining"


def test_one_that_was_ready_before_is_waited_for_since_then() -> None:
    lost = pod_of(workload(), state="pending")
    lost["status"]["phase"] = "Running"
    lost["status"]["conditions"][0]["lastTransitionTime"] = time(NOW - 20)
    found = state_of(decoded(lost)[0], NOW)
    assert (found.waited, found.reason) == (20.0, "NotReady")


def test_why_a_container_does_not_run() -> None:
    broken = pod_of(workload(), state="pending")
    broken["status"]["containerStatuses"] = [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]
    assert state_of(decoded(broken)[0], NOW).reason == "ImagePullBackOff"


@pytest.mark.parametrize(("cost", "number"), [("7", 7), ("-3", -3), ("much", None), ("", None)])
def test_deletion_cost(cost: str, number: int | None) -> None:
    pod = pod_of(workload(), annotations={"controller.kubernetes.io/pod-deletion-cost": cost})
    assert state_of(decoded(pod)[0], NOW).deletion_cost == number


def test_cold_start_is_the_mean_of_the_last_five() -> None:
    chat = workload()
    pods = [pod_of(chat, i, made=NOW - 1000 + i) for i in range(7)]
    for i, pod in enumerate(pods):
        pod["status"]["conditions"][0]["lastTransitionTime"] = time(NOW - 1000 + i + 10 * i)
    assert cold_start(decoded(*pods)) == pytest.approx((20 + 30 + 40 + 50 + 60) / 5)
    assert cold_start(decoded(pod_of(chat, state="pending"))) is None


def test_times_that_nobody_can_read_are_none() -> None:
    odd = pod_of(workload(), state="pending", creationTimestamp="yesterday")
    assert state_of(decoded(odd)[0], NOW).waited == 0.0
