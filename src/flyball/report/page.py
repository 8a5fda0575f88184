"""The report as one HTML page that needs nothing else: plots by uPlot, which is inside it."""

from __future__ import annotations

import msgspec

from flyball.report import sentences
from flyball.report.curves import ServerCurves, server_curves, with_curves
from flyball.report.html import inside, templates
from flyball.report.sentences import REASON, cost_of, parts_of, watts_of
from flyball.solve.candidates import Candidates
from flyball.solve.watts import is_power
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Plan, ServerPlan

MOST_CURVES = 40
"""Servers whose curves are drawn, by cost."""
MOST_ROWS = 2000


def page(
    title: str, fleet: Fleet, plan: Plan, sized: Candidates, before: Plan | None = None, lead: str = ""
) -> str:
    """The whole page. `before` is a plan to show the change from; `lead` a paragraph above everything."""
    environment = templates("flyball.report")
    environment.filters.update(
        duration=sentences.duration, money=sentences.money, monthly=sentences.monthly, what=sentences.what
    )
    first = "wait" if fleet.generation == "G1" else "ttft"
    rows = _rows(plan)
    return environment.get_template("report.html").render(
        **inside(),
        title=title,
        lead=lead,
        summary=sentences.summary(plan),
        plan=plan,
        first=first,
        rows=[_row(s, first) for s in rows],
        left_out=len(plan.servers) - len(rows),
        changes=_changes(before, plan) if before else [],
        before=before,
        data=_safe(
            msgspec.json.encode(
                {
                    "cost": _cost_bars(plan, before),
                    "cards": _card_bars(plan),
                    "latency": _latency_bars(plan, first),
                    "servers": _curves(fleet, plan, sized),
                }
            ).decode()
        ),
    )


def _safe(json: str) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _rows(plan: Plan) -> list[ServerPlan]:
    """By priority and name; where there are too many, those that are not served whole are among them."""
    served = ("served", "idle")
    chosen = sorted(plan.servers, key=lambda s: (s.status in served, s.priority, s.server))[:MOST_ROWS]
    return sorted(chosen, key=lambda s: (s.priority, s.server))


def _row(server: ServerPlan, first: str) -> dict[str, object]:
    given = server.allocation is not None and server.allocation.replicas > 0
    return {
        "plan": server,
        "promises": {p.metric: p for p in server.promises},
        "why": REASON[server.reason],
        "parts": parts_of(server) if given else (),
        "cost": cost_of(server),
        "watts": watts_of(server),
        "explanation": sentences.explanation(server, first),
    }


def _changes(before: Plan, after: Plan) -> list[dict[str, object]]:
    old = {s.server: s for s in before.servers}
    new = {s.server: s for s in after.servers}
    changes = []
    for name in sorted(old.keys() | new.keys()):
        a, b = (
            " + ".join(sentences.what(p) for p in parts_of(s)) or "not served" if s else "none"
            for s in (old.get(name), new.get(name))
        )
        cost = (cost_of(new[name]) if name in new else 0.0) - (cost_of(old[name]) if name in old else 0.0)
        if a != b:
            changes.append({"server": name, "before": a, "after": b, "cost": cost})
    return changes


def _cost_bars(plan: Plan, before: Plan | None) -> dict[str, object]:
    names = [s.server for s in sorted(plan.servers, key=lambda s: -cost_of(s))][:60]
    bars: dict[str, object] = {"names": names}
    series = {"$/h": plan} if before is None else {"before, $/h": before, "after, $/h": plan}
    for label, one in series.items():
        costs = {s.server: cost_of(s) for s in one.servers}
        bars[label] = [round(costs.get(name, 0.0), 4) for name in names]
    return bars


def _card_bars(plan: Plan) -> dict[str, object]:
    cards = [u for u in plan.resources if not is_power(u.name)]
    uses = [u for u in cards if u.used or 0 < u.limit < float("inf")]
    bars: dict[str, object] = {"names": [u.name for u in uses], "used": [u.used for u in uses]}
    if all(u.limit < float("inf") for u in uses):
        bars["available"] = [u.limit for u in uses]
    return bars


def _latency_bars(plan: Plan, first: str) -> dict[str, object]:
    """Latency over its limit, in the statistic that is promised: over 1 is late."""
    kinds = (first, "itl")
    shown = [s for s in plan.servers if any(p.metric in kinds for p in s.promises)][:60]
    bars: dict[str, object] = {"names": [s.server for s in shown]}
    for kind in kinds:
        found = [next((p for p in s.promises if p.metric == kind), None) for s in shown]
        bars[f"{kind} / target"] = [
            p and min(p.value / p.limit, 10.0) if p and p.limit else None for p in found
        ]
    return bars


def _curves(fleet: Fleet, plan: Plan, sized: Candidates) -> list[ServerCurves]:
    return [
        server_curves(fleet, sized, s.server, s.allocation.accelerator, s.allocation.replicas)
        for s in with_curves(fleet, plan)[:MOST_CURVES]
        if s.allocation
    ]
