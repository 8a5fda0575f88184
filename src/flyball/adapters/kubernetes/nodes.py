"""Nodes: which cards they have, what of these can be had, and which nodes a pod template may go to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from flyball.adapters.kubernetes.engine import cards_of, counts
from flyball.adapters.kubernetes.objects import Node, Pod, PodSpec
from flyball.wire.errors import WireError

PRODUCTS = (
    "flyball.dev/accelerator",
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
    "amd.com/gpu.device-id",
    "habana.ai/gaudi.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "gpu.nvidia.com/model",
)
"""Labels of nodes that say which card they have; the first is for people to write."""
SHARED = "-SHARED"
GONE = (
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
)
"""Taints of nodes that take no pods, whatever these tolerate."""
SHOWN = 3

CardType = Callable[[str], str]
"""The type of the card of a label's value, or WireError."""


class Cards(msgspec.Struct, frozen=True):
    """The cards of one node."""

    type: str
    resource: str
    count: int
    open: bool
    """Whether new pods may go there."""


class Pool:
    """The nodes of a cluster."""

    def __init__(self, nodes: Iterable[Node], card_type: CardType) -> None:
        self._nodes = tuple(nodes)
        self.notes: list[str] = []
        self.cards: dict[str, Cards] = {}
        """By node; nodes that are not ready have none."""
        self._matching: dict[str, frozenset[str]] = {}
        self._types: dict[tuple[str, frozenset[str] | None], tuple[str, ...]] = {}
        self._with: dict[tuple[str, str], set[int]] = defaultdict(set)
        self._read(card_type)

    def _read(self, card_type: CardType) -> None:
        known: dict[str, str] = {}
        wrong: dict[str, list[str]] = defaultdict(list)
        for number, node in enumerate(self._nodes):
            for item in node.metadata.labels.items():
                self._with[item].add(number)
            amounts = counts(node.status.allocatable)
            if not amounts or not _is_ready(node):
                continue
            label = _product(node)
            if label not in known:
                known[label] = _type(label, card_type, wrong)
            if not known[label]:
                wrong[_why(label, wrong)].append(node.metadata.name)
                continue
            resource, count = max(amounts.items(), key=lambda item: item[1])
            self.cards[node.metadata.name] = Cards(known[label], resource, count, _is_open(node))
        for why, names in sorted(wrong.items()):
            if names:
                self.notes.append(f"{_these(names)}: {why}")

    def types(self, resource: str = "", among: frozenset[str] | None = None) -> tuple[str, ...]:
        """Types of cards that there are, of all or some nodes, by name; with a resource only its."""
        key = resource, among
        if key not in self._types:
            found = {
                cards.type
                for name, cards in self.cards.items()
                if (not resource or cards.resource == resource) and (among is None or name in among)
            }
            self._types[key] = tuple(sorted(found))
        return self._types[key]

    def matching(self, template: PodSpec) -> frozenset[str] | None:
        """The nodes that a template's selector and required affinity allow; None: it asks for none."""
        terms = _terms(template.affinity)
        if not template.node_selector and not terms:
            return None
        key = msgspec.json.encode((sorted(template.node_selector.items()), terms)).decode()
        if key not in self._matching:
            found = set(range(len(self._nodes)))
            for item in template.node_selector.items():
                found &= self._with.get(item, set())
            if terms:
                found = {n for n in found if any(_matches(self._nodes[n], term) for term in terms)}
            self._matching[key] = frozenset(self._nodes[n].metadata.name for n in found)
        return self._matching[key]

    def products(self, template: PodSpec, key: str, resource: str) -> dict[str, tuple[str, int]]:
        """By type: the value of a label by which nodes are chosen, and the most cards that one of them has.

        Of nodes that the rest of the template allows; of several values the one with most cards counts.
        """
        rest = {name: value for name, value in template.node_selector.items() if name != key}
        allowed = self.matching(msgspec.structs.replace(template, node_selector=rest))
        there: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for node in self._nodes:
            cards, value = self.cards.get(node.metadata.name), node.metadata.labels.get(key)
            if cards is None or not value or not cards.open or cards.resource != resource:
                continue
            if allowed is not None and node.metadata.name not in allowed:
                continue
            if all(_tolerated(template, taint, resource) for taint in node.spec.taints):
                there[cards.type][value].append(cards.count)
        found = {}
        for type_, values in sorted(there.items()):
            best = min(values, key=lambda value: (-sum(values[value]), value))
            found[type_] = best, max(values[best])
        return found

    def capacity(self, pods: Iterable[Pod], governed: set[str]) -> dict[str, int]:
        """Cards by type that governed pods have or can have: what others take is not among them.

        Of nodes that take no new pods only what governed ones have there; `governed` are uids.
        """
        taken: dict[str, int] = defaultdict(int)
        ours: dict[str, int] = defaultdict(int)
        for pod in pods:
            cards = self.cards.get(pod.spec.node_name)
            if cards is None:
                continue
            count = _taken(pod, cards.resource)
            if count:
                (ours if pod.metadata.uid in governed else taken)[pod.spec.node_name] += count
        found: dict[str, int] = defaultdict(int)
        for name, cards in self.cards.items():
            free = cards.count - taken[name] if cards.open else min(ours[name], cards.count - taken[name])
            found[cards.type] += max(free, 0)
        return dict(sorted(found.items()))


