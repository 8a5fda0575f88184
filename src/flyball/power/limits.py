"""What a plan may use of watts and heat: the rooms of enforced servers, as limits of the solver's rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from flyball.power.govern import Power
from flyball.power.view import Room
from flyball.solve.watts import HEAT
from flyball.spec.power import PlacedPod
from flyball.spec.power_plan import CapLimit, HeatLimit, PodDraw, WattLimits
from flyball.units import Watts


def limits(power: Power) -> WattLimits | None:
    """For servers that are enforced; None: none is."""
    held = {name for name in power.workloads if power.policy_of(name).mode == "Enforce"}
    governed = {name for name in held if power.workloads[name].governed}
    if not governed:
        return None
    view = power.view(("Enforce",))
    beside = view.drawn({s.name: 0 for s in view.servers if s.name in governed})
    watts = {}
    for name, watched in power.watched.items():
        room = watched.room
        if room is not None and math.isfinite(room.watts):
            usable = _usable(room, watched.reading.governed) - beside[name]
            watts[name] = max(usable, 0.0) / watched.gain  # of the models' watts
    places: dict[str, tuple[str, ...]] = {}
    where: dict[tuple[str, ...], str] = {}
    of_node = {}
    for node, above in power.tree.above.items():
        place = where.setdefault(above, node)
        places[place], of_node[node] = above, place
    replicas: dict[str, dict[str, int]] = {}
    for name in governed:
        mine = replicas.setdefault(name, {})
        for pod in power.pods.get(name, ()):
            if pod.phase != "terminating" and pod.node in of_node:
                mine[of_node[pod.node]] = mine.get(of_node[pod.node], 0) + 1
    free: dict[str, dict[str, int]] = {}
    cool = set(power.places.cool)
    preferring = {power.nodes[name].card_type for name in cool}
    for one in power.seen.nodes:
        left = one.cards - (one.cards if one.cards_used is None else one.cards_used)
        if one.card_type and left > 0 and (one.name in cool or one.card_type not in preferring):
            by = free.setdefault(one.card_type, {})
            by[of_node[one.name]] = by.get(of_node[one.name], 0) + left
    heat = tuple(
        HeatLimit(name, max(power.margin(name) - beside[HEAT + name], 0.0), dict(by))
        for name, by in power.places.kelvin.items()
    )
    exempt = tuple(sorted(set(power.workloads) - governed))
    empty = {node.card_type: node.card_idle for node in power.seen.nodes if node.card_type}
    pods = {name: draw for name in governed if (draw := _pod_draw(power.pods.get(name, ())))}
    caps = []
    for key, room in power.caps.items():
        those = tuple(sorted(governed & set(power.selected[key])))
        if those:
            usable = _usable(room, sum(map(power.drawn, power.selected[key])))
            caps.append(CapLimit(key, max(usable - beside[key], 0.0), those))
    return WattLimits(watts, heat, places, replicas, free, exempt, tuple(caps), pods, empty)


def _usable(room: Room, drawn: Watts) -> Watts:
    """Of a room: what it is for growth, and what is drawn there already as far as it holds."""
    return min(room.watts, max(room.grow, min(room.watts, drawn)))


def _pod_draw(pods: Sequence[PlacedPod]) -> PodDraw | None:
    """Of one replica, on top of its empty cards; None: none draws yet."""
    some = [pod for pod in pods if pod.phase == "running"]
    if not some:
        return None
    empty = fmean(pod.empty for pod in some)
    idle = fmean(pod.idle for pod in some)
    return PodDraw(max(idle - empty, 0.0), max(max(pod.most for pod in some) - empty, 0.0))
