"""What solvers see, and what they answer.

Servers are numbered in order of name; the options of server s are `start[s] : start[s+1]`, in order of
value, then name, so that ties break by name wherever the first of equals is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

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
    """(R,) inf: unlimited."""
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
    use_most: FloatArray = field(default_factory=lambda: np.zeros(0))
    """(U,) of one replica at its largest load; empty: as at its own."""
    watts: int = 0
    """So many of the rows, the last, are of watts and heat. Of unlimited cards only they have limits."""

    @cached_property
    def amount(self) -> FloatArray:
        """(U,) use of each row by each option, whole."""
        return np.repeat(self.replicas, np.diff(self.use_start)) * self.use_fixed + self.use_load

    @cached_property
    def each(self) -> FloatArray:
        """(U,) use of each row by one replica."""
        count = np.where(self.replicas == 0, 1.0, self.replicas)
        each: FloatArray = self.use_fixed + self.use_load / np.repeat(count, np.diff(self.use_start))
        return each

    @property
    def most(self) -> FloatArray:
        """(U,) use of each row by one replica where there are too few of them, so that each works harder."""
        return self.use_most if self.use_most.size else self.each

    def uses(self, options: IntArray) -> tuple[IntArray, IntArray]:
        """The uses of some options, one option after the other, and which of them each belongs to."""
        count = np.diff(self.use_start)[options]
        which = np.repeat(np.arange(options.size), count)
        return self.use_start[options][which] + np.arange(which.size) - (np.cumsum(count) - count)[
            which
        ], which

    def per_replica(self, option: int) -> list[tuple[int, float]]:
        """(row, use of one replica) of an option of which there are fewer than it has."""
        first, last = int(self.use_start[option]), int(self.use_start[option + 1])
        return list(zip(self.use_row[first:last].tolist(), self.most[first:last].tolist(), strict=True))


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


def parts(solution: Solution) -> tuple[IntArray, IntArray, FloatArray]:
    """(server, option, replicas) of all that is allocated, mixes after all others."""
    whole = solution.option != NONE
    whole[list(solution.mix)] = False
    server = np.flatnonzero(whole)
    mixed = [(s, o, n) for s, mix in solution.mix.items() for o, n in mix]
    return (
        np.concatenate([server, np.array([m[0] for m in mixed], dtype=np.int64)]),
        np.concatenate([solution.option[server], np.array([m[1] for m in mixed], dtype=np.int64)]),
        np.concatenate([solution.replicas[server], np.array([m[2] for m in mixed], dtype=float)]),
    )


def used(problem: Problem, solution: Solution) -> FloatArray:
    """(R,) what a solution takes of each row."""
    total = np.zeros(len(problem.rows))
    _, use, amount = takings(problem, solution)
    np.add.at(total, problem.use_row[use], amount)
    return total


def takings(problem: Problem, solution: Solution) -> tuple[IntArray, IntArray, FloatArray]:
    """(server, use, amount) of all that is allocated."""
    server, option, count = parts(solution)
    use, part = problem.uses(option)
    each = np.where(solution.served[server[part]], problem.each[use], problem.most[use])
    return server[part], use, count[part] * each


def with_cards_only(problem: Problem) -> Problem:
    """The same options without the rows of watts and heat."""
    rows = len(problem.rows) - problem.watts
    keep = problem.use_row < rows
    return replace(
        problem,
        rows=problem.rows[:rows],
        limit=problem.limit[:rows],
        use_start=np.concatenate([[0], np.cumsum(keep)])[problem.use_start].astype(np.int64),
        use_row=problem.use_row[keep],
        use_fixed=problem.use_fixed[keep],
        use_load=problem.use_load[keep],
        use_most=np.zeros(0),
        watts=0,
    )


def value_of(problem: Problem, solution: Solution) -> float:
    """Sum of the values of what is served whole; of divisible load, which is solved for cost, the cost."""
    if solution.divisible:
        return cost_of(problem, solution)
    return float(problem.value[solution.option[solution.served]].sum())


def cost_of(problem: Problem, solution: Solution) -> float:
    """Dollars per hour of all that is allocated."""
    _, option, count = parts(solution)
    return float((problem.unit_cost[option] * count).sum())


def served_by_priority(problem: Problem, solution: Solution) -> list[tuple[int, int]]:
    """(priority, servers served whole), first priority first."""
    return [
        (int(p), int(np.count_nonzero(solution.served & (problem.priority == p))))
        for p in np.unique(problem.priority)
    ]
