"""A sweep of one replica: its steps before and after it was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich import box
from rich.table import Table

from flyball.calibrate.fit import Fit
from flyball.calibrate.sweep import Step, Taken
from flyball.report.sentences import duration
from flyball.spec.measurement import Point
from flyball.units import SECONDS_PER_MINUTE


def planned_table(steps: Sequence[tuple[Step, float, float]]) -> Table:
    """Steps that are to be measured, with the time between tokens and the seconds foretold."""
    table = _table("step", "in flight", "in", "out", "itl, believed", "takes about")
    for number, (step, itl, seconds) in enumerate(steps, 1):
        table.add_row(
            f"{number}",
            f"{step.load:,}",
            f"{step.in_tokens:,}",
            f"{step.out_tokens:,}",
            duration(itl),
            span(seconds),
        )
    return table


def steps_table(taken: Sequence[Taken], points: Sequence[Point], fit: Fit) -> Table:
    """What was measured at each step, and what the fit says there. Points are those of the same steps."""
    names = ("line", "load", "in", "out", "ttft", "itl", "itl p95", "prior said", "fitted", "residual")
    table = _table(*names, "tokens/s", "")
    for i, (found, point) in enumerate(zip(taken, points, strict=True)):
        time = float(fit.time[i])
        table.add_row(
            f"{point.line}",
            f"{found.step.load:,}",
            f"{found.in_tokens:,.0f}",
            f"{found.out_tokens:,.0f}",
            duration(float(found.ttft.mean())),
            duration(point.tpot),
            duration(float(np.quantile(found.itl, 0.95))),
            duration(float(fit.foretold[i])),
            duration(time),
            f"{point.tpot / time - 1:+.1%}",
            f"{found.throughput:,.0f}",
            "set aside" if fit.aside[i] else "",
            style="yellow" if fit.aside[i] else "",
        )
    return table


def span(seconds: float) -> str:
    """Seconds that pass on a clock: 45 s, 3 min."""
    return f"{seconds:,.0f} s" if seconds < 99.5 else f"{seconds / SECONDS_PER_MINUTE:,.0f} min"


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in names:
        table.add_column(name, justify="right" if name else "left")
    return table
