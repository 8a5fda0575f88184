"""Filling rooms replica by replica, in an order that the algorithm says.

A replica that does not fit closes its rooms to all that come later. In a single room the result is therefore
a beginning of one fixed sequence, and a lower budget never gives more watts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flyball.power.spread import NEW, Draw, Spread, modelled
from flyball.power.view import FIT, ServerView, View
from flyball.units import Watts

Rank = Callable[[ServerView, int], tuple[float, ...]]
"""Of the n-th replica of a server: lower ones come first. It must not fall with n."""


def nameplate(server: ServerView, replicas: int) -> Watts:
    """Whatever its load."""
    return replicas * server.full


def fill(view: View, rank: Rank, draw: Draw = modelled, margin: float = 0.0) -> dict[str, int]:
    """Replicas at most by server: the floors, and then one after the other as long as rooms last.

    Those that a server has stay where they are, in rooms with most left first; further ones land. `margin`
    is the share of each room that stays empty.
    """
    whole = {room.name: room.watts * (1.0 - margin) for room in view.rooms}
    left = dict(whole)
    spreads = {s.name: Spread(s, draw, present=False) for s in view.servers}
    for server in view.servers:
        for _ in range(server.floor):
            spread = spreads[server.name]
            _put(spread, max(_open(spread), key=lambda at: _share_left(spread, at, left, whole)), left)
    order = [
        (rank(server, n), server.name, n)
        for server in view.servers
        for n in range(server.floor + 1, server.ceiling + 1)
    ]
    closed: set[str] = set()
    full: set[str] = set()
    for _, name, _ in sorted(order):
        if name in full:
            continue
        spread = spreads[name]
        places = [
            at for at in _open(spread) if not any(w > 0 and r in closed for r, w in spread.rooms(at).items())
        ]
        short = {at: _short(spread, at, left) for at in places}
        fits = [at for at in places if not short[at]]
        if not fits:
            closed.update(room for rooms in short.values() for room in rooms)
            full.add(name)
            continue
        _put(spread, max(fits, key=lambda at: _share_left(spread, at, left, whole)), left)
    return {name: spread.replicas for name, spread in spreads.items()}


def _open(spread: Spread) -> list[int]:
    """Groups of which not all are there yet; behind them what lands."""
    there = [at for at, count in enumerate(spread.there) if spread.counts[at] < count]
    return there or [NEW]


def _short(spread: Spread, at: int, left: Mapping[str, Watts]) -> list[str]:
    """Rooms that one more there would pass."""
    before = spread.drawn()
    return [
        room
        for room, watts in spread.would(at).items()
        if room in left and watts - before.get(room, 0.0) > left[room] + FIT
    ]


def _share_left(spread: Spread, at: int, left: Mapping[str, Watts], whole: Mapping[str, Watts]) -> float:
    """The least share that is left of any of its rooms."""
    rooms = [room for room, weight in spread.rooms(at).items() if weight > 0 and room in left]
    return min((left[room] / whole[room] if whole[room] > 0 else -1.0 for room in rooms), default=1.0)


def _put(spread: Spread, at: int, left: dict[str, Watts]) -> None:
    before = spread.drawn()
    spread.add(at)
    for room, watts in spread.drawn().items():
        if room in left:
            left[room] -= watts - before.get(room, 0.0)
