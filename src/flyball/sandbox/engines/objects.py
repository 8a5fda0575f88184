"""The few fields of Kubernetes' objects that the engines look at, as lightkube lists them."""

from __future__ import annotations

import msgspec
from lightkube.core.resource import ApiInfo, GlobalResource, NamespacedResourceG, ResourceDef

_VERBS = ["global_list", "global_watch", "list", "watch"]


class Owner(msgspec.Struct, frozen=True):
    kind: str = ""
    name: str = ""
    controller: bool = False


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[Owner, ...] = ()
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: float | None = None
    resource_version: str | None = None

    @property
    def resourceVersion(self) -> str | None:  # noqa: N802 - a watch asks for it by the API's own name
        return self.resource_version


class Resources(msgspec.Struct, frozen=True):
    requests: dict[str, str | int] = {}
    limits: dict[str, str | int] = {}


class Container(msgspec.Struct, frozen=True):
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    resources: Resources = Resources()


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    containers: tuple[Container, ...] = ()
    node_name: str = ""
    termination_grace_period_seconds: float | None = None


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    type: str = ""
    status: str = ""
    last_transition_time: str | None = None


class Status(msgspec.Struct, frozen=True):
    phase: str = ""
    conditions: tuple[Condition, ...] = ()

    def condition(self, kind: str) -> Condition:
        """A condition; one without a status where there is none."""
        return next((c for c in self.conditions if c.type == kind), Condition(kind))


class Template(msgspec.Struct, frozen=True):
    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()


class WorkloadSpec(msgspec.Struct, frozen=True):
    template: Template = Template()


class PodObject(NamespacedResourceG, msgspec.Struct, frozen=True):
    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()
    status: Status = Status()
    _api_info = ApiInfo(ResourceDef("", "v1", "Pod"), "pods", _VERBS)


class NodeObject(GlobalResource, msgspec.Struct, frozen=True):
    metadata: Metadata = Metadata()
    status: Status = Status()
    _api_info = ApiInfo(ResourceDef("", "v1", "Node"), "nodes", ["list"])


class WorkloadObject(NamespacedResourceG, msgspec.Struct, frozen=True):
    """What Deployments and StatefulSets have in common."""

    metadata: Metadata = Metadata()
    spec: WorkloadSpec = WorkloadSpec()


class DeploymentObject(WorkloadObject, frozen=True):
    _api_info = ApiInfo(ResourceDef("apps", "v1", "Deployment"), "deployments", _VERBS)


class StatefulSetObject(WorkloadObject, frozen=True):
    _api_info = ApiInfo(ResourceDef("apps", "v1", "StatefulSet"), "statefulsets", _VERBS)
