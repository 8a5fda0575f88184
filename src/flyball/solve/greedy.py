"""Inferno's greedy order, with its four saturation policies.

Servers go by priority, then by what the next option would cost more (regret), then by the value of the
present one; each takes its present option if the rows allow, else moves on to its next option and queues
again. What cannot be served whole may get part of an option: best effort, after all priorities (delayed)
or after each. Ties break by name. (llm-inferno optimizer v0.6, pkg/solver; sections 4.3 and 4.6 of the
behaviour notes; there ties fall as Go's map order has it.)
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

import numpy as np

from flyball.solve.problem import NONE, Problem, Solution, used

DIGITS = 9
"""Values are compared to this many decimals: equal prices must not differ by rounding."""
SLACK = 1e-9


def solve(problem: Problem, policy: str = "None", delayed: bool = False) -> Solution:
    """Allocate; `policy` is one of None, PriorityExhaustive, PriorityRoundRobin, RoundRobin."""
    state = _State(problem)
    if delayed:
        best_effort(state, state.allocate(range(len(problem.names))), policy)
    else:
        order = sorted(range(len(problem.names)), key=lambda s: int(problem.priority[s]))
        for _, group in groupby(order, key=lambda s: int(problem.priority[s])):
            best_effort(state, state.allocate(group), policy)
    return state.solution()


class _State:
    """What is free, and who has got what."""

    def __init__(self, problem: Problem, solution: Solution | None = None) -> None:
        self.problem = problem
        count = len(problem.names)
        begin = solution or _nothing(count)
        self.free = (problem.limit - used(problem, begin)).tolist()
        self.option: list[int] = begin.option.tolist()
        self.replicas: list[float] = begin.replicas.tolist()
        self.served: list[bool] = begin.served.tolist()
        self._first = problem.start.tolist()
        self._value = problem.value.tolist()
        self._replicas = problem.replicas.tolist()
        self._use_start = problem.use_start.tolist()
        self._use_row = problem.use_row.tolist()
        self._amount = problem.amount.tolist()

    def fits(self, option: int) -> bool:
        return all(
            self._amount[u] <= self.free[self._use_row[u]] + SLACK
            for u in range(self._use_start[option], self._use_start[option + 1])
        )

    def give(self, server: int, option: int) -> None:
        for u in range(self._use_start[option], self._use_start[option + 1]):
            self.free[self._use_row[u]] -= self._amount[u]
        self.option[server], self.replicas[server] = option, self._replicas[option]
        self.served[server] = True

    def take_back(self, server: int) -> None:
        option = self.option[server]
        for u in range(self._use_start[option], self._use_start[option + 1]):
            self.free[self._use_row[u]] += self._amount[u]

    def options(self, server: int) -> range:
        return range(self._first[server], self._first[server + 1])

    def allocate(self, servers: Iterable[int]) -> list[int]:
        """Serve whom the rows allow; return the others, in the order in which their options ran out."""
        queue = [self._entry(s, self._first[s]) for s in servers if self._first[s] < self._first[s + 1]]
        heapq.heapify(queue)
        left = []
        while queue:
            entry = heapq.heappop(queue)
            server, option = entry[3], entry[4]
            if self.fits(option):
                self.give(server, option)
            elif option + 1 < self._first[server + 1]:
                heapq.heappush(queue, self._entry(server, option + 1))
            else:
                left.append(server)
        return left

    def _entry(self, server: int, option: int) -> tuple[int, float, float, int, int]:
        value = self._value[option]
        last = option + 1 == self._first[server + 1]
        regret = math.inf if last else round(self._value[option + 1] - value, DIGITS)
        return int(self.problem.priority[server]), -regret, -round(value, DIGITS), server, option

    def room(self, option: int) -> int:
        """Replicas of an option that still fit."""
        fits = math.inf
        for row, amount in self.problem.per_replica(option):
            if amount > 0 and self.free[row] < math.inf:
                fits = min(fits, (self.free[row] + SLACK) // amount)
        return int(min(fits, self._replicas[option]))

    def add(self, server: int, option: int, count: int) -> None:
        for row, amount in self.problem.per_replica(option):
            self.free[row] -= count * amount
        self.option[server] = option
        self.replicas[server] += count

    def solution(self) -> Solution:
        return replace(
            _nothing(len(self.option)),
            option=np.array(self.option, dtype=np.int64),
            replicas=np.array(self.replicas, dtype=float),
            served=np.array(self.served, dtype=bool),
        )


def _nothing(count: int) -> Solution:
    return Solution(
        "greedy", np.full(count, NONE), np.zeros(count), np.zeros(count, dtype=bool), -math.inf, False
    )


def best_effort(state: _State, servers: list[int], policy: str) -> None:
    """Give those that cannot be served whole what is left, as the policy has it."""
    if policy == "PriorityExhaustive":
        for server in servers:
            for option in state.options(server):
                if (count := state.room(option)) > 0:
                    state.add(server, option, count)
                    break
    elif policy == "PriorityRoundRobin":
        for _, group in groupby(servers, key=lambda s: int(state.problem.priority[s])):
            _round_robin(state, list(group))
    elif policy == "RoundRobin":
        _round_robin(state, servers)


def _round_robin(state: _State, servers: list[int]) -> None:
    """One replica at a time; a server stays with the first option that had room for one."""
    while servers:
        going = []
        for server in servers:
            option = state.option[server]
            if option == NONE:
                option = next((o for o in state.options(server) if state.room(o) > 0), NONE)
            elif state.replicas[server] >= state.problem.replicas[option] or state.room(option) == 0:
                option = NONE
            if option != NONE:
                state.add(server, option, 1)
                going.append(server)
        rounds = _same_rounds(state, going)
        for server in going if rounds > 0 else ():
            state.add(server, state.option[server], rounds)
        servers = going


def _same_rounds(state: _State, servers: list[int]) -> int:
    """Whole rounds in which each of them gets one more: a large fleet would take long one by one."""
    rounds, taken = math.inf, dict[int, float]()
    for server in servers:
        option = state.option[server]
        rounds = min(rounds, state.problem.replicas[option] - state.replicas[server])
        for row, amount in state.problem.per_replica(option):
            taken[row] = taken.get(row, 0.0) + amount
    for row, amount in taken.items():
        if amount > 0 and state.free[row] < math.inf:
            rounds = min(rounds, (state.free[row] + SLACK) // amount)
    return int(rounds) if math.isfinite(rounds) else 0


def polished(problem: Problem, solution: Solution) -> Solution:
    """Whoever has an option of less value that fits beside all others takes it, until nobody has."""
    state = _State(problem, solution)
    moved = True
    while moved:
        moved = False
        for server in np.flatnonzero(solution.served).tolist():
            present = state.option[server]
            state.take_back(server)
            better = next((o for o in state.options(server) if o < present and state.fits(o)), present)
            state.give(server, better)
            moved = moved or better != present
    done = state.solution()
    return replace(solution, option=done.option, replicas=done.replicas)


def with_best_effort(problem: Problem, solution: Solution, policy: str) -> Solution:
    """Another solver's solution, its unserved given best effort in order of priority and name."""
    if policy == "None" or solution.served.all():
        return solution
    state = _State(problem, solution)
    left = [s for s in range(len(problem.names)) if not solution.served[s] and state.options(s)]
    best_effort(state, sorted(left, key=lambda s: (int(problem.priority[s]), s)), policy)
    done = state.solution()
    return replace(solution, option=done.option, replicas=done.replicas)
