"""Replicas of one server over rooms, as some come or go: those go from where it is too much."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

from flyball.power.view import ServerView
from flyball.units import Watts

Draw = Callable[[ServerView, int], Watts]
"""Watts of n replicas."""
NEW = -1
"""The place of those that are on no node yet."""


def modelled(server: ServerView, replicas: int) -> Watts:
    """Under the load that it has."""
    return server.watts(replicas)


class Spread:
    """Counts by group of a server, and what its replicas draw in each room; all draw the same."""

    def __init__(self, server: ServerView, draw: Draw = modelled, present: bool = True) -> None:
        """With all that it has now, or without any."""
        self.server, self._draw = server, draw
        self.groups = [group.rooms for group in server.groups] or [server.places]
        self.there = [group.replicas for group in server.groups] or [server.replicas]
        """So many it has in each group."""
        self.lands = server.lands or server.places
        self.counts, self.new, self.replicas = [0] * len(self.groups), 0, 0
        self._sum: dict[str, float] = {}
        self.went: list[int] = []
        """The groups that replicas left since, in this order."""
        if present:
            for at, count in enumerate(self.there):
                for _ in range(count):
                    self.add(at)
            while self.replicas > server.replicas:
                self.take(())
            while self.replicas < server.replicas:
                self.add(NEW)
        self.went.clear()

    def rooms(self, at: int) -> Mapping[str, float]:
        """Of a group; what one watt there draws in each."""
        return self.lands if at == NEW else self.groups[at]

    def add(self, at: int) -> None:
        """One more."""
        self._count(at, 1)

    def take(self, over: Collection[str], new: bool = False, least: int = 0) -> bool:
        """One less, from where it helps these rooms; new ones first (or only). False: it helps none.

        One goes that is there only where all new ones go, too: none goes while more are asked for, and those
        on no node go first. `least`: so many stay.
        """

        def helps(at: int) -> float:
            # Exact, as the order of a set is that of its process, and a tie must not hang on it.
            return math.fsum(self.rooms(at).get(room, 0.0) for room in over)

        if self.new and (not over or helps(NEW) > 0):
            self._count(NEW, -1)
            return True
        may = not new and self.replicas - self.new > least
        there = [at for at, count in enumerate(self.counts) if count and may]
        best = max(there, key=lambda at: (helps(at), self.counts[at], -at), default=NEW)
        if best == NEW or (over and helps(best) <= 0):
            return False
        self._count(best, -1)
        self.went.append(best)
        while self.new:
            self._count(NEW, -1)
        return True

    def is_in(self, room: str) -> bool:
        """Whether any of its replicas draws there."""
        return self._sum.get(room, 0.0) > 1e-12

    def watts(self, more: int = 0) -> Watts:
        """Of one of them, were there so many more."""
        count = self.replicas + more
        return self._draw(self.server, count) / count if count > 0 else 0.0

    def drawn(self) -> dict[str, Watts]:
        """By room."""
        each = self.watts()
        return {room: weight * each for room, weight in self._sum.items()}

    def would(self, at: int) -> dict[str, Watts]:
        """What it would draw in the rooms of a group with one more there."""
        each = self.watts(1)
        return {room: (self._sum.get(room, 0.0) + w) * each for room, w in self.rooms(at).items()}

    def _count(self, at: int, by: int) -> None:
        if at == NEW:
            self.new += by
        else:
            self.counts[at] += by
        self.replicas += by
        for room, weight in self.rooms(at).items():
            self._sum[room] = self._sum.get(room, 0.0) + by * weight
