"""What a plan may use of watts and heat: the rooms of enforced servers, as limits of the solver's rows."""

from __future__ import annotations

import math

from flyball.power.govern import Power
from flyball.solve.watts import HEAT
from flyball.spec.power import HeatLimit, WattLimits


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
            governs = watched.reading.governed
            watts[name] = max(min(room.watts, max(room.grow, min(room.watts, governs))) - beside[name], 0.0)
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
    for one in power.seen.nodes:
        left = one.cards - (one.cards if one.cards_used is None else one.cards_used)
        if one.card_type and left > 0:
            by = free.setdefault(one.card_type, {})
            by[of_node[one.name]] = by.get(of_node[one.name], 0) + left
    heat = tuple(
        HeatLimit(name, max(power.margin(name) - beside[HEAT + name], 0.0), dict(by))
        for name, by in power.places.kelvin.items()
    )
    exempt = tuple(sorted(set(power.workloads) - governed))
    return WattLimits(watts, heat, places, replicas, free, exempt)
