"""From candidates to the problem that solvers see: options in order, cards as resource rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flyball.queueing.arrays import IntArray
from flyball.solve.candidates import Candidates, idle_value
from flyball.solve.greedy import DIGITS
from flyball.solve.problem import NONE, Problem
from flyball.solve.watts import Rows, rows_of
from flyball.spec.fleet import Fleet
from flyball.spec.power_plan import WattLimits


def problem_of(
    fleet: Fleet, candidates: Candidates, watts: WattLimits | None = None
) -> tuple[Problem, IntArray]:
    """The problem, and for each option its pair (NONE: nothing at all, for a server without load).

    `watts` become rows behind the cards, by domain `watts X`, by inlet `heat X`, by policy `cap X`.
    """
    order = candidates.servers
    servers = [fleet.servers[i] for i in order]
    classes = {c.name: c.priority for c in fleet.service_classes}
    priority = np.array([classes.get(s.service_class, 100) for s in servers], dtype=np.int64)

    pairs = np.flatnonzero((candidates.excluded == 0) & ~candidates.idle[candidates.pairs.server])
    resting = np.flatnonzero(candidates.idle)
    pair = np.concatenate([pairs, np.full(resting.size, NONE)])
    server = np.concatenate([candidates.pairs.server[pairs], resting])
    value = np.concatenate([candidates.value[pairs], [idle_value(fleet, order[s]) for s in resting]])
    ranked = sorted({a.name for a in fleet.accelerators})
    rank = {name: i for i, name in enumerate(ranked)}
    by_accelerator = np.array([rank[a.name] for a in fleet.accelerators], dtype=np.int64)
    names = np.concatenate(
        [by_accelerator[candidates.pairs.accelerator[pairs]], np.zeros(resting.size, dtype=np.int64)]
    )
    arranged = np.lexsort((names, np.round(value, DIGITS), server))
    pair, server, value = pair[arranged], server[arranged], value[arranged]
    real = pair != NONE

    def column(values: np.ndarray) -> np.ndarray:
        result = np.zeros(pair.size)
        result[real] = values[pair[real]]
        return result

    rows = tuple(sorted({a.type for a in fleet.accelerators}))
    unlimited = fleet.settings.unlimited or fleet.settings.solver == "unlimited"
    row_of = {name: i for i, name in enumerate(rows)}
    cards = np.array([a.multiplicity for a in fleet.accelerators], dtype=float)
    card_row = np.array([row_of[a.type] for a in fleet.accelerators], dtype=np.int64)
    units = np.array([max(p.accelerator_count, 1) for p in fleet.profiles], dtype=float)
    of_pair = candidates.pairs.accelerator[pair[real]]
    problem = Problem(
        names=tuple(s.name for s in servers),
        priority=priority,
        start=np.searchsorted(server, np.arange(len(servers) + 1)).astype(np.int64),
        server=server,
        value=value,
        cost=column(candidates.cost),
        replicas=column(candidates.replicas),
        rows=rows,
        limit=np.array([np.inf if unlimited else float(fleet.capacity.get(name, 0)) for name in rows]),
        use_start=np.concatenate([[0], np.cumsum(real)]).astype(np.int64),
        use_row=card_row[of_pair],
        use_fixed=units[candidates.pairs.profile[pair[real]]] * cards[of_pair],
        use_load=np.zeros(int(real.sum())),
        rate=np.array([max(s.load.arrival_rate, 0.0) if s.load.out_tokens > 0 else 0.0 for s in servers]),
        option_rate=column(candidates.max_rate),
        unit_cost=column(candidates.pairs.unit_cost),
        min_replicas=np.array([s.min_replicas for s in servers], dtype=np.int64),
    )
    if watts is not None:
        problem = with_rows(problem, rows_of(fleet, candidates, pair, watts))
    return problem, pair


def with_rows(problem: Problem, rows: Rows) -> Problem:
    """The problem with more rows behind its own."""
    option = np.concatenate(
        [np.repeat(np.arange(problem.server.size), np.diff(problem.use_start)), rows.option]
    )
    order = np.argsort(option, kind="stable")

    def both(own: np.ndarray, more: np.ndarray) -> np.ndarray:
        return np.concatenate([own, more])[order]

    return replace(
        problem,
        rows=(*problem.rows, *rows.names),
        limit=np.concatenate([problem.limit, rows.limit]),
        use_start=np.searchsorted(option[order], np.arange(problem.server.size + 1)).astype(np.int64),
        use_row=both(problem.use_row, rows.row + len(problem.rows)),
        use_fixed=both(problem.use_fixed, rows.fixed),
        use_load=both(problem.use_load, rows.load),
        use_most=both(problem.most, rows.most),
        watts=problem.watts + len(rows.names),
    )
