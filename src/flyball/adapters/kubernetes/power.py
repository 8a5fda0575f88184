"""Nodes and governed pods with the bounds of what they draw, from what was listed; no request of its own.

Bounds must hold: where a card is not known, or is shared in parts, the most that it could be counts, and a
node that is not ready draws as well.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from flyball.adapters.kubernetes.engine import cards_in, counts, whole
from flyball.adapters.kubernetes.governed import Cluster, Governed, PodState
from flyball.adapters.kubernetes.nodes import PRODUCTS, SHARED, CardType
from flyball.adapters.kubernetes.objects import Node, Pod
from flyball.physics.power import busy_of, power_of
from flyball.profiles.library import IDLE_SHARE
from flyball.spec.accelerator import PowerCurve
from flyball.spec.card import Card
from flyball.spec.power import DeviceProfile, PlacedPod, PodPhase, PowerNode
from flyball.spec.snapshot import Observation
from flyball.units import Watts
from flyball.wire.errors import WireError

RACK = "topology.kubernetes.io/rack"
MACHINES = ("nvidia.com/gpu.machine", "node.kubernetes.io/instance-type")
"""Labels of which a DevicePowerProfile may name the value: then it is of the host without its cards."""
COUNT = "nvidia.com/gpu.count"
PARTS = 7
"""A card is cut into so many parts at most; a slice 2g takes two of them."""
_SLICE = re.compile(r"-MIG-(\d+)g\.")
Place = tuple[str, str]
"""Namespace and name of a pod."""


class HostDraw(msgspec.Struct, frozen=True):
    """Watts of hosts without their cards, where nothing better is known: as of DGX A100 and H100."""

    idle: Watts = 100.0
    most: Watts = 500.0
    idle_per_card: float = 0.25
    most_per_card: float = 0.9
    """Shares of the TDP of its cards: CPU, fans, switches and losses grow with them."""
    idle_per_cpu: Watts = 1.0
    most_per_cpu: Watts = 6.0
    """Of one hardware thread; what is more counts, this or the share of the cards."""
    unseen: float = 0.6
    """Of the most, what sensors of the CPU do not see."""


class Hardware(msgspec.Struct, frozen=True):
    """What is known of what devices draw."""

    card_type: CardType
    cards: Mapping[str, Card]
    """By type."""
    profiles: Sequence[DeviceProfile] = ()
    host: HostDraw = HostDraw()
    racks: Mapping[str, str] = {}
    """The rack of nodes that no label tells it of."""
    rack_label: str = RACK


def power_nodes(
    nodes: Iterable[Node], pods: Iterable[Pod], hardware: Hardware, everywhere: bool = True
) -> tuple[dict[str, PowerNode], tuple[str, ...]]:
    """The nodes by name, and what is doubtful in a sentence each.

    `pods`: all that are alive, of all namespaces; not `everywhere`: of some only, and any card may be used.
    """
    used: dict[str, int] = defaultdict(int)
    for pod in pods:
        if pod.spec.node_name:
            used[pod.spec.node_name] += cards_in(pod)
    found, unknown = {}, []
    for node in sorted(nodes, key=lambda n: n.metadata.name):
        name, labels = node.metadata.name, node.metadata.labels
        count, parted = _count(node)
        type_ = _type(labels, hardware) if count else ""
        idle, most = _card_watts(labels, type_, hardware) if count else (0.0, 0.0)
        if count and not most:
            unknown.append(name)
            most = max((card.tdp for card in hardware.cards.values()), default=0.0)
        if name in hardware.racks and not labels.get(hardware.rack_label):
            labels = {**labels, hardware.rack_label: hardware.racks[name]}
        host_idle, host_most = _host(node, count * most, hardware)
        found[name] = PowerNode(
            name,
            labels,
            count,
            None if parted or not everywhere else min(used[name], count),
            host_idle,
            host_most,
            hardware.host.unseen * host_most,
            idle,
            most,
            type_,
        )
    notes: tuple[str, ...] = ()
    if unknown:
        notes = (
            f"{len(unknown)} nodes have cards of which it is not known what they draw, such as {unknown[0]}: "
            "the most of any card counts. Describe them in a DevicePowerProfile",
        )
    return found, notes


def _count(node: Node) -> tuple[int, bool]:
    """Whole cards of a node, and whether pods may have parts of them."""
    labels, amounts = node.metadata.labels, node.status.allocatable
    said = max(counts(amounts).values(), default=0)
    product = _product(node.metadata.labels)
    slices = any(name.startswith("nvidia.com/mig-") for name in amounts)
    if match := _SLICE.search(product):  # each slice counts as a card there, in its label as well
        return math.ceil(said / max(PARTS // int(match[1]), 1)), True
    if slices or product.endswith(SHARED):
        return whole(labels.get(COUNT, "0")) or said, True
    return said, False


def _type(labels: Mapping[str, str], hardware: Hardware) -> str:
    """Of the cards of a node; "": it is not known."""
    product = _whole_card(labels)
    try:
        return hardware.card_type(product) if product else ""
    except WireError:
        return ""


def _whole_card(labels: Mapping[str, str]) -> str:
    """The product of which slices and shares are parts."""
    return str(_SLICE.split(_product(labels))[0]).removesuffix(SHARED)


def _card_watts(labels: Mapping[str, str], type_: str, hardware: Hardware) -> tuple[Watts, Watts]:
    """Idle and most of one card; 0 where it is not known."""
    product = _whole_card(labels)
    own = [p for p in hardware.profiles if p.product in (product, type_) and p.product]
    if own:
        most = max(max(p.tdp, *(d.watts for d in p.table)) if p.table else p.tdp for p in own)
        # Those of models have the same card below them, and its idle draw.
        return min(p.idle for p in own), most
    card = hardware.cards.get(type_)
    return (0.0, 0.0) if card is None else (card.idle or IDLE_SHARE * card.tdp, card.tdp)


def _host(node: Node, cards: Watts, hardware: Hardware) -> tuple[Watts, Watts]:
    labels, draw = node.metadata.labels, hardware.host
    machines = {labels[label] for label in MACHINES if labels.get(label)}
    for profile in hardware.profiles:
        if profile.product in machines:
            return profile.idle, profile.tdp
    cpus = whole(node.status.allocatable.get("cpu", 0))
    idle = draw.idle + max(draw.idle_per_card * cards, draw.idle_per_cpu * cpus)
    return idle, draw.most + max(draw.most_per_card * cards, draw.most_per_cpu * cpus)


def _product(labels: Mapping[str, str]) -> str:
    return next((labels[label] for label in PRODUCTS if labels.get(label)), "")


# ---- pods --------------------------------------------------------------------------------------


def placed_pods(
    cluster: Cluster, utilization: Mapping[str, float] | None = None, profiles: Sequence[DeviceProfile] = ()
) -> tuple[PlacedPod, ...]:
    """The governed pods with their affine draw, in order of server and name.

    `utilization`: share of the batch in use by server. Where it is not known, running pods have no load, so
    that what they draw stays among the ungoverned, and those that go or are too many have the most.
    """
    curves = _Curves(cluster, profiles)
    found = []
    for one in cluster.governed:
        curve, units = curves.of(one)
        busy = busy_of(curve)
        used = (utilization or {}).get(one.server)
        loads: dict[float, Watts] = {}
        for pod, phase in phases(one.pods, one.replicas):
            extra = phase in ("surge", "terminating")
            share = used if used is not None else float(extra)
            if share not in loads:
                loads[share] = power_of(curve, share)
            # Its requests go to others that compute anyway: what goes with it is not its idle draw only.
            idle = min(loads[share], busy)
            found.append(
                PlacedPod(
                    f"{one.namespace}/{pod.name}",
                    one.server,
                    pod.node,
                    phase,
                    one.accelerator,
                    units * idle,
                    units * (loads[share] - idle) if phase != "pending" else 0.0,
                    units * max(curve.full, curve.mid_power, curve.idle),
                )
            )
    return tuple(sorted(found, key=lambda p: (p.server, p.name)))


def with_empty_cards(
    placed: Iterable[PlacedPod], pods: Iterable[Pod], nodes: Mapping[str, PowerNode]
) -> tuple[PlacedPod, ...]:
    """The same with what their cards draw when they are gone."""
    cards = {f"{pod.metadata.namespace}/{pod.metadata.name}": cards_in(pod) for pod in pods}
    return tuple(
        replace(one, empty=min(cards.get(one.name, 0) * nodes[one.node].card_idle, one.idle + one.load))
        if one.node in nodes
        else one
        for one in placed
    )


def batch_use(cluster: Cluster, observations: Iterable[Observation]) -> dict[str, float]:
    """Share of the batch in use by server, where it is measured: requests that run over places for them."""
    places: dict[str, int] = defaultdict(int)
    for one in cluster.governed:
        places[one.server] += one.max_batch_size * sum(pod.state == "ready" for pod in one.pods)
    return {
        o.server: o.running.value / places[o.server]
        for o in observations
        if o.running is not None and places.get(o.server, 0) > 0
    }


def pod_places(pods: Iterable[Pod]) -> tuple[dict[Place, str], frozenset[Place]]:
    """The node of each pod, and those that ask for cards: for `adapters.prometheus`' `Places`."""
    there: dict[Place, str] = {}
    with_cards = set()
    for pod in pods:
        key = pod.metadata.namespace, pod.metadata.name
        there[key] = pod.spec.node_name
        if cards_in(pod):
            with_cards.add(key)
    return there, frozenset(with_cards)


