"""Pods: whose they are, and in which state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from flyball.adapters.kubernetes.governed import PodState
from flyball.adapters.kubernetes.listing import Listed
from flyball.adapters.kubernetes.objects import Condition, Pod
from flyball.units import Seconds

HASHES = ("pod-template-hash", "rollouts-pod-template-hash")
"""Labels that a Deployment and an Argo Rollout give to their ReplicaSets and pods."""
GROUPS = {
    "leaderworkerset.sigs.k8s.io/name": ("leaderworkerset.sigs.k8s.io/worker-index", "0"),
    "modelserving.volcano.sh/name": ("modelserving.volcano.sh/entry", "true"),
}
"""Labels with the name of a workload whose replicas are groups of pods; and what the first of a group has."""
COST = "controller.kubernetes.io/pod-deletion-cost"
LAST = 5
"""Cold starts that are averaged."""
LOST: Seconds = 10.0
"""After its start: a pod that turned unready since then had been ready before."""


def pods_of(workloads: Sequence[Listed], pods: Iterable[Pod]) -> tuple[dict[int, list[Pod]], set[str]]:
    """Pods by number of their workload, one a replica; and the uids of all pods that belong to any.

    By owner reference; a ReplicaSet is called as its Deployment is, a dash and the pods' template hash.
    """
    by_uid = {one.workload.metadata.uid: i for i, one in enumerate(workloads)}
    made: dict[tuple[str, str], int] = {}
    grouped: dict[tuple[str, str], int] = {}
    for i, one in enumerate(workloads):
        metadata = one.workload.metadata
        if one.kind.name in ("Deployment", "Rollout"):
            made[metadata.namespace, metadata.name] = i
        elif one.kind.name != "StatefulSet":
            grouped[metadata.namespace, metadata.name] = i
    found: dict[int, list[Pod]] = defaultdict(list)
    belonging: set[str] = set()
    for pod in pods:
        number, counts = _owner(pod, by_uid, made, grouped)
        if number is None or not _selected(workloads[number], pod):
            continue
        belonging.add(pod.metadata.uid)
        if counts:
            found[number].append(pod)
    return found, belonging


def _owner(
    pod: Pod, by_uid: dict[str, int], made: dict[tuple[str, str], int], grouped: dict[tuple[str, str], int]
) -> tuple[int | None, bool]:
    """The number of a pod's workload, and whether it stands for a replica."""
    metadata = pod.metadata
    labels = metadata.labels
    if grouped:
        for label, (mark, value) in GROUPS.items():
            if label in labels and (number := grouped.get((metadata.namespace, labels[label]))) is not None:
                return number, labels.get(mark) == value
    for owner in metadata.owner_references:
        if not owner.controller:
            continue
        if owner.uid in by_uid:
            return by_uid[owner.uid], True
        if owner.kind != "ReplicaSet":
            continue
        for label in HASHES:
            ending = f"-{labels.get(label, '')}"
            if len(ending) > 1 and owner.name.endswith(ending):
                return made.get((metadata.namespace, owner.name.removesuffix(ending))), True
    return None, False


def _selected(listed: Listed, pod: Pod) -> bool:
    wanted = listed.workload.spec.selector.match_labels
    labels = pod.metadata.labels
    return all(labels.get(key) == value for key, value in wanted.items())


def state_of(pod: Pod, at: float) -> PodState:
    """What state a pod is in."""
    metadata = pod.metadata
    cost = metadata.annotations.get(COST, "")
    about = (metadata.uid, pod.spec.node_name)
    number = int(cost) if cost.lstrip("+-").isdigit() else None
    if metadata.deletion_timestamp:
        return PodState(metadata.name, "draining", *about, deletion_cost=number)
    ready = condition(pod, "Ready")
    if ready is not None and ready.status == "True":
        turned = unix(ready.last_transition_time)
        ready_for = 0.0 if turned is None else max(at - turned, 0.0)
        return PodState(metadata.name, "ready", *about, deletion_cost=number, ready_for=ready_for)
    since = _since(pod, ready)
    waited = 0.0 if since is None else max(at - since, 0.0)
    return PodState(metadata.name, "pending", *about, waited, _why(pod), number)


def _since(pod: Pod, ready: Condition | None) -> float | None:
    """Since when a pod is waited for: it was made, or was ready no longer."""
    made = unix(pod.metadata.creation_timestamp)
    turned, started = unix(ready.last_transition_time if ready else None), unix(pod.status.start_time)
    if turned is not None and started is not None and turned > started + LOST:
        return turned
    return made


def _why(pod: Pod) -> str:
    """Why a pod is not ready."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return scheduled.reason or "Unschedulable"
    for container in pod.status.container_statuses:
        if container.state.waiting is not None and container.state.waiting.reason:
            return container.state.waiting.reason
    return "NotReady" if pod.status.phase == "Running" else pod.status.phase or "Pending"


def cold_start(pods: Iterable[Pod]) -> Seconds | None:
    """From made to ready, mean of the pods that were made last; None where none is ready."""
    starts = []
    for pod in pods:
        ready = condition(pod, "Ready")
        made = unix(pod.metadata.creation_timestamp)
        turned = unix(ready.last_transition_time) if ready and ready.status == "True" else None
        if made is not None and turned is not None and turned >= made:
            starts.append((made, pod.metadata.name, turned - made))
    last = [took for _, _, took in sorted(starts)[-LAST:]]
    return sum(last) / len(last) if last else None


def condition(pod: Pod, kind: str) -> Condition | None:
    """A pod's condition."""
    for one in pod.status.conditions:
        if one.type == kind:
            return one
    return None


def unix(time: str | None) -> float | None:
    """Unix time of what is written in RFC 3339; None where it is nothing that can be read."""
    try:
        return datetime.fromisoformat(time).timestamp() if time else None
    except ValueError:
        return None
