"""What algorithms see: the rooms that domains leave, and the servers in them. Immutable, and all there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from flyball.units import TokensPerSecond, Watts

API_VERSION = 1
"""Of what is in this module. It changes when a field changes its meaning or goes."""
FIT = 1e-6
"""Watts by which rounding may pass a room."""


class Room(msgspec.Struct, frozen=True, gc=False):
    """What a domain (or the cap of a policy) leaves for governed pods."""

    name: str
    watts: Watts
    """Threshold less what is not governed."""
    grow: Watts
    """The same for growth: also less pods that still end, and the band in which nothing grows."""
    frozen: bool = False
    """Nothing grows in it."""
    at_once: bool = False
    """An emergency: replicas go from it without step limits."""


class Group(msgspec.Struct, frozen=True, gc=False):
    """Replicas of a server that are in the same rooms."""

    replicas: int
    rooms: dict[str, float]
    """What one watt of them draws in each: 1, and of rooms of degrees kelvin."""


class ServerView(msgspec.Struct, frozen=True):
    """One server. Removing replicas moves their load to the rest: until those are full it saves idle draw."""

    name: str
    replicas: int
    """Asked for now, pending ones too."""
    wanted: int
    """What its load asks for."""
    least: int = 0
    most: int = 1_000_000
    """The user's own bounds."""
    priority: int = 100
    """1 sheds last."""
    protected: bool = False
    idle: Watts = 0.0
    """Of one replica without a request."""
    full: Watts = 0.0
    """Of one replica at its largest load: the nameplate."""
    load: Watts = 0.0
    """Of the whole load, on top of idle."""
    tokens: TokensPerSecond = 0.0
    """Of the whole load."""
    places: dict[str, float] = {}
    """By room: which share of its replicas is in it."""
    groups: tuple[Group, ...] = ()
    """Where they are: one that goes leaves one of these. Empty: all are as `places` says."""
    lands: dict[str, float] = {}
    """By room: the share of new replicas that would be there; empty: as of those that it has."""
    needed: int | None = None
    """Of those that it wants, for its present load without any margin; None: all."""

    def watts(self, replicas: int) -> Watts:
        """Drawn by so many replicas under its load."""
        return replicas * self.idle + min(self.load, replicas * max(self.full - self.idle, 0.0))

    @property
    def ceiling(self) -> int:
        """What it can be given at most: no more than it wants, nor than its user allows."""
        return min(max(self.wanted, self.least), self.most)

    @property
    def due(self) -> int:
        """For what it may have, less important ones pay."""
        return self.ceiling if self.needed is None else min(self.needed, self.ceiling)

    @property
    def floor(self) -> int:
        """What it must keep: its least, and where it is protected, what it has."""
        return min(max(self.least, self.replicas if self.protected else 0), self.most)


class View(msgspec.Struct, frozen=True):
    """All that an algorithm may know."""

    rooms: tuple[Room, ...] = ()
    servers: tuple[ServerView, ...] = ()

    def drawn(self, replicas: Mapping[str, int]) -> dict[str, Watts]:
        """Watts by room where servers have so many replicas; a server that is absent keeps what it has.

        Those that go leave all places in proportion, new ones land.
        """
        found = {room.name: 0.0 for room in self.rooms}
        for server in self.servers:
            count = replicas.get(server.name, server.replicas)
            new = max(count - server.replicas, 0) / count if count > 0 and server.lands else 0.0
            watts = server.watts(count)
            for places, share in ((server.places, 1.0 - new), (server.lands, new)):
                for room, part in places.items() if share else ():
                    if room in found:
                        found[room] += share * part * watts
        return found


def floors(view: View) -> dict[str, Watts]:
    """Watts by room that cannot be taken: floors, protection, resident idle and the load they take.

    Of each room by itself, where all that may go has gone from there.
    """
    found = {room.name: 0.0 for room in view.rooms}
    for server in view.servers:
        floor = server.floor
        each = server.watts(floor) / floor if floor > 0 else 0.0
        groups = server.groups or (Group(server.replicas, server.places),)
        rooms = {room for group in groups for room in group.rooms} | set(server.lands)
        for room in rooms & found.keys():
            found[room] += each * _least(server, groups, room)
    return found


def _least(server: ServerView, groups: Iterable[Group], room: str) -> float:
    """Replicas in a room at least, where as many as its floor stay: those that are elsewhere first."""
    left, least = server.floor, 0.0
    for part, count in sorted((group.rooms.get(room, 0.0), group.replicas) for group in groups):
        stay = min(left, count)
        left, least = left - stay, least + stay * part
    return least + left * (server.lands or server.places).get(room, 0.0)


def infeasible(view: View) -> tuple[str, ...]:
    """Rooms whose floors do not fit, in a sentence each with the mend."""
    needed = floors(view)
    return tuple(
        f"{room.name}: what is not governed draws {-room.watts:,.0f} W more than there are: raise the budget"
        if room.watts < 0
        else f"{room.name}: least replicas and protection draw {needed[room.name]:,.0f} W, "
        f"{room.watts:,.0f} W are left for them: raise the budget, or lower minimums or protection"
        for room in view.rooms
        if needed[room.name] > room.watts + FIT
    )
