"""Workloads as policies see them: governed servers, and others that a policy selects, with their pods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.engine import cards_in
from flyball.adapters.kubernetes.errors import ApiError, NotFound
from flyball.adapters.kubernetes.governed import DEPLOYMENT, STATEFUL_SET, Cluster, Governed, Kind
from flyball.adapters.kubernetes.labels import MANAGED
from flyball.adapters.kubernetes.listing import (
    AUTOSCALERS,
    FORBIDDEN,
    SCALED_OBJECTS,
    Listed,
    Listing,
)
from flyball.adapters.kubernetes.objects import (
    Condition,
    Metadata,
    Pod,
    PodTemplate,
    Read,
    Scaler,
    Selector,
    Template,
    Workload,
    WorkloadMetadata,
    WorkloadSpec,
)
from flyball.adapters.kubernetes.pods import pods_of, state_of
from flyball.adapters.kubernetes.power import phases
from flyball.adapters.kubernetes.power_original import ORIGINAL, PAUSE, Unreadable, note_of
from flyball.power.budget import selects
from flyball.spec.power import PlacedPod, Policy, PowerNode, PowerReading, PowerWorkload, WorkloadRef
from flyball.units import Seconds, Watts

JOB = Kind("batch", "v1", "jobs", "Job")
OTHERS = (DEPLOYMENT, STATEFUL_SET, JOB)
UNMANAGED = f"{MANAGED}!=true"
KEDA_MOST = 100
"""Replicas at most of a ScaledObject that does not say it."""
FOLLOWING = ("keda", "gauge", "freeze")
"""Modes in which who scales a server asks us what it is to have; what is frozen is left alone in any case."""
Key: TypeAlias = tuple[str, str, str]
"""Kind, namespace and name."""


class Scaling(msgspec.Struct, frozen=True):
    """An HPA or a ScaledObject, and the bounds that its user gave it."""

    ref: WorkloadRef
    least: int
    most: int
    held: bool = False
    """Whether its maximum is ours now."""


def scalings(listing: Listing) -> dict[Key, list[Scaling]]:
    """Who scales which workload; the HPA that KEDA makes is KEDA's own affair."""
    found: dict[Key, list[Scaling]] = defaultdict(list)
    for one in listing.scaled_objects:
        ref = _ref(SCALED_OBJECTS, one.metadata)
        most = KEDA_MOST if one.spec.max_replica_count is None else one.spec.max_replica_count
        found[_target(one)].append(_scaling(ref, one, one.spec.min_replica_count or 0, most))
    for one in listing.autoscalers:
        if any(owner.kind == "ScaledObject" for owner in one.metadata.owner_references):
            continue
        ref = _ref(AUTOSCALERS, one.metadata)
        least = 1 if one.spec.min_replicas is None else one.spec.min_replicas
        found[_target(one)].append(_scaling(ref, one, least, one.spec.max_replicas or 1))
    return found


def _scaling(ref: WorkloadRef, one: Scaler, least: int, most: int) -> Scaling:
    before = _before(one.metadata.annotations, most)
    return Scaling(ref, least, most) if before is None else Scaling(ref, least, before, True)


def _before(annotations: Mapping[str, str], now: int) -> int | None:
    """What its user allows where a cap of ours stands; None: none does, or somebody wrote over it."""
    said = annotations.get(ORIGINAL, "")
    if not said.isdecimal():
        return None
    try:
        note = note_of(annotations)
    except Unreadable:  # whoever writes caps says so
        note = None
    edited = note is not None and note.knob != PAUSE and note.wrote != now
    return None if edited else int(said)


def _target(one: Scaler) -> Key:
    to = one.spec.scale_target_ref
    return to.kind or DEPLOYMENT.name, one.metadata.namespace, to.name


def _ref(kind: Kind, metadata: Metadata) -> WorkloadRef:
    return WorkloadRef(kind.name, metadata.name, f"{kind.group}/{kind.version}".lstrip("/"))


# ---- governed ----------------------------------------------------------------------------------


def governed_workloads(
    cluster: Cluster, listing: Listing, scaling: Mapping[Key, Sequence[Scaling]]
) -> tuple[PowerWorkload, ...]:
    """The governed servers by name; one on several accelerators is one of them, with all its workloads."""
    templates = {
        (one.kind.name, one.workload.metadata.namespace, one.workload.metadata.name): template_of(
            one.workload
        )
        for one in listing.workloads
    }
    least = {server.name: server.min_replicas for server in cluster.fleet.servers}
    made = []
    for name, those in sorted(cluster.by_server().items()):
        labels: dict[str, str] = {}
        refs: list[WorkloadRef] = []
        bounds = [_bounds(one, scaling) for one in those]
        for one in those:
            key = one.kind.name, one.namespace, one.name
            labels = {**(templates[key].metadata.labels if key in templates else {}), **labels}
            refs += (
                WorkloadRef(one.kind.name, one.name, f"{one.kind.group}/{one.kind.version}"),
                *(each.ref for each in scaling.get(key, ())),
            )
        mosts = [most for _, most in bounds if most is not None]
        made.append(
            PowerWorkload(
                name=name,
                namespace=those[0].namespace,
                labels=labels,
                scaled_by=tuple(refs),
                replicas=sum(one.replicas for one in those),
                # Of several workloads one may be empty while another takes over.
                least=max(least.get(name, 0), *(low for low, _ in bounds))
                if len(those) == 1
                else least.get(name, 0),
                most=sum(mosts) if len(mosts) == len(bounds) else None,
                wanted=_wanted_by_others(those, scaling),
                batch=_batch(those),
            )
        )
    return tuple(made)


