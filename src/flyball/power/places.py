"""Which rooms a replica draws in: those of the domains of its node, and of the inlets that these warm."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

from flyball.power.tree import Tree
from flyball.power.view import Group
from flyball.solve.watts import HEAT
from flyball.spec.power import PlacedPod, PowerNode

Weights = dict[str, float]
"""By room: what one watt draws there; of rooms of degrees kelvin."""


class Places:
    """The rooms of nodes."""

    def __init__(
        self, tree: Tree, nodes: Iterable[PowerNode], bounded: Collection[str], frozen: Collection[str] = ()
    ) -> None:
        """`bounded`: domains that have a room; `frozen`: rooms in which nothing grows."""
        self._tree, self._nodes = tree, tuple(nodes)
        self._bounded, self._frozen = set(bounded), set(frozen)
        self._of_node: dict[str, Weights] = {}

    @cached_property
    def kelvin(self) -> dict[str, dict[str, float]]:
        """By domain with an inlet: by how much one watt in others warms it."""
        return {
            name: domain.thermal.kelvin_per_watt
            for name, domain in self._tree.domains.items()
            if domain.thermal is not None
        }

    def of_node(self, node: str) -> Weights:
        """Of a replica there; of a node that is not known nothing."""
        if node not in self._of_node:
            above = self._tree.above.get(node, ())
            found = {domain: 1.0 for domain in above if domain in self._bounded}
            for inlet, by in self.kelvin.items():
                warms = sum(by.get(domain, 0.0) for domain in above)
                if warms > 0:
                    found[HEAT + inlet] = warms
            self._of_node[node] = found
        return self._of_node[node]

    def groups(self, pods: Iterable[PlacedPod]) -> tuple[Group, ...]:
        """Replicas by the rooms that they are in; those that end, and those without a node, are left out."""
        counts: dict[tuple[tuple[str, float], ...], int] = {}
        for pod in pods:
            if pod.phase != "terminating" and pod.node in self._tree.above:
                key = tuple(sorted(self.of_node(pod.node).items()))
                counts[key] = counts.get(key, 0) + 1
        return tuple(Group(count, dict(key)) for key, count in sorted(counts.items()))

    @cached_property
    def lands(self) -> Weights:
        """Of a new replica: where cards are free, by their number; where none is, where there are any.

        It is steered away from where nothing grows, as long as there is any other place.
        """
        free = {n.name: float(n.cards - (n.cards_used or 0)) for n in self._nodes if n.cards}
        if not any(f > 0 for f in free.values()):
            free = {n.name: float(n.cards) for n in self._nodes if n.cards}
        cool = {name: f for name, f in free.items() if not self._frozen & self.of_node(name).keys()}
        free = cool if any(f > 0 for f in cool.values()) else free
        whole = sum(f for f in free.values() if f > 0)
        return mean((self.of_node(name), f / whole) for name, f in free.items() if f > 0)


def mean(parts: Iterable[tuple[Mapping[str, float], float]]) -> Weights:
    """Weights of several places, each with its share."""
    found: Weights = {}
    for weights, share in parts:
        for room, weight in weights.items():
            found[room] = found.get(room, 0.0) + share * weight
    return found
