"""The board: what the page shows of a governed fleet, built from each cycle, for a day back.

The last two hours are kept in full, what is older is thinned; of a large fleet less, so that what is kept
stays within a hundred megabytes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

import msgspec

from flyball.loop.record import Cycle
from flyball.report import moves
from flyball.server.page.view import FleetView, view
from flyball.spec.decision import Decision, Step
from flyball.spec.fleet import replica_prices
from flyball.units import DollarsPerHour, RequestsPerSecond, Seconds

FULL: Seconds = 2 * 3600.0
"""So far back every cycle is kept."""
THIN: Seconds = 120.0
"""Between cycles that are older than that."""
LONGEST: Seconds = 24 * 3600.0
LARGE = 50
"""Servers from which on a fleet is large: of one ten times as large a tenth of the cycles is kept."""
MOVES = 3000
"""Changes that are remembered, of all servers together."""


class Move(msgspec.Struct, frozen=True):
    """Something that happened: a server that was changed, or something in the world."""

    number: int
    time: Seconds
    kind: str
    """The cause of the change, or `world`."""
    server: str = ""
    service_class: str = ""
    what: str = ""
    why: str = ""
    rest: tuple[str, ...] = ()
    """Next best, and what is held back."""
    demand: RequestsPerSecond = 0.0
    cost: DollarsPerHour = 0.0
    """How much dearer (or cheaper, below 0)."""
    sequence: int = 0
    """Counts all that happened."""


class Board:
    """Views and moves of the last day. May be read while it is written to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._full: deque[FleetView] = deque()
        self._thin: deque[FleetView] = deque()
        self._moves: deque[Move] = deque(maxlen=MOVES)
        self._sequence = 0

    def add(self, number: int, cycle: Cycle) -> FleetView:
        """Take a cycle in. Time must go forward."""
        made = view(number, cycle)
        changes = moves_of(number, cycle)
        size = max(len(made.servers) / LARGE, 1.0)
        with self._lock:
            self._full.append(made)
            while made.time - self._full[0].time > FULL / size:
                old = self._full.popleft()
                if not self._thin or old.time - self._thin[-1].time >= THIN * size:
                    self._thin.append(old)
            while self._thin and made.time - self._thin[0].time > LONGEST:
                self._thin.popleft()
            self._append(changes)
        return made

    def happened(self, time: Seconds, text: str) -> None:
        """Take in something that happened in the world."""
        with self._lock:
            number = self._full[-1].number if self._full else 0
            self._append([Move(number, time, "world", what=text)])

    def _append(self, changes: Iterable[Move]) -> None:
        for change in changes:
            self._sequence += 1
            self._moves.append(msgspec.structs.replace(change, sequence=self._sequence))

    @property
    def last(self) -> FleetView | None:
        """The newest view; None before the first cycle."""
        with self._lock:
            return self._full[-1] if self._full else None

    def views(self, since: int = 0) -> list[FleetView]:
        """Views after cycle `since`, oldest first."""
        with self._lock:
            if self._full and self._full[0].number <= since:
                return [v for v in self._full if v.number > since]
            return [v for v in (*self._thin, *self._full) if v.number > since]

    def moves(self, count: int, server: str = "", kinds: Iterable[str] = ()) -> list[Move]:
        """The newest moves, newest first: of one server, or of certain kinds, where asked."""
        wanted = frozenset(kinds)
        found: list[Move] = []
        with self._lock:
            for one in reversed(self._moves):
                if len(found) == count:
                    break
                if (not server or one.server == server) and (not wanted or one.kind in wanted):
                    found.append(one)
        return found


def moves_of(number: int, cycle: Cycle) -> list[Move]:
    """The changes that a cycle made, by priority and name."""
    if cycle.decision is None:
        return []
    fleet = cycle.snapshot.fleet
    servers = {s.name: s for s in fleet.servers}
    priority = {c.name: c.priority for c in fleet.service_classes}
    price = replica_prices(fleet)
    made = []
    for step in cycle.decision.steps:
        if step.changed and step.server in servers:
            server = servers[step.server]
            cost = sum(price(server.model, o.accelerator) * o.replicas for o in step.orders)
            cost -= sum(price(server.model, o.accelerator) * o.replicas for o in step.was)
            made.append(_move(number, cycle.decision, step, server.service_class, cost))
    return sorted(made, key=lambda m: (priority.get(m.service_class, 100), m.server))


def _move(number: int, decision: Decision, step: Step, service_class: str, cost: DollarsPerHour) -> Move:
    rest = [moves.next_best(step), *(moves.held(h) for h in step.holds)]
    return Move(
        number=number,
        time=decision.time,
        kind=step.cause,
        server=step.server,
        service_class=service_class,
        what=moves.move(step),
        why=moves.why(step),
        rest=tuple(text for text in rest if text),
        demand=step.demand,
        cost=cost,
    )
