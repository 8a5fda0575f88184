"""ResourceQuotas: how far replicas may grow before the API server refuses their pods."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.engine import whole
from flyball.adapters.kubernetes.errors import ClusterError
from flyball.adapters.kubernetes.governed import Governed, Kind
from flyball.adapters.kubernetes.listing import QUOTAS
from flyball.adapters.kubernetes.objects import Quota, Read, Workload
from flyball.adapters.kubernetes.targets import Target

PREFIX = "requests."
"""Of cards in a quota: requests.nvidia.com/gpu. Extended resources can be bounded in no other way."""


class _Spec(Read, frozen=True):
    scopes: list[str] = msgspec.field(default_factory=list)
    scope_selector: dict[str, object] | None = None


class _Quota(Quota, frozen=True):
    spec: _Spec = _Spec()


class _Left:
    """What one namespace's quotas leave, and what a replica of its workloads takes."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self.free = _free(api, namespace)
        self._cards: dict[Kind, dict[str, dict[str, int]]] = {}

    def needs(self, workload: Governed) -> dict[str, int]:
        """Cards of a replica by resource, of those that a quota bounds. ClusterError."""
        if not self.free:
            return {}
        kind = workload.kind
        if kind not in self._cards:
            all_of = self._api.items(kind.path(self._namespace), Workload)
            self._cards[kind] = {one.metadata.name: _cards(one) for one in all_of}
        cards = self._cards[kind].get(workload.name, {})
        return {resource: count for resource, count in cards.items() if resource in self.free}

    def take(self, resource: str, cards: int) -> None:
        """What one workload takes, the next does not find."""
        left, quota = self.free[resource]
        self.free[resource] = max(0, left - cards), quota


def cut_to_quotas(targets: Sequence[Target], api: Api) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """Increases cut to what quotas of cards leave, in the order given; and in sentences which and why.

    A quota that cannot be read, or that holds for some pods only, does not bind here.
    """
    said: list[str] = []
    spaces: dict[str, _Left | None] = {}
    kept: list[Target] = []
    for target in targets:
        workload = target.workload
        namespace = workload.namespace
        if target.replicas > workload.replicas:
            try:
                if namespace not in spaces:
                    spaces[namespace] = _Left(api, namespace)
                left = spaces[namespace]
                if left is not None:
                    target = _cut(target, left, said)
            except ClusterError as error:
                spaces[namespace] = None
                said.append(
                    f"namespace {namespace}: its quotas are passed over, they cannot be read: {error}"
                )
        kept.append(target)
    return tuple(kept), tuple(said)


def _cut(target: Target, left: _Left, said: list[str]) -> Target:
    workload, allowed, why = target.workload, target.replicas, ""
    there = sum(pod.state != "draining" for pod in workload.pods)
    needs = left.needs(workload)
    for resource, each in needs.items():
        cards, quota = left.free[resource]
        most = max(workload.replicas, there + cards // each)
        if most < allowed:
            allowed = most
            why = f"{workload.namespace}/{quota} leaves {cards} {resource}, a replica takes {each}"
    for resource, each in needs.items():
        left.take(resource, max(0, allowed - there) * each)
    if why:
        wanted = f"{target.replicas} replicas would be right, it gets {allowed}"
        said.append(f"{target.name}: {wanted}: ResourceQuota {why}")
    return replace(target, replicas=allowed)


def _free(api: Api, namespace: str) -> dict[str, tuple[int, str]]:
    """By resource: how many are left, and which quota says so."""
    free: dict[str, tuple[int, str]] = {}
    for quota in api.items(QUOTAS.path(namespace), _Quota):
        if quota.spec.scopes or quota.spec.scope_selector:
            continue
        for key, hard in quota.status.hard.items():
            resource = key.removeprefix(PREFIX)
            if key == resource or "/" not in resource:  # CPUs and memory are not for us to count
                continue
            left = max(0, whole(hard) - whole(quota.status.used.get(key, 0)))
            if resource not in free or left < free[resource][0]:
                free[resource] = left, quota.metadata.name
    return free


def _cards(workload: Workload) -> dict[str, int]:
    """By resource, what a pod asks for."""
    needs: dict[str, int] = {}
    for container in workload.spec.template.spec.containers:
        for resource, amount in (container.resources.requests | container.resources.limits).items():
            if "/" in resource and whole(amount) > 0:
                needs[resource] = needs.get(resource, 0) + whole(amount)
    return needs
