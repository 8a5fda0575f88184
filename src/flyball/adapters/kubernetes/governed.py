"""What of a cluster is governed: workloads as variants of servers, at one instant."""

from __future__ import annotations

from typing import Literal

import msgspec

from flyball.adapters.kubernetes.objects import PodSpec
from flyball.spec.fleet import Fleet
from flyball.spec.server import Load
from flyball.units import Seconds

Mode = Literal["recommend", "act", "keda", "gauge", "freeze"]


class Kind(msgspec.Struct, frozen=True):
    """A kind with a /scale subresource."""

    group: str
    version: str
    plural: str
    name: str

    def path(self, namespace: str = "", name: str = "", sub: str = "") -> str:
        """Of the collection, an object or its subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = (root, f"namespaces/{namespace}" if namespace else "", self.plural, name, sub)
        return "/".join(part for part in parts if part)


DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
STATEFUL_SET = Kind("apps", "v1", "statefulsets", "StatefulSet")


class PodState(msgspec.Struct, frozen=True):
    """A pod of a variant."""

    name: str
    state: Literal["ready", "pending", "draining"]
    uid: str = ""
    node: str = ""
    waited: Seconds = 0.0
    """How long a pending one has been waiting."""
    reason: str = ""
    """Why it is pending: Unschedulable, ..."""
    deletion_cost: int | None = None
    ready_for: Seconds = 0.0
    """How long a ready one has been ready."""


class Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What of a pod template may be Flyball's to set."""

    flags: dict[str, str | None] = {}
    """Of the engine; None: absent."""
    selector: dict[str, str] = {}
    """Labels of nodes."""
    cards: dict[str, int] = {}
    """Of a replica, by resource."""


class Rolling(msgspec.Struct, frozen=True):
    """Of a workload that asks for changes of its template: which are possible, and what is in their way."""

    template: PodSpec
    batch_flag: str = ""
    """By which its engine is told the batch; "": that is not asked for, or cannot be set."""
    moves: dict[str, Settings] = {}
    """What its template would say, by accelerator."""
    refused: str = ""
    """Why it may not be rolled over now; "": it may."""
    unavailable: int = 0
    """Replicas that its strategy takes away before there are others."""


class Governed(msgspec.Struct, frozen=True):
    """One workload: the variant of a server on one accelerator."""

    server: str
    accelerator: str
    kind: Kind
    namespace: str
    name: str
    uid: str
    resource_version: str
    mode: Mode
    replicas: int
    """Asked for."""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    max_batch_size: int = 0
    pods: tuple[PodState, ...] = ()
    pinned: bool = True
    """Whether its template asks for this accelerator; else a label is all there is (Inferno's way)."""
    owner: str = ""
    """Who else writes its replicas, in words: an HPA, KEDA, a GitOps tool; "": nobody."""
    warnings: tuple[str, ...] = ()
    """What is unwise about it, in sentences: no preStop, a short grace."""
    least: int = 0
    most: int | None = None
    """From its annotations: `flyball.dev/min` and `max`."""
    generation: int = 0
    """Of its specification; 0: not known."""
    cards: int = 0
    """That one replica asks for; 0: its template asks for none."""
    cold_start: Seconds | None = None
    """From made to ready, mean of the pods that became ready last."""
    load: Load | None = None
    """As its labels tell it: for where nothing is measured."""
    rolling: Rolling | None = None
    """None: it asks for no change of its template."""

    @property
    def path(self) -> str:
        """Of the object."""
        return self.kind.path(self.namespace, self.name)


class Cluster(msgspec.Struct, frozen=True):
    """All that the cluster itself says at one instant; metrics are another matter."""

    fleet: Fleet
    governed: tuple[Governed, ...]
    """In order of namespace and name."""
    capacity: dict[str, int]
    """Cards by type that are there, usable and not taken by anyone else."""
    notes: tuple[str, ...] = ()
    """What is wrong with which object, and how to mend it."""

    def by_server(self) -> dict[str, list[Governed]]:
        """The workloads of each server."""
        found: dict[str, list[Governed]] = {}
        for one in self.governed:
            found.setdefault(one.server, []).append(one)
        return found
