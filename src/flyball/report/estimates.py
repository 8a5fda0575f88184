"""Options side by side as far as their profiles are known: as a table, and why the first of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rich import box
from rich.table import Table

from flyball.report.sentences import LIMITED_BY, duration, money, monthly, printable, what
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Estimate
from flyball.units import per_month
from flyball.wire.quantities import format_rate, format_target

ROWS = 12
BARS = "10 to 90 %"
SURE = 0.9
KERNELS = "added up"
"""How the sources of op-level profiles begin."""
ON_THIS_CARD = ("exact", "version", "engine", "tp")
BASIS = {
    "engine": ", other engine",
    "tp": ", other count",
    "card": ", other card",
    "precision": ", other weights",
}


def asked(fleet: Fleet) -> str:
    """What was asked for."""
    server = fleet.servers[0]
    load, spare = server.load, fleet.settings.spare
    targets = [
        f"{t.metric} {format_target(t)}"
        for of_class in fleet.service_classes
        for promised in of_class.models
        for t in promised.targets
    ]
    spread = f" (cov {load.in_cov:.2f} and {load.out_cov:.2f})" if load.in_cov or load.out_cov else ""
    rate = format_rate(float(f"{load.arrival_rate:.4g}"))
    tokens = f"{load.in_tokens:,.0f} input and {load.out_tokens:,.0f} output tokens{spread}"
    promised = ", ".join(targets) or "no target but a stable queue"
    more = f"; {spare:g} to spare" if spare else ""
    return f"{printable(server.model)}: {rate} of {tokens}; {promised}{more}"


def best_of_each(estimates: Sequence[Estimate], rows: int = ROWS) -> list[Estimate]:
    """The cheapest option on each kind of card, the cheapest kinds first."""
    best: dict[str, Estimate] = {}
    for estimate in estimates:
        best.setdefault(estimate.card, estimate)
    return list(best.values())[:rows]


def table(estimates: Sequence[Estimate], wide: bool = True) -> Table:
    """One row for each option; bars are from the 10th to the 90th percentile of what its profile may be."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column("")
    made.add_column("option", overflow="fold")
    for name in ("per month", BARS, "per 1M tokens"):
        made.add_column(name, justify="right", overflow="fold")
    for latency in estimates[0].latencies:
        statistic = "" if latency.statistic == "mean" else f" {latency.statistic}"
        made.add_column(f"{latency.metric}{statistic}", justify="right", overflow="fold")
        if wide:
            made.add_column(BARS, justify="right", overflow="fold")
    made.add_column("holds", justify="right")
    if wide:
        made.add_column("known from", overflow="fold")
    for i, estimate in enumerate(estimates):
        option = estimate.option
        cells = []
        for x in estimate.latencies:
            cells += [duration(x.likely), bar(x.low, x.high, duration)] if wide else [duration(x.likely)]
        made.add_row(
            "" if i else ">",
            f"{option.replicas} x {option.accelerator}",
            monthly(option.cost).removesuffix("/month"),
            bar(estimate.cost_low, estimate.cost_high, lambda cost: f"${per_month(cost):,.0f}"),
            f"${estimate.per_million:.3g}",
            *cells,
            f"{estimate.within:.0%}",
            *([basis(estimate)] if wide else []),
            style="" if i else "bold",
        )
    return made


def basis(estimate: Estimate) -> str:
    """What a profile rests on, in two or three words."""
    if estimate.basis == "roofline":
        return "data sheet"
    kind = "kernels" if estimate.source.startswith(KERNELS) else "measured"
    return f"{kind}{BASIS.get(estimate.basis, '')}"


def bar(low: float, high: float, text: Callable[[float], str]) -> str:
    """From low to high, or the one value; `?` where an end is out of reach."""
    first, last = (text(end) if math.isfinite(end) else "?" for end in (low, high))
    return first if first == last else f"{first} to {last}"


def choice(estimates: Sequence[Estimate]) -> list[str]:
    """Why the first of several options, how sure that is, and what would be surer; a sentence each."""
    best = estimates[0]
    cost = best.option.cost
    chosen = f"{what(best.option)} costs least: {money(cost)}, {monthly(cost)}"
    other = next((e for e in estimates if e.card != best.card), None)
    if other is not None and cost:
        more = f"{other.option.cost / cost - 1:.0%}"
        chosen += f"; the next card, {what(other.option)}, costs {more} more"
    lines = [f"{chosen}. Its number of replicas is fixed by {LIMITED_BY[best.option.binding]}."]
    if best.within < SURE:
        more = "no number of replicas is sure to be enough"
        if math.isfinite(best.replicas_high):
            more = f"{best.replicas_high:,.0f} replicas are enough in {SURE:.0%}"
        lines.append(f"Its targets hold in {best.within:.0%} of what its profile may be; {more}.")
    measured = next((e for e in estimates if e.basis in ON_THIS_CARD), None)
    if measured is None:
        lines.append(f"The model was measured on none of these cards; {best.card}: {printable(best.source)}.")
    elif measured is not best:
        lines.append(
            f"It was not measured on {best.card}. The cheapest card on which it was: {what(measured.option)} "
            f"at {money(measured.option.cost)} ({printable(measured.source)})."
        )
    else:
        lines.append(f"Known from: {printable(best.source)}.")
    return lines
