"""A drill: a budget is cut, and what the decision would do is worked out, cycle by cycle. Nothing is done.

The fleet stays as it is otherwise: loads, what nobody governs, and the share of each server in each domain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec.structs import replace
from rich import box
from rich.table import Table

from flyball.power.budget import budget_at
from flyball.power.filter import filtered
from flyball.power.govern import Power
from flyball.power.recommend import lost_tokens
from flyball.power.view import ServerView, View, infeasible
from flyball.spec.power import Level, PowerSeen
from flyball.units import Seconds, TokensPerSecond, Watts

MOST_CYCLES = 200
Ask = Callable[[View], Mapping[str, object]]
"""What algorithms say of a view."""


class DrillError(ValueError):
    """There is nothing to cut."""


class Shed(msgspec.Struct, frozen=True):
    """What one server loses."""

    server: str
    priority: int
    before: int
    after: int
    """Replicas."""
    watts: Watts
    """Saved."""
    lost: TokensPerSecond


class DrilledDomain(msgspec.Struct, frozen=True):
    """A domain whose budget is cut."""

    domain: str
    budget: Watts
    """Before."""
    cut_to: Watts
    threshold: Watts
    """What is held below it: less the error of its sensors, and a sudden rise."""
    before: Watts
    after: Watts
    level: Level
    """Right after the cut."""
    short: Watts = 0.0
    """What stays above the threshold."""
    reason: str = ""


class Turn(msgspec.Struct, frozen=True):
    """One cycle after the cut."""

    watts: dict[str, Watts]
    """Of the cut domains, once it is carried out."""
    replicas: dict[str, int]
    """Of the servers that move in it."""
    at_once: bool = False


class Drill(msgspec.Struct, frozen=True):
    """How a fleet answers a cut."""

    domains: tuple[DrilledDomain, ...]
    shed: tuple[Shed, ...]
    """In the order in which it begins."""
    turns: tuple[Turn, ...]
    seconds: Seconds
    """From the cut until the draw is down: the cycles, and the latency of the slowest lever."""
    lost: TokensPerSecond
    infeasible: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether all cut budgets are held in the end."""
        return not any(d.short for d in self.domains)


def cut(seen: PowerSeen, share: float, names: Iterable[str] = ()) -> tuple[PowerSeen, dict[str, Watts]]:
    """The same with so much less of the budgets that hold now, and these before. No names: the roots. Or
    DrillError.
    """
    budgets = {d.name: budget.watts for d in seen.domains if (budget := budget_at(d, seen.now)) is not None}
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in budgets:
            there = ", ".join(sorted(budgets)) or "none has one"
            known = name in {d.name for d in seen.domains}
            what = f"{name} has no budget" if known else f"there is no domain {name}"
            raise DrillError(f"{what}; domains with a budget: {there}")
    if not wanted:
        wanted = [d.name for d in seen.domains if not d.parent and d.name in budgets]
    if not wanted:
        there = f"name one with --domain: {', '.join(sorted(budgets))}" if budgets else "give a domain one"
        raise DrillError(f"no domain at the root has a budget to cut; {there}")
    domains = tuple(
        replace(d, watts=(1.0 - share) * budgets[d.name], schedule=()) if d.name in wanted else d
        for d in seen.domains
    )
    return replace(seen, domains=domains), {name: budgets[name] for name in wanted}


def drill(power: Power, budgets: Mapping[str, Watts], period: Seconds, ask: Ask) -> Drill:
    """What is decided after a cut; `power` sees the cut budgets, `budgets` are those before, by domain."""
    view = power.view()
    start = {s.name: s.replicas for s in view.servers}
    view = View(view.rooms, tuple(map(_where_it_is, view.servers)))
    base = view.drawn(start)
    now, drawn, short = start, base, dict[str, Watts]()
    turns: list[Turn] = []
    order: list[str] = []
    while len(turns) < MOST_CYCLES:
        gone = len(turns) * period
        urgent = {
            name
            for name in budgets
            if gone >= power.tree.domains[name].max_exceedance
            and _draws(power, name, drawn, base) > _budget(power, name)
        }
        rooms = tuple(replace(r, at_once=r.at_once or r.name in urgent) for r in view.rooms)
        current = View(rooms, _as_it_is(view, now).servers)
        given = filtered(current, ask(current))
        short = given.short
        moved = {name: n for name, n in given.replicas.items() if n != now[name]}
        if not moved:
            break
        priority = {s.name: s.priority for s in view.servers}
        order += sorted(moved.keys() - order, key=lambda name: (-priority[name], name))
        now, drawn = given.replicas, view.drawn(given.replicas)
        watts = {name: _draws(power, name, drawn, base) for name in budgets}
        turns.append(Turn(watts, moved, any(r.at_once for r in rooms)))
    servers = {s.name: s for s in view.servers}
    shed = tuple(
        Shed(
            name,
            one.priority,
            start[name],
            now[name],
            one.watts(start[name]) - one.watts(now[name]),
            lost_tokens(one, now[name]) - lost_tokens(one, start[name]),
        )
        for name in order
        if (one := servers[name]) and now[name] != start[name]
    )
    return Drill(
        tuple(_domain(power, name, budgets[name], drawn, base, short) for name in budgets),
        shed,
        tuple(turns),
        (len(turns) - 1) * period + power.seen.tau if turns else 0.0,
        sum(s.lost for s in shed),
        tuple(text for text in infeasible(view) if text.partition(":")[0] in budgets),
    )


