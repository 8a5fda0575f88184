"""Views: what one cycle shows of each server and of the fleet."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from flyball.decide.seen import reported
from flyball.loop.record import Cycle
from flyball.report import moves
from flyball.server.page.power import drawn
from flyball.spec.decision import Hold, Step
from flyball.spec.fleet import Fleet, replica_prices
from flyball.spec.known import Known
from flyball.spec.server import Server
from flyball.spec.service_class import Target, promise_of
from flyball.spec.snapshot import Observation, Variant
from flyball.units import DollarsPerHour, RequestsPerSecond, Seconds, Watts

STALE: Seconds = 90.0
"""Readings older than this are as good as absent."""
FIRST = ("ttft", "e2e", "wait")
"""Which target the first bar shows: the first of these that is promised."""


class Latency(msgspec.Struct, frozen=True, gc=False):
    """A statistic as measured, and what is promised of it; limit 0: nothing is."""

    metric: str
    statistic: str
    value: Seconds | None
    limit: Seconds = 0.0

    @property
    def ratio(self) -> float | None:
        """Over 1 is late; None where it is not known or not promised."""
        return None if self.value is None or not self.limit else self.value / self.limit

    @property
    def late(self) -> bool:
        """Whether the promise is broken as measured."""
        return (self.ratio or 0.0) > 1.0


class ServerView(msgspec.Struct, frozen=True):
    """One server at one cycle."""

    name: str
    service_class: str
    priority: int
    model: str
    offered: RequestsPerSecond | None
    demand: RequestsPerSecond | None
    """Provided for."""
    waiting: float | None
    variants: tuple[Variant, ...]
    first: Latency | None
    itl: Latency | None
    cost: DollarsPerHour
    state: str
    """`ok`, `late`, `starting`, `none` (no replica), or `unseen`."""
    goal: str = ""
    """What the plan says that it should have, where it has something else."""
    next_best: str = ""
    holds: tuple[Hold, ...] = ()

    @property
    def ready(self) -> int:
        """Replicas that serve."""
        return sum(v.ready for v in self.variants)

    @property
    def pending(self) -> int:
        """Replicas that are coming."""
        return sum(v.pending for v in self.variants)

    @property
    def draining(self) -> int:
        """Replicas that are going."""
        return sum(v.draining for v in self.variants)


class FleetView(msgspec.Struct, frozen=True):
    """The fleet at one cycle; servers by priority and name."""

    number: int
    time: Seconds
    servers: tuple[ServerView, ...]
    cost: DollarsPerHour
    watts: Watts | None
    measured_watts: bool
    cards: tuple[tuple[str, int, int], ...]
    """Card type, in use, there."""
    took: Seconds
    """To decide."""
    law: str
    proved: bool
    """Whether the plan that is followed is proved best."""
    notes: tuple[str, ...]
    errors: tuple[str, ...]
    known: tuple[Known, ...] = ()
    """Of profiles."""
    drawn: dict[str, Watts] = {}
    """By domain, where watts are looked at."""

    @property
    def offered(self) -> RequestsPerSecond:
        """Of all servers together."""
        return sum(s.offered or 0.0 for s in self.servers)

    @property
    def judged(self) -> int:
        """Servers of which a promised latency is known, and those that have load but no replica."""
        return sum(_judged(s) for s in self.servers)

    @property
    def met(self) -> int:
        """Of those: how many keep every promise."""
        return sum(_judged(s) and s.state == "ok" for s in self.servers)

    def named(self, name: str) -> ServerView | None:
        """One of its servers."""
        return next((s for s in self.servers if s.name == name), None)


def view(number: int, cycle: Cycle) -> FleetView:
    """What one cycle shows."""
    fleet, seen, decision = cycle.snapshot.fleet, cycle.snapshot.seen, cycle.decision
    found = {o.server: o for o in seen.servers}
    steps = {s.server: s for s in decision.steps} if decision else {}
    price = replica_prices(fleet)
    servers = tuple(_server(fleet, price, s, found.get(s.name), steps.get(s.name)) for s in fleet.servers)
    planned = decision.plan.watts if decision and decision.plan else None
    return FleetView(
        number=number,
        time=seen.time,
        servers=tuple(sorted(servers, key=lambda s: (s.priority, s.name))),
        cost=sum(s.cost for s in servers),
        watts=seen.watts.value if seen.watts else planned,
        measured_watts=seen.watts is not None,
        cards=_cards(fleet, servers, fleet.capacity if seen.capacity is None else seen.capacity),
        took=cycle.seconds,
        law=cycle.law,
        proved=bool(decision and decision.plan and decision.plan.proved),
        notes=decision.notes if decision else seen.notes,
        errors=(*cycle.errors, *cycle.refused),
        known=decision.known if decision else (),
        drawn=drawn(decision.power) if decision else {},
    )


def _server(
    fleet: Fleet,
    price: Callable[[str, str], DollarsPerHour],
    server: Server,
    found: Observation | None,
    step: Step | None,
) -> ServerView:
    variants = found.variants if found else ()
    first, itl = _latencies(fleet, server, found)
    cost = sum((v.ready + v.pending + v.draining) * price(server.model, v.accelerator) for v in variants)
    late = any(x is not None and x.late for x in (first, itl))
    ready, pending = sum(v.ready for v in variants), sum(v.pending for v in variants)
    state = "late" if late else "ok" if ready else "starting" if pending else "none"
    goal = step.goal if step else None
    wanted = f"{goal.replicas} x {goal.accelerator}" if goal and goal.replicas else ""
    return ServerView(
        name=server.name,
        service_class=server.service_class,
        priority=next((c.priority for c in fleet.service_classes if c.name == server.service_class), 100),
        model=server.model,
        offered=found.arrival_rate.value if found and found.arrival_rate else None,
        demand=step.demand if step else None,
        waiting=found.waiting.value if found and found.waiting else None,
        variants=variants,
        first=first,
        itl=itl,
        cost=cost,
        state=state if found else "unseen",
        goal="" if step and moves.asked(step.orders) == wanted else wanted,
        next_best=moves.next_best(step) if step else "",
        holds=step.holds if step else (),
    )


def _latencies(
    fleet: Fleet, server: Server, found: Observation | None
) -> tuple[Latency | None, Latency | None]:
    """The two that are shown: of the first token (or what is promised instead), and between tokens."""
    promised = {t.metric: t for t in targets_of(fleet, server)}
    first = next((promised[m] for m in FIRST if m in promised), None)
    shown = _latency(first, found) if first else _unpromised("ttft", found)
    between = promised.get("itl")
    return shown, _latency(between, found) if between else _unpromised("itl", found)


def targets_of(fleet: Fleet, server: Server) -> tuple[Target, ...]:
    """What its class promises for its model."""
    promise = promise_of(fleet.service_classes, server.service_class, server.model)
    return promise.targets if promise else ()


def _latency(target: Target, found: Observation | None) -> Latency:
    value = None if found is None else _measured(target.metric, reported(target)[1], found)
    return Latency(target.metric, target.statistic, value, target.limit)


def _measured(metric: str, name: str, found: Observation) -> Seconds | None:
    if metric == "e2e":  # not measured as such; its mean is that of its parts
        ttft, itl = _measured("ttft", "mean", found), _measured("itl", "mean", found)
        out = found.out_tokens
        known = name == "mean" and ttft is not None and itl is not None and out is not None
        return ttft + itl * max(out.value - 1.0, 0.0) if known and ttft and itl and out else None
    readings = found.ttft if metric == "ttft" else found.itl if metric == "itl" else {}
    reading = readings.get(name)  # type: ignore[call-overload]
    return reading.value if reading is not None and reading.age <= STALE else None


def _unpromised(metric: str, found: Observation | None) -> Latency | None:
    value = None if found is None else _measured(metric, "mean", found)
    return None if value is None else Latency(metric, "mean", value)


def _judged(server: ServerView) -> bool:
    if server.state in ("none", "starting") and (server.offered or 0.0) > 0:
        return True
    return any(x is not None and x.ratio is not None for x in (server.first, server.itl))


def _cards(
    fleet: Fleet, servers: tuple[ServerView, ...], there: dict[str, int]
) -> tuple[tuple[str, int, int], ...]:
    kinds = {a.name: (a.type, a.multiplicity) for a in fleet.accelerators}
    units = {(p.model, p.accelerator): max(p.accelerator_count, 1) for p in fleet.profiles}
    used: dict[str, int] = dict.fromkeys(there, 0)
    for server in servers:
        for v in server.variants:
            type_, cards = kinds.get(v.accelerator, (v.accelerator, 1))
            count = (v.ready + v.pending + v.draining) * cards * units.get((server.model, v.accelerator), 1)
            used[type_] = used.get(type_, 0) + count
    return tuple((name, n, there.get(name, 0)) for name, n in sorted(used.items()))
