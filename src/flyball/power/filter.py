"""The safety filter: whatever an algorithm asks for, what comes out of here keeps these promises.

* A server has never fewer replicas than its least, and never more than it wants or its user allows.
* What is protected keeps what it has.
* It moves by one step at most, unless a bound or an emergency asks for more, or it grows in rooms that hold
  all that is wanted in them.
* While growth is frozen nobody gets more than it has (but its least), unless less important ones in the same
  rooms give as much for it; where watts are not known not even then.
* Each room holds, or all that may go from it in this step has gone; then `short` says what is missing.
* Nobody sheds while the less important in the same room are above their floors, also where these have gone
  their step: there is time for that until it is an emergency. Nor does anybody shed for an algorithm before
  the less important gave what it asks of them.

What the more important need is paid by the less important where a room has nothing left; margins are not.

Who sheds: growth is not given first, then the least important priority, within a priority one server after
the other: of two that are each a little short, neither keeps its targets. First goes who has lost most
already, then who makes the fewest tokens of a watt. The order does not depend on the budget, so of one room a
lower budget never leaves more watts.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import msgspec

from flyball.power.spread import NEW, Spread
from flyball.power.view import FIT, Room, ServerView, View
from flyball.units import Watts


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a server may move at once."""

    share: float = 0.25
    least: int = 1

    def of(self, replicas: int) -> int:
        """Replicas at most."""
        return max(self.least, math.ceil(self.share * replicas - 1e-9))


class Filtered(msgspec.Struct, frozen=True):
    """Replicas by server, and what they draw."""

    replicas: dict[str, int]
    watts: dict[str, Watts]
    """By room, by the model."""
    short: dict[str, Watts] = {}
    """Rooms that do not hold yet, and by how much."""
    notes: tuple[str, ...] = ()
    """What was asked for and is not given, and why."""
    went: dict[str, tuple[int, ...]] = {}
    """By server: the groups that its replicas leave, one after the other."""


def filtered(
    view: View,
    asked: Mapping[str, object],
    steps: Steps = Steps(),  # noqa: B008
    goal: Mapping[str, int] | None = None,
) -> Filtered:
    """What is given of what is asked for; a server that nothing is asked for gets what it wants.

    `asked` may be anything that an algorithm returned: numbers that are none count as nothing asked. `goal`:
    what comes of it without steps; nobody goes below it, or grows beyond it, because others' steps are short.
    """
    notes: list[str] = []
    rooms = {room.name: room for room in view.rooms}
    wishes = {s.name: max(min(_number(s, asked, notes), s.ceiling), s.floor) for s in view.servers}
    whole = view.drawn({s.name: max(s.ceiling, s.floor) for s in view.servers})
    tight = {r.name for r in view.rooms if whole[r.name] > min(r.grow, r.watts) + FIT}
    givers = _givers(view.servers)
    bounds = {
        s.name: _bounds(s, steps, rooms, tight, None if goal is None else goal[s.name], givers)
        for s in view.servers
    }
    given = {name: min(max(wish, bounds[name][0]), bounds[name][1]) for name, wish in wishes.items()}
    given |= _waiting(view.servers, wishes, rooms, tight)
    strangers = sorted(set(map(str, asked)) - set(given))
    if strangers:
        notes.append(f"there is no server {strangers[0]}: what was asked for it is passed over")
    spreads = {s.name: _spread(s, given[s.name], tight) for s in view.servers}
    drawn = _drawn(view, spreads)
    lows = {name: low for name, (low, _) in bounds.items()}
    _grow(view, lows, spreads, drawn)
    _take(view, lows, spreads, drawn)
    drawn = _drawn(view, spreads)
    short = {r.name: drawn[r.name] - r.watts for r in view.rooms if drawn[r.name] > r.watts + FIT}
    replicas = {name: one.replicas for name, one in spreads.items()}
    went = {name: tuple(one.went) for name, one in spreads.items() if one.went}
    return Filtered(replicas, drawn, short, tuple(notes), went)


def _spread(server: ServerView, replicas: int, tight: Collection[str]) -> Spread:
    """So many replicas of a server: those that go leave tight rooms, new ones land."""
    spread = Spread(server)
    while spread.replicas < replicas:
        spread.add(NEW)
    while spread.replicas > replicas:
        if not spread.take(tight, least=replicas):
            spread.take((), least=replicas)
    return spread


def _drawn(view: View, spreads: Mapping[str, Spread]) -> dict[str, Watts]:
    found = {room.name: 0.0 for room in view.rooms}
    for spread in spreads.values():
        for room, watts in spread.drawn().items():
            if room in found:
                found[room] += watts
    return found


def _bounds(
    server: ServerView,
    steps: Steps,
    rooms: Mapping[str, Room],
    tight: Collection[str],
    goal: int | None,
    givers: Mapping[str, int],
) -> tuple[int, int]:
    """What it may have after this step."""
    mine = [rooms[name] for name, share in server.places.items() if share > 0 and name in rooms]
    have, step = server.replicas, steps.of(server.replicas)
    low = server.floor if any(r.at_once for r in mine) else max(server.floor, have - step)
    low = max(low, min(goal or 0, have))
    lands = server.lands or server.places  # what is new is there
    frozen = [
        rooms[name] for name, share in lands.items() if share > 0 and name in rooms and rooms[name].frozen
    ]
    paid = all(math.isfinite(room.watts) and givers.get(room.name, 0) > server.priority for room in frozen)
    high = server.most if not frozen else max(have, server.due) if paid else have
    if any(room.name in tight for room in mine):
        high = min(high, have + step)
    if goal is not None:
        high = min(high, max(goal, have))
    low, high = min(low, server.most), min(high, server.most)
    return low, max(low, high)


