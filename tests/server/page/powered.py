"""A fleet whose watts are looked at, without anything that decides: rows of racks, one rack in trouble."""

from __future__ import annotations

import math
from typing import Any

from msgspec.structs import replace

from flyball.loop.record import Cycle
from flyball.server.page.live import Live
from flyball.spec.power import Domain, Policy, PowerNode, PowerSeen, Thermal, Trim
from flyball.spec.power_plan import (
    Ahead,
    DomainState,
    PolicyState,
    PowerAction,
    PowerPlan,
    Recommendation,
    Relief,
    WorkloadCap,
)
from tests.server.page.builders import PERIOD, live

NASTY_RACK = 'r<b>&"1"'
ROWS = ("row-a", "row-b", "row-c")
WORTH = "One more kilowatt for row-a would save $1.25/h."
HORIZONS = (60.0, 300.0, 900.0, 3600.0)


def racks_of(row: str, count: int = 8) -> tuple[str, ...]:
    """The first one has a nasty name."""
    return tuple(NASTY_RACK if row == ROWS[0] and not i else f"{row}-r{i + 1}" for i in range(count))


def domains(count: int = 8) -> tuple[Domain, ...]:
    found = [Domain("hall-1", "Site", watts=700_000.0)]
    for row in ROWS:
        found.append(Domain(row, "Row", "hall-1", watts=250_000.0))
        for rack in racks_of(row, count):
            hot = Thermal(32.0, 18.0) if row == ROWS[0] else None
            found.append(Domain(rack, "Rack", row, {"rack": rack}, watts=40_000.0, thermal=hot))
    return tuple(found)


def seen(time: float = 0.0, count: int = 8) -> PowerSeen:
    nodes = tuple(PowerNode(f"n-{rack}", {"rack": rack}, 8) for row in ROWS for rack in racks_of(row, count))
    policies = (Policy("chat", "llm"), Policy("batch", "llm", mode="Enforce"))
    return PowerSeen(1.8e9 + time, 30.0, domains(count), policies, nodes)


def state(one: Domain, time: float, place: int) -> DomainState:
    """A draw that rises and falls, and a band that widens."""
    assert one.watts is not None
    share = 0.55 + 0.3 * math.sin(place * 1.7) + 0.12 * math.sin(time / 700.0 + place)
    watts = one.watts * min(max(share, 0.1), 1.02)
    ahead = tuple(
        Ahead(h, (watts * 1.02, watts * (1.04 + h / 40_000.0), watts * (1.06 + h / 20_000.0)), (0.5, 0.9), 60)
        for h in HORIZONS
    )
    trouble = one.name == NASTY_RACK
    return DomainState(
        one.name,
        "shed" if trouble else "warn" if share > 0.85 else "normal",
        watts,
        place % 7 != 3,
        one.watts,
        "evening" if one.level == "Row" else "budget",
        0.93 * one.watts,
        per_kilowatt=1.25 if one.name == "row-a" else None,
        feasible=not trouble,
        nodes=8 if one.level == "Row" else 1,
        inlet=None if one.thermal is None else 18.0 + 13.5 * share,
        ahead=ahead,
    )


def plan(time: float = 0.0, count: int = 8) -> PowerPlan:
    advice = Recommendation(
        "row-a",
        "llm/chat",
        "shed",
        (PowerAction("replicas", "chat-large", 12, 9, 4_200.0, 300.0), PowerAction("hold", "code", 3, 3)),
        "row-a draws 244,000 of 250,000 W, level shed: saves 4,200 W",
        0.0,
        262_000.0,
    )
    return PowerPlan(
        tuple(state(one, time, place) for place, one in enumerate(domains(count))),
        caps=(WorkloadCap("nightly", 4, 2, "llm/batch", mode="Enforce", reason="row-a: near its threshold"),),
        reliefs=(
            Relief("nightly", "llm/batch", "concurrency", "Enforce", "row-a", 64, 256),
            Relief("train", "llm/batch", "resources", "Enforce", trim=Trim(0.5, 0.8)),
            Relief("told", "llm/chat", "concurrency", "Recommend", "row-a", 32, 256),
        ),
        recommendations=(advice,),
        hot=(f"n-{NASTY_RACK}",),
        overruled={"llm/chat": "batch is more restrictive for nightly"},
        infeasible=(f"{NASTY_RACK}: least replicas draw 41,000 W, 40,000 W are left: raise the budget",),
        policies=(PolicyState("llm/chat", ("a", "b"), 120_000.0), PolicyState("llm/batch", ("c",), 9e3, 1e4)),
    )


def cycle(like: Cycle, time: float, count: int = 8) -> Cycle:
    """The same with power, at another time."""
    assert like.decision is not None
    scrape = replace(like.snapshot.seen, time=time)
    snapshot = replace(like.snapshot, seen=scrape, power=seen(time, count))
    return replace(like, snapshot=snapshot, decision=replace(like.decision, power=plan(time, count)))


def show(one: Live, time: float, **more: Any) -> None:
    """One more cycle, as `Live.cycle` shows it."""
    assert one.runner.last is not None
    number, made = one.runner.last[0] + 1, cycle(one.runner.last[1], time, **more)
    one.runner.last = number, made
    one.board.add(number, made)
    one.bell.ring()


def powered(cycles: int = 240, count: int = 8) -> Live:
    """A fleet that was watched for an hour."""
    one, _ = live(3, 2, real=True)
    for number in range(cycles):
        show(one, 100.0 + number * PERIOD, count=count)
    return one