def phases(pods: Sequence[PodState], replicas: int) -> list[tuple[PodState, PodPhase]]:
    """Ready ones serve; of those that are there beside what is asked for the youngest are surge."""
    names: dict[str, PodPhase] = {"ready": "running", "pending": "pending", "draining": "terminating"}
    here = [pod for pod in pods if pod.state != "draining"]
    # Of a rollout those go that are ready the longest; which it is does not change the sum.
    rising = sorted(here, key=lambda p: (p.state != "ready", -p.ready_for, p.name))
    surge = {pod.name for pod in rising[max(replicas, 0) :]}
    return [(pod, "surge" if pod.name in surge else names[pod.state]) for pod in pods]


class _Curves:
    """What a replica draws: by a profile of its model, else by the curve of its accelerator."""

    def __init__(self, cluster: Cluster, profiles: Sequence[DeviceProfile]) -> None:
        fleet = cluster.fleet
        self._accelerators = {a.name: a for a in reversed(fleet.accelerators)}
        self._units = {(p.model, p.accelerator): max(p.accelerator_count, 1) for p in fleet.profiles}
        self._models = {s.name: s.model for s in fleet.servers}
        self._own = {(p.product, p.model, p.tensor_parallel): p for p in reversed(profiles) if p.model}

    def of(self, one: Governed) -> tuple[PowerCurve, int]:
        """The curve of a unit, and units of a replica; of an accelerator that is not known nothing."""
        accelerator, model = self._accelerators.get(one.accelerator), self._models.get(one.server, "")
        if accelerator is None:
            return PowerCurve(), 1
        units = self._units.get((model, one.accelerator), 1)
        cards = units * accelerator.multiplicity
        own = self._own.get((accelerator.type, model, cards)) or self._own.get((accelerator.type, model, 0))
        if own is None:
            return accelerator.power or PowerCurve(), units
        most = max((d.watts for d in own.table), default=own.tdp)
        straight = (own.resident_idle + most) / 2
        return PowerCurve(own.resident_idle, most, straight, 0.5), cards
