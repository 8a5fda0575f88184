"""The parts of Kubernetes' objects that the loop reads; all else in them is passed over."""

from __future__ import annotations

from typing import Any

import msgspec


class Read(msgspec.Struct, frozen=True, rename="camel"):
    """What is read: absent fields have defaults, unknown ones are passed over."""


class Owner(Read, frozen=True):
    """An owner reference."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class ManagedFields(Read, frozen=True):
    """Who wrote which fields."""

    manager: str = ""
    operation: str = ""
    subresource: str = ""
    fields: dict[str, Any] = msgspec.field(default={}, name="fieldsV1")


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
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    managed_fields: list[ManagedFields] = []


class Resources(Read, frozen=True):
    """What a container asks for."""

    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class Container(Read, frozen=True):
    """A container."""

    name: str = ""
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    resources: Resources = Resources()
    lifecycle: dict[str, Any] = {}


class PodSpec(Read, frozen=True):
    """A pod's specification."""

    containers: list[Container] = []
    node_name: str = ""
    node_selector: dict[str, str] = {}
    affinity: dict[str, Any] = {}
    termination_grace_period_seconds: int = 30


class Condition(Read, frozen=True):
    """A condition."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""


class PodStatus(Read, frozen=True):
    """A pod's status."""

    phase: str = ""
    conditions: list[Condition] = []
    start_time: str | None = None


class Pod(Read, frozen=True):
    """A pod."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Template(Read, frozen=True):
    """A pod template."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()


class Selector(Read, frozen=True):
    """A label selector."""

    match_labels: dict[str, str] = {}
    match_expressions: list[dict[str, Any]] = []


class WorkloadSpec(Read, frozen=True):
    """Of anything with replicas."""

    replicas: int | None = None
    selector: Selector = Selector()
    template: Template = Template()


class WorkloadStatus(Read, frozen=True):
    """Of anything with replicas."""

    replicas: int = 0
    ready_replicas: int = 0
    observed_generation: int = 0


class Workload(Read, frozen=True):
    """A Deployment, a StatefulSet, or another object with /scale."""

    metadata: Metadata = Metadata()
    spec: WorkloadSpec = WorkloadSpec()
    status: WorkloadStatus = WorkloadStatus()


class NodeSpec(Read, frozen=True):
    """A node's specification."""

    unschedulable: bool = False
    taints: list[dict[str, Any]] = []


class NodeStatus(Read, frozen=True):
    """A node's status."""

    allocatable: dict[str, str | int] = {}
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
