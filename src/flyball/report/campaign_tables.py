"""A campaign as tables in the terminal, as lines for a spreadsheet, and as a document."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

import msgspec
from rich import box
from rich.table import Table

from flyball.report.campaign import CLASS_FIGURES, RUN_FIGURES, Estimate, Figures, Group, Row
from flyball.report.sentences import duration
from flyball.spec.scenario import Scenario
from flyball.units import Seconds


def result_table(rows: Sequence[Row]) -> Table:
    """One row for each policy."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("policy", overflow="fold")
    names = ("attained", "replicas", "held", "GPU-hours", "cost, $", "energy, kWh", "changes", "reversals")
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        f = row.run
        table.add_row(
            row.policy,
            share(f["attainment"]),
            *(number(f[name]) for name in ("asked", "held", "gpu_hours", "dollars", "kwh")),
            *(number(f[name], 0) for name in ("scale_events", "reversals")),
        )
    return table


def class_table(rows: Sequence[Row], groups: Sequence[Group]) -> Table:
    """One row for each class and policy: attainment, and percentiles against the limits."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("class", overflow="fold")
    table.add_column("policy", overflow="fold")
    names = ("attained", "ttft p50", "p95", "p99 / limit", "tpot p50", "p95", "p99 / limit", "requests")
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for group in groups:
        for row in rows:
            f = row.groups[group.name]
            table.add_row(
                group.name,
                row.policy,
                share(f["attainment"]),
                *latencies(f, "ttft", group.ttft),
                *latencies(f, "tpot", group.tpot),
                number(f["requests"], 0),
            )
        table.add_section()
    return table


def latencies(figures: dict[str, Estimate], metric: str, limit: Seconds) -> tuple[str, str, str]:
    """p50, p95, and p99 with the limit."""
    p50, p95, p99 = (duration(figures[f"{metric}_{p}"].mean) for p in ("p50", "p95", "p99"))
    return p50, p95, f"{p99} / {duration(limit)}" if math.isfinite(limit) else p99


def share(estimate: Estimate) -> str:
    """98.31 ± 0.42 %."""
    if not math.isfinite(estimate.mean):
        return "-"
    half = "" if estimate.half is None else f" ± {100 * estimate.half:.2f}"
    return f"{100 * estimate.mean:.2f}{half} %"


def number(estimate: Estimate, digits: int = 2) -> str:
    """5.93 ± 0.05; a dash where nothing is known."""
    if not math.isfinite(estimate.mean):
        return "-"
    half = "" if estimate.half is None else f" ± {estimate.half:,.{max(digits, 1)}f}"
    return f"{estimate.mean:,.{digits}f}{half}"


def campaign_csv(rows: Sequence[Row]) -> str:
    """A line for each policy as a whole and for each of its classes; what is not known is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    figures = [*RUN_FIGURES, *(name for name in CLASS_FIGURES if name not in RUN_FIGURES)]
    writer.writerow(["policy", "class", "seeds", *(f"{n}{e}" for n in figures for e in ("", "_half"))])
    for row in rows:
        for group, values in {"all": row.run, **row.groups}.items():
            cells: list[float | None] = []
            for name in figures:
                found = values.get(name)
                cells += [None, None] if found is None else [found.mean, found.half]
            writer.writerow([row.policy, group, len(row.seeds), *(_cell(c) for c in cells)])
    return out.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.8g}"


def campaign_document(scenario: Scenario, rows: Sequence[Row], runs: Sequence[Figures]) -> object:
    """All figures, by policy and by run. Seconds, requests, dollars, kWh; null where nothing is known."""
    return plain(
        {
            "scenario": scenario.name,
            "duration_s": scenario.duration,
            "score_from_s": scenario.score_from,
            "policies": msgspec.to_builtins(rows),
            "runs": [
                {"policy": r.policy, "seed": r.seed, "run": r.run, "groups": r.groups}
                for r in sorted(runs, key=lambda r: (r.policy, r.seed))
            ],
        }
    )


def plain(value: object) -> object:
    """Without numbers that JSON does not know: null in their place."""
    if isinstance(value, dict):
        return {key: plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [plain(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
