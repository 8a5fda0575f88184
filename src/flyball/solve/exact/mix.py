"""Divisible load: each server may use several accelerators at once (Inferno's `heterogeneous`).

n_o replicas of option o, each taking rate r_o within its targets: sum r_o n_o >= lambda of a server that is
served, least cost, within the rows. Replicas are loaded in proportion to what they can take. Unlike the
original, the plan that is solved is the plan that is returned.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from flyball.solve.exact.model import INFINITY, PROOF, STOPPED, from_rows, run
from flyball.solve.problem import NONE, Problem, Solution, cost_of


def solve_mix(
    problem: Problem,
    *,
    nodes: int | None = None,
    gap: float = PROOF,
    seconds: float = 60.0,
    budget: float | None = None,
) -> Solution:
    """Lexicographic service by priority, then least cost to a gap; the clock guards each stage, and all."""
    deadline = math.inf if budget is None else time.monotonic() + budget
    count, options = len(problem.names), problem.server.size
    usable = (problem.option_rate > 0) | (problem.replicas == 0)
    capacity = np.where(usable, problem.option_rate, 0.0)
    has = np.zeros(count, dtype=bool)
    has[problem.server[usable]] = True
    wanted = np.where(
        usable, np.ceil(problem.rate[problem.server] / np.where(capacity > 0, capacity, 1.0)), 0.0
    )
    upper = np.maximum(wanted, problem.min_replicas[problem.server]) * usable
    columns = np.arange(options)
    number = np.arange(count)
    # variables: n_o for options, then y_s for servers
    scale = np.where(problem.rate > 0, problem.rate, 1.0)
    blocks = [
        (
            np.where(problem.rate > 0, 0.0, -INFINITY),
            np.full(count, INFINITY),
            np.concatenate([problem.server, number]),
            np.concatenate([columns, options + number]),
            np.concatenate([capacity / scale[problem.server], -np.ones(count)]),
        ),
        (
            np.zeros(count),
            np.full(count, INFINITY),
            np.concatenate([problem.server, number]),
            np.concatenate([columns, options + number]),
            np.concatenate([np.ones(options), -problem.min_replicas.astype(float)]),
        ),
        (
            np.full(len(problem.rows), -INFINITY),
            problem.limit.astype(float),
            problem.use_row,
            np.repeat(columns, np.diff(problem.use_start)),
            problem.each,
        ),
    ]
    limits = np.concatenate([upper, has.astype(float)])
    best, proved, stopped = None, True, False
    for priority in np.unique(problem.priority[has]):
        members = number[has & (problem.priority == priority)]
        profit = np.zeros(limits.size)
        profit[options + members] = -1.0
        answer = run(
            from_rows(profit, limits, blocks),
            integer=True,
            absolute_gap=1 - 1e-3,
            nodes=nodes,
            seconds=min(seconds, deadline - time.monotonic()),
        )
        got = 0 if answer.x is None else round(float(answer.x[options + members].sum()))
        proved = proved and answer.optimal
        stopped = stopped or answer.timed_out
        best = answer.x if answer.x is not None else best
        blocks.append(
            (
                np.array([float(got)]),
                np.array([INFINITY]),
                np.zeros(members.size, dtype=np.int64),
                options + members,
                np.ones(members.size),
            )
        )
    prices = np.concatenate([problem.unit_cost, np.zeros(count)])
    answer = run(
        from_rows(prices, limits, blocks),
        integer=True,
        relative_gap=gap,
        nodes=nodes,
        seconds=min(seconds, deadline - time.monotonic()),
        begin=best,
    )
    x = answer.x if answer.x is not None else best
    proved = proved and answer.optimal
    notes = (STOPPED,) if stopped or answer.timed_out else ()
    option, replicas = np.full(count, NONE), np.zeros(count)
    mix: dict[int, list[tuple[int, int]]] = {}
    served = np.zeros(count, dtype=bool)
    if x is not None:
        served = has & (x[options:] > 0.5)
        for s in np.flatnonzero(served).tolist():
            first, last = int(problem.start[s]), int(problem.start[s + 1])
            parts = [(o, round(float(x[o]))) for o in range(first, last) if round(float(x[o])) > 0]
            if not parts:
                option[s] = first
                continue
            largest = max(parts, key=lambda part: (problem.option_rate[part[0]] * part[1], -part[0]))
            option[s], replicas[s] = largest[0], sum(n for _, n in parts)
            if len(parts) > 1:
                mix[s] = parts
    solution = Solution("exact", option, replicas, served, answer.bound, proved, mix, True, notes)
    cost = cost_of(problem, solution)
    bound = min(answer.bound, cost) if math.isfinite(answer.bound) else 0.0
    return replace(solution, bound=bound, proved=proved and cost - bound <= PROOF * max(cost, 1e-12))
