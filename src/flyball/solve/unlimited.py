"""Every server takes its option of least value; capacity is not looked at."""

from __future__ import annotations

import numpy as np

from flyball.solve.problem import NONE, Problem, Solution


def solve(problem: Problem) -> Solution:
    """The first option of each server: options are in order of value, then name."""
    has = np.diff(problem.start) > 0
    option = np.where(has, problem.start[:-1], NONE)
    chosen = option[has]
    replicas = np.zeros(option.size)
    replicas[has] = problem.replicas[chosen]
    return Solution("unlimited", option, replicas, has, float(problem.value[chosen].sum()), True)
