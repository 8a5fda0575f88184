"""Which solver, and never worse than greedy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flyball.solve import greedy, unlimited
from flyball.solve.problem import Problem, Solution, served_by_priority, value_of
from flyball.spec.fleet import Settings

MIX_NODES, MIX_GAP = 2000, 1e-4
"""How hard `auto` tries with divisible load; `exact` goes on to the proof."""


def solve(problem: Problem, settings: Settings) -> Solution:
    """Solve as the settings ask; best effort for what remains, as the saturation policy has it."""
    if settings.unlimited or settings.solver == "unlimited":
        return unlimited.solve(problem)
    policy = settings.saturation_policy
    if settings.heterogeneous:
        from flyball.solve.exact import solve_mix

        proof = settings.solver == "exact"
        mixed = solve_mix(problem) if proof else solve_mix(problem, nodes=MIX_NODES, gap=MIX_GAP)
        return greedy.with_best_effort(problem, mixed, policy)
    own = greedy.solve(problem, policy, settings.delayed_best_effort)
    if settings.solver == "greedy" or not problem.server.size:
        return bounded(problem, own)
    if _takes_first(problem, own):
        return replace(own, bound=value_of(problem, own), proved=True)

    from flyball.solve import exact

    start = greedy.solve(problem) if policy != "None" else own
    effort = exact.single.FULL if settings.solver == "exact" else exact.single.QUICK
    whole = greedy.polished(problem, exact.solve(problem, effort, start))
    better = greedy.with_best_effort(problem, whole, policy)
    best = max(better, own, key=lambda s: _merit(problem, s))
    return bounded(problem, own) if best is own else best


def bounded(problem: Problem, solution: Solution) -> Solution:
    """The same solution with the bound of the linear relaxation for what it serves."""
    if _takes_first(problem, solution):
        bound = value_of(problem, solution)
    else:
        from flyball.solve.exact import single

        bound = min(
            single.bound(problem, dict(served_by_priority(problem, solution))), value_of(problem, solution)
        )
    return replace(solution, bound=bound)


def _takes_first(problem: Problem, solution: Solution) -> bool:
    """Whether everyone has the option of least value: nothing can be better."""
    has = np.diff(problem.start) > 0
    return bool(np.all(solution.served[has]) and np.all(solution.option[has] == problem.start[:-1][has]))


def _merit(problem: Problem, solution: Solution) -> tuple[object, ...]:
    counts = tuple(count for _, count in served_by_priority(problem, solution))
    return counts, -round(value_of(problem, solution), greedy.DIGITS), solution.solver != "greedy"
