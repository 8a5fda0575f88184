"""Accounts: what was decided for each server and why, as documents and as lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from flyball.report import known, moves
from flyball.report.sentences import money
from flyball.spec.decision import Decision, Step
from flyball.spec.fleet import Fleet, replica_prices
from flyball.spec.snapshot import Snapshot
from flyball.units import DollarsPerHour, RequestsPerSecond, Seconds


class Change(msgspec.Struct, frozen=True):
    """The last time that something was changed."""

    time: Seconds
    what: str
    why: str


class Account(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was decided for one server, in words; empty: there is nothing to say."""

    server: str
    model: str = ""
    service_class: str = ""
    cycle: int = 0
    time: Seconds | None = None
    """Of the decision, by the sensor's clock: since 1970 where it sees a cluster."""
    has: str = ""
    gets: str = ""
    changes: bool = False
    cause: str = ""
    why: str = ""
    offered: RequestsPerSecond | None = None
    """Measured."""
    demand: RequestsPerSecond | None = None
    """Provided for."""
    holds: tuple[str, ...] = ()
    """What guards hold back, and why."""
    goal: str = ""
    """What the plan would have it have in the end, where that is something else."""
    next_best: str = ""
    rests_on: tuple[str, ...] = ()
    """On what its profiles rest."""
    cost_per_hour: DollarsPerHour | None = None
    """Of what it gets, dollars."""
    more_per_hour: DollarsPerHour | None = None
    """Of that, what it costs more than what it has."""
    last_change: Change | None = None
    notes: tuple[str, ...] = ()
    """What is said about it beside all that, such as what was not carried out."""


def accounts(
    snapshot: Snapshot, decision: Decision, said: Iterable[str] = (), cycle: int = 0
) -> tuple[Account, ...]:
    """One for each server of a decision, by name; `said`: what concerns some of them, in sentences."""
    fleet, price = snapshot.fleet, replica_prices(snapshot.fleet)
    steps = {step.server: step for step in decision.steps}
    told = tuple(dict.fromkeys((*said, *decision.notes, *snapshot.seen.notes)))
    found = []
    for server in sorted(fleet.servers, key=lambda s: s.name):
        step = steps.get(server.name)
        about = tuple(text for text in told if names(text, server.name))
        head = Account(
            server.name,
            server.model,
            server.service_class,
            cycle=cycle,
            time=decision.time,
            why="nothing was decided for it: it is left alone",
            notes=about,
        )
        found.append(head if step is None else _of(head, step, decision, fleet, price))
    return tuple(found)


def _of(
    head: Account, step: Step, decision: Decision, fleet: Fleet, price: Callable[[str, str], DollarsPerHour]
) -> Account:
    cost = sum(o.replicas * price(head.model, o.accelerator) for o in step.orders)
    was = sum(o.replicas * price(head.model, o.accelerator) for o in step.was)
    goal = step.goal
    wanted = f"{goal.replicas} x {goal.accelerator}" if goal is not None and goal.replicas else ""
    return msgspec.structs.replace(
        head,
        has=moves.asked(step.was),
        gets=moves.asked(step.orders),
        changes=step.changed,
        cause=step.cause,
        why=moves.why(step),
        offered=step.offered,
        demand=step.demand,
        holds=tuple(moves.held(hold) for hold in step.holds),
        goal="" if wanted == moves.asked(step.orders) else wanted,
        next_best=moves.next_best(step),
        rests_on=tuple(known.of_step(decision, step, fleet)),
        cost_per_hour=cost,
        more_per_hour=cost - was,
    )


def names(text: str, server: str) -> bool:
    """Whether a sentence is about a server: its name stands in it, and not as a part of another one."""
    place = text.find(server)
    while place >= 0:
        before, after = text[place - 1 : place], text[place + len(server) : place + len(server) + 1]
        if not _goes_on(before) and not (_goes_on(after) and after != "."):
            return True
        place = text.find(server, place + 1)
    return False


def _goes_on(letter: str) -> bool:
    return bool(letter) and (letter.isalnum() or letter in "-_.")


def lines(account: Account, now: Seconds | None = None) -> list[str]:
    """An account for a terminal; `now`: by the same clock as its time."""
    age = "" if now is None or account.time is None else f", decided {ago(now - account.time)}"
    does = f"{account.has} to {account.gets}" if account.changes else f"stays at {account.gets or '?'}"
    of = ", ".join(text for text in (account.model, account.service_class) if text)
    made = [f"{account.server}" + (f" ({of})" if of else "") + f": {does}{age}"]
    rows: list[tuple[str, str]] = [("why", account.why)]
    if account.demand is not None:
        measured = "not known" if account.offered is None else moves.rate(account.offered)
        rows.append(("load", f"{measured} offered, {moves.rate(account.demand)} provided for"))
    rows += [("held", text) for text in account.holds]
    rows += [("goal", account.goal), ("next best", account.next_best.removeprefix("next best "))]
    rows += [("rests on", text) for text in account.rests_on]
    if account.cost_per_hour is not None:
        more = account.more_per_hour or 0.0
        change = f" ({'+' if more > 0 else '-'}{money(abs(more))})" if more else ""
        rows.append(("cost", f"{money(account.cost_per_hour)}{change}"))
    if account.last_change is not None:
        last = account.last_change
        when = "" if now is None else f"{ago(now - last.time)}: "
        rows.append(("changed", f"{when}{last.what} because {last.why}"))
    rows += [("note", text) for text in account.notes]
    return made + [f"  {name:<10} {text}" for name, text in rows if text]


def ago(seconds: Seconds) -> str:
    """12 s ago, 5 min ago, 3 h ago."""
    seconds = max(seconds, 0.0)
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name} ago"
    return f"{seconds:.0f} s ago"
