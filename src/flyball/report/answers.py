"""What an optimizer that gives no reasons answered, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich import box
from rich.table import Table

from flyball.report.sentences import duration, money, monthly
from flyball.report.tables import STYLE
from flyball.units import from_cents, from_ms
from flyball.wire.inferno_shapes import AllocationShape


def allocation_table(allocations: Mapping[str, AllocationShape], missing: Iterable[str]) -> Table:
    """One row for each server: what it gets, its latencies, its cost; last those that get nothing."""
    waits = any(a.wait_average for a in allocations.values())
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("server", "allocation"):
        table.add_column(name, overflow="fold")
    for name in ("wait" if waits else "ttft", "itl", "cost", "per month"):
        table.add_column(name, justify="right", overflow="fold")
    total = 0.0
    for name, given in sorted(allocations.items()):
        parts = given.mix or (given,)
        cost = from_cents(sum(part.cost for part in parts))
        total += cost
        if not any(part.num_replicas for part in parts):
            table.add_row(name, "scaled to zero", style=STYLE["idle"])
            continue
        table.add_row(
            name,
            " + ".join(f"{p.num_replicas} x {p.accelerator}, batch {p.max_batch}" for p in parts),
            duration(from_ms(given.wait_average if waits else given.ttft_average)),
            duration(from_ms(given.itl_average)),
            money(cost),
            monthly(cost).removesuffix("/month"),
        )
    for name in sorted(missing):
        table.add_row(name, "not served", style=STYLE["unserved"])
    table.add_section()
    table.add_row("total", "", "", "", money(total), monthly(total).removesuffix("/month"))
    return table
