"""One option for each server: lexicographic service, then least value."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flyball.solve.exact.model import INFINITY, PROOF, STOPPED, Answer, Model, from_rows, run
from flyball.solve.problem import NONE, BoolArray, FloatArray, IntArray, Problem, Solution, cost_of, value_of


@dataclass(frozen=True)
class Effort:
    """How hard to try. Work is counted; `seconds` is the outer guard."""

    nodes: int | None = None
    """Branch-and-bound nodes of each stage; None: no limit."""
    gap: float = PROOF
    """Of cost, at which the last stage stops; so it does at twice that above the relaxation."""
    small: int = 0
    """Up to so many columns all of them are used, to a proof, and ten times the nodes."""
    cores: tuple[int, ...] = (60, 250, 1000, 100_000)
    """Servers that small programs around the relaxation leave open, one size after the other."""
    core_nodes: int = 500
    whole: bool = True
    """Whether all columns are searched where small programs have found some solution, but not the best."""
    presolve: bool = True
    """Of integer programs: over many rows that all options share it takes longer than it saves."""
    seconds: float | None = None


FULL = Effort(seconds=600.0)
QUICK = Effort(nodes=300, gap=4e-4, small=4000, seconds=60.0)
WATTS = Effort(nodes=10, gap=1e-2, seconds=60.0, cores=(100,), core_nodes=10, whole=False, presolve=False)
"""Budgets of racks and their sum are as hard as many knapsacks at once: large fleets get no proof."""
PROVABLE = 1000
"""Options times rows of watts up to which there is one."""
CORE_COLUMNS = 6
ALL_COLUMNS = 2


def quick(problem: Problem) -> Effort:
    """How hard to try in seconds: few options within few watts to a proof."""
    return WATTS if problem.watts * problem.server.size > PROVABLE else QUICK


def solve(problem: Problem, effort: Effort = FULL, begin: Solution | None = None) -> Solution:
    """The plan that serves most by priority at least value, from `begin` (any feasible solution)."""
    return _Stages(problem, effort, begin).solve()


def bound(
    problem: Problem, goal: dict[int, int], seconds: float | None = None
) -> tuple[float, tuple[str, ...]]:
    """Lower bound of the value of plans that serve so many of each priority, -inf without one; notes."""
    stages = _Stages(problem, Effort(seconds=seconds), None)
    columns = np.flatnonzero(stages._useful())
    # without presolve, which takes as long as the rest
    relaxed = stages._run(stages._model(columns, problem.value[columns], goal), integer=False, presolve=False)
    return relaxed.bound if relaxed.optimal else -math.inf, tuple(stages.notes)


class _Stages:
    def __init__(self, problem: Problem, effort: Effort, begin: Solution | None) -> None:
        self.problem, self.effort = problem, effort
        self.deadline = math.inf if effort.seconds is None else time.monotonic() + effort.seconds
        self.has = np.diff(problem.start) > 0
        self.proved, self.notes = True, []  # type: tuple[bool, list[str]]
        self.amount = problem.amount
        self.small = problem.server.size <= effort.small
        self.nodes = effort.nodes if effort.nodes is None or not self.small else 10 * effort.nodes
        self.incumbent = np.full(len(problem.names), NONE)
        if begin is not None:
            self.incumbent = np.where(begin.served, begin.option, NONE)

    def solve(self) -> Solution:
        problem = self.problem
        priorities = [int(p) for p in np.unique(problem.priority[self.has])]
        everyone = {p: int(np.count_nonzero(self.has & (problem.priority == p))) for p in priorities}
        goal = dict(everyone)
        bound = self._least_value(goal)
        if bound is None:
            goal = {}
            for p in priorities:
                goal[p] = self._most(p, everyone[p], goal)
            bound = self._least_value(goal)
        if bound is None:  # the solver takes back, within its tolerance, what the stages had found
            bound, self.proved = -math.inf, False
        return self._solution(bound)

    def _most(self, priority: int, present: int, goal: dict[int, int]) -> int:
        """Largest number of servers of this priority beside those already promised."""
        problem = self.problem
        here = np.flatnonzero(problem.priority == priority)

        def got() -> int:
            return int(np.count_nonzero(self.incumbent[here] != NONE)) if self._keeps(goal) else -1

        if got() == present:
            return present
        wanted = problem.priority[problem.server] <= priority
        columns = np.flatnonzero(self._thrifty(wanted))
        profit = np.zeros(problem.server.size)
        profit[problem.priority[problem.server] == priority] = -1.0
        relaxed = self._run(self._model(columns, profit[columns], goal), integer=False)
        most = present if not relaxed.optimal else math.floor(-relaxed.objective + 1e-6)
        if relaxed.x is not None and relaxed.reduced_cost is not None:
            for size in self._cores(columns):
                if got() >= most:
                    break
                core = self._core(columns, relaxed, size)
                self._search(core, profit, goal, 1.0 - 1e-3, near=-most + 0.5, nodes=self.effort.core_nodes)
        if got() < most and not self.effort.whole and got() >= 0:
            self.proved = False
        elif got() < most:
            answer = self._search(columns, profit, goal, 1.0 - 1e-3, near=-most + 0.5, nodes=self.nodes)
            proved = math.floor(-answer.bound + 1e-6) if math.isfinite(answer.bound) else most
            self.proved = self.proved and got() >= min(most, proved)
        return max(got(), 0)

    def _keeps(self, goal: dict[int, int]) -> bool:
        served = self.incumbent != NONE
        return all(np.count_nonzero(served & (self.problem.priority == p)) >= k for p, k in goal.items())

    def _least_value(self, goal: dict[int, int]) -> float | None:
        """Least value that serves as many; sets the incumbent, returns the bound, None where infeasible."""
        problem, effort = self.problem, self.effort
        columns = np.flatnonzero(self._useful())
        relaxed = self._run(self._model(columns, problem.value[columns], goal), integer=False)
        if relaxed.infeasible or relaxed.x is None or relaxed.reduced_cost is None:
            return None
        cost = float(problem.cost[columns] @ relaxed.x)
        near = relaxed.bound + (PROOF if self.small else 2.0 * effort.gap) * cost
        for size in self._cores(columns):
            if self._near(goal, near) or self.small:
                break
            core = self._core(columns, relaxed, size)
            self._search(
                core, problem.value, goal, 0.5 * effort.gap * cost, near=near, nodes=self.effort.core_nodes
            )
        if self._near(goal, near):
            return relaxed.bound
        if self.small or effort.nodes is None:
            answer = self._search(columns, problem.value, goal, 0.5 * PROOF * cost, nodes=self.nodes)
            bound = max(relaxed.bound, answer.bound)
        else:
            bound = relaxed.bound
            if not self._keeps(goal):
                self._search(columns, problem.value, goal, effort.gap * cost, near=near, nodes=self.nodes)
        return bound if self._keeps(goal) else None

    def _near(self, goal: dict[int, int], value: float) -> bool:
        return self._keeps(goal) and self._value(self.incumbent) <= value

    def _search(
        self,
        columns: IntArray,
        cost: FloatArray,
        goal: dict[int, int],
        gap: float,
        near: float | None = None,
        nodes: int | None = None,
    ) -> Answer:
        """Integer program over some columns; what it finds becomes the incumbent where it is better."""
        keeps = self._keeps(goal)
        answer = self._run(
            self._model(columns, cost[columns], goal),
            integer=True,
            absolute_gap=gap,
            near=near,
            nodes=nodes,
            presolve=self.effort.presolve,
            begin=self._begin(columns) if keeps else None,
        )
        found = self._accept(answer, columns)
        if found is not None:
            new, old = (float(cost[option[option != NONE]].sum()) for option in (found, self.incumbent))
            if not keeps or new < old - 1e-9:
                self.incumbent = found
        return answer

    def _value(self, option: IntArray) -> float:
        return float(self.problem.value[option[option != NONE]].sum())

    def _useful(self) -> BoolArray:
        """Options that no other of the same server beats in value and in every row."""
        problem = self.problem
        if problem.watts:
            return self._possible() & ~self._beaten(problem.server >= 0, by_value=True)
        single = np.diff(problem.use_start) == 1
        keep = np.ones(problem.server.size, dtype=bool)
        row, amount = self._single_rows(single)
        # in order of value within (server, row): one is useful only if it takes less than all before
        at = np.flatnonzero(single)
        _, group = np.unique(problem.server[at] * len(problem.rows) + row[at], return_inverse=True)
        order = np.argsort(group, kind="stable")
        rank = np.empty(at.size, dtype=np.int64)
        rank[order] = np.arange(at.size) - np.searchsorted(group[order], group[order])
        least = np.full(at.size, np.inf)
        for r in range(int(rank.max(initial=-1)) + 1):
            here = np.flatnonzero(rank == r)
            keep[at[here]] = amount[at[here]] < least[group[here]]
            least[group[here]] = np.minimum(least[group[here]], amount[at[here]])
        return keep & self._possible()

    def _beaten(self, wanted: BoolArray, by_value: bool) -> BoolArray:
        """Options of which another of the same server takes no more of any row (and has no higher value)."""
        problem = self.problem
        at = np.flatnonzero(wanted)
        bounded = np.flatnonzero(np.isfinite(problem.limit))
        row = np.full(len(problem.rows), -1)
        row[bounded] = np.arange(bounded.size)
        use, which = problem.uses(at)
        counted = row[problem.use_row[use]] >= 0
        takes = np.zeros((at.size, bounded.size))
        takes[which[counted], row[problem.use_row[use[counted]]]] = self.amount[use[counted]]
        server = problem.server[at]
        beaten = np.zeros(problem.server.size, dtype=bool)
        for apart in range(1, int(np.diff(problem.start).max(initial=0))):
            first, second = takes[:-apart], takes[apart:]  # in order of value
            same = server[apart:] == server[:-apart]
            over = same & np.all(first <= second, axis=1)
            beaten[at[apart:][over]] = True
            if not by_value:
                over = same & ~over & np.all(second <= first, axis=1)
                beaten[at[:-apart][over]] = True
        return beaten

    def _possible(self) -> BoolArray:
        """Options that fit on their own."""
        problem = self.problem
        over = self.amount > problem.limit[problem.use_row] + 1e-9
        owner = np.repeat(np.arange(problem.server.size), np.diff(problem.use_start))
        possible = np.ones(problem.server.size, dtype=bool)
        possible[owner[over]] = False
        return possible

    def _thrifty(self, wanted: BoolArray) -> BoolArray:
        """For counting, value does not matter: of each (server, row) the option that takes least."""
        problem = self.problem
        if problem.watts:
            return wanted & self._possible() & ~self._beaten(wanted, by_value=False)
        single = (np.diff(problem.use_start) == 1) & wanted
        row, amount = self._single_rows(single)
        at = np.flatnonzero(single)
        order = at[np.lexsort((at, amount[at], row[at], problem.server[at]))]
        first = np.ones(order.size, dtype=bool)
        first[1:] = (problem.server[order][1:] != problem.server[order][:-1]) | (
            row[order][1:] != row[order][:-1]
        )
        keep = wanted & ~single
        keep[order[first]] = True
        thrifty: BoolArray = keep & self._possible()
        return thrifty

    def _single_rows(self, single: BoolArray) -> tuple[IntArray, FloatArray]:
        row, amount = np.zeros(single.size, dtype=np.int64), np.zeros(single.size)
        use = self.problem.use_start[:-1][single]
        row[single], amount[single] = self.problem.use_row[use], self.amount[use]
        return row, amount

    def _cores(self, columns: IntArray) -> list[int]:
        """Sizes of cores up to the first that holds every server."""
        present = np.unique(self.problem.server[columns]).size
        cores = self.effort.cores
        return [size for i, size in enumerate(cores) if i == 0 or cores[i - 1] < present]

    def _core(self, columns: IntArray, relaxed: Answer, size: int) -> IntArray:
        """Columns of a small program: several for servers on the edge, one for those that are sure.

        On the edge are the servers that the relaxation splits, then those whose next column costs least more.
        """
        assert relaxed.x is not None
        assert relaxed.reduced_cost is not None
        server = self.problem.server[columns]
        order = np.lexsort((columns, np.where(relaxed.x > 1e-7, -1.0, relaxed.reduced_cost), server))
        present, first = np.unique(server[order], return_index=True)
        rank = np.arange(order.size) - np.repeat(first, np.diff([*first, order.size]))
        split = np.zeros(len(self.problem.names), dtype=bool)
        split[server[(relaxed.x > 1e-7) & (relaxed.x < 1.0 - 1e-7)]] = True
        regret = np.full(len(self.problem.names), np.inf)
        second = order[rank == 1]
        regret[server[second]] = relaxed.reduced_cost[second]
        # those that the relaxation leaves out may come in
        taken = np.zeros(len(self.problem.names))
        np.add.at(taken, server, relaxed.x)
        lead = order[rank == 0]
        out = taken[server[lead]] < 1.0 - 1e-7
        regret[server[lead[out]]] = np.minimum(regret[server[lead[out]]], relaxed.reduced_cost[lead[out]])
        regret[split] = -1.0
        edge = np.zeros(len(self.problem.names), dtype=bool)
        edge[present[np.argsort(regret[present], kind="stable")[:size]]] = True
        most = CORE_COLUMNS if size < present.size else ALL_COLUMNS
        keep = np.where(edge[server[order]], rank < most, (rank == 0) & ~(taken[server[order]] < 1e-7))
        chosen = np.zeros(self.problem.server.size, dtype=bool)
        chosen[columns[order[keep]]] = True
        chosen[self.incumbent[self.incumbent != NONE]] = True  # so that every core has a point to begin from
        return np.flatnonzero(chosen)

    def _model(self, columns: IntArray, cost: FloatArray, goal: dict[int, int]) -> Model:
        """Each server at most once (exactly once where its whole priority is promised); rows; promises."""
        problem = self.problem
        server = problem.server[columns]
        present, position = np.unique(server, return_inverse=True)
        counts = {p: int(np.count_nonzero(self.has & (problem.priority == p))) for p in goal}
        whole = np.isin(problem.priority, [p for p, k in goal.items() if k == counts[p]])
        must = whole[present]
        number = np.arange(columns.size)
        blocks = [
            (must.astype(float), np.ones(present.size), position, number, np.ones(columns.size)),
        ]
        uses = np.diff(problem.use_start)[columns]
        owner = np.repeat(number, uses)
        within = np.arange(uses.sum()) - np.repeat(np.cumsum(uses) - uses, uses)
        use = problem.use_start[columns][owner] + within
        blocks.append(
            (
                np.full(len(problem.rows), -INFINITY),
                problem.limit.astype(float),
                problem.use_row[use],
                owner,
                self.amount[use],
            )
        )
        partial = [p for p, k in goal.items() if 0 < k < counts[p]]
        for p in partial:
            at = number[problem.priority[server] == p]
            blocks.append(
                (np.array([float(goal[p])]), np.array([INFINITY]), np.zeros_like(at), at, np.ones(at.size))
            )
        if np.count_nonzero(self.has & whole) > np.count_nonzero(must):
            # a server that must be served but has no column left makes the promise void
            none = np.zeros(0, dtype=np.int64)
            blocks.append((np.ones(1), np.full(1, INFINITY), none, none, np.zeros(0)))
        return from_rows(np.asarray(cost, dtype=float), np.ones(columns.size), blocks)

    def _begin(self, columns: IntArray) -> FloatArray:
        return np.isin(columns, self.incumbent[self.incumbent != NONE]).astype(float)

    def _accept(self, answer: Answer, columns: IntArray) -> IntArray | None:
        """The answer as options, if it really fits: integers are integers only to a tolerance in HiGHS."""
        if answer.x is None:
            return None
        problem = self.problem
        taken = columns[answer.x > 0.5]
        option = np.full(len(problem.names), NONE)
        option[problem.server[taken]] = taken
        total = np.zeros(len(problem.rows))
        for o in taken.tolist():
            for u in range(int(problem.use_start[o]), int(problem.use_start[o + 1])):
                total[problem.use_row[u]] += self.amount[u]
        fits = np.all(total <= problem.limit * (1 + 1e-12) + 1e-9) and taken.size == np.count_nonzero(
            option != NONE
        )
        return option if fits else None

    def _run(self, model: Model, **how: Any) -> Answer:
        """`run` until the deadline."""
        left = None if math.isinf(self.deadline) else self.deadline - time.monotonic()
        answer = run(model, **how, seconds=left)
        if answer.timed_out:
            self.notes.append(STOPPED)
        return answer

    def _solution(self, bound: float) -> Solution:
        problem = self.problem
        served = self.incumbent != NONE
        replicas = np.zeros(served.size)
        replicas[served] = problem.replicas[self.incumbent[served]]
        solution = Solution("exact", self.incumbent, replicas, served, bound, False)
        gap = value_of(problem, solution) - bound
        proved = self.proved and gap <= PROOF * max(cost_of(problem, solution), 1e-12)
        bound = min(bound, value_of(problem, solution))
        return replace(solution, bound=bound, proved=proved, notes=tuple(dict.fromkeys(self.notes)))
