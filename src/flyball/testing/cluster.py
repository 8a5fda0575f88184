"""Builders of a cluster's objects, as the API writes them in JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from flyball.adapters.kubernetes.governed import DEPLOYMENT, STATEFUL_SET, Kind
from flyball.adapters.kubernetes.listing import Listed, Listing
from flyball.adapters.kubernetes.objects import Node, Pod, Quota, Scaler, Workload

Object = dict[str, Any]
NOW = 1_900_000_000.0
"""Unix time of what is built here, unless told otherwise."""
H100 = "NVIDIA-H100-80GB-HBM3"


def time(at: float = NOW) -> str:
    """Unix time in RFC 3339."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def metadata(name: str, namespace: str = "infer", **more: Any) -> Object:
    """An object's metadata, made an hour ago."""
    made = {"name": name, "namespace": namespace, "uid": f"{namespace}-{name}", "resourceVersion": "1"}
    return {**made, "creationTimestamp": time(NOW - 3600), "generation": 1, **more}


def workload(
    name: str = "chat",
    namespace: str = "infer",
    *,
    replicas: int | None = 1,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    args: Iterable[str] = ("serve", "Qwen/Qwen3-8B"),
    env: Mapping[str, str] | None = None,
    resources: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    **about: Any,
) -> Object:
    """A managed Deployment of a vLLM that asks for one NVIDIA card; `spec`: more of the pod's."""
    container = {
        "name": "engine",
        "command": ["vllm"],
        "args": list(args),
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        "resources": {"limits": {"nvidia.com/gpu": "1"} if resources is None else dict(resources)},
        "lifecycle": {"preStop": {"sleep": {"seconds": 15}}},
    }
    pod_spec = {"containers": [container], "terminationGracePeriodSeconds": 120, **(spec or {})}
    marked = {"inferno.server.managed": "true", **(labels or {})}
    selector, count = {"app": name}, 1 if replicas is None else replicas
    return {
        "metadata": metadata(name, namespace, labels=marked, annotations=dict(annotations or {}), **about),
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"creationTimestamp": None, "labels": selector},
                "spec": pod_spec,
            },
        },
        "status": {"replicas": count, "updatedReplicas": count, "observedGeneration": 1},
    }


def pod_of(
    deployment: Object, number: int = 0, node: str = "h100-1", state: str = "ready", **about: Any
) -> Object:
    """A pod of a Deployment: ready, pending, unschedulable, draining; ready 90 s after it was made."""
    name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
    made = about.pop("made", NOW - 600)
    ready = "True" if state in ("ready", "draining") else "False"
    owner = {"kind": "ReplicaSet", "name": f"{name}-7d9f", "uid": f"rs-{name}", "controller": True}
    conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": time(made + 90)}]
    started: Object = {"startTime": time(made + 90)}
    if state == "unschedulable":
        conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]
        started, node = {}, ""
    template = deployment["spec"]["template"]
    labels = {**template["metadata"]["labels"], "pod-template-hash": "7d9f"}
    of = metadata(f"{name}-7d9f-{number}", namespace, labels=labels, ownerReferences=[owner])
    of |= {"creationTimestamp": time(made), **about}
    if state == "draining":
        of["deletionTimestamp"] = time()
    return {
        "metadata": of,
        "spec": {"nodeName": node, "containers": template["spec"]["containers"]},
        "status": {"phase": "Running" if ready == "True" else "Pending", "conditions": conditions, **started},
    }


def lone_pod(name: str, node: str, cards: int = 1, resource: str = "nvidia.com/gpu") -> Object:
    """A pod that nobody governs."""
    container = {"name": "c", "resources": {"limits": {resource: str(cards)}}}
    return {
        "metadata": metadata(name, "others"),
        "spec": {"nodeName": node, "containers": [container]},
        "status": {"phase": "Running"},
    }


def node(
    name: str = "h100-1",
    product: str = H100,
    cards: int = 8,
    *,
    label: str = "nvidia.com/gpu.product",
    resource: str = "nvidia.com/gpu",
    ready: bool = True,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A node with cards."""
    named = {label: product} if product else {}
    return {
        "metadata": metadata(name, "", labels={"kubernetes.io/hostname": name, **named, **(labels or {})}),
        "spec": spec,
        "status": {
            "allocatable": {"cpu": "128", "memory": "1Ti", resource: str(cards)},
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}],
        },
    }


def scaler(target: str, namespace: str = "infer", kind: str = "Deployment", **about: Any) -> Object:
    """A HorizontalPodAutoscaler or a ScaledObject."""
    reference = {"kind": kind, "name": target, "apiVersion": "apps/v1"}
    return {
        "metadata": metadata(f"scales-{target}", namespace, **about),
        "spec": {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 9},
    }


def quota(namespace: str, hard: int, used: int, resource: str = "nvidia.com/gpu") -> Object:
    """A ResourceQuota of cards."""
    key = f"requests.{resource}"
    status = {"hard": {key: str(hard), "pods": "50"}, "used": {key: str(used), "pods": "4"}}
    return {"metadata": metadata("cards", namespace), "status": status}


def listing(
    deployments: Iterable[Object] = (),
    pods: Iterable[Object] = (),
    nodes: Iterable[Object] | None = (),
    *,
    stateful_sets: Iterable[Object] = (),
    others: Mapping[Kind, Iterable[Object]] | None = None,
    autoscalers: Iterable[Object] = (),
    scaled_objects: Iterable[Object] = (),
    quotas: Iterable[Object] = (),
    at: float = NOW,
) -> Listing:
    """What a cycle lists, decoded as it is from the API."""
    by_kind = {DEPLOYMENT: deployments, STATEFUL_SET: stateful_sets, **(others or {})}
    return Listing(
        at=at,
        workloads=tuple(
            Listed(kind, one) for kind, found in by_kind.items() for one in _read(found, Workload)
        ),
        pods=tuple(_read(pods, Pod)),
        nodes=None if nodes is None else tuple(_read(nodes, Node)),
        autoscalers=tuple(_read(autoscalers, Scaler)),
        scaled_objects=tuple(_read(scaled_objects, Scaler)),
        quotas=tuple(_read(quotas, Quota)),
    )


def _read(objects: Iterable[Object], kind: type[Any]) -> list[Any]:
    return msgspec.json.decode(msgspec.json.encode(list(objects)), type=list[kind])  # type: ignore[valid-type]
