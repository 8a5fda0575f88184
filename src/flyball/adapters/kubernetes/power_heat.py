"""Which pods of capped workloads go first: those that were chosen, then those on hot nodes. Pure.

A mark is the pod's own cost less a multiple of a step, so that its own cost can be read from it, and no note
of it lies on the pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from flyball.adapters.kubernetes.deletion_cost import DELETION_COST
from flyball.adapters.kubernetes.objects import Metadata, Read, RunningSpec
from flyball.adapters.kubernetes.pods import HASHES
from flyball.adapters.kubernetes.power_original import MANAGER
from flyball.spec.power import WorkloadRef
from flyball.spec.power_plan import WorkloadCap

STEP = 2**20
"""Between classes of heat; a cost of a user's own beyond half of it, either way, is left alone."""
CLASSES = 4
"""Of hot nodes: among more, two that change places now and then would have their pods written each time."""
KINDS = frozenset({"Deployment", "ReplicaSet", "Rollout"})


class _Annotations(Read, frozen=True):
    cost: dict[str, object] | None = msgspec.field(default=None, name=f"f:{DELETION_COST}")


class _OfMetadata(Read, frozen=True):
    annotations: _Annotations = msgspec.field(default=_Annotations(), name="f:annotations")


class _Fields(Read, frozen=True):
    metadata: _OfMetadata = msgspec.field(default=_OfMetadata(), name="f:metadata")


class _By(Read, frozen=True):
    manager: str = ""
    fields: _Fields = msgspec.field(default=_Fields(), name="fieldsV1")


class _Metadata(Metadata, frozen=True):
    managed_fields: tuple[_By, ...] = ()


class HotPod(Read, frozen=True):
    """Of a pod, what deletion costs are made of."""

    metadata: _Metadata = _Metadata()
    spec: RunningSpec = RunningSpec()

    @property
    def is_ours(self) -> bool:
        """Whether its cost is a mark of ours."""
        return any(
            one.manager == MANAGER and one.fields.metadata.annotations.cost is not None
            for one in self.metadata.managed_fields
        )

    @property
    def cost(self) -> int | None:
        """As it stands there; None: none, or none that can be read."""
        text = self.metadata.annotations.get(DELETION_COST, "")
        return int(text) if text.lstrip("+-").isdecimal() else None


class Mark(msgspec.Struct, frozen=True):
    """A pod whose cost is to be another."""

    pod: HotPod
    cost: int | None
    """None: none, as it was."""
    is_ours: bool
    """Whether it is a mark; else its user's own."""


def classes(hot: Sequence[str]) -> dict[str, int]:
    """Of hot nodes, the hottest first: 1 to CLASSES, by node; the hottest is the highest."""
    names = list(dict.fromkeys(hot))
    return {
        name: min(CLASSES, len(names)) - number * min(CLASSES, len(names)) // len(names)
        for number, name in enumerate(names)
    }


def own_cost(pod: HotPod) -> int | None:
    """What its cost is without us; None: none."""
    if pod.cost is None or not pod.is_ours:
        return pod.cost
    return (pod.cost + STEP // 2) % STEP - STEP // 2 or None


def chosen(caps: Iterable[tuple[int, WorkloadCap]]) -> dict[str, int]:
    """Classes of pods that are to go, by `namespace/name`; of caps, each with the replicas that there are."""
    found = {}
    for replicas, cap in caps:
        for number, pod in enumerate(cap.leave):
            found[pod] = CLASSES + (2 if number < replicas - cap.most else 1)
    return found


def marks(
    pods: Sequence[HotPod], capped: Sequence[str], hot: Sequence[str], first: Mapping[str, int] | None = None
) -> tuple[Mark, ...]:
    """What is to change. `capped`: uids of pods of capped workloads; all others get their own cost back.

    `first`: classes of pods that are to go before others, by `namespace/name`.
    """
    heat, ours, found = classes(hot), set(capped), []
    for pod in pods:
        if pod.metadata.deletion_timestamp:
            continue
        own = own_cost(pod)
        about = pod.metadata
        said = (first or {}).get(f"{about.namespace}/{about.name}", 0)
        level = max(heat.get(pod.spec.node_name, 0), said) if about.uid in ours else 0
        unreadable = pod.cost is None and DELETION_COST in pod.metadata.annotations
        if level and abs(own or 0) < STEP // 2 and not unreadable:
            wanted = (own or 0) - level * STEP
            if pod.cost != wanted or not pod.is_ours:
                found.append(Mark(pod, wanted, True))
        elif pod.is_ours:
            found.append(Mark(pod, own, False))
    return tuple(found)


def belongs(about: Metadata, workloads: Mapping[str, frozenset[str]]) -> bool:
    """Whether a ReplicaSet of one of these workloads has made a pod; names by kind."""
    labels = about.labels
    for owner in about.owner_references:
        if not owner.controller or owner.kind != "ReplicaSet":
            continue
        if owner.name in workloads.get("ReplicaSet", ()):
            return True
        made = (*workloads.get("Deployment", ()), *workloads.get("Rollout", ()))
        for label in HASHES:
            ending = f"-{labels.get(label, '')}"
            if len(ending) > 1 and owner.name.endswith(ending) and owner.name.removesuffix(ending) in made:
                return True
    return False


def makers(refs: Sequence[WorkloadRef]) -> dict[str, frozenset[str]]:
    """Of what scales a workload, what makes its pods by a ReplicaSet: names by kind."""
    return {
        kind: frozenset(r.name for r in refs if r.kind == kind)
        for kind in sorted({r.kind for r in refs} & KINDS)
    }
