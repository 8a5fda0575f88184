"""What the tests of the write side govern: workloads of a real cluster as they are read, and a lease."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.governed import DEPLOYMENT, Cluster, Governed, Kind, PodState
from flyball.adapters.kubernetes.lease import Lease
from flyball.adapters.kubernetes.objects import Pod, Workload
from flyball.spec.decision import Order
from flyball.spec.fleet import Fleet
from tests.clusters import deployment

POD = Kind("", "v1", "pods", "Pod")


def workload(server: str = "chat", accelerator: str = "H100", replicas: int = 2, **more: Any) -> Governed:
    """One that is nowhere."""
    fields: dict[str, Any] = {
        "kind": DEPLOYMENT,
        "namespace": "serving",
        "name": f"{server}-{accelerator.lower()}",
        "uid": f"uid-{server}-{accelerator}",
        "resource_version": "7",
        "mode": "act",
    }
    return Governed(server, accelerator, replicas=replicas, **(fields | more))


def cluster(*governed: Governed) -> Cluster:
    """All that is governed."""
    return Cluster(Fleet(), governed, {})


def order(server: str, replicas: int, accelerator: str = "H100", batch: int = 0) -> Order:
    return Order(server, accelerator, replicas, batch)


def make(api: Api, namespace: str, names: Iterable[str], node: str = "h100-1", **fields: Any) -> None:
    """Deployments, as `deployment` makes them; `labels` and `annotations` of theirs."""
    metadata = {key: fields.pop(key) for key in ("labels", "annotations") if key in fields}
    for name in names:
        body = deployment(name, node=node, **{"replicas": 0, **fields})
        body["metadata"] = {"name": name, **metadata}
        api.post(DEPLOYMENT.path(namespace), body, Workload)


def read(api: Api, namespace: str, name: str, accelerator: str = "H100", **more: Any) -> Governed:
    """A Deployment and its pods as they are now; its server has its name."""
    there = api.get(DEPLOYMENT.path(namespace, name), Workload)
    pods = api.items(POD.path(namespace), Pod, selector=f"app={name}")
    return governed(there, accelerator, pods=tuple(map(_state, pods)), **more)


def governed(there: Workload, accelerator: str = "H100", **more: Any) -> Governed:
    """A Deployment; its server has its name."""
    fields: dict[str, Any] = {
        "name": there.metadata.name,
        "namespace": there.metadata.namespace,
        "uid": there.metadata.uid,
        "resource_version": there.metadata.resource_version,
        "generation": there.metadata.generation,
        "labels": there.metadata.labels,
        "annotations": there.metadata.annotations,
    }
    replicas = 1 if there.spec.replicas is None else there.spec.replicas
    return workload(more.pop("server", there.metadata.name), accelerator, replicas, **(fields | more))


def _state(pod: Pod) -> PodState:
    ready = any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions)
    state: Any = "draining" if pod.metadata.deletion_timestamp else "ready" if ready else "pending"
    cost = pod.metadata.annotations.get("controller.kubernetes.io/pod-deletion-cost")
    return PodState(pod.metadata.name, state, pod.metadata.uid, deletion_cost=int(cost) if cost else None)


def replicas(api: Api, namespace: str, name: str) -> int | None:
    return api.get(DEPLOYMENT.path(namespace, name), Workload).spec.replicas


class Time:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def leading(api: Api, namespace: str, identity: str = "me", **more: Any) -> Lease:
    """A lease that is held, and does not run out unless its clock is told to."""
    lease = Lease(api, namespace, identity, **({"now": Time()} | more))
    lease.step()
    assert lease.holds(), lease.problem
    return lease
