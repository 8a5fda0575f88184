"""The report as one HTML page that needs nothing else: plots by uPlot, which is inside it."""

from __future__ import annotations

from importlib import resources

import jinja2
import msgspec

from flyball.report import sentences
from flyball.report.curves import ServerCurves, server_curves
from flyball.solve.candidates import Candidates
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Plan, ServerPlan

MOST_CURVES = 40
"""Servers whose curves are drawn, by cost."""
MOST_ROWS = 2000


def page(
    title: str, fleet: Fleet, plan: Plan, sized: Candidates, before: Plan | None = None, lead: str = ""
) -> str:
    """The whole page. `before` is a plan to show the change from; `lead` a paragraph above everything."""
    static = resources.files("flyball.report") / "static"
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("flyball.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        duration=sentences.duration, money=sentences.money, monthly=sentences.monthly, what=sentences.what
    )
    rows = sorted(plan.servers, key=lambda s: (s.priority, s.server))
    return environment.get_template("report.html").render(
        title=title,
        lead=lead,
        summary=sentences.summary(plan),
        plan=plan,
        generation=fleet.generation,
        rows=[_row(s) for s in rows[:MOST_ROWS]],
        left_out=max(len(rows) - MOST_ROWS, 0),
        changes=_changes(before, plan) if before else [],
        before=before,
        data=_safe(
            msgspec.json.encode(
                {
                    "cost": _cost_bars(plan, before),
                    "cards": _card_bars(plan),
                    "latency": _latency_bars(fleet, plan),
                    "servers": _curves(fleet, plan, sized),
                }
            ).decode()
        ),
        uplot_js=(static / "uPlot.iife.min.js").read_text("utf-8"),
        uplot_css=(static / "uPlot.min.css").read_text("utf-8"),
        plots_js=(static / "plots.js").read_text("utf-8"),
        style=(static / "report.css").read_text("utf-8"),
    )


def _safe(json: str) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _row(server: ServerPlan) -> dict[str, object]:
    return {
        "plan": server,
        "promises": {p.metric: p for p in server.promises},
        "why": sentences.REASON[server.reason],
        "parts": server.mix
        or ((server.allocation,) if server.allocation and server.allocation.replicas else ()),
        "cost": _cost(server),
        "explanation": sentences.explanation(server),
    }


def _cost(server: ServerPlan) -> float:
    parts = server.mix or ((server.allocation,) if server.allocation else ())
    return sum(p.cost for p in parts)


def _changes(before: Plan, after: Plan) -> list[dict[str, object]]:
    old = {s.server: s for s in before.servers}
    new = {s.server: s for s in after.servers}
    changes = []
    for name in sorted(old.keys() | new.keys()):
        a, b = (
            " + ".join(sentences.what(p) for p in (s.mix or ((s.allocation,) if s.allocation else ())))
            or "not served"
            if s
            else "none"
            for s in (old.get(name), new.get(name))
        )
        cost = (_cost(new[name]) if name in new else 0.0) - (_cost(old[name]) if name in old else 0.0)
        if a != b:
            changes.append({"server": name, "before": a, "after": b, "cost": cost})
    return changes


def _cost_bars(plan: Plan, before: Plan | None) -> dict[str, object]:
    names = [s.server for s in sorted(plan.servers, key=lambda s: -_cost(s))][:60]
    bars: dict[str, object] = {"names": names}
    series = {"$/h": plan} if before is None else {"before, $/h": before, "after, $/h": plan}
    for label, one in series.items():
        costs = {s.server: _cost(s) for s in one.servers}
        bars[label] = [round(costs.get(name, 0.0), 4) for name in names]
    return bars


def _card_bars(plan: Plan) -> dict[str, object]:
    uses = [u for u in plan.resources if u.used or 0 < u.limit < float("inf")]
    bars: dict[str, object] = {"names": [u.name for u in uses], "used": [u.used for u in uses]}
    if all(u.limit < float("inf") for u in uses):
        bars["available"] = [u.limit for u in uses]
    return bars


def _latency_bars(fleet: Fleet, plan: Plan) -> dict[str, object]:
    """Latency over its limit, in the statistic that is promised: over 1 is late."""
    kinds = ("wait" if fleet.generation == "G1" else "ttft", "itl")
    shown = [s for s in plan.servers if s.promises][:60]
    bars: dict[str, object] = {"names": [s.server for s in shown]}
    for kind in kinds:
        found = [next((p for p in s.promises if p.metric == kind), None) for s in shown]
        bars[f"{kind} / target"] = [
            p and min(p.value / p.limit, 10.0) if p and p.limit else None for p in found
        ]
    return bars


def _curves(fleet: Fleet, plan: Plan, sized: Candidates) -> list[ServerCurves]:
    drawn = [s for s in plan.servers if s.allocation and s.allocation.replicas]
    loads = {s.name: s.load.arrival_rate for s in fleet.servers}
    drawn = [s for s in sorted(drawn, key=lambda s: -_cost(s)) if loads[s.server] > 0][:MOST_CURVES]
    return [
        server_curves(fleet, sized, s.server, s.allocation.accelerator, s.allocation.replicas)
        for s in drawn
        if s.allocation
    ]
