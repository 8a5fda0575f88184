"""Cards by type in one cycle: how many servers may have, who holds them, and what replicas cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from flyball.decide.memory import Memory
from flyball.decide.power import LAST
from flyball.decide.proposal import Proposal
from flyball.decide.seen import Seen, counted
from flyball.guards.cards import Growth, grant
from flyball.spec.decision import Step
from flyball.spec.fleet import Fleet
from flyball.spec.server import Server
from flyball.spec.snapshot import Scrape
from flyball.units import DollarsPerHour, Seconds

ENDLESS = 1_000_000
WORST = 1000
"""A priority after all."""


class Cards:
    """The cards of a fleet, and of whom they are."""

    def __init__(
        self,
        fleet: Fleet,
        scrape: Scrape,
        seen: Mapping[str, Seen],
        memory: Memory,
        now: Seconds,
        stabilisation: Seconds,
    ) -> None:
        self.unlimited = fleet.settings.unlimited
        self.types = {a.name: (a.type, a.multiplicity) for a in fleet.accelerators}
        """By accelerator."""
        self._price = {a.name: a.cost for a in fleet.accelerators}
        self._units = {(p.model, p.accelerator): max(p.accelerator_count, 1) for p in fleet.profiles}
        self._seen = seen
        self.capacity, self.doubted = self._capacity(fleet, scrape, memory, now, stabilisation)
        """By type what the servers seen may have; and since when too few of it are seen."""

    def _capacity(
        self, fleet: Fleet, scrape: Scrape, memory: Memory, now: Seconds, stabilisation: Seconds
    ) -> tuple[dict[str, int], dict[str, Seconds]]:
        """A type that is not seen is as configured. Fewer cards than serving replicas hold is a
        contradiction, believed once it has lasted. Cards of servers that are not seen, or not configured,
        are not free.
        """
        capacity = {**fleet.capacity, **(scrape.capacity or {})}
        serving: dict[str, int] = {}
        for seen in self._seen.values():
            self._add(serving, seen.server, seen.ready)
        low = {
            type_: memory.doubted.get(type_, now)
            for type_, n in serving.items()
            if capacity.get(type_, 0) < n
        }
        for type_, since in low.items():
            if now - since < stabilisation:
                capacity[type_] = serving[type_]
        others: dict[str, int] = {}
        for server in fleet.servers:
            if server.name not in self._seen and (known := memory.servers.get(server.name)):
                self._add(others, server, known.holds)
        configured = {s.name for s in fleet.servers}
        for found in scrape.servers:
            if found.server not in configured:
                for what in ("ready", "pending", "draining"):
                    self._add(others, Server(found.server, ""), counted(found, what))
        for type_, cards in others.items():
            capacity[type_] = max(capacity.get(type_, 0) - cards, 0)
        return capacity, low

    def _add(self, cards: dict[str, int], server: Server, replicas: Mapping[str, int]) -> None:
        for accelerator, count in replicas.items():
            type_, each = self.of(server, accelerator)
            cards[type_] = cards.get(type_, 0) + count * each

    def of(self, server: Server, accelerator: str) -> tuple[str, int]:
        """The type of a replica's cards, and how many it has."""
        type_, cards = self.types.get(accelerator, (accelerator, 1))
        return type_, max(cards * self._units.get((server.model, accelerator), 1), 1)

    def free(self) -> dict[str, int]:
        """Cards that nobody has asked for, by type; below zero where there are too few."""
        held: dict[str, int] = {}
        for seen in self._seen.values():
            for replicas in (seen.ready, seen.pending, seen.draining):
                self._add(held, seen.server, replicas)
        types = {**self.capacity, **held}
        return {type_: self.capacity.get(type_, 0) - held.get(type_, 0) for type_ in types}

    def rooms(self) -> dict[str, int]:
        """How many more replicas each server could have where it is."""
        free, rooms = self.free(), {}
        for name, seen in self._seen.items():
            if seen.main:
                type_, cards = self.of(seen.server, seen.main)
                rooms[name] = ENDLESS if self.unlimited else max(free.get(type_, 0), 0) // cards
        return rooms

    def replicas(self, server: Server, accelerator: str) -> int:
        """So many it could have if all cards were its own."""
        type_, cards = self.of(server, accelerator)
        return ENDLESS if self.unlimited else self.capacity.get(type_, 0) // cards

    def cut(self, proposals: Mapping[str, Proposal], priorities: Mapping[str, int]) -> dict[str, int]:
        """Cut growth to the cards that are free; returns the types that are short, and for whom."""
        wishes: list[Growth] = []
        for name, p in proposals.items():
            server = p.seen.server
            for accelerator, count in sorted(p.orders.items()):
                type_, cards = self.of(server, accelerator)
                more = count - p.was.get(accelerator, 0)
                if more > 0:
                    priority = priorities.get(server.service_class, LAST)
                    wishes.append(Growth(name, priority, accelerator, type_, cards, more))
        granted = grant(wishes, self.free())
        short: dict[str, int] = {}
        for wish in wishes:
            given = granted[wish.server, wish.accelerator]
            if given < wish.more:
                proposals[wish.server].cut(wish.accelerator, wish.more - given)
                short[wish.type] = min(wish.priority, short.get(wish.type, WORST))
        return short

    # ---- what they cost ---------------------------------------------------------------------------

    def _price_of(self, server: Server, accelerator: str) -> DollarsPerHour:
        return self._price.get(accelerator, 0.0) * self._units.get((server.model, accelerator), 1)

    def cost(self, server: Server, orders: Mapping[str, int]) -> DollarsPerHour:
        """Of replicas by accelerator."""
        return sum(self._price_of(server, a) * n for a, n in sorted(orders.items()))

    def bill(self, steps: Iterable[Step]) -> DollarsPerHour:
        """Of all that is ordered."""
        return math.fsum(
            self._price_of(self._seen[s.server].server, o.accelerator) * o.replicas
            for s in steps
            for o in s.orders
        )
