"""A campaign as one HTML page that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from flyball.report.campaign import RUN_FIGURES, Figures, Group, Row, Trail
from flyball.report.campaign_tables import latencies, number, plain, share
from flyball.report.html import inside, templates
from flyball.spec.scenario import Scenario
from flyball.units import SECONDS_PER_HOUR, SECONDS_PER_MINUTE

POINTS = 800
"""Of a curve at most."""


def campaign_page(
    scenario: Scenario, groups: Sequence[Group], rows: Sequence[Row], runs: Sequence[Figures], lead: str = ""
) -> str:
    """The whole page; curves are those of the runs that have their trails."""
    environment = templates("flyball.report")
    environment.policies["json.dumps_kwargs"] = {}  # keys stay in order
    environment.filters.update(share=share, number=number)
    return environment.get_template("campaign.html").render(
        **inside(),
        title=f"Flyball simulation: {scenario.name}",
        about=scenario.about,
        lead=lead,
        rows=rows,
        groups=groups,
        latencies=latencies,
        data=plain({"scatter": _scatter(runs, rows), "servers": _servers(runs, rows)}),
        explained=RUN_FIGURES,
    )


def _scatter(runs: Sequence[Figures], rows: Sequence[Row]) -> dict[str, object]:
    """Attainment over cost, a point for each run."""
    points = sorted(
        (r.run["dollars"], 100 * r.run["attainment"], r.policy)
        for r in runs
        if math.isfinite(r.run["dollars"]) and math.isfinite(r.run["attainment"])
    )
    lines = {row.policy: [y if p == row.policy else None for _, y, p in points] for row in rows}
    lowest = min((y for _, y, _ in points), default=0.0)
    return {
        "title": "",
        "x_label": "cost of a run, $",
        "y_label": "requests within their targets, %",
        "x": [x for x, _, _ in points],
        "lines": lines,
        "limits": {},
        "marks": {},
        "points": True,
        "range": [max(lowest - 2.0, 0.0), 100.5],
    }


def _servers(runs: Sequence[Figures], rows: Sequence[Row]) -> list[dict[str, object]]:
    order = [row.policy for row in rows]
    shown = sorted((r for r in runs if r.trails), key=lambda r: order.index(r.policy))
    names = sorted({t.server for r in shown for t in r.trails})
    made: list[dict[str, object]] = []
    for name in names:
        trails = {r.policy: t for r in shown for t in r.trails if t.server == name}
        seeds = sorted({r.seed for r in shown})
        made.append(
            {
                "server": name,
                "note": f"with seed {', '.join(map(str, seeds))}",
                "charts": [
                    _chart("Replicas asked for", "replicas", trails, "asked"),
                    _chart("Replicas ready", "replicas", trails, "ready"),
                    _chart("Load as measured", "requests/s", dict(list(trails.items())[:1]), "rate"),
                ],
            }
        )
    return made


def _chart(title: str, unit: str, trails: dict[str, Trail], field: str) -> dict[str, object]:
    """Every trail on one grid of times, each with what held at that time."""
    end = max((t.time[-1] for t in trails.values() if t.time), default=0.0)
    longest = max((len(t.time) for t in trails.values()), default=0)
    grid = np.linspace(0.0, end, max(min(longest, POINTS), 2))
    hours = end > 3 * SECONDS_PER_HOUR
    lines = {}
    for policy, trail in trails.items():
        at = np.searchsorted(np.asarray(trail.time), grid + 1e-9, side="right") - 1
        values = getattr(trail, field)
        lines[policy] = [values[i] if i >= 0 else None for i in at]
    return {
        "title": title,
        "x_label": "hours" if hours else "minutes",
        "y_label": unit,
        "x": (grid / (SECONDS_PER_HOUR if hours else SECONDS_PER_MINUTE)).tolist(),
        "lines": lines,
        "limits": {},
        "marks": {},
        "steps": field != "rate",
    }
