"""The plan as a table in the terminal."""

from __future__ import annotations

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from flyball.report.sentences import (
    BRIEF,
    cost_of,
    duration,
    first_of,
    money,
    monthly,
    parts_of,
    printable,
    watts_of,
    what,
)
from flyball.solve.watts import is_power
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Option, Plan, ServerPlan
from flyball.spec.service_class import Metric

STYLE = {"served": "", "idle": "dim", "best_effort": "yellow", "unserved": "bold red"}


def plan_table(fleet: Fleet, plan: Plan) -> Table:
    """One row for each server: allocation, latency against target, utilization, cost, watts, reason."""
    first = first_of(fleet)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("prio", justify="right")
    table.add_column("server", overflow="fold")
    table.add_column("allocation", overflow="fold")
    for name in (f"{first} / target", "itl / target", "batch used", "cost", "per month", "watts"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("why; limited by", overflow="fold")
    for server in by_priority(plan):
        row = _row(server, first)
        cells = (
            row.priority,
            row.server,
            row.given,
            row.first,
            row.itl,
            row.used,
            row.cost,
            row.month,
            row.watts,
        )
        table.add_row(*cells, row.why, style=STYLE[server.status])
    return table


def plan_list(fleet: Fleet, plan: Plan) -> list[Text]:
    """The same for a narrow terminal: two lines for each server."""
    first = first_of(fleet)
    lines = []
    for server in by_priority(plan):
        row = _row(server, first)
        line = Text(style=STYLE[server.status])
        line.append(f"{row.priority} {printable(row.server)}", "bold")
        line.append(f": {printable(row.given)} ({row.why})")
        if row.cost:
            line.append(f"\n  {first} ").append(row.first).append(", itl ").append(row.itl)
            line.append(f", {row.used} used, {row.cost}, {row.month}/month, {row.watts} W")
        lines.append(line)
    return lines


def by_priority(plan: Plan) -> list[ServerPlan]:
    """In the order in which they are shown."""
    return sorted(plan.servers, key=lambda s: (s.priority, s.server))


class _Row(msgspec.Struct, frozen=True):
    priority: str
    server: str
    given: str
    why: str
    first: Text = Text()
    itl: Text = Text()
    used: str = ""
    cost: str = ""
    month: str = ""
    watts: str = ""


def _row(server: ServerPlan, first: Metric) -> _Row:
    option, head = server.allocation, (str(server.priority), server.server)
    if option is None or server.status == "idle":
        return _Row(*head, "not served" if option is None else "scaled to zero", BRIEF[server.reason])

    def against(metric: Metric, value: float) -> Text:
        promise = next((p for p in server.promises if p.metric == metric), None)
        if promise is None:
            return Text(duration(value))
        label = "" if promise.statistic == "mean" else f"{promise.statistic} "
        text = f"{label}{duration(promise.value)} / {duration(promise.limit)}"
        return Text(text, style="" if promise.met else "bold red")

    cost, watts = cost_of(server), watts_of(server)
    return _Row(
        *head,
        " + ".join(what(p) for p in parts_of(server)),
        f"{BRIEF[server.reason]}; {option.binding}",
        against(first, option.ttft),
        against("itl", option.itl),
        f"{option.utilization:.0%}",
        money(cost),
        monthly(cost).removesuffix("/month"),
        "-" if watts is None else f"{watts:,.0f}",
    )


def resource_table(plan: Plan) -> Table:
    """Cards in use, by type, and watts by domain."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    watts = any(is_power(use.name) for use in plan.resources)
    table.add_column("cards, watts" if watts else "cards", overflow="fold")
    for name in ("used", "of", "share"):
        table.add_column(name, justify="right", overflow="fold")
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
    table.add_column("cost", justify="right", overflow="fold")
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
    return " + ".join(what(p) for p in parts_of(server)), cost_of(server)


def options_table(options: list[tuple[Option, bool]], first: str) -> Table:
    """Every candidate of one server; the chosen one marked."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("")
    table.add_column("option", overflow="fold", min_width=18)
    for name in (first, "itl", "batch used", "a replica takes", "limited by", "cost", "value"):
        table.add_column(name, justify="right", overflow="fold")
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
        table.add_column(name, justify="right", overflow="fold")
    for metric, values in latencies.items():
        table.add_row(metric, *(duration(v) for v in values.values()))
    return table
