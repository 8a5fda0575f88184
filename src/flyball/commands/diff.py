"""`flyball diff`: what would change now if the loop acted; nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flyball.commands.look_parts import DONE, Looked, home_of, looked, show, show_json, with_api
from flyball.commands.loop_parts import Request
from flyball.commands.output import say
from flyball.report import moves
from flyball.report.sentences import money
from flyball.spec.fleet import replica_prices
from flyball.units import DollarsPerHour

if TYPE_CHECKING:
    from rich.table import Table

    from flyball.adapters.kubernetes.api import Api

CHANGES = 1


class Row(msgspec.Struct, frozen=True):
    """One workload."""

    server: str
    workload: str
    has: str
    gets: str
    changes: bool
    why: str
    more_per_hour: DollarsPerHour
    """What it costs more, dollars."""
    held: tuple[str, ...] = ()
    """What keeps it from more, or would keep the loop from carrying it out."""


class Differences(msgspec.Struct, frozen=True):
    """All of them, and what is said beside."""

    rows: tuple[Row, ...]
    changes: int
    cost_per_hour: DollarsPerHour
    """Of what they have, dollars."""
    more_per_hour: DollarsPerHour
    remembered: bool
    """Whether the loop's own memory was at hand."""
    frozen: str = ""
    """Why nothing may be written; "": it may."""
    notes: tuple[str, ...] = ()


def run(request: Request, *, as_json: bool) -> int:
    """Show what would change; returns the exit code."""
    return with_api(request, lambda api: _run(request, api, as_json))


def _run(request: Request, api: Api, as_json: bool) -> int:
    from flyball.adapters.kubernetes.freeze import frozen

    found = looked(request, api)
    made = differences(found, frozen(api, home_of(api, request), environment={}))
    if as_json:
        show_json(made)
    else:
        for text in (*found.said, *made.notes):
            say(f"note: {text}")
        show(*([table(made)] if made.rows else []), summary(made))
    return CHANGES if made.changes else DONE


def differences(found: Looked, frozen: str = "") -> Differences:
    """What a decision would change, workload by workload, by server and name."""
    from flyball.adapters.kubernetes.labels import PREFIX
    from flyball.adapters.kubernetes.targets import change_of, permitted, targets_of

    fleet = found.snapshot.fleet
    model, price_of = {server.name: server.model for server in fleet.servers}, replica_prices(fleet)
    steps = {step.server: step for step in found.decision.steps}
    orders = [order for step in found.decision.steps for order in step.orders]
    targets, said = targets_of(found.cluster, orders)
    of_workload = {(t.workload.namespace, t.workload.kind, t.workload.name): t for t in targets}
    rows, cost = [], 0.0
    for one in sorted(found.cluster.governed, key=lambda w: (w.server, w.namespace, w.name)):
        price = price_of(model.get(one.server, ""), one.accelerator)
        cost += one.replicas * price
        target = of_workload.get((one.namespace, one.kind, one.name))
        step = steps.get(one.server)
        has = f"{one.replicas} x {one.accelerator}"
        title = f"{one.kind.name} {one.namespace}/{one.name}"
        if target is None or step is None:
            rows.append(Row(one.server, title, has, has, False, "nothing is decided for it", 0.0))
            continue
        gets = f"{target.replicas} x {target.accelerator}"
        gets += "".join(f", label {key.removeprefix(PREFIX)}={value}" for key, value in target.labels.items())
        gets += f", {target.rollout.said}" if target.rollout else ""
        then = price_of(model.get(one.server, ""), target.accelerator)
        held = [moves.held(hold) for hold in step.holds]
        held += [text.removeprefix(f"{target.name} is left as it is ({change_of(target)}): ")
                 for text in permitted([target])[1]]  # fmt: skip
        more = target.replicas * then - one.replicas * price
        rows.append(Row(one.server, title, has, gets, target.differs, moves.why(step), more, tuple(held)))
    return Differences(
        tuple(rows),
        sum(row.changes for row in rows),
        cost,
        sum(row.more_per_hour for row in rows),
        found.remembered,
        frozen,
        tuple(dict.fromkeys((*said, *found.decision.notes, *found.snapshot.seen.notes))),
    )


def table(made: Differences) -> Table:
    """One row for each workload; those that stay are dim."""
    from rich import box
    from rich.table import Table

    found = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("server", "workload", "has", "would get", "why"):
        found.add_column(name, overflow="fold")
    found.add_column("cost", justify="right")
    for row in made.rows:
        why = "; ".join((row.why, *row.held))
        change = f"{row.more_per_hour:+,.2f} $/h" if row.more_per_hour else ""
        gets = row.gets if row.changes else "the same"
        found.add_row(
            row.server, row.workload, row.has, gets, why, change, style="" if row.changes else "dim"
        )
    return found


def summary(made: Differences) -> str:
    """How much would change, at what cost."""
    if not made.rows:
        return "No workload has the label inferno.server.managed=true; flyball doctor says what is missing."
    how = "" if made.remembered else " (decided without a memory of the past: no loop has kept one here)"
    if not made.changes:
        text = f"Nothing would change{how}; {money(made.cost_per_hour)}."
    else:
        count = f"{made.changes} of {len(made.rows)} workloads would change"
        after = made.cost_per_hour + made.more_per_hour
        text = f"{count}{how}; {money(made.cost_per_hour)} to {money(after)}. Nothing was written."
    return text + (f" All is frozen: {made.frozen}." if made.frozen else "")
