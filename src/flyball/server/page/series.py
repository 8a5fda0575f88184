"""Time lines of the board as columns, ready for plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from flyball.server.page.board import Move
from flyball.server.page.view import FleetView, Latency, ServerView
from flyball.units import Seconds

Column = list[float | None]
CEILING = 100.0
"""Latency over target is told up to here."""


class Series(msgspec.Struct, frozen=True):
    """Columns over time, for the fleet or for one server. Those of `replicas` are by accelerator."""

    number: int
    """Of the last cycle in it."""
    time: list[Seconds]
    demand: dict[str, Column]
    latency: dict[str, Column]
    cost: dict[str, Column]
    replicas: dict[str, Column]
    pending: Column
    marks: list[tuple[Seconds, str]]
    """What happened in the world."""


def series(views: Sequence[FleetView], events: Sequence[Move] = (), server: str = "") -> Series:
    """Columns of these views, of one server where it is named."""
    shown = [(v, [s for s in v.servers if not server or s.name == server]) for v in views]
    counts = [_replicas(servers) for _, servers in shown]
    names = sorted(set().union(*counts))
    cost: dict[str, Column] = {"$/h": [_round(sum(s.cost for s in servers)) for _, servers in shown]}
    if not server:
        cost["kW"] = [None if v.watts is None else _round(v.watts / 1000.0) for v in views]
    first = _begin(views)
    return Series(
        number=views[-1].number if views else 0,
        time=[v.time for v in views],
        demand={
            "measured": [_total(servers, lambda s: s.offered) for _, servers in shown],
            "provided for": [_total(servers, lambda s: s.demand) for _, servers in shown],
        },
        latency={
            "first token": [_worst(servers, lambda s: s.first) for _, servers in shown],
            "between tokens": [_worst(servers, lambda s: s.itl) for _, servers in shown],
        },
        cost=cost,
        replicas={n: [float(c[n]) for c in counts] for n in names},
        pending=[float(sum(s.pending for s in servers)) for _, servers in shown],
        marks=[(e.time, e.what) for e in reversed(events) if e.time >= first],
    )


def _begin(views: Sequence[FleetView]) -> Seconds:
    """When they begin."""
    return views[0].time if views else 0.0


def _total(servers: Sequence[ServerView], of: Callable[[ServerView], float | None]) -> float | None:
    known = [x for s in servers if (x := of(s)) is not None]
    return _round(sum(known)) if known else None


def _worst(servers: Sequence[ServerView], of: Callable[[ServerView], Latency | None]) -> float | None:
    known = [x.ratio for s in servers if (x := of(s)) is not None and x.ratio is not None]
    return _round(min(max(known), CEILING)) if known else None


def _replicas(servers: Sequence[ServerView]) -> Counter[str]:
    """Ready ones by accelerator; those that only start count 0."""
    counts: Counter[str] = Counter()
    for server in servers:
        for variant in server.variants:
            counts[variant.accelerator] += variant.ready
    return counts


def _round(value: float) -> float:
    return float(f"{value:.5g}")
