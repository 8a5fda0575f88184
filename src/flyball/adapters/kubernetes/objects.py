"""The parts of Kubernetes' objects that the loop reads; all else in them is passed over."""

from __future__ import annotations

from typing import Any

import msgspec


class Read(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What is read: absent fields have defaults, unknown ones are passed over."""


class Owner(Read, frozen=True):
    """An owner reference."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class SpecFields(Read, frozen=True):
    """Which fields of a specification someone wrote; of interest is one alone."""

    replicas: dict[str, Any] | None = msgspec.field(default=None, name="f:replicas")


class Fields(Read, frozen=True):
    """Which fields someone wrote."""

    spec: SpecFields = msgspec.field(default=SpecFields(), name="f:spec")


class ManagedFields(Read, frozen=True):
    """Who wrote which fields."""

    manager: str = ""
    operation: str = ""
    subresource: str = ""
    fields: Fields = msgspec.field(default=Fields(), name="fieldsV1")


class Metadata(Read, frozen=True):
    """An object's metadata. Times are as written, RFC 3339."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[Owner] = []
    finalizers: list[str] = []
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class WorkloadMetadata(Metadata, frozen=True):
    """The same, and who wrote the object."""

    managed_fields: list[ManagedFields] = []


class Resources(Read, frozen=True):
    """What a container asks for."""

    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class Variable(Read, frozen=True):
    """An environment variable; one that comes from elsewhere has no value."""

    name: str = ""
    value: str = ""


class Container(Read, frozen=True):
    """A container."""

    name: str = ""
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    env: list[Variable] = []
    resources: Resources = Resources()
    lifecycle: dict[str, Any] = {}


class Taker(Read, frozen=True):
    """What a container takes."""

    resources: Resources = Resources()


class RunningSpec(Read, frozen=True):
    """Of a pod's specification: where it is, and what it takes there."""

    node_name: str = ""
    containers: list[Taker] = []


class PodSpec(Read, frozen=True):
    """A pod's specification in a template."""

    containers: list[Container] = []
    node_selector: dict[str, str] = {}
    affinity: dict[str, Any] = {}
    tolerations: list[dict[str, Any]] = []
    termination_grace_period_seconds: int = 30


class Condition(Read, frozen=True):
    """A condition."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class Waiting(Read, frozen=True):
    """Why a container does not run."""

    reason: str = ""


class ContainerState(Read, frozen=True):
    """A container's state."""

    waiting: Waiting | None = None


class ContainerStatus(Read, frozen=True):
    """A container's status."""

    state: ContainerState = ContainerState()


class PodStatus(Read, frozen=True):
    """A pod's status."""

    phase: str = ""
    conditions: list[Condition] = []
    start_time: str | None = None
    container_statuses: list[ContainerStatus] = []


class Pod(Read, frozen=True):
    """A pod."""

    metadata: Metadata = Metadata()
    spec: RunningSpec = RunningSpec()
    status: PodStatus = PodStatus()


class PodTemplate(Read, frozen=True):
    """A pod template."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()


class Role(Read, frozen=True):
    """A role of a ModelServing: so many groups of an entry pod and its workers in every replica."""

    name: str = ""
    replicas: int = 1
    worker_replicas: int = 0
    entry_template: PodTemplate = PodTemplate()
    worker_template: PodTemplate = PodTemplate()


class Template(PodTemplate, frozen=True):
    """A pod template, or the roles of a ModelServing."""

    roles: list[Role] = []


class LeaderWorkerTemplate(Read, frozen=True):
    """Of a LeaderWorkerSet: a replica is a leader and its workers."""

    size: int = 1
    leader_template: PodTemplate | None = None
    worker_template: PodTemplate = PodTemplate()


class Selector(Read, frozen=True):
    """A label selector."""

    match_labels: dict[str, str] = {}
    match_expressions: list[dict[str, Any]] = []


class RollingUpdate(Read, frozen=True):
    """How many at once: numbers, or shares as "25%"."""

    max_unavailable: str | int | None = None
    max_surge: str | int | None = None
    partition: int = 0
    """Of a StatefulSet: replicas below it stay as they are."""


class Strategy(Read, frozen=True):
    """How pods are replaced when the template changes; "": the kind's own way."""

    type: str = ""
    rolling_update: RollingUpdate | None = None


class WorkloadSpec(Read, frozen=True):
    """Of anything with replicas."""

    replicas: int | None = None
    paused: bool = False
    strategy: Any = None
    update_strategy: Any = None
    """`Strategy` of a Deployment and of a StatefulSet; other kinds may have something else there."""
    selector: Selector = Selector()
    template: Template = Template()
    leader_worker_template: LeaderWorkerTemplate | None = None


class WorkloadStatus(Read, frozen=True):
    """Of anything with replicas."""

    replicas: int = 0
    ready_replicas: int = 0
    updated_replicas: int = 0
    observed_generation: int = 0
    conditions: list[Condition] = []


class Workload(Read, frozen=True):
    """A Deployment, a StatefulSet, or another object with /scale."""

    kind: str = ""
    """In lists of custom resources only."""
    metadata: WorkloadMetadata = WorkloadMetadata()
    spec: WorkloadSpec = WorkloadSpec()
    status: WorkloadStatus = WorkloadStatus()


class NodeSpec(Read, frozen=True):
    """A node's specification."""

    unschedulable: bool = False
    taints: list[dict[str, Any]] = []


class NodeStatus(Read, frozen=True):
    """A node's status."""

    allocatable: dict[str, str | int | float] = {}
    conditions: list[Condition] = []


class Node(Read, frozen=True):
    """A node."""

    metadata: Metadata = Metadata()
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class Reference(Read, frozen=True):
    """A reference to a workload."""

    kind: str = ""
    name: str = ""
    api_version: str = ""


class ScalerSpec(Read, frozen=True):
    """What an autoscaler scales."""

    scale_target_ref: Reference = Reference()
    min_replicas: int | None = None
    max_replicas: int | None = None
    """Of an HPA."""
    min_replica_count: int | None = None
    max_replica_count: int | None = None
    """Of a ScaledObject."""


class Scaler(Read, frozen=True):
    """A HorizontalPodAutoscaler, or KEDA's ScaledObject."""

    metadata: Metadata = Metadata()
    spec: ScalerSpec = ScalerSpec()


class ScaleSpec(Read, frozen=True):
    """Replicas asked for."""

    replicas: int = 0


class Scale(Read, frozen=True):
    """The subresource /scale."""

    metadata: Metadata = Metadata()
    spec: ScaleSpec = ScaleSpec()


class QuotaStatus(Read, frozen=True):
    """What a namespace may take, and takes."""

    hard: dict[str, str | int | float] = {}
    used: dict[str, str | int | float] = {}


class Quota(Read, frozen=True):
    """A ResourceQuota."""

    metadata: Metadata = Metadata()
    status: QuotaStatus = QuotaStatus()
