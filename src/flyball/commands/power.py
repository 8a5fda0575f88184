"""`flyball power algorithms` and `flyball power report`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flyball.commands.look_parts import show, show_json
from flyball.commands.output import say, waiting
from flyball.wire.errors import WireError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from flyball.adapters.ledger import Ledger
    from flyball.loop.record import Cycle
    from flyball.units import Seconds

DONE, WRONG = 0, 2
PAGE = 200
"""Cycles that are read at once."""


class Asked(msgspec.Struct, frozen=True):
    """What is asked of a ledger."""

    ledger: Path
    since: str = "24h"
    domains: tuple[str, ...] = ()
    plot: bool = False
    as_json: bool = False


# ---- algorithms --------------------------------------------------------------------------------


def list_algorithms(*, as_json: bool) -> int:
    """Show all algorithms; returns the exit code."""
    from rich import box
    from rich.table import Table

    from flyball.adapters.algorithms import Isolated

    with closing(Isolated()) as isolated:
        found, lacks = isolated.offered(), isolated.lacks()
    if as_json:
        show_json({"algorithms": found, "lacks": lacks})
        return DONE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("algorithm", "package", "what it does", "parameters"):
        table.add_column(name, overflow="fold")
    for one in found:
        parameters = "\n".join(f"{name}: {kind}" for name, kind in one.parameters.items())
        table.add_row(one.name, one.origin, one.says, parameters)
    show(table, *(f"Third parties' algorithms run without all safeguards here: {text}." for text in lacks))
    return DONE


# ---- report ------------------------------------------------------------------------------------


def report_past(asked: Asked) -> int:
    """Tell what a ledger says of power; returns the exit code."""
    from flyball.adapters.ledger import LedgerError
    from flyball.wire.quantities import parse_duration

    try:
        seconds = parse_duration(asked.since, "--since", positive=True)
        with closing(opened(asked.ledger)) as book, waiting(f"{asked.ledger}: reading its cycles"):
            cycles = cycles_of(book, seconds)
    except (LedgerError, WireError) as error:
        say(f"flyball: {error}")
        return WRONG
    return _report(asked, cycles)


def _report(asked: Asked, cycles: list[Cycle]) -> int:
    from flyball.report.power import advice_table, chart, domains_table, past, points, policies_table, summary

    made = past(cycles)
    if not made.cycles:
        say(f"flyball: {asked.ledger}: {nothing_of_power(len(cycles))}")
        return WRONG
    known = [d.domain for d in made.domains]
    if unknown := [name for name in asked.domains if name not in known]:
        say(f"flyball: --domain is {unknown[0]}: there is no such domain; there are {', '.join(known)}")
        return WRONG
    if asked.domains:
        made = msgspec.structs.replace(
            made,
            domains=tuple(d for d in made.domains if d.domain in asked.domains),
            advice=tuple(a for a in made.advice if a.domain in asked.domains),
        )
    if asked.as_json:
        show_json(made)
        return DONE
    parts: list[RenderableType] = [summary(made), domains_table(made)]
    parts += [policies_table(made)] if made.policies else []
    parts += [advice_table(made)] if made.advice else []
    show(*parts)
    if asked.plot:
        from flyball.commands.output import put
        from flyball.commands.profiles_asked import plotted, printed

        charts = [chart(d.domain, points(cycles, d.domain)) for d in made.domains]
        put(printed(None, lambda console: plotted(console, charts)), machine=False)
    return DONE


def opened(path: Path) -> Ledger:
    """A ledger that is there. Or LedgerError."""
    from importlib.metadata import version

    from flyball.adapters.ledger import Ledger, LedgerError

    if not path.is_file():
        raise LedgerError(f"{path}: there is no such ledger. A loop keeps one with --ledger")
    return Ledger(path, version("flyball"))


def cycles_of(book: Ledger, seconds: Seconds) -> list[Cycle]:
    """The cycles of so many seconds up to the last, the oldest first."""
    found: list[Cycle] = []
    before = None
    while page := book.newest(PAGE, before=before):
        before = page[-1][0]
        found += [cycle for _, cycle in page]
        if found[0].snapshot.seen.time - found[-1].snapshot.seen.time > seconds:
            break
    end = found[0].snapshot.seen.time if found else 0.0
    return [cycle for cycle in reversed(found) if end - cycle.snapshot.seen.time <= seconds]


def nothing_of_power(cycles: int) -> str:
    """Why nothing can be told."""
    if not cycles:
        return "there is no cycle in it yet"
    return (
        f"none of its {cycles:,} cycles looked at power. The loop looks at it where there is a PowerDomain "
        "or a PowerPolicy"
    )