def _where_it_is(server: ServerView) -> ServerView:
    """With its bounds around what it has: nor does it move for them. What is not free to move stays so."""
    have, free = server.replicas, server.least != server.most
    low, high = (min(server.least, have), max(server.most, have)) if free else (have, have)
    return replace(server, wanted=have, least=low, most=high)


def _as_it_is(view: View, replicas: Mapping[str, int]) -> View:
    """Nobody wants more than it has: what comes out is for the cut alone."""
    servers = (replace(s, replicas=replicas[s.name], wanted=replicas[s.name]) for s in view.servers)
    return View(view.rooms, tuple(servers))


def _draws(power: Power, name: str, drawn: Mapping[str, Watts], base: Mapping[str, Watts]) -> Watts:
    saved = base.get(name, 0.0) - drawn.get(name, 0.0)
    return power.watched[name].state.watts - saved


def _budget(power: Power, name: str) -> Watts:
    budget = power.watched[name].state.budget
    assert budget is not None
    return budget


def _domain(
    power: Power,
    name: str,
    budget: Watts,
    drawn: Mapping[str, Watts],
    base: Mapping[str, Watts],
    short: Mapping[str, Watts],
) -> DrilledDomain:
    state = power.watched[name].state
    act = power.watched[name].act
    return DrilledDomain(
        name,
        budget,
        _budget(power, name),
        state.threshold or 0.0,
        state.watts,
        _draws(power, name, drawn, base),
        state.level,
        short.get(name, 0.0),
        "" if act is None else act.reason,
    )


# ---- as text -----------------------------------------------------------------------------------


def lines(made: Drill) -> list[str]:
    """What happens, in sentences."""
    told = []
    for one in made.domains:
        told.append(
            f"{one.domain}: {one.budget:,.0f} W cut to {one.cut_to:,.0f} W. It draws {one.before:,.0f} W; "
            f"the threshold, with room for sensor errors and sudden rises, is {one.threshold:,.0f} W."
        )
        if not made.turns and not one.short:
            told.append(
                f"  It holds as it is, at level {one.level}{f': {one.reason}' if one.reason else ''}."
            )
        elif one.short:
            told.append(f"  It does NOT hold: {one.after:,.0f} W remain, {one.short:,.0f} W too many.")
        else:
            told.append(f"  It holds: {one.after:,.0f} W, {one.before - one.after:,.0f} W less.")
    if made.shed:
        cycles = f"{len(made.turns)} cycle{'s' * (len(made.turns) > 1)}"
        told.append(
            f"{cycles}, {made.seconds:,.0f} s until the draw is down; {made.lost:,.0f} tokens/s are lost. "
            f"Priority {made.shed[0].priority} sheds first."
        )
        if any(turn.at_once for turn in made.turns):
            told.append("Above the budget for too long, replicas go at once and not by steps.")
    told += [f"Infeasible: {text}" for text in made.infeasible]
    return [*told, *made.notes]


def table(made: Drill) -> Table:
    """What each server loses, in the order in which it begins."""
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    found.add_column("prio", justify="right")
    found.add_column("server", overflow="fold")
    for name in ("replicas", "watts", "tokens/s", "in cycles"):
        found.add_column(name, justify="right", overflow="fold")
    for one in made.shed:
        moves = [str(i) for i, turn in enumerate(made.turns, 1) if one.server in turn.replicas]
        when = moves[0] if len(moves) == 1 else f"{moves[0]} to {moves[-1]}"
        found.add_row(
            str(one.priority),
            one.server,
            f"{one.before} to {one.after}",
            f"{-one.watts:+,.0f}",
            f"{-one.lost:+,.0f}" if one.lost else "0",
            when,
        )
    return found
