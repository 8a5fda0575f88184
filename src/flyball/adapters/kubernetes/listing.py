"""All that is listed of a cluster in one cycle: so many requests, however many objects there are."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError, NotFound
from flyball.adapters.kubernetes.governed import DEPLOYMENT, STATEFUL_SET, Kind
from flyball.adapters.kubernetes.labels import SELECTOR
from flyball.adapters.kubernetes.objects import Metadata, Node, Pod, Quota, Read, Scaler, Workload
from flyball.units import Seconds

PODS = Kind("", "v1", "pods", "Pod")
NODES = Kind("", "v1", "nodes", "Node")
QUOTAS = Kind("", "v1", "resourcequotas", "ResourceQuota")
AUTOSCALERS = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
SCALED_OBJECTS = Kind("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject")
ALIVE = "status.phase!=Succeeded,status.phase!=Failed"
FORBIDDEN, UNREADABLE = 403, 200
PATIENCE: Seconds = 3.0
"""So long a list is asked for again: with the time for one request it is within the runner's 10 s."""

T = TypeVar("T")


class Scope(msgspec.Struct, frozen=True):
    """What is listed."""

    selector: str = SELECTOR
    namespace: str = ""
    """All namespaces where it is empty."""
    kinds: tuple[Kind, ...] = ()
    """Further kinds with /scale."""
    named: str = ""
    """Where it is a label: workloads that have it are listed, too."""
    targets: Callable[[], Iterable[tuple[Kind, str, str]]] = tuple
    """Further workloads, whatever their labels: kind, namespace and name."""


class Listed(msgspec.Struct, frozen=True):
    """A workload, and of which kind it is."""

    kind: Kind
    workload: Workload


class Listing(msgspec.Struct, frozen=True):
    """The objects of a cluster at one instant."""

    at: float
    """When, in Unix time."""
    workloads: tuple[Listed, ...] = ()
    pods: tuple[Pod, ...] = ()
    nodes: tuple[Node, ...] | None = None
    """None: they may not be listed."""
    autoscalers: tuple[Scaler, ...] = ()
    scaled_objects: tuple[Scaler, ...] = ()
    quotas: tuple[Quota, ...] = ()
    notes: tuple[str, ...] = ()
    everywhere: bool = True
    """Whether the pods are those of all namespaces."""


class _Port(Read, frozen=True):
    port: int = 0


class _ServiceSpec(Read, frozen=True):
    ports: list[_Port] = msgspec.field(default_factory=list)


class _Service(Read, frozen=True):
    metadata: Metadata = Metadata()
    spec: _ServiceSpec = _ServiceSpec()


def services(api: Api, name: str, port: int) -> tuple[str, ...]:
    """`name.namespace:port` of the services with such a port whose names hold a word. ClusterError."""
    found = (
        f"{one.metadata.name}.{one.metadata.namespace}:{port}"
        for one in api.items("/api/v1/services", _Service)
        if name in one.metadata.name and any(each.port == port for each in one.spec.ports)
    )
    return tuple(sorted(found))


def kind_of(text: str) -> Kind:
    """The kind that is written plural.group/version: modelservings.workload.serving.volcano.sh/v1alpha1.

    ValueError.
    """
    resource, _, version = text.strip().partition("/")
    plural, _, group = resource.partition(".")
    if not plural or not group or not version or "/" in version:
        raise ValueError(
            f'kind "{text}": allowed is plural.group/version, such as '
            "leaderworkersets.leaderworkerset.x-k8s.io/v1; `kubectl api-resources` lists them"
        )
    return Kind(group, version, plural, "")


def list_cluster(api: Api, at: float, scope: Scope | None = None) -> Listing:
    """List everything; `at` is Unix time. ClusterError where workloads or pods cannot be listed.

    What else may not be listed is a note.
    """
    return _Lister(api, scope or Scope()).run(at)


