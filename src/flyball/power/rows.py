"""Watts of domains, and degrees of their inlets, as resource rows: what `solve.problem` counts cards with.

An option draws n a + b where it has n replicas of a watts with no request each, and b watts for the whole
load on top. Of that a domain takes the share of the replicas that are, or would land, in it. Its row's limit
is what is left of its threshold by all that is not up for decision: the ungoverned, and pods that serve or
end beside those that are wanted. Pending ones are among the n replicas.

Heat: T = T_supply + D P, so a row of degrees is a sum of rows of watts with the rows of D as weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flyball.units import DollarsPerHour, Watts

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
KILOWATT: Watts = 1000.0
WATTS, HEAT = "watts ", "heat "
"""Prefixes of row names, so that no domain is taken for a type of cards."""


@dataclass(frozen=True, eq=False)
class Rows:
    """R rows and U uses of them by options, in order of option, then row."""

    names: tuple[str, ...]
    limit: FloatArray
    """(R,) watts, or kelvin above the supply."""
    option: IntArray
    """(U,)"""
    row: IntArray
    """(U,)"""
    fixed: FloatArray
    """(U,) of each replica."""
    load: FloatArray
    """(U,) of the whole load."""


def affine(idle: FloatArray, watts: FloatArray, replicas: FloatArray) -> tuple[FloatArray, FloatArray]:
    """From watts of one replica, idle and at its load, to a of a replica and b of the whole load."""
    return idle, np.maximum(watts - idle, 0.0) * replicas


def landing(now: Mapping[str, int], replicas: float, free: Mapping[str, float]) -> dict[str, float]:
    """Share of the replicas by place: they stay where they are, and new ones go where room is, by its size.

    Where fewer are wanted each place keeps its share. Without any room new ones land as those that are there.
    """
    have = float(sum(now.values()))
    if replicas <= 0:
        return {}
    kept = min(have, replicas)
    more = replicas - kept
    room = {place: r for place, r in free.items() if r > 0} or {p: float(n) for p, n in now.items() if n > 0}
    whole = sum(room.values())
    found = {p: kept * n / have for p, n in now.items() if n > 0}
    if more > 0 and whole > 0:
        for place, r in room.items():
            found[place] = found.get(place, 0.0) + more * r / whole
    return {place: n / replicas for place, n in sorted(found.items())}


def watt_rows(
    domains: Sequence[str], limit: FloatArray, share: FloatArray, idle: FloatArray, load: FloatArray
) -> Rows:
    """A row for each of D domains with a limit: share (O, D) of the replicas, watts idle and load (O,)."""
    bounded = np.flatnonzero(np.isfinite(limit))
    option, column = np.nonzero((share > 0)[:, bounded] & ((idle > 0) | (load > 0))[:, None])
    part = share[option, bounded[column]]
    return Rows(
        names=tuple(WATTS + domains[d] for d in bounded.tolist()),
        limit=np.maximum(limit[bounded], 0.0),
        option=option.astype(np.int64),
        row=column.astype(np.int64),
        fixed=part * idle[option],
        load=part * load[option],
    )


def heat_rows(
    domains: Sequence[str],
    kelvin_per_watt: FloatArray,
    margin: FloatArray,
    other: FloatArray,
    share: FloatArray,
    idle: FloatArray,
    load: FloatArray,
) -> Rows:
    """A row for each inlet with a limit: D (D, D) times watts, within margin (D,) = T_max - T_supply.

    `other` (D,) are the watts that are not up for decision. The domains must not contain each other.
    """
    left = margin - kelvin_per_watt @ other
    return _renamed(watt_rows(domains, left, share @ kelvin_per_watt.T, idle, load))


def _renamed(rows: Rows) -> Rows:
    names = tuple(HEAT + name.removeprefix(WATTS) for name in rows.names)
    return Rows(names, rows.limit, rows.option, rows.row, rows.fixed, rows.load)


def stacked(*parts: Rows) -> Rows:
    """Several sets of rows over the same options as one."""
    offsets = np.cumsum([0, *(len(p.names) for p in parts)])
    option = np.concatenate([p.option for p in parts])
    row = np.concatenate([p.row + offset for p, offset in zip(parts, offsets, strict=False)])
    order = np.lexsort((row, option))
    return Rows(
        names=tuple(name for p in parts for name in p.names),
        limit=np.concatenate([p.limit for p in parts]),
        option=option[order],
        row=row[order],
        fixed=np.concatenate([p.fixed for p in parts])[order],
        load=np.concatenate([p.load for p in parts])[order],
    )


def joined(
    use_start: IntArray,
    use_row: IntArray,
    use_fixed: FloatArray,
    use_load: FloatArray,
    rows: Rows,
    first: int,
) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """The uses of a problem with those of more rows, which are numbered from `first` on."""
    option = np.concatenate([np.repeat(np.arange(use_start.size - 1), np.diff(use_start)), rows.option])
    row = np.concatenate([use_row, rows.row + first])
    order = np.lexsort((row, option))
    start = np.searchsorted(option[order], np.arange(use_start.size)).astype(np.int64)
    fixed = np.concatenate([use_fixed, rows.fixed])[order]
    return start, row[order].astype(np.int64), fixed, np.concatenate([use_load, rows.load])[order]


# ---- what one more kilowatt is worth -----------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    """What a solver made of certain limits."""

    served: tuple[int, ...]
    """Servers served whole, by priority, first priority first."""
    cost: DollarsPerHour


@dataclass(frozen=True)
class Price:
    """What a little more of one row changes."""

    row: str
    served: int
    """So many more servers of `priority_place` are served whole; the cost then says nothing."""
    saves: DollarsPerHour
    """At the same service, per kilowatt."""


def prices(
    solve: Callable[[FloatArray], Answered],
    names: Sequence[str],
    limit: FloatArray,
    used: FloatArray,
    step: Watts = KILOWATT,
) -> dict[str, Price]:
    """The shadow price of each row of watts with less than a step left, by solving again with a step more.

    Without a row that is tight nothing is solved. What is not divisible may be worth nothing by one step.
    """
    tight = [i for i, name in enumerate(names) if name.startswith(WATTS) and limit[i] - used[i] < step]
    if not tight:
        return {}
    before = solve(limit)
    found = {}
    for i in tight:
        raised = limit.copy()
        raised[i] += step
        after = solve(raised)
        name = names[i].removeprefix(WATTS)
        if after.served == before.served:
            saves = max(before.cost - after.cost, 0.0) * KILOWATT / step
            found[name] = Price(names[i], 0, saves)
        else:
            # The first priority at which they differ decides; below it some may lose.
            more = next(a - b for a, b in zip(after.served, before.served, strict=True) if a != b)
            found[name] = Price(names[i], max(more, 0), 0.0)
    return found


def price_sentence(name: str, price: Price) -> str:
    """What one more kilowatt is worth, for status and page."""
    if price.served:
        return f"one more kilowatt in {name} serves {price.served} more server{'s' * (price.served > 1)}"
    if price.saves > 0:
        return f"one more kilowatt in {name} saves {price.saves:.2f} an hour"
    return f"one more kilowatt in {name} saves nothing"
