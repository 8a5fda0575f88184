"""Shortage in a running fleet: a priority takes what it can use before the next one is looked at.

`plan` serves as many servers whole as it can, by priority; what is short gets the rest at the end. A running
server whose backlog asks for more than there is would then get less than those below it. So where a priority
is short, it is planned without those below, which get what it leaves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec.structs import replace

from flyball.decide.plan import plan
from flyball.solve.watts import CAP, HEAT, WATTS
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Plan, ResourceUse
from flyball.spec.power_plan import WattLimits

SHORT = ("short", "no_capacity")
"""Reasons of servers for which there are too few cards, or watts."""
NOTE = "a priority takes what it can use before the next"


def by_priority(fleet: Fleet, made: Plan, watts: WattLimits | None = None) -> Plan:
    """The plan itself where nobody is short for the sake of those below; else priority by priority."""
    short = [s.priority for s in made.servers if s.reason in SHORT]
    first = min(short, default=0)
    if not short or first >= max(s.priority for s in made.servers):
        return made
    of = {s.server: s.priority for s in made.servers}
    upper, lower = (
        replace(fleet, servers=tuple(s for s in fleet.servers if (of[s.name] <= first) is above))
        for above in (True, False)
    )
    above = plan(upper, watts=watts)
    left = {use.name: max(use.limit - use.used, 0.0) for use in above.resources}
    cards = {name: int(left[name]) for name in fleet.capacity if left.get(name, math.inf) < math.inf}
    lower = replace(lower, capacity=cards)
    watts = None if watts is None else _left(watts, left)
    return _together(made, above, by_priority(lower, plan(lower, watts=watts), watts))


def _left(watts: WattLimits, left: Mapping[str, float]) -> WattLimits:
    """The limits less what has been taken."""
    return replace(
        watts,
        watts={name: left.get(WATTS + name, limit) for name, limit in watts.watts.items()},
        heat=tuple(replace(h, margin=left.get(HEAT + h.domain, h.margin)) for h in watts.heat),
        caps=tuple(replace(c, watts=left.get(CAP + c.policy, c.watts)) for c in watts.caps),
    )


def _together(whole: Plan, above: Plan, below: Plan) -> Plan:
    used = {use.name: use.used for use in above.resources}
    for use in below.resources:
        used[use.name] = used.get(use.name, 0.0) + use.used
    watts = None if above.watts is None or below.watts is None else above.watts + below.watts
    return replace(
        whole,
        servers=tuple(sorted((*above.servers, *below.servers), key=lambda s: s.server)),
        resources=tuple(ResourceUse(use.name, used[use.name], use.limit) for use in whole.resources),
        objective=above.objective + below.objective,
        bound=above.bound + below.bound,
        proved=above.proved and below.proved,
        cost=above.cost + below.cost,
        watts=watts,
        notes=tuple(dict.fromkeys((*above.notes, *below.notes, NOTE))),
    )