def product_values(template: PodSpec) -> tuple[str, ...]:
    """Values of product labels that a template asks for."""
    found = [template.node_selector[label] for label in PRODUCTS if label in template.node_selector]
    for term in _terms(template.affinity):
        for one in _expressions(term):
            if one.get("key") in PRODUCTS and one.get("operator") == "In":
                found += [str(value) for value in one.get("values") or ()]
    return tuple(dict.fromkeys(found))


def _taken(pod: Pod, resource: str) -> int:
    return sum(cards_of(one.resources).get(resource, 0) for one in pod.spec.containers)


def _is_ready(node: Node) -> bool:
    ready = any(one.type == "Ready" and one.status == "True" for one in node.status.conditions)
    return ready and not any(taint.get("key") in GONE for taint in node.spec.taints)


def _tolerated(template: PodSpec, taint: Mapping[str, Any], resource: str) -> bool:
    # A taint by the name of a resource is tolerated for whoever asks for that, by an admission plugin.
    if taint.get("effect") not in ("NoSchedule", "NoExecute") or taint.get("key") == resource:
        return True
    return any(
        one.get("key") in (None, "", taint.get("key"))
        and one.get("effect") in (None, "", taint.get("effect"))
        and (one.get("operator") == "Exists" or (one.get("value") or "") == (taint.get("value") or ""))
        for one in template.tolerations
    )


def _is_open(node: Node) -> bool:
    return not node.spec.unschedulable


def _product(node: Node) -> str:
    """`label=value`, or "" where no label says it."""
    labels = node.metadata.labels
    return next((f"{label}={labels[label]}" for label in PRODUCTS if labels.get(label)), "")


def _type(label: str, card_type: CardType, wrong: dict[str, list[str]]) -> str:
    if not label or label.endswith(SHARED):
        return ""
    try:
        return card_type(label.partition("=")[2])
    except WireError as error:
        wrong.setdefault(_unknown(label, error), [])
        return ""


def _why(label: str, wrong: Mapping[str, object]) -> str:
    mend = f"Label them {PRODUCTS[0]}=H100 (or what they are)"
    if not label:
        return f"no label says which card they have. {mend}, or run the vendor's feature discovery"
    if label.endswith(SHARED):
        return f"{label}: cards shared by time slicing are not planned with. Turn it off there"
    return next(why for why in wrong if why.startswith(f"{label}: "))


def _unknown(label: str, error: WireError) -> str:
    mend = f"{error.mend}. " if error.mend else ""
    return (
        f"{label}: {error.problem}. {mend}Label them {PRODUCTS[0]}=NAME, or describe the card (kind: Cards)"
    )


def _these(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:SHOWN])
    more = len(names) - SHOWN
    what = "node" if len(names) == 1 else "nodes"
    return f"{what} {shown}" + (f" and {more} more" if more > 0 else "")


def _terms(affinity: Mapping[str, Any]) -> list[Any]:
    required = (affinity.get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    return list(required.get("nodeSelectorTerms") or ())


def _expressions(term: Mapping[str, Any]) -> list[Any]:
    return list(term.get("matchExpressions") or ())


def _matches(node: Node, term: Mapping[str, Any]) -> bool:
    labels = node.metadata.labels
    fields = {"metadata.name": node.metadata.name}
    return all(_holds(labels, one) for one in _expressions(term)) and all(
        _holds(fields, one) for one in term.get("matchFields") or ()
    )


def _holds(labels: Mapping[str, str], one: Mapping[str, Any]) -> bool:
    value, values = labels.get(str(one.get("key"))), one.get("values") or ()
    operator = one.get("operator")
    if operator in ("Gt", "Lt"):
        if value is None or not value.lstrip("-").isdigit() or not values:
            return False
        return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
    return {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }.get(str(operator), False)
