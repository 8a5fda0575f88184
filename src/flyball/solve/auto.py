"""Which solver, and never worse than greedy."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import msgspec
import numpy as np

from flyball.solve import greedy, unlimited
from flyball.solve.problem import Problem, Solution, served_by_priority, used, value_of, with_cards_only
from flyball.spec.fleet import Settings
from flyball.units import Seconds

MIX_NODES, MIX_GAP = 2000, 1e-4
"""How hard `auto` tries with divisible load; `exact` goes on to the proof."""


def solve(problem: Problem, settings: Settings, budget: Seconds | None = None) -> Solution:
    """Solve as the settings ask; best effort for what remains, as the saturation policy has it.

    `budget` is a guard from outside: solvers that the clock stops leave the best that is known, greedy's
    answer at least, with a note.
    """
    if problem.watts:
        return _within_watts(problem, settings, budget)
    if settings.unlimited or settings.solver == "unlimited":
        return unlimited.solve(problem)
    return _limited(problem, settings, budget)


def _within_watts(problem: Problem, settings: Settings, budget: Seconds | None) -> Solution:
    """The answer without watts where it holds them by itself: a budget that does not bind changes nothing."""
    deadline = math.inf if budget is None else time.monotonic() + budget
    free = settings.unlimited or settings.solver == "unlimited"
    cards = with_cards_only(problem)
    first = (
        unlimited.solve(cards)
        if free or settings.heterogeneous
        else greedy.solve(cards, settings.saturation_policy, settings.delayed_best_effort)
    )
    if _holds(problem, first):  # it is near enough to the answer to try
        answer = first if free else _limited(cards, settings, budget)
        if _holds(problem, answer):
            return answer
    if free:
        settings = msgspec.structs.replace(settings, unlimited=False, solver="auto", heterogeneous=False)
    return _limited(problem, settings, None if budget is None else max(deadline - time.monotonic(), 0.0))


def _holds(problem: Problem, solution: Solution) -> bool:
    return bool(np.all((used(problem, solution) <= problem.limit + greedy.SLACK)[-problem.watts :]))


def _limited(problem: Problem, settings: Settings, budget: Seconds | None) -> Solution:
    deadline = math.inf if budget is None else time.monotonic() + budget
    policy = settings.saturation_policy
    if settings.heterogeneous:
        return _mixed(problem, settings, budget)
    own = greedy.solve(problem, policy, settings.delayed_best_effort)
    if settings.solver == "greedy" or not problem.server.size:
        return bounded(problem, own, deadline)
    if _takes_first(problem, own):
        return replace(own, bound=value_of(problem, own), proved=True)

    from flyball.solve import exact

    start = greedy.solve(problem) if policy != "None" else own
    effort = exact.single.FULL if settings.solver == "exact" else exact.single.quick(problem)
    if budget is not None:
        effort = replace(effort, seconds=min(budget, effort.seconds or budget))
    whole = greedy.polished(problem, exact.solve(problem, effort, start))
    better = greedy.with_best_effort(problem, whole, policy)
    if max(better, own, key=lambda s: _merit(problem, s)) is better:
        return better
    return bounded(problem, replace(own, notes=whole.notes), deadline)


def _mixed(problem: Problem, settings: Settings, budget: Seconds | None) -> Solution:
    """Divisible load; undivided where the clock left nothing better."""
    from flyball.solve.exact import solve_mix

    proof, policy = settings.solver == "exact", settings.saturation_policy
    mixed = (
        solve_mix(problem, budget=budget)
        if proof
        else solve_mix(problem, nodes=MIX_NODES, gap=MIX_GAP, budget=budget)
    )
    best = greedy.with_best_effort(problem, mixed, policy)
    if not mixed.notes:
        return best
    own = greedy.solve(problem, policy, settings.delayed_best_effort)
    own = replace(own, bound=0.0, divisible=True, notes=mixed.notes)
    return max(best, own, key=lambda s: _merit(problem, s))


def bounded(problem: Problem, solution: Solution, deadline: float = math.inf) -> Solution:
    """The same solution with the linear relaxation's bound for what it serves; -inf past the deadline."""
    value = value_of(problem, solution)
    if _takes_first(problem, solution):
        return replace(solution, bound=value)
    from flyball.solve.exact import single

    left = None if math.isinf(deadline) else deadline - time.monotonic()
    bound, notes = single.bound(problem, dict(served_by_priority(problem, solution)), left)
    return replace(solution, bound=min(bound, value), notes=tuple(dict.fromkeys((*solution.notes, *notes))))


def _takes_first(problem: Problem, solution: Solution) -> bool:
    """Whether everyone has the option of least value: nothing can be better."""
    has = np.diff(problem.start) > 0
    return bool(np.all(solution.served[has]) and np.all(solution.option[has] == problem.start[:-1][has]))


def _merit(problem: Problem, solution: Solution) -> tuple[object, ...]:
    counts = tuple(count for _, count in served_by_priority(problem, solution))
    return counts, -round(value_of(problem, solution), greedy.DIGITS), solution.solver != "greedy"
