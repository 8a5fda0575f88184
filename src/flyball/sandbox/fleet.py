"""The nodes of a sandbox: read from `kind: SandboxFleet`, made into the nodes that kwok plays."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import msgspec

from flyball.profiles.library import find_card
from flyball.spec.card import Card
from flyball.units import Watts
from flyball.wire import text
from flyball.wire.catalogue import check_head
from flyball.wire.errors import WireError, child
from flyball.wire.fields import Fields, parse_list, parse_text
from flyball.wire.quantities import parse_count, parse_number

KIND = "SandboxFleet"
RACK_LABEL = "topology.kubernetes.io/rack"
POWER = "sandbox.flyball.dev/watts"
"""Annotation of a node: what it draws at most."""
PLAYED = "kwok.x-k8s.io/node"
"""Annotation of the nodes that kwok plays."""
MAX_NODES = 10_000

_MAKERS: dict[str, tuple[str, str]] = {
    "NVIDIA": ("nvidia.com/gpu", "nvidia.com/gpu.product"),
    "AMD": ("amd.com/gpu", "amd.com/gpu.product-name"),
    "Intel": ("habana.ai/gaudi", "habana.ai/gaudi.product"),
}
"""By vendor: the resource that pods ask for, and the label that says which card it is."""
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|[KMGTP]i?)?")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?")
_DEVICE = re.compile(r"[0-9a-f]{4}")
"""A PCI device id, which the catalogue has among an AMD card's labels."""


class NodeGroup(msgspec.Struct, frozen=True):
    """Nodes that are alike."""

    card: Card
    name: str
    """Its nodes are called name-1, name-2 and so on."""
    count: int = 1
    cards: int = 8
    rack: str = ""
    watts: Watts = 0.0
    """0: not known."""
    cpu: str = "128"
    memory: str = "1Ti"


class Fleet(msgspec.Struct, frozen=True):
    """All nodes of a sandbox."""

    groups: tuple[NodeGroup, ...] = ()
    rack_label: str = RACK_LABEL


def read_fleet(path: Path) -> Fleet:
    """Read a file. Or WireError."""
    try:
        return fleet_from(path.read_bytes(), str(path))
    except OSError as error:
        raise WireError(str(path), f"cannot be read ({error.strerror})", mend="Name another file") from None


def shipped_fleet() -> Fleet:
    """The fleet of a sandbox for which none is named."""
    return fleet_from((resources.files("flyball.sandbox") / "fleet.yaml").read_bytes(), "fleet.yaml")


def fleet_from(data: bytes, where: str) -> Fleet:
    """Read a document of `kind: SandboxFleet`, YAML or JSON. Or WireError."""
    fields = Fields(text.decode(data, where), where, "", ("kind", "apiVersion", "rackLabel", "nodes"))
    check_head(fields, KIND)
    items = fields.read("nodes", parse_list)
    groups: list[NodeGroup] = []
    for index, item in enumerate(items):
        group = _group(item, where, child("nodes", index), {one.name for one in groups})
        groups.append(group)
    count = sum(group.count for group in groups)
    if count > MAX_NODES:
        raise WireError(
            where, f"{count:,} nodes are more than {MAX_NODES:,}", path="nodes", mend="Ask for fewer"
        )
    return Fleet(tuple(groups), fields.read("rackLabel", parse_text, RACK_LABEL))


def _group(value: object, where: str, path: str, taken: set[str]) -> NodeGroup:
    known = ("accelerator", "name", "count", "cards", "rack", "watts", "cpu", "memory")
    fields = Fields(value, where, path, known)
    card = find_card(fields.read("accelerator", parse_text), where=f"{where}: {child(path, 'accelerator')}")
    if card.vendor not in _MAKERS:
        mend = f"Known vendors: {', '.join(_MAKERS)}"
        raise WireError(where, f"no device plugin is known for {card.vendor}", path=path, mend=mend)
    name = fields.read("name", _matching(_NAME, "small letters, digits and dashes"), "") or _free(card, taken)
    if name in taken:
        raise WireError(where, f"{name} is there already", path=child(path, "name"), mend="Choose another")
    return NodeGroup(
        card=card,
        name=name,
        count=fields.read("count", parse_count, 1, low=0, high=MAX_NODES),
        cards=fields.read("cards", parse_count, 8, low=0, high=1024),
        rack=fields.read("rack", _matching(_LABEL, "the value of a label, such as r1"), ""),
        watts=fields.read("watts", parse_number, 0.0, high=1e6, what="watts of one node"),
        cpu=fields.read("cpu", _quantity, "128"),
        memory=fields.read("memory", _quantity, "1Ti"),
    )


def _free(card: Card, taken: set[str]) -> str:
    """A name for a group: its card's, with a letter where that is taken."""
    name = re.sub(r"[^a-z0-9]+", "-", card.name.lower()).strip("-")
    return next(
        one
        for one in (name, *(f"{name}-{letter}" for letter in "bcdefghijklmnopqrstuvwxyz"), "")
        if one not in taken
    )


def _matching(pattern: re.Pattern[str], what: str) -> Callable[..., str]:
    def parse(value: object, where: str, path: str) -> str:
        given = parse_text(value, where, path)
        if not pattern.fullmatch(given):
            raise WireError(where, f"allowed is {what}", path=path, value=value)
        return given

    return parse


def _quantity(value: object, where: str, path: str) -> str:
    given = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(given, str) or not _QUANTITY.fullmatch(given):
        allowed = "allowed is a quantity as Kubernetes has them, such as 128 or 512Gi"
        raise WireError(where, allowed, path=path, value=value)
    return given


# ---- as Kubernetes has them --------------------------------------------------------------------


def nodes_of(fleet: Fleet) -> list[dict[str, object]]:
    """The nodes as objects of Kubernetes' API."""
    return [
        _node(group, f"{group.name}-{number}", fleet.rack_label)
        for group in fleet.groups
        for number in range(1, group.count + 1)
    ]


def resource_of(card: Card) -> str:
    """The extended resource by which pods ask for such cards."""
    return _MAKERS[card.vendor][0]


def _node(group: NodeGroup, name: str, rack_label: str) -> dict[str, object]:
    card = group.card
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "type": "kwok",
        **_card_labels(card, group.cards),
    }
    annotations = {PLAYED: "fake", "node.alpha.kubernetes.io/ttl": "0"}
    if group.rack:
        labels[rack_label] = group.rack
    if group.watts:
        annotations[POWER] = f"{group.watts:g}"
    has = {"cpu": group.cpu, "memory": group.memory, "pods": "110", resource_of(card): str(group.cards)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "status": {"capacity": has, "allocatable": has},
    }


def _card_labels(card: Card, count: int) -> dict[str, str]:
    """As the vendor's feature discovery or node labeller writes them."""
    product = _MAKERS[card.vendor][1]
    names = [label for label in card.labels if not _DEVICE.fullmatch(label)] or [card.name]
    labels = {product: names[0]}
    if card.vendor == "NVIDIA":
        labels |= {"nvidia.com/gpu.present": "true", "nvidia.com/gpu.count": str(count)}
        if card.memory_mib:
            labels["nvidia.com/gpu.memory"] = str(card.memory_mib)
    if card.vendor == "AMD":
        devices = [label for label in card.labels if _DEVICE.fullmatch(label)]
        labels |= {"amd.com/gpu.device-id": devices[0]} if devices else {}
    return labels
