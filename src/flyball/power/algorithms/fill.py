"""Filling rooms replica by replica, in an order that the algorithm says.

A replica that does not fit closes its rooms to all that come later. In a single room the result is therefore
a beginning of one fixed sequence, and a lower budget never gives more watts.
"""

from __future__ import annotations

from collections.abc import Callable

from flyball.power.view import FIT, ServerView, View
from flyball.units import Watts

Rank = Callable[[ServerView, int], tuple[float, ...]]
"""Of the n-th replica of a server: lower ones come first. It must not fall with n."""
Draw = Callable[[ServerView, int], Watts]
"""Watts of n replicas."""


def modelled(server: ServerView, replicas: int) -> Watts:
    """Under the load that it has."""
    return server.watts(replicas)


def nameplate(server: ServerView, replicas: int) -> Watts:
    """Whatever its load."""
    return replicas * server.full


def fill(view: View, rank: Rank, draw: Draw = modelled, margin: float = 0.0) -> dict[str, int]:
    """Replicas at most by server: the floors, and then one after the other as long as rooms last.

    `margin` is the share of each room that stays empty.
    """
    left = {room.name: room.watts * (1.0 - margin) for room in view.rooms}
    given = {}
    for server in view.servers:
        given[server.name] = server.floor
        for room, share in server.places.items():
            if room in left:
                left[room] -= share * draw(server, server.floor)
    order = [
        (rank(server, n), server.name, n, server)
        for server in view.servers
        for n in range(server.floor + 1, server.ceiling + 1)
    ]
    order.sort(key=lambda unit: unit[:3])
    closed: set[str] = set()
    full: set[str] = set()
    for _, name, n, server in order:
        mine = [(room, share) for room, share in server.places.items() if share > 0 and room in left]
        if name in full or any(room in closed for room, _ in mine):
            full.add(name)
            continue
        more = draw(server, n) - draw(server, n - 1)
        short = [room for room, share in mine if share * more > left[room] + FIT]
        if short:
            closed.update(short)
            full.add(name)
            continue
        for room, share in mine:
            left[room] -= share * more
        given[name] = n
    return given
