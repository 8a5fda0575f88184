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
from flyball.units import Seconds


def plan(fleet: Fleet, sized: Candidates | None = None, budget: Seconds | None = None) -> Plan:
    """Plan a fleet. `sized` are its candidates where they are at hand already. Same fleet, same plan.

    But for `budget`: solvers that it stops leave a valid plan, no worse than greedy's, which notes it.
    """
    sized = candidates(fleet) if sized is None else sized
    problem, pairs = problem_of(fleet, sized)
    solution = auto.solve(problem, fleet.settings, budget)
    taken = used(problem, solution)
    servers = Explainer(fleet, sized, problem, pairs, solution, taken).servers()
    unlimited = fleet.settings.unlimited or fleet.settings.solver == "unlimited"
    cost, objective = cost_of(problem, solution), value_of(problem, solution)
    watts = [part.watts for s in servers if s.allocation for part in (s.mix or (s.allocation,))]
    notes = [fleet.settings.note] if fleet.settings.note else []
    return Plan(
        generation=fleet.generation,
        solver=solution.solver,
        servers=servers,
        resources=tuple(
            ResourceUse(name, float(n), math.inf if unlimited else float(limit))
            for name, n, limit in zip(problem.rows, taken, problem.limit, strict=True)
        ),
        objective=objective,
        bound=solution.bound,
        gap=_gap(objective, solution.bound, cost),
        proved=solution.proved,
        cost=cost,
        watts=None if any(w is None for w in watts) else float(np.sum([w for w in watts if w is not None])),
        notes=(*notes, *solution.notes),
    )


def _gap(objective: float, bound: float, cost: float) -> float:
    difference = max(objective - bound, 0.0)
    if difference == 0.0 or not math.isfinite(difference):
        return difference
    return difference / cost if cost > 0 else math.inf
