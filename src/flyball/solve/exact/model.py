"""A thin cover over HiGHS: matrices in, values, bound and status out."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import highspy
import numpy as np

from flyball.solve.problem import FloatArray, IntArray

INFINITY = highspy.kHighsInf
FEASIBILITY = 1e-9
PROOF = 1e-6
"""Gap, of cost, that counts as proved."""
STOPPED = "stopped by the clock: the same input may give another plan"


@dataclass(frozen=True, eq=False)
class Model:
    """min cost x, row_lower <= A x <= row_upper, 0 <= x <= upper; A column by column (CSC)."""

    cost: FloatArray
    upper: FloatArray
    row_lower: FloatArray
    row_upper: FloatArray
    start: IntArray
    index: IntArray
    entry: FloatArray


@dataclass(frozen=True, eq=False)
class Answer:
    """What HiGHS found. `x` is None where there is no feasible point (or none was found in time)."""

    x: FloatArray | None
    objective: float
    bound: float
    optimal: bool
    infeasible: bool
    reduced_cost: FloatArray | None
    timed_out: bool


def from_rows(
    cost: FloatArray,
    upper: FloatArray,
    rows: list[tuple[FloatArray, FloatArray, IntArray, IntArray, FloatArray]],
) -> Model:
    """Stack blocks of rows: (lower, upper, row within the block, column, entry) each."""
    lower = np.concatenate([block[0] for block in rows])
    top = np.concatenate([block[1] for block in rows])
    offsets = np.cumsum([0, *(block[0].size for block in rows)])
    row = np.concatenate([block[2] + offset for block, offset in zip(rows, offsets[:-1], strict=True)])
    column = np.concatenate([block[3] for block in rows])
    entry = np.concatenate([block[4] for block in rows])
    order = np.lexsort((row, column))
    start = np.searchsorted(column[order], np.arange(cost.size + 1))
    return Model(cost, upper, lower, top, start.astype(np.int64), row[order], entry[order])


def run(
    model: Model,
    *,
    integer: bool,
    absolute_gap: float = 0.0,
    relative_gap: float = 0.0,
    nodes: int | None = None,
    seconds: float | None = None,
    begin: FloatArray | None = None,
    near: float | None = None,
    presolve: bool = True,
) -> Answer:
    """Solve as LP or MILP; one thread, fixed seed, so that the same model gives the same answer.

    A MILP stops at either gap, after so many nodes, or at the first point at or below `near`. Without a
    second left nothing is begun.
    """
    if not model.cost.size:
        void = bool(np.any(model.row_lower > 0) or np.any(model.row_upper < 0))
        none = np.zeros(0)
        return Answer(None if void else none, 0.0, 0.0, not void, void, none, False)
    if seconds is not None and seconds <= 0:
        return Answer(None, INFINITY, -INFINITY, False, False, None, True)
    highs = highspy.Highs()
    options: dict[str, bool | int | float | str] = {
        "output_flag": False,
        "presolve": "choose" if presolve else "off",
        "threads": 1,
        "random_seed": 0,
        "mip_feasibility_tolerance": FEASIBILITY,
        "primal_feasibility_tolerance": FEASIBILITY,
        "mip_abs_gap": absolute_gap,
        "mip_rel_gap": relative_gap,
    }
    if near is not None:
        options["objective_target"] = near
    if nodes is not None:
        options["mip_max_nodes"] = nodes
    if seconds is not None:
        options["time_limit"] = seconds
    for name, value in options.items():
        highs.setOptionValue(name, value)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = model.cost.size, model.row_lower.size
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = model.cost, np.zeros(model.cost.size), model.upper
    lp.row_lower_, lp.row_upper_ = model.row_lower, model.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = model.start.astype(np.int32)
    lp.a_matrix_.index_ = model.index.astype(np.int32)
    lp.a_matrix_.value_ = model.entry
    if integer:
        lp.integrality_ = [highspy.HighsVarType.kInteger] * model.cost.size
    highs.passModel(lp)
    if begin is not None and integer:
        guess = highspy.HighsSolution()
        guess.col_value = begin.tolist()
        highs.setSolution(guess)
    _run(highs)
    status, info = highs.getModelStatus(), highs.getInfo()
    kind = highspy.HighsModelStatus
    has_point = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    solution = highs.getSolution()
    x = np.array(solution.col_value) if has_point else None
    optimal = status == kind.kOptimal
    objective = float(info.objective_function_value)
    bound = float(info.mip_dual_bound) if integer else (objective if optimal else -INFINITY)
    return Answer(
        x,
        objective,
        bound,
        optimal,
        status in (kind.kInfeasible, kind.kUnboundedOrInfeasible),
        np.array(solution.col_dual) if not integer and has_point else None,
        status == kind.kTimeLimit,
    )


def _run(highs: highspy.Highs) -> None:
    """Run where Ctrl-C is heard: in the main thread it would wait until HiGHS is done."""
    worker = threading.Thread(target=highs.run, daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(0.5)
