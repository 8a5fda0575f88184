"""What runs in the cluster, from its objects: labels and annotations, the command line, the node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from flyball.sandbox.engines.arguments import Arguments, arguments_of
from flyball.sandbox.engines.asked import Asked
from flyball.sandbox.engines.objects import (
    DeploymentObject,
    NodeObject,
    PodObject,
    StatefulSetObject,
    WorkloadObject,
)
from flyball.sandbox.engines.pods import GRACE, MAX_BATCH, Pod, Workload
from flyball.units import Seconds

MANAGED = "inferno.server.managed"
NAME, MODEL = "inferno.server.name", "inferno.server.model"
ACCELERATOR = "inferno.server.allocation.accelerator"
BATCH = "inferno.server.allocation.maxbatchsize"
OWN_MODEL, OWN_BATCH = "flyball.dev/model", "flyball.dev/batch"
HASH = "pod-template-hash"
PRODUCTS = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "amd.com/gpu.product-name",
    "karpenter.k8s.aws/instance-gpu-name",
)
CARDS = ("nvidia.com/gpu", "amd.com/gpu", "habana.ai/gaudi", "gpu.intel.com/i915", "gpu.intel.com/xe")


class Objects(NamedTuple):
    """The cluster's own words; `killed` are uids of pods that were gone at once, since the last look."""

    deployments: tuple[DeploymentObject, ...]
    stateful_sets: tuple[StatefulSetObject, ...]
    pods: tuple[PodObject, ...]
    nodes: tuple[NodeObject, ...]
    killed: frozenset[str] = frozenset()


class Seen(NamedTuple):
    """The cluster as the engines take it."""

    pods: tuple[Pod, ...]
    workloads: tuple[Workload, ...]
    nodes: frozenset[str]
    """Names of those that stand."""
    killed: frozenset[str]
    """Uids of pods that were gone at once."""
    notes: tuple[str, ...]
    """What could not be read, and why."""


def seen(objects: Objects, asked: Asked, clock: Callable[[float], Seconds]) -> Seen:
    """What the objects say; `clock` turns the seconds of a wall clock into the engines'."""
    notes: list[str] = []
    found: dict[tuple[str, str, str], tuple[WorkloadObject, Workload]] = {}
    kinds: tuple[tuple[str, Iterable[WorkloadObject]], ...] = (
        ("ReplicaSet", objects.deployments),
        ("StatefulSet", objects.stateful_sets),
    )
    for owner, listed in kinds:
        for o in listed:
            workload = _workload(o, asked, notes)
            found[owner, o.metadata.namespace, o.metadata.name] = (o, workload)
    products = {n.metadata.name: _first(n.metadata.labels, PRODUCTS) for n in objects.nodes}
    pods = []
    for pod in objects.pods:
        key = _owner(pod)
        if key is not None and key in found:
            pods.append(_pod(pod, *found[key], products.get(pod.spec.node_name, ""), clock))
    standing = frozenset(
        n.metadata.name for n in objects.nodes if n.status.condition("Ready").status != "False"
    )
    return Seen(tuple(pods), tuple(w for _, w in found.values()), standing, objects.killed, tuple(notes))


def _workload(o: WorkloadObject, asked: Asked, notes: list[str]) -> Workload:
    meta, where = o.metadata, f"{o.metadata.namespace}/{o.metadata.name}"
    model = _model({}, o, _arguments(o.spec.template.spec.containers))[0]
    demand = asked.of(where, meta.labels, meta.annotations, model)
    notes.extend(demand.notes)
    return Workload(
        namespace=meta.namespace,
        name=meta.name,
        server=meta.labels.get(NAME) or meta.name,
        model=model,
        load=demand.load,
        stream=demand.stream,
        targets=demand.targets,
    )


def _pod(
    pod: PodObject, o: WorkloadObject, workload: Workload, product: str, clock: Callable[[float], Seconds]
) -> Pod:
    meta, labels = pod.metadata, pod.metadata.labels
    arguments = _arguments(pod.spec.containers)
    model, weights = _model({**labels, **meta.annotations}, o, arguments)
    batch = _whole(o.metadata.annotations.get(OWN_BATCH)) or _whole(labels.get(BATCH))
    ready = pod.status.condition("Ready")
    grace = meta.deletion_grace_period_seconds
    if grace is None:
        grace = pod.spec.termination_grace_period_seconds
    return Pod(
        namespace=meta.namespace,
        name=meta.name,
        server=workload.server,
        workload=workload.name,
        model=model,
        weights=weights,
        accelerator=labels.get(ACCELERATOR) or o.metadata.labels.get(ACCELERATOR) or product,
        cards=_cards(pod),
        max_batch_size=batch or _whole(o.metadata.labels.get(BATCH)) or arguments.max_batch_size or MAX_BATCH,
        ready_since=clock(_moment(ready.last_transition_time)) if ready.status == "True" else None,
        terminating=meta.deletion_timestamp is not None,
        failed=pod.status.phase in ("Failed", "Succeeded"),
        grace=GRACE if grace is None else grace,
        node=pod.spec.node_name,
        uid=meta.uid,
    )


def _owner(pod: PodObject) -> tuple[str, str, str] | None:
    """Kind, namespace and name of what a pod belongs to, a ReplicaSet's pod to the Deployment above it."""
    owner = next((o for o in pod.metadata.owner_references if o.controller), None)
    if owner is None:
        return None
    name = owner.name
    if owner.kind == "ReplicaSet":
        name = name.removesuffix(f"-{pod.metadata.labels.get(HASH, '')}")
    return owner.kind, pod.metadata.namespace, name


def _model(own: Mapping[str, str], o: WorkloadObject, said: Arguments) -> tuple[str, str]:
    """The model as it is asked for, and its weights: as an annotation says, else what was started."""
    above = {**o.metadata.labels, **o.metadata.annotations}
    stated, labelled = ((own.get(key) or above.get(key) or "") for key in (OWN_MODEL, MODEL))
    return said.served or said.model or stated or labelled, stated or said.model or labelled or said.served


def _arguments(containers: Iterable[object]) -> Arguments:
    words = [w for c in containers for w in (*getattr(c, "command", ()), *getattr(c, "args", ()))]
    return arguments_of(words)


def _cards(pod: PodObject) -> int:
    asked = [{**c.resources.requests, **c.resources.limits} for c in pod.spec.containers]
    return sum(_whole(str(r[key])) for r in asked for key in CARDS if key in r)


def _first(labels: Mapping[str, str], keys: Iterable[str]) -> str:
    return next((labels[key] for key in keys if labels.get(key)), "")


def _whole(text: str | None) -> int:
    """A number from 1; 0 where it is none."""
    return int(text) if text and text.isascii() and text.isdigit() else 0


def _moment(text: str | None) -> float:
    """Seconds of Unix time; 0 where it is not said."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0
