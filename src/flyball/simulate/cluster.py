"""The cluster: nodes with cards, and which replica lies where. Requests are none of its business."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from flyball.spec.fleet import Fleet
from flyball.spec.scenario import Engine, Node, Placing
from flyball.units import DollarsPerHour, Seconds

NODE_CARDS = 8
"""Cards of a node where only a capacity is given."""


@dataclass(eq=False)
class Machine:
    """A node as it is now."""

    node: Node
    usable: int
    """Cards that may be used; the rest is given back."""
    used: int = 0
    alive: bool = True


@dataclass(eq=False)
class Replica:
    """One replica of a server, from asked for to gone."""

    number: int
    server: str
    engine: Engine
    type: str
    cards: int
    price: DollarsPerHour
    asked: Seconds
    state: Literal["pending", "ready", "draining"] = "pending"
    places: dict[str, int] = field(default_factory=dict)
    """Cards by node; empty: not placed."""
    due: Seconds = math.inf
    """When it becomes ready; of a draining one, when its grace ends."""
    engine_number: int = -1
    """Its number among the server's computing replicas, from ready on."""

    @property
    def accelerator(self) -> str:
        return self.engine.accelerator


class Cluster:
    """Nodes and replicas. Cards are placed first fit, in the order of the nodes, or where most are free."""

    def __init__(self, fleet: Fleet, nodes: tuple[Node, ...], placing: Placing = "first_fit") -> None:
        self._endless = fleet.settings.unlimited and not nodes
        self._limits: dict[str, int] = {}
        self.replicas: list[Replica] = []
        """In the order in which they were asked for."""
        self._placing = placing
        self.shunned: dict[str, int] = {}
        """Nodes that replicas go from first and to last, with their places in that order."""
        self.preferred: frozenset[str] = frozenset()
        """Nodes that replicas go to first."""
        self.asked = 0
        """Replicas since the start."""
        self.machines = {n.name: Machine(n, n.cards) for n in nodes or _nodes(fleet.capacity)}

    # ---- nodes ---------------------------------------------------------------------------------

    def capacity(self) -> dict[str, int]:
        """Cards by type that are there and may be used."""
        found: dict[str, int] = {}
        for machine in self.machines.values():
            found.setdefault(machine.node.type, 0)
            if machine.alive:
                found[machine.node.type] += machine.usable
        return found

    def lose(self, name: str) -> list[Replica]:
        """A node fails; the replicas that fail with it, already taken away."""
        self.machines[name].alive = False
        failed = [r for r in self.replicas if name in r.places]
        for replica in failed:
            self.remove(replica)
        self._share(self.machines[name].node.type)
        return failed

    def bring_back(self, name: str) -> None:
        """A lost node is there again, empty."""
        machine = self.machines[name]
        machine.alive, machine.used = True, 0
        self._share(machine.node.type)

    def limit(self, card_type: str, cards: int) -> list[Replica]:
        """Only so many cards of a type may be used; the placed replicas that have to go for it."""
        self._limits[card_type] = cards
        self._share(card_type)
        over: list[Replica] = []
        for machine in self.machines.values():
            if machine.node.type != card_type or not machine.alive:
                continue
            here = [r for r in self.replicas if machine.node.name in r.places]
            going = sum(r.places[machine.node.name] for r in here if r.state == "draining" or r in over)
            for replica in reversed(here):
                if machine.used - going <= machine.usable:
                    break
                if replica.state != "draining" and replica not in over:
                    over.append(replica)
                    going += replica.places[machine.node.name]
        return over

    def _share(self, card_type: str) -> None:
        left = self._limits.get(card_type)
        for machine in self.machines.values():
            if machine.node.type == card_type and machine.alive:
                machine.usable = machine.node.cards if left is None else min(machine.node.cards, left)
                left = None if left is None else left - machine.usable

    # ---- replicas ------------------------------------------------------------------------------

    def of(self, server: str, accelerator: str | None = None) -> list[Replica]:
        """A server's replicas (on one accelerator), in the order in which they were asked for."""
        return [
            r for r in self.replicas if r.server == server and accelerator in (None, r.engine.accelerator)
        ]

    def place(self, replica: Replica) -> bool:
        """Find cards for a replica: on one node, or on several where none is large enough."""
        if replica.places:
            raise ValueError(f"replica {replica.number} of '{replica.server}' is placed already")
        rooms = [m for m in self.machines.values() if m.alive and m.node.type == replica.type]
        rooms.sort(key=self._rank)
        largest = max((m.node.cards for m in rooms), default=0)
        places: dict[str, int] = {}
        if replica.cards <= largest:
            fit = next((m for m in rooms if m.usable - m.used >= replica.cards), None)
            if fit is not None:
                places[fit.node.name] = replica.cards
        else:
            left = replica.cards
            for machine in rooms:
                part = min(machine.usable - machine.used, left)
                if part > 0:
                    places[machine.node.name] = part
                    left -= part
            if left:
                places = {}
        if not places and self._endless:
            name = f"{replica.type}-{len(self.machines)}"
            cards = max(NODE_CARDS, replica.cards)
            self.machines[name] = Machine(Node(name, replica.type, cards), cards)
            places[name] = replica.cards
        for name, part in places.items():
            self.machines[name].used += part
        replica.places = places
        return bool(places)

    def _rank(self, machine: Machine) -> tuple[bool, int, int]:
        """Whom new replicas go to first; of equals the first in the order of the nodes."""
        name = machine.node.name
        free = machine.usable - machine.used if self._placing == "spread" else 0
        return name not in self.preferred, -self.shunned.get(name, len(self.shunned)), -free

    def unplace(self, replica: Replica) -> None:
        """Free a replica's cards."""
        for name, part in replica.places.items():
            self.machines[name].used -= part
        replica.places = {}

    def remove(self, replica: Replica) -> None:
        """A replica is gone."""
        self.unplace(replica)
        self.replicas.remove(replica)


def _nodes(capacity: dict[str, int]) -> list[Node]:
    """Each type's cards in nodes of 8; the last may be smaller."""
    return [
        Node(f"{card_type}-{i}", card_type, min(NODE_CARDS, cards - i * NODE_CARDS))
        for card_type, cards in capacity.items()
        for i in range(-(-cards // NODE_CARDS))
    ]
