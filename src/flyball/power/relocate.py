"""A replica leaves a rack that its server's least replicas keep too tight: one more elsewhere, then it goes.

    tight with all gone that may go -> coming: one more than before -> going: as many again, this pod first

One at a time in the whole fleet, with a time between two of them, and only to where room is left with the
replica at its most, so that nothing comes back. Where the new one comes is a preference of ours and the
scheduler's choice: if it comes to the tight rack as well it goes again, and that is said. There are never
fewer than before. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from flyball.power.view import FIT, ServerView
from flyball.solve.watts import HEAT
from flyball.spec.power import PlacedPod
from flyball.units import Seconds, Watts

BETWEEN: Seconds = 300.0
"""From the end of one to the beginning of the next."""
AGAIN: Seconds = 1800.0
"""The same of one server."""
COMES: Seconds = 900.0
"""The new one serves within this, or it is given up."""
GOES: Seconds = 300.0
"""The old one ends within this, or nobody waits for it."""


class Relocation(msgspec.Struct, frozen=True):
    """One that is under way."""

    workload: str
    room: str
    """That is tight."""
    pod: str
    """That is to leave it."""
    replicas: int
    """Before and after."""
    before: tuple[str, ...]
    """All pods that it had."""
    inside: tuple[str, ...]
    """Those of them in the room."""
    to: tuple[str, ...]
    """Nodes with room for the new one."""
    began: Seconds
    leaves: str = ""
    """The pod that goes now: the old one, or the new one where that is given up; empty: the new one comes."""
    left: Seconds | None = None
    """When that was decided."""
    reason: str = ""


class Relocations(msgspec.Struct, frozen=True):
    """What is remembered of them."""

    now: Relocation | None = None
    ended: Seconds | None = None
    """The last one."""
    last: dict[str, Seconds] = {}
    """By workload, when its last one ended."""


class Sight(msgspec.Struct, frozen=True):
    """What there is to see."""

    hopeless: tuple[str, ...]
    """Rooms that are too tight with all gone that may go."""
    tight: Collection[str]
    """Rooms that are too tight now, by what is measured."""
    servers: dict[str, ServerView]
    """That may be relocated."""
    barred: Collection[str]
    """Of them those for which the caps of their policies have no room for one more."""
    given: dict[str, int]
    """Replicas that they may have now."""
    cards: dict[str, int]
    """Of a replica, by server."""
    pods: Mapping[str, Sequence[PlacedPod]]
    free: dict[str, int]
    """Cards by node."""
    cool: tuple[str, ...]
    """Nodes for new replicas, the best first."""
    left: dict[str, Watts]
    """By room, for growth; below 0 where nothing grows."""
    rooms: Callable[[str], Mapping[str, float]]
    """Of a node: what one watt there draws in each."""
    calm: bool
    """Whether all watts are known, and nothing else comes."""


class Told(msgspec.Struct, frozen=True):
    """What is to be done for it."""

    under_way: Relocation | None = None
    note: str = ""

    @property
    def most(self) -> int:
        """Replicas that the workload has for the time being."""
        one = self.under_way
        return 0 if one is None else one.replicas + (not one.leaves)


def relocated(memory: Relocations, sight: Sight, now: Seconds) -> tuple[Relocations, Told]:
    """One look: begin one, go on with it, or end it."""
    if memory.now is None:
        begun = _begun(memory, sight, now)
        told = "" if begun is None else f"{begun.workload} has one more for now: {begun.reason}"
        return replace(memory, now=begun), Told(begun, told)
    one, note = _gone_on(memory.now, sight, now)
    if one is not None:
        return replace(memory, now=one), Told(one, note)
    last = {name: at for name, at in memory.last.items() if now - at < AGAIN}
    return Relocations(None, now, last | {memory.now.workload: now}), Told(None, note)


def _begun(memory: Relocations, sight: Sight, now: Seconds) -> Relocation | None:
    """The one that takes most out of the room."""
    if not sight.calm or (memory.ended is not None and now - memory.ended < BETWEEN):
        return None
    best, most = None, 0.0
    for room in sight.hopeless:
        if room not in sight.tight:
            continue
        for name, server in sorted(sight.servers.items()):
            pods = _there(sight, name)
            if (
                name in sight.barred
                or now - memory.last.get(name, -math.inf) < AGAIN
                or not server.replicas == server.floor == sight.given[name] == len(pods)
                or server.replicas >= server.most
                or any(pod.phase != "running" for pod in pods)
            ):
                continue
            for pod in pods:
                takes = sight.rooms(pod.node).get(room, 0.0) * (pod.idle + pod.load)
                to = _to(sight, name, pod, room) if takes > most else ()
                if to:
                    reason = f"{pod.name} is to leave {pod.node}: {_words(room)}"
                    inside = tuple(p.name for p in pods if room in sight.rooms(p.node))
                    best = Relocation(
                        name,
                        room,
                        pod.name,
                        len(pods),
                        tuple(p.name for p in pods),
                        inside,
                        to,
                        now,
                        reason=reason,
                    )
                    most = takes
    return best


def _to(sight: Sight, server: str, pod: PlacedPod, room: str) -> tuple[str, ...]:
    """Nodes where one more of its like is out of the room, and leaves some in all that it is in."""
    found = []
    for node, free in sight.free.items():
        rooms = sight.rooms(node)
        fits = all(w * pod.most <= sight.left.get(r, math.inf) + FIT for r, w in rooms.items())
        if free >= sight.cards.get(server, 0) > 0 and room not in rooms and fits:
            found.append(node)
    rank = {name: place for place, name in enumerate(sight.cool)}
    return tuple(sorted(found, key=lambda name: (rank.get(name, len(rank)), name)))


def _gone_on(one: Relocation, sight: Sight, now: Seconds) -> tuple[Relocation | None, str]:
    """The same further on, or None at its end; with what is to be said."""
    name, pods = one.workload, _there(sight, one.workload)
    names = {pod.name for pod in pods}
    if name not in sight.servers:
        return None, f"{name} is left where it is: it may not be relocated any more"
    if one.leaves:
        went = [pod for pod in one.inside if pod not in names]  # which of them is the cluster's choice
        if went and one.leaves in one.inside:
            return None, f"{name} is relocated: {went[0]} is gone"
        if went or one.leaves not in names or len(pods) <= one.replicas:
            return None, f"{name} has {len(pods)} replicas again, and is not relocated"
        if now - (one.left or now) > GOES:
            return None, f"{one.leaves} does not go: it is left at that"
        return one, f"{name} is to have {one.replicas} again: {one.leaves} goes"
    if one.pod not in names or sight.given[name] != one.replicas:
        return None, f"{name} is not relocated: its replicas changed meanwhile"
    came = [pod for pod in pods if pod.name not in one.before]
    wrong = next((p for p in came if p.node and one.room in sight.rooms(p.node)), None)
    serves = next((p for p in came if p.node and p.phase in ("running", "surge")), None)
    if wrong is not None:
        why = f"{wrong.name} came to {wrong.node}, and {_words(one.room)}"
        return _away(one, wrong.name, now, why), f"{name} is not relocated: {why}"
    if serves is not None:
        return _away(
            one, one.pod, now, one.reason
        ), f"{name}: {serves.name} serves on {serves.node}, {one.pod} goes"
    if now - one.began > COMES or one.room not in sight.tight:
        late = f"the new one does not serve after {COMES:,.0f} s"
        why = late if one.room in sight.tight else f"{one.room} has room again"
        if not came:
            return None, f"{name} is not relocated: {why}"
        return _away(one, came[0].name, now, why), f"{name} is not relocated: {why}"
    return one, f"{name} has one more for now: {one.reason}"


def _away(one: Relocation, pod: str, now: Seconds, reason: str) -> Relocation:
    return replace(one, leaves=pod, left=now, reason=reason)


def _words(room: str) -> str:
    return f"{room.removeprefix(HEAT)} is too warm" if room.startswith(HEAT) else f"{room} draws too much"


def _there(sight: Sight, name: str) -> list[PlacedPod]:
    return [pod for pod in sight.pods.get(name, ()) if pod.phase != "terminating"]
