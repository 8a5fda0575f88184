"""What solvers see, and what they answer.

Servers are numbered in order of name; the options of server s are `start[s] : start[s+1]`, in order of
value, then name, so that ties break by name wherever the first of equals is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NONE = -1
"""No option."""


@dataclass(frozen=True, eq=False)
class Problem:
    """S servers, O options, R resource rows, U uses of a row by an option."""

    names: tuple[str, ...]
    """(S,) servers, sorted."""
    priority: IntArray
    """(S,) 1 goes first."""
    start: IntArray
    """(S + 1,)"""
    server: IntArray
    """(O,)"""
    value: FloatArray
    """(O,) what is minimised."""
    cost: FloatArray
    """(O,) what gaps are quoted of."""
    replicas: FloatArray
    """(O,)"""
    rows: tuple[str, ...]
    """(R,)"""
    limit: FloatArray
    """(R,)"""
    use_start: IntArray
    """(O + 1,) the uses of option o are use_start[o] : use_start[o+1]."""
    use_row: IntArray
    """(U,)"""
    use_fixed: FloatArray
    """(U,) of each replica."""
    use_load: FloatArray
    """(U,) of the whole load (slope x load), shared out over the replicas."""
    rate: FloatArray = field(default_factory=lambda: np.zeros(0))
    """(S,) arrival rate of the servers, for divisible load."""
    option_rate: FloatArray = field(default_factory=lambda: np.zeros(0))
    """(O,) rate that one replica takes within its targets, for divisible load."""
    unit_cost: FloatArray = field(default_factory=lambda: np.zeros(0))
    """(O,) cost of one replica."""
    min_replicas: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """(S,)"""

    @property
    def amount(self) -> FloatArray:
        """(U,) use of each row by each option, whole."""
        return np.repeat(self.replicas, np.diff(self.use_start)) * self.use_fixed + self.use_load

    def per_replica(self, option: int) -> list[tuple[int, float]]:
        """(row, use of one replica) of an option."""
        first, last = int(self.use_start[option]), int(self.use_start[option + 1])
        count = float(self.replicas[option]) or 1.0
        return [
            (int(self.use_row[u]), float(self.use_fixed[u] + self.use_load[u] / count))
            for u in range(first, last)
        ]


@dataclass(frozen=True, eq=False)
class Solution:
    """Which option each server gets, and how good that is."""

    solver: str
    option: IntArray
    """(S,) or NONE."""
    replicas: FloatArray
    """(S,) fewer than the option's: best effort."""
    served: BoolArray
    """(S,) gets its option whole."""
    bound: float
    """Lower bound on the value of any solution that serves as many of each priority."""
    proved: bool
    """No other solution serves more by priority, and the value is within 1e-6 of the cost of the bound."""
    mix: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Server to (option, replicas), where the load is divided."""
    divisible: bool = False
    """Solved with divisible load, for cost."""
    notes: tuple[str, ...] = ()


def used(problem: Problem, solution: Solution) -> FloatArray:
    """(R,) what a solution takes of each row."""
    total = np.zeros(len(problem.rows))
    parts = [
        (int(o), float(n))
        for s, (o, n) in enumerate(zip(solution.option, solution.replicas, strict=True))
        if s not in solution.mix
    ] + [(o, float(n)) for part in solution.mix.values() for o, n in part]
    for option, count in parts:
        if option != NONE:
            for row, amount in problem.per_replica(option):
                total[row] += count * amount
    return total


def value_of(problem: Problem, solution: Solution) -> float:
    """Sum of the values of what is served whole; of divisible load, which is solved for cost, the cost."""
    if solution.divisible:
        return cost_of(problem, solution)
    return float(problem.value[solution.option[solution.served]].sum())


def cost_of(problem: Problem, solution: Solution) -> float:
    """Dollars per hour of all that is allocated."""
    total = 0.0
    for s in np.flatnonzero(solution.option != NONE):
        parts = solution.mix.get(int(s), [(int(solution.option[s]), float(solution.replicas[s]))])
        total += sum(float(problem.unit_cost[o]) * n for o, n in parts)
    return total


def served_by_priority(problem: Problem, solution: Solution) -> list[tuple[int, int]]:
    """(priority, servers served whole), first priority first."""
    return [
        (int(p), int(np.count_nonzero(solution.served & (problem.priority == p))))
        for p in np.unique(problem.priority)
    ]
