"""Which rooms a replica draws in: those of the domains of its node, and of the inlets that these warm."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

from flyball.power.tree import Tree
from flyball.power.view import Group
from flyball.solve.watts import HEAT
from flyball.spec.power import PlacedPod, PowerNode

Weights = dict[str, float]
"""By room: what one watt draws there; of rooms of degrees kelvin."""
LEVER = 1.0 / 3.0
"""Of the watts that warm an inlet, those count as a lever that do so by this share of what the nearest do."""
SOFT = 1.0
"""Kelvin. Of inlets that are so much apart, the warmer counts e times as much."""
COOL = 0.5
"""Share of the free cards that new replicas prefer, at least."""


class Places:
    """The rooms of nodes."""

    def __init__(
        self,
        tree: Tree,
        nodes: Iterable[PowerNode],
        bounded: Collection[str],
        frozen: Collection[str] = (),
        excess: Mapping[str, float] | None = None,
    ) -> None:
        """`bounded`: domains that have a room; `frozen`: rooms in which nothing grows.

        `excess`: of inlets, the kelvin above what they may have, below 0 as a rule.
        """
        self._tree, self._nodes = tree, tuple(nodes)
        self._bounded, self._frozen = set(bounded), set(frozen)
        self._excess = excess or {}
        self._of_node: dict[str, Weights] = {}
        self._burdens: dict[tuple[str, ...], float] = {}

    @cached_property
    def kelvin(self) -> dict[str, dict[str, float]]:
        """By domain with an inlet: by how much one watt in others warms it, of those that are levers on it.

        What hardly warms it is not held for it: all of a hall would have to go for one rack.
        """
        return {
            name: {
                other: k
                for other, k in domain.thermal.kelvin_per_watt.items()
                if k >= LEVER * max(domain.thermal.kelvin_per_watt.values())
            }
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

    def groups(self, pods: Iterable[PlacedPod]) -> tuple[tuple[Group, tuple[PlacedPod, ...]], ...]:
        """Replicas by the rooms that they are in; those that end, and those without a node, are left out."""
        found: dict[tuple[tuple[str, float], ...], list[PlacedPod]] = {}
        for pod in pods:
            if pod.phase != "terminating" and pod.node in self._tree.above:
                found.setdefault(tuple(sorted(self.of_node(pod.node).items())), []).append(pod)
        return tuple((Group(len(those), dict(key)), tuple(those)) for key, those in sorted(found.items()))

    @cached_property
    def free(self) -> dict[str, float]:
        """Cards by node that are free where something may grow; where none is, anywhere."""
        free = {n.name: float(max(n.cards - (n.cards_used or 0), 0)) for n in self._nodes}
        return self._growing({name: cards for name, cards in free.items() if cards})

    def _growing(self, cards: dict[str, float]) -> dict[str, float]:
        """Where something may grow, as long as there is any such place."""
        grows = {name: n for name, n in cards.items() if not self._frozen & self.of_node(name).keys()}
        return grows or cards

    @cached_property
    def cool(self) -> tuple[str, ...]:
        """Nodes for new replicas, the best first: where watts warm the warmest inlets least.

        Of each type so many that they have a good part of its free cards; none where no inlet is known.
        """
        if not self._excess:
            return ()
        type_of = {node.name: node.card_type for node in self._nodes}
        wanted: dict[str, float] = {}
        for name, free in self.free.items():
            wanted[type_of[name]] = wanted.get(type_of[name], 0.0) + COOL * free
        found: list[str] = []
        last: dict[str, float] = {}
        for name in sorted(self.free, key=lambda name: (self.burden(name), name)):
            type_, burden = type_of[name], self.burden(name)
            if wanted[type_] > 0 or burden <= last[type_]:
                found.append(name)
                wanted[type_] -= self.free[name]
                last[type_] = burden
        return tuple(found)

    def burden(self, node: str) -> float:
        """Kelvin per watt there of the warmest inlets: the slope of a smooth maximum of all of them."""
        above = self._tree.above.get(node, ())
        if above not in self._burdens:
            self._burdens[above] = sum(
                share * sum(thermal.kelvin_per_watt.get(domain, 0.0) for domain in above)
                for name, share in self._warmest.items()
                if (thermal := self._tree.domains[name].thermal) is not None
            )
        return self._burdens[above]

    @cached_property
    def _warmest(self) -> dict[str, float]:
        """By domain with an inlet, its share of how warm it is."""
        most = max(self._excess.values(), default=0.0)
        parts = {name: math.exp((excess - most) / SOFT) for name, excess in self._excess.items()}
        return {name: part / sum(parts.values()) for name, part in parts.items()}

    @cached_property
    def lands(self) -> Weights:
        """Of a new replica: where it prefers to go, by the free cards there; where none is, by all cards."""
        free = {name: self.free[name] for name in self.cool} or self.free
        free = free or self._growing({n.name: float(n.cards) for n in self._nodes if n.cards})
        whole = sum(free.values())
        return mean((self.of_node(name), f / whole) for name, f in free.items())


def mean(parts: Iterable[tuple[Mapping[str, float], float]]) -> Weights:
    """Weights of several places, each with its share."""
    found: Weights = {}
    for weights, share in parts:
        for room, weight in weights.items():
            found[room] = found.get(room, 0.0) + share * weight
    return found