def _batch(those: Sequence[Governed]) -> int:
    """Of its engines, where a rollout may change it; 0: not of those on several accelerators."""
    (one, *others) = those
    may = not others and one.rolling is not None and one.rolling.batch_flag and one.mode == "act"
    return one.max_batch_size if may else 0


def _wanted_by_others(those: Sequence[Governed], scaling: Mapping[Key, Sequence[Scaling]]) -> int | None:
    """Of a server that has not what the plan says, but what others do; None: the plan's word holds."""
    if all(one.mode in FOLLOWING or (one.mode == "act" and not one.owner) for one in those):
        return None
    keys = ((one.kind.name, one.namespace, one.name) for one in those)
    each = zip(keys, those, strict=True)
    return sum(_wanted(scaling.get(key, ()), one.annotations, one.replicas) for key, one in each)


def _wanted(scaling: Sequence[Scaling], annotations: Mapping[str, str], replicas: int) -> int:
    """Replicas that it would have without us."""
    if any(each.held for each in scaling):
        return min(each.most for each in scaling)  # what it would have is hidden behind our maximum
    before = _before(annotations, replicas)
    return replicas if before is None else before


def _bounds(one: Governed, scaling: Mapping[Key, Sequence[Scaling]]) -> tuple[int, int | None]:
    """The user's: its annotations and what scales it, the narrower of both."""
    of = scaling.get((one.kind.name, one.namespace, one.name), ())
    mosts = [each.most for each in of] + ([one.most] if one.most is not None else [])
    most = min(mosts, default=None)
    least = max([one.least, *(each.least for each in of)])
    return (least if most is None else min(least, most)), most


def template_of(workload: Workload) -> PodTemplate:
    """Of the pod that stands for a replica."""
    spec = workload.spec
    if spec.leader_worker_template is not None:
        return spec.leader_worker_template.leader_template or spec.leader_worker_template.worker_template
    return spec.template.roles[0].entry_template if spec.template.roles else spec.template


def longest_grace(workloads: Iterable[Listed]) -> Seconds:
    """Seconds that a pod of them may take to end."""
    graces = (template_of(one.workload).spec.termination_grace_period_seconds for one in workloads)
    return float(max(graces, default=0))


# ---- others ------------------------------------------------------------------------------------


class _JobSpec(Read, frozen=True):
    parallelism: int = 1
    suspend: bool = False
    selector: Selector = Selector()
    template: PodTemplate = PodTemplate()


class _JobStatus(Read, frozen=True):
    conditions: tuple[Condition, ...] | None = None


class _Job(Read, frozen=True):
    metadata: WorkloadMetadata = WorkloadMetadata()
    spec: _JobSpec = _JobSpec()
    status: _JobStatus = _JobStatus()

    @property
    def ended(self) -> bool:
        done = self.status.conditions or ()
        return any(c.type in ("Complete", "Failed") and c.status == "True" for c in done)

    @property
    def workload(self) -> Workload:
        spec = self.spec
        template = Template(metadata=spec.template.metadata, spec=spec.template.spec)
        replicas = 0 if spec.suspend else spec.parallelism
        made = WorkloadSpec(replicas=replicas, selector=spec.selector, template=template)
        return Workload(metadata=self.metadata, spec=made)


