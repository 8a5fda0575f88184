"""What is left where replicas cannot go any further: smaller batches, and less CPU and memory. Pure.

By the affine model a replica less always saves more than smaller batches of all, so these come last, for
those that have their least. A batch is a rollout: it is ordered where a room stays short, and comes back
where all of it fits again. What less CPU saves nobody knows beforehand: it counts for nothing, and who gets
it back too early waits twice as long the next time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from flyball.power.filter import Filtered
from flyball.power.patience import Shed, after
from flyball.power.view import FIT, ServerView, View
from flyball.spec.power import Policy
from flyball.spec.power_plan import Relief
from flyball.units import Seconds, Watts

LASTS: Seconds = 30.0
"""A room that is short for less is not worth a rollout."""
HOLD: Seconds = 900.0
"""A batch stays limited at least."""
LEAST = 0.25
"""Of a batch: below it a replica serves hardly anything for what it draws idle."""


class Limited(msgspec.Struct, frozen=True, gc=False):
    """A batch that is limited."""

    own: int
    """What it was."""
    most: int
    since: Seconds

    def share(self, batch: int) -> float:
        """Which part of it engines with such a batch have."""
        return min(batch / self.own, 1.0) if batch > 0 else 1.0


class Reliefs(msgspec.Struct, frozen=True):
    """What is remembered of them."""

    short: dict[str, Seconds] = {}
    """By room: since when it is."""
    batches: dict[str, Limited] = {}
    trims: dict[str, Shed] = {}


class Scene(msgspec.Struct, frozen=True):
    """What they go by."""

    view: View
    given: Filtered
    """Where all have gone that may."""
    policies: Mapping[str, Policy]
    """By workload, of those that are up for it."""
    batches: Mapping[str, int]
    """Of engines now, where they may be changed."""
    now: Seconds


def relieved(before: Reliefs, scene: Scene) -> tuple[tuple[Relief, ...], Reliefs]:
    """What is to be done beyond replicas, the least important first, and what is remembered of it."""
    short = {room: before.short.get(room, scene.now) for room in scene.given.short}
    missing = {room: w for room, w in scene.given.short.items() if scene.now - short[room] >= LASTS}
    found: list[Relief] = []
    batches: dict[str, Limited] = {}
    trims: dict[str, Shed] = {}
    for server in sorted(scene.view.servers, key=lambda s: (-s.priority, s.name)):
        name, policy = server.name, scene.policies.get(server.name)
        if policy is None:
            continue
        for lever in policy.levers:
            room = _worst(server, scene.given.replicas[name], missing)
            if lever == "concurrency" and scene.batches.get(name, 0) > 0:
                limited, saved = _limited(server, scene, before.batches.get(name), missing, room)
                if limited is not None:
                    batches[name] = limited
                    batch, own = limited.most, limited.own
                    found.append(Relief(name, policy.key, lever, policy.mode, room, batch, own, watts=saved))
            elif lever == "resources":
                shed = after(before.trims.get(name), bool(room), scene.now)
                if shed is None:
                    continue
                trims[name] = shed
                if shed.waits(scene.now):
                    found.append(Relief(name, policy.key, lever, policy.mode, room, trim=policy.trim))
    return tuple(found), Reliefs(short, batches, trims)


def _worst(server: ServerView, replicas: int, missing: Mapping[str, Watts]) -> str:
    """The room that lacks most of those that a server with its least draws in; "": none does."""
    if replicas > server.floor:
        return ""
    mine = [room for room, share in server.places.items() if share > 0 and missing.get(room, 0.0) > FIT]
    return max(mine, key=lambda room: missing[room] / server.places[room], default="")


def _limited(
    server: ServerView, scene: Scene, was: Limited | None, missing: dict[str, Watts], room: str
) -> tuple[Limited | None, Watts]:
    """The batch that it may have, and the watts that this saves; these are taken off what is missing."""
    batch = scene.batches[server.name]
    own = batch if was is None else was.own
    each = max(server.full - server.idle, 0.0) / (was.share(batch) if was else 1.0)  # of a whole batch
    if not room:
        return (was if was is not None and not _fits(server, scene, was, each) else None), 0.0
    span = scene.given.replicas[server.name] * each
    load = min(server.load, span)
    left = max(load - missing[room] / server.places[room], 0.0)
    most = max(math.floor(own * left / span), math.ceil(LEAST * own)) if span > 0 else own
    if was is not None:
        most = min(most, was.most)
    saved = load - min(load, span * most / own)
    if was is None and saved <= FIT:
        return None, 0.0
    for name, share in server.places.items():
        if name in missing:
            missing[name] -= share * saved
    return Limited(own, most, scene.now if was is None else was.since), saved


def _fits(server: ServerView, scene: Scene, was: Limited, each: Watts) -> bool:
    """Whether it can have its whole batch again, were it full at once."""
    if scene.now - was.since < HOLD:
        return False
    more = server.replicas * each * (1.0 - was.most / was.own)
    now = scene.view.drawn({})
    mine = [room for room in scene.view.rooms if server.places.get(room.name, 0.0) > 0]
    return all(
        not room.frozen and room.grow >= now[room.name] + server.places[room.name] * more for room in mine
    )
