"""From a fleet to an explained plan.

fleet -> candidates (which accelerators could serve whom, how many replicas, at which latency and cost)
      -> problem (options with values, cards as resource rows) -> solution -> plan with reasons
"""

from __future__ import annotations

import math

import numpy as np

from flyball.decide.explain import Explainer
from flyball.solve import auto
from flyball.solve.build import problem_of
from flyball.solve.candidates import Candidates, candidates
from flyball.solve.problem import cost_of, used, value_of
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Plan, ResourceUse
from flyball.spec.power_plan import WattLimits
from flyball.units import Seconds


def plan(
    fleet: Fleet,
    sized: Candidates | None = None,
    budget: Seconds | None = None,
    watts: WattLimits | None = None,
) -> Plan:
    """Plan a fleet. `sized` are its candidates where they are at hand already. Same fleet, same plan.

    But for `budget`: solvers that it stops leave a valid plan, no worse than greedy's, which notes it.
    `watts` hold whatever the settings are.
    """
    sized = candidates(fleet) if sized is None else sized
    problem, pairs = problem_of(fleet, sized, watts)
    solution = auto.solve(problem, fleet.settings, budget)
    taken = used(problem, solution)
    servers = Explainer(fleet, sized, problem, pairs, solution, taken).servers()
    cost, objective = cost_of(problem, solution), value_of(problem, solution)
    given = [part for s in servers if s.allocation for part in (s.mix or (s.allocation,))]
    drawn = [part.watts for part in given]
    notes = [fleet.settings.note] if fleet.settings.note else []
    if problem.watts and None in drawn:
        dark = ", ".join(sorted({part.accelerator for part in given if part.watts is None}))
        notes.append(f"no power curve is known of {dark}: what it draws is not in the watts of the plan")
    return Plan(
        generation=fleet.generation,
        solver=solution.solver,
        servers=servers,
        resources=tuple(
            ResourceUse(name, float(n), float(limit))
            for name, n, limit in zip(problem.rows, taken, problem.limit, strict=True)
        ),
        objective=objective,
        bound=solution.bound,
        gap=_gap(objective, solution.bound, cost),
        proved=solution.proved,
        cost=cost,
        watts=None if None in drawn else float(np.sum([w for w in drawn if w is not None])),
        notes=(*notes, *solution.notes),
    )


def _gap(objective: float, bound: float, cost: float) -> float:
    difference = max(objective - bound, 0.0)
    if difference == 0.0 or not math.isfinite(difference):
        return difference
    return difference / cost if cost > 0 else math.inf