def selecting(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """Policies that name pods or workloads; the others are for what is governed alone."""
    return tuple(p for p in policies if p.labels or p.kinds or p.workloads)


def list_others(
    api: Api, policies: Iterable[Policy], kinds: Iterable[Kind], namespace: str, until: Seconds
) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
    """Workloads without our label where policies select some, and what may not be listed, in sentences.

    One request for each kind; `namespace`: only that one, "": all; `until`: as for `Api.items`. ClusterError.
    """
    there = {policy.namespace for policy in selecting(policies)}
    if namespace:
        there &= {namespace}
    if not there:
        return (), ()
    (where,) = there if len(there) == 1 else ("",)
    found: list[Listed] = []
    notes = []
    for kind in dict.fromkeys((*OTHERS, *kinds)):
        try:
            found += (
                Listed(kind, one)
                for one in _items(api, kind, where, until)
                if one.metadata.namespace in there
            )
        except NotFound:
            continue  # the loop's own list says so
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            place = f" in {where}" if where else ""
            notes.append(
                f"{kind.plural}.{kind.group} may not be listed{place}: those that policies select are not "
                "seen. Allow its service account to list them"
            )
    return tuple(found), tuple(notes)


def _items(api: Api, kind: Kind, where: str, until: Seconds) -> list[Workload]:
    path = kind.path(where)
    if kind == JOB:
        jobs = api.items(path, _Job, selector=UNMANAGED, cached=True, until=until)
        return [job.workload for job in jobs if not job.ended]
    return api.items(path, Workload, selector=UNMANAGED, cached=True, until=until)


class Others(msgspec.Struct, frozen=True):
    """What policies select and nobody here governs."""

    workloads: tuple[PowerWorkload, ...] = ()
    pods: tuple[PlacedPod, ...] = ()
    grace: Seconds = 0.0
    """The longest of their pods."""


def other_workloads(
    others: Iterable[Listed],
    listing: Listing,
    policies: Iterable[Policy],
    scaling: Mapping[Key, Sequence[Scaling]],
    nodes: Mapping[str, PowerNode],
    readings: Iterable[PowerReading],
) -> Others:
    """Those of `others` that a policy selects, by name. Those in `listing` are governed and left out."""
    asked = selecting(policies)
    known = {_key(one) for one in listing.workloads}
    chosen: list[Listed] = []
    made: list[PowerWorkload] = []
    for one in sorted(others, key=_key):
        if _key(one) in known:
            continue
        workload = _other(one, scaling.get(_key(one), ()))
        labels, refs = workload.labels, workload.scaled_by
        if any(selects(policy, workload.namespace, labels, refs) for policy in asked):
            chosen.append(one)
            made.append(workload)
    draws = _Draws(nodes, readings)
    pods, _ = pods_of(chosen, listing.pods)
    placed = [
        pod
        for i, workload in enumerate(made)
        for pod in _placed(workload, pods.get(i, ()), listing.at, draws)
    ]
    return Others(tuple(made), tuple(placed), longest_grace(chosen))


def _key(one: Listed) -> Key:
    return one.kind.name, one.workload.metadata.namespace, one.workload.metadata.name


def _other(one: Listed, scaling: Sequence[Scaling]) -> PowerWorkload:
    metadata, spec = one.workload.metadata, one.workload.spec
    replicas = 1 if spec.replicas is None else spec.replicas
    most = min((each.most for each in scaling), default=None)
    return PowerWorkload(
        name=f"{metadata.namespace}/{one.kind.name}/{metadata.name}",
        namespace=metadata.namespace,
        labels=template_of(one.workload).metadata.labels,
        scaled_by=(_ref(one.kind, metadata), *(each.ref for each in scaling)),
        replicas=replicas,
        least=max((each.least for each in scaling), default=0),
        most=most,
        wanted=_wanted(scaling, metadata.annotations, replicas),
        governed=False,
    )


def _placed(workload: PowerWorkload, pods: Sequence[Pod], at: float, draws: _Draws) -> list[PlacedPod]:
    cards = {pod.metadata.name: cards_in(pod) for pod in pods}
    found = []
    for state, phase in phases([state_of(pod, at) for pod in pods], workload.replicas):
        name = f"{workload.namespace}/{state.name}"
        idle, load, most = draws.of(name, state.node, cards[state.name])
        if phase == "pending":
            load = 0.0
        found.append(PlacedPod(name, workload.name, state.node, phase, "", idle, load, most))
    return sorted(found, key=lambda pod: pod.name)


class _Draws:
    """What pods of which no model is known draw: as measured, else by their share of the node's cards."""

    def __init__(self, nodes: Mapping[str, PowerNode], readings: Iterable[PowerReading]) -> None:
        self._nodes = nodes
        self._pods: dict[str, Watts] = {}
        self._cards: dict[str, dict[str, Watts]] = defaultdict(dict)
        for reading in readings:
            if reading.watts and reading.part == "pod":
                self._pods.setdefault(reading.device, reading.watts)
            elif reading.watts and reading.part == "card":
                self._cards[reading.node].setdefault(reading.device, reading.watts)

    def of(self, pod: str, where: str, cards: int) -> tuple[Watts, Watts, Watts]:
        """Idle, load and most of a pod."""
        node = self._nodes.get(where)
        if node is None:
            return 0.0, 0.0, 0.0
        idle, most = cards * node.card_idle, cards * node.card_most
        measured = self._pods.get(pod)
        if measured is None:
            measured = cards * self._card(node)
        return idle, max(measured - idle, 0.0), max(most, measured)

    def _card(self, node: PowerNode) -> Watts:
        """Of one card in use: the mean of the busiest that are measured; without any the most."""
        there = sorted(self._cards.get(node.name, {}).values(), reverse=True)
        used = node.cards if node.cards_used is None else node.cards_used
        busy = there[: max(used, 1)]
        return min(sum(busy) / len(busy), node.card_most) if len(there) >= node.cards > 0 else node.card_most