class _Lister:
    def __init__(self, api: Api, scope: Scope) -> None:
        self.api, self.scope = api, scope
        self.notes: list[str] = []
        self.until = time.monotonic() + PATIENCE
        self.everywhere = True

    def run(self, at: float) -> Listing:
        nodes = self._optional(NODES, Node, "capacity is not known from the nodes", namespace="")
        return Listing(
            at=at,
            workloads=tuple(self._workloads()),
            pods=self._pods(),
            nodes=nodes,
            autoscalers=self._optional(AUTOSCALERS, Scaler, "it is not seen what an HPA scales too") or (),
            scaled_objects=self._optional(SCALED_OBJECTS, Scaler, "it is not seen what KEDA scales too")
            or (),
            quotas=self._optional(QUOTAS, Quota, "quotas of cards are not seen") or (),
            notes=tuple(self.notes),
            everywhere=self.everywhere,
        )

    def _workloads(self) -> Iterable[Listed]:
        found: dict[str, Listed] = {}
        for selector in dict.fromkeys((self.scope.selector, self.scope.named or self.scope.selector)):
            for kind in (DEPLOYMENT, STATEFUL_SET):
                path = kind.path(self.scope.namespace)
                for one in self.api.items(path, Workload, selector=selector, until=self.until):
                    found.setdefault(one.metadata.uid or f"{path}/{one.metadata.name}", Listed(kind, one))
            for kind in self.scope.kinds:
                for one in self._further(kind, selector):
                    named = msgspec.structs.replace(kind, name=kind.name or one.kind or kind.plural)
                    found.setdefault(one.metadata.uid, Listed(named, one))
        for kind, namespace, names in self._targets():
            for one in self._further(kind, "", namespace):
                if one.metadata.name in names:
                    found.setdefault(one.metadata.uid, Listed(kind, one))
        return found.values()

    def _targets(self) -> Iterable[tuple[Kind, str, set[str]]]:
        """One list for each kind and namespace."""
        wanted: dict[tuple[Kind, str], set[str]] = defaultdict(set)
        for kind, namespace, name in self.scope.targets():
            if self.scope.namespace in ("", namespace):
                wanted[kind, namespace].add(name)
        return [(kind, namespace, names) for (kind, namespace), names in wanted.items()]

    def _further(self, kind: Kind, selector: str, namespace: str = "") -> list[Workload]:
        what = f"{kind.plural}.{kind.group}/{kind.version}"
        try:
            path = kind.path(namespace or self.scope.namespace)
            return self.api.items(path, Workload, selector=selector, until=self.until)
        except NotFound:
            self.notes.append(
                f"{what}: the cluster has no such kind; `kubectl api-resources` lists what it has"
            )
        except ApiError as error:
            if error.status not in (FORBIDDEN, UNREADABLE):
                raise
            self.notes.append(f"{what} is not governed: {error}")
        return []

    def _pods(self) -> tuple[Pod, ...]:
        """Of all namespaces where that is allowed, as others' pods take cards too."""
        if self.scope.namespace:
            consequence = f"cards that pods outside {self.scope.namespace} take are counted as free"
            everywhere = self._optional(PODS, Pod, consequence, namespace="", fields=ALIVE)
            if everywhere is not None:
                return everywhere
            self.everywhere = False
        path = PODS.path(self.scope.namespace)
        return tuple(self.api.items(path, Pod, fields=ALIVE, cached=True, until=self.until))

    def _optional(
        self, kind: Kind, decoded: type[T], consequence: str, namespace: str | None = None, fields: str = ""
    ) -> tuple[T, ...] | None:
        """All of a kind; none where the cluster does not have it, None with a note where it is forbidden."""
        where = self.scope.namespace if namespace is None else namespace
        try:
            path = kind.path(where)
            return tuple(self.api.items(path, decoded, fields=fields, cached=True, until=self.until))
        except NotFound:
            return ()
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            resource = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
            scope = f" in {where}" if where else " in all namespaces"
            mend = f"Allow its service account to list {resource}{scope}"
            self.notes.append(f"{resource} may not be listed{scope}: {consequence}. {mend}")
            return None
