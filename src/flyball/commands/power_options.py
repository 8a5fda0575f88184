"""The options of `flyball power`: light, as every start of the command line imports them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flyball.commands.plan_options import Flag

LISTED = """
Exit codes:

- 0: done
- 70: a fault of Flyball itself
"""
REPORTED = """
Exit codes:

- 0: done
- 2: an option is wrong, or there is nothing of power in the file
- 70: a fault of Flyball itself
"""
DRILLED = """
Exit codes:

- 0: the cut budgets are held
- 2: an option is wrong, or there is nothing of power in the file
- 3: they cannot be held
- 70: a fault of Flyball itself
"""
Json = Annotated[Flag, Parameter(name="--json")]

powering = App(
    name="power",
    help="Watts: what a loop made of its budgets, what it would make of a cut, which algorithms there are.",
    help_epilogue=LISTED,
)


@powering.command(help_epilogue=LISTED)
def algorithms(*, json: Json = False) -> int:
    """List the algorithms that a power policy can name: those that come along, and those of packages.

    Third parties' are imported only in a process of their own, which has no network and no credentials.

    Examples:

    `flyball power algorithms`

    `flyball power algorithms --json`

    Parameters
    ----------
    json
        Print them as JSON.
    """
    from flyball.commands.power import list_algorithms

    return list_algorithms(as_json=json)


@powering.command(help_epilogue=REPORTED)
def report(
    ledger: Path,
    /,
    *,
    since: str = "24h",
    domain: tuple[str, ...] = (),
    plot: Flag = False,
    json: Json = False,
) -> int:
    """Tell what a loop made of its budgets: levels, watts, exceedances, what was held back and recommended.

    Examples:

    `flyball power report build/ledger.sqlite`

    `flyball power report /var/lib/flyball/ledger.sqlite --since 7d --domain row-a --plot`

    Parameters
    ----------
    ledger
        The file that a loop keeps (`--ledger` of `flyball loop` and `flyball live`).
    since
        So far back from its last cycle: 90min, 24h, 7d.
    domain
        Only these; may be given again.
    plot
        Watts against budget and threshold as plots in the terminal.
    json
        Print it as JSON.
    """
    from flyball.commands.power import Asked, report_past

    return report_past(Asked(ledger, since, domain, plot, json))


@powering.command(help_epilogue=DRILLED)
def drill(
    source: Path,
    /,
    *,
    cut: str = "20%",
    domain: tuple[str, ...] = (),
    cycle: int | None = None,
    json: Json = False,
) -> int:
    """Cut a budget on paper: cycles until it holds, who loses what, and whether it can be held at all.

    It is decided from one recorded cycle with the loads of then, as if every policy but those in Observe were
    enforced. Nothing is sent anywhere.

    Examples:

    `flyball power drill build/ledger.sqlite --cut 20%`

    `flyball power drill build/ledger.sqlite --cut 35% --domain rack-7 --json`

    Parameters
    ----------
    source
        The file that a loop keeps, or a snapshot as JSON.
    cut
        By this share of the budget that held then.
    domain
        Whose budget; may be given again. Left out: all at the root of the tree.
    cycle
        Its number in the ledger; left out, the last that looked at power.
    json
        Print it as JSON.
    """
    from flyball.commands.power_drill import Drilled, drill_from

    return drill_from(Drilled(source, cut, domain, cycle, json))