def _waiting(
    servers: Sequence[ServerView],
    wishes: Mapping[str, int],
    rooms: Mapping[str, Room],
    tight: Collection[str],
) -> dict[str, int]:
    """Those that keep what they have until less important ones in a tight room gave what is asked of them."""
    gives: dict[str, int] = {}
    for server in servers:
        if wishes[server.name] < server.replicas:
            for name, share in server.places.items():
                if share > 0 and name in tight and not rooms[name].at_once:
                    gives[name] = max(gives.get(name, server.priority), server.priority)
    return {
        s.name: s.replicas
        for s in servers
        if wishes[s.name] < s.replicas <= s.ceiling
        and any(share > 0 and gives.get(name, 0) > s.priority for name, share in s.places.items())
        and not any(share > 0 and name in rooms and rooms[name].at_once for name, share in s.places.items())
    }


def _turn(server: ServerView) -> tuple[float, float, str]:
    """Who goes first among equally important ones."""
    kept = min(server.replicas / server.ceiling, 1.0) if server.ceiling else 1.0
    watts = server.watts(server.replicas)
    return round(kept, 2), server.tokens / watts if watts > 0 else 0.0, server.name


def _number(server: ServerView, asked: Mapping[str, object], notes: list[str]) -> int:
    value = asked.get(server.name)
    if value is None:
        return server.ceiling
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        notes.append(f"{server.name}: {str(value)[:40]!r} is no number of replicas: passed over")
        return server.ceiling
    return int(min(max(value, 0), 1_000_000))


def _givers(servers: Sequence[ServerView]) -> dict[str, int]:
    """By room: the last priority there that has anything to give."""
    found: dict[str, int] = {}
    for server in servers:
        if server.replicas > server.floor:
            for name, share in server.places.items():
                if share > 0:
                    found[name] = max(found.get(name, server.priority), server.priority)
    return found


def _grow(
    view: View, lows: Mapping[str, int], spreads: Mapping[str, Spread], drawn: dict[str, Watts]
) -> None:
    """Take back growth that does not fit, or what the less important have, these first."""
    now = view.drawn({})
    limit = {}
    for room in view.rooms:
        most = min(room.grow, room.watts)
        full = room.frozen or now[room.name] > most
        limit[room.name] = min(now[room.name], room.watts) if full else most
    squeeze, ranks = _Squeeze(limit, spreads, drawn), _ranks(view)
    for server in (s for _, those in ranks for s in those):
        squeeze.take(server, max(server.replicas, lows[server.name], server.due), new=True)
    waits: set[str] = set()  # for less important ones, which could give more there in a later step
    for priority, those in ranks:
        for server in those:
            squeeze.take(server, max(server.replicas, lows[server.name]), new=True)
        more = [spreads[s.name] for s in view.servers if s.priority < priority and spreads[s.name].new]
        asked = {room for one in more for room, weight in one.lands.items() if weight > 0} - waits
        for server in those:
            squeeze.take(server, lows[server.name], asked)
        waits |= squeeze.left_by(those)


def _take(
    view: View, lows: Mapping[str, int], spreads: Mapping[str, Spread], drawn: dict[str, Watts]
) -> None:
    """Take replicas, one after the other in a fixed order, from servers in rooms that do not hold."""
    squeeze, ranks = _Squeeze({r.name: r.watts for r in view.rooms}, spreads, drawn), _ranks(view)
    waits: set[str] = set()  # for less important ones, which have gone their step
    taken = -1
    while (asked := squeeze.over - waits) and squeeze.taken > taken:
        # Rooms that load moves to meanwhile are the less important ones' affair first: in the next round.
        taken = squeeze.taken
        for _, those in ranks:
            for server in those:
                squeeze.take(server, lows[server.name], asked - waits)
            waits |= asked & squeeze.over & squeeze.left_by(those)


def _ranks(view: View) -> list[tuple[int, list[ServerView]]]:
    """Servers by priority, the least important first, in the order in which they shed."""
    return [
        (priority, sorted((s for s in view.servers if s.priority == priority), key=_turn))
        for priority in sorted({s.priority for s in view.servers}, reverse=True)
    ]


class _Squeeze:
    """Rooms that do not hold, while replicas go from them."""

    def __init__(
        self, limit: Mapping[str, Watts], spreads: Mapping[str, Spread], drawn: dict[str, Watts]
    ) -> None:
        self.limit, self.spreads, self.drawn = limit, spreads, drawn
        self.over = {room for room, watts in limit.items() if drawn[room] > watts + FIT}
        self.taken = 0

    def take(
        self, server: ServerView, least: int, rooms: Collection[str] | None = None, new: bool = False
    ) -> None:
        """Take replicas, down to so many, while it helps these of the rooms. `new`: only those to come."""
        spread = self.spreads[server.name]
        while spread.replicas > least:
            over = self.over if rooms is None else self.over.intersection(rooms)
            before = spread.drawn()
            if not over or not spread.take(over, new, least):
                return
            self.taken += 1
            self._went(before, spread.drawn())

    def left_by(self, servers: Sequence[ServerView]) -> set[str]:
        """Rooms in which these have something above their floors."""
        left = [self.spreads[s.name] for s in servers if self.spreads[s.name].replicas > s.floor]
        return {room for room in self.limit for spread in left if spread.is_in(room)}

    def _went(self, before: Mapping[str, Watts], after: Mapping[str, Watts]) -> None:
        for room, watts in before.items():
            if room in self.drawn:
                self.drawn[room] += after[room] - watts
                if self.drawn[room] <= self.limit[room] + FIT:
                    self.over.discard(room)
                elif after[room] > watts:  # its load has gone there
                    self.over.add(room)
