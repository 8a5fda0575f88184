"""What one more kilowatt is worth in the domains whose watts are used up.

The gap of a plan is wider than what a kilowatt saves, so that two plans say little. The relaxation's bound of
plans that serve the same servers has no such gap: its difference is the price. Where a kilowatt would serve
more servers it says nothing of that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flyball.solve.build import problem_of
from flyball.solve.candidates import Candidates, candidates
from flyball.solve.watts import WATTS
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Plan
from flyball.spec.power_plan import WattLimits
from flyball.units import DollarsPerHour, Watts

KILOWATT: Watts = 1000.0
TIGHT = 0.02
"""Share of its limit below which what is left of a domain may be but the gap of the plan."""


def per_kilowatt(
    fleet: Fleet, made: Plan, watts: WattLimits, sized: Candidates | None = None
) -> dict[str, DollarsPerHour]:
    """What one more kilowatt saves of a plan, by domain; none where there is room. For every few minutes."""
    limits = {use.name: use for use in made.resources if use.name.startswith(WATTS)}
    tight = [u for u in limits.values() if u.limit - u.used < max(KILOWATT, TIGHT * u.limit)]
    if not tight:
        return {}
    from flyball.solve.exact import single  # as in solve.auto: what needs no HiGHS does not load it

    problem, _ = problem_of(fleet, candidates(fleet) if sized is None else sized, watts)
    goal: dict[int, int] = {}
    for server in made.servers:
        goal[server.priority] = goal.get(server.priority, 0) + (server.status in ("served", "idle"))
    before, _ = single.bound(problem, goal)
    found = {}
    for use in tight:
        limit = problem.limit + KILOWATT * (np.array(problem.rows) == use.name)
        after, _ = single.bound(replace(problem, limit=limit), goal)
        if np.isfinite(before) and np.isfinite(after):
            found[use.name.removeprefix(WATTS)] = max(before - after, 0.0)
    return found
