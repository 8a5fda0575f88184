"""The plan as a table in the terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from flyball.report.sentences import BRIEF, duration, money, monthly, what
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Option, Plan, ServerPlan

STYLE = {"served": "", "idle": "dim", "best_effort": "yellow", "unserved": "bold red"}


def plan_table(fleet: Fleet, plan: Plan) -> Table:
    """One row for each server: allocation, latency against target, utilization, cost, watts, reason."""
    first = "wait" if fleet.generation == "G1" else "ttft"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("prio", justify="right")
    table.add_column("server", overflow="fold")
    table.add_column("allocation", overflow="fold")
    table.add_column(f"{first} / target", justify="right")
    table.add_column("itl / target", justify="right")
    table.add_column("batch used", justify="right")
    table.add_column("cost", justify="right")
    table.add_column("per month", justify="right")
    table.add_column("watts", justify="right")
    table.add_column("why; limited by", overflow="fold")
    for server in sorted(plan.servers, key=lambda s: (s.priority, s.server)):
        table.add_row(*_row(server, first), style=STYLE[server.status])
    return table


def _row(server: ServerPlan, first: str) -> list[str | Text]:
    option = server.allocation
    if option is None or server.status == "idle":
        given = "not served" if option is None else "scaled to zero"
        return [str(server.priority), server.server, given, "", "", "", "", "", "", BRIEF[server.reason]]

    def against(metric: str, value: float) -> Text:
        promise = next((p for p in server.promises if p.metric == metric), None)
        if promise is None:
            return Text(duration(value))
        label = "" if promise.statistic == "mean" else f"{promise.statistic} "
        text = f"{label}{duration(promise.value)} / {duration(promise.limit)}"
        return Text(text, style="" if promise.met else "bold red")

    parts: tuple[Option, ...] = server.mix or (option,)
    cost = sum(p.cost for p in parts)
    watts = None if any(p.watts is None for p in parts) else sum(p.watts or 0.0 for p in parts)
    return [
        str(server.priority),
        server.server,
        " + ".join(what(p) for p in parts),
        against(first, option.ttft),
        against("itl", option.itl),
        f"{option.utilization:.0%}",
        money(cost),
        monthly(cost).removesuffix("/month"),
        "-" if watts is None else f"{watts:,.0f}",
        f"{BRIEF[server.reason]}; {option.binding}",
    ]


def resource_table(plan: Plan) -> Table:
    """Cards in use, by type."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("cards")
    for name in ("used", "of", "share"):
        table.add_column(name, justify="right")
    for use in plan.resources:
        if use.used or use.limit not in (0.0, float("inf")):
            share = f"{use.used / use.limit:.0%}" if use.limit not in (0.0, float("inf")) else ""
            limit = "unlimited" if use.limit == float("inf") else f"{use.limit:,.0f}"
            table.add_row(use.name, f"{use.used:,.0f}", limit, share)
    return table


def change_table(before: Plan, after: Plan) -> Table:
    """What changes from one plan to another, for each server that changes."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("server", "from", "to"):
        table.add_column(name, overflow="fold")
    table.add_column("cost", justify="right")
    old = {s.server: s for s in before.servers}
    new = {s.server: s for s in after.servers}
    for name in sorted(old.keys() | new.keys()):
        a, b = _given(old.get(name)), _given(new.get(name))
        if a != b:
            table.add_row(name, a[0], b[0], f"{b[1] - a[1]:+,.2f} $/h")
    table.add_section()
    table.add_row("total", money(before.cost), money(after.cost), f"{after.cost - before.cost:+,.2f} $/h")
    return table


def _given(server: ServerPlan | None) -> tuple[str, float]:
    if server is None:
        return "none", 0.0
    if server.allocation is None:
        return "not served", 0.0
    parts = server.mix or (server.allocation,)
    return " + ".join(what(p) for p in parts), sum(p.cost for p in parts)


def options_table(options: list[tuple[Option, bool]], first: str) -> Table:
    """Every candidate of one server; the chosen one marked."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("option")
    for name in (first, "itl", "batch used", "a replica takes", "limited by", "cost", "value"):
        table.add_column(name, justify="right")
    for option, chosen in options:
        table.add_row(
            ">" if chosen else "",
            what(option),
            duration(option.ttft),
            duration(option.itl),
            f"{option.utilization:.0%}",
            f"{option.max_rate:.3g}/s",
            option.binding,
            money(option.cost),
            f"{option.value:.2f}",
            style="bold" if chosen else "",
        )
    return table


def percentile_table(latencies: dict[str, dict[str, float]]) -> Table:
    """Latencies of what a server gets: mean and percentiles."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("latency")
    for name in next(iter(latencies.values())):
        table.add_column(name, justify="right")
    for metric, values in latencies.items():
        table.add_row(metric, *(duration(v) for v in values.values()))
    return table
