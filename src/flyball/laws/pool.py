"""What laws without a model see of a server: one number of replicas between bounds, on one accelerator."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from flyball.spec.accelerator import Accelerator
from flyball.spec.decision import Decision, Hold, Order, Step
from flyball.spec.fleet import Fleet
from flyball.spec.profile import Profile
from flyball.spec.server import Server
from flyball.spec.snapshot import Observation, Reading, Snapshot, Variant
from flyball.units import Seconds

UNLIMITED = 1_000_000
"""Replicas at most where capacity is not counted."""
STALE: Seconds = 300.0
"""Age from which on Prometheus shows no value any more (its default lookback)."""


class Bounds(msgspec.Struct, frozen=True):
    """Replicas that a law may ask for; None: from the fleet."""

    low: int | None = None
    high: int | None = None


class Pool(msgspec.Struct, frozen=True):
    """One server, and where it scales."""

    server: Server
    seen: Observation
    accelerator: str
    max_batch_size: int
    ready: int
    pending: int
    """All accelerators together, as `replicas` and `elsewhere`."""
    elsewhere: int
    """Asked for on other accelerators: they stay, and count."""
    low: int
    high: int

    @property
    def replicas(self) -> int:
        """Asked for: ready and pending."""
        return self.ready + self.pending


def pools(snapshot: Snapshot, bounds: Bounds) -> list[Pool]:
    """All servers that are seen and have somewhere to scale, in order of name."""
    seen = {o.server: o for o in snapshot.seen.servers}
    servers = sorted((s for s in snapshot.fleet.servers if s.name in seen), key=lambda s: s.name)
    made = (_pool(snapshot.fleet, server, seen[server.name], bounds) for server in servers)
    return [pool for pool in made if pool is not None]


def _pool(fleet: Fleet, server: Server, seen: Observation, bounds: Bounds) -> Pool | None:
    units = {a.name: a for a in fleet.accelerators}
    profiles = {p.accelerator: p for p in fleet.profiles if p.model == server.model}
    had = sorted(seen.variants, key=lambda v: (-_asked(v), v.accelerator))
    if had and _asked(had[0]):
        accelerator = had[0].accelerator
    elif server.current.accelerator in units:
        accelerator = server.current.accelerator
    else:
        possible = [
            (units[name].cost * p.accelerator_count, name) for name, p in profiles.items() if name in units
        ]
        fitting = [(cost, name) for cost, name in possible if _room(fleet, units[name], profiles[name])]
        if not possible:
            return None
        accelerator = min(fitting or possible)[1]
    unit, profile = units.get(accelerator), profiles.get(accelerator)
    mine = next((v for v in had if v.accelerator == accelerator), Variant(accelerator))
    elsewhere = sum(_asked(v) for v in had) - _asked(mine)
    # An autoscaler's floor is 1 (Kubernetes has 0 only behind a feature gate), and it wins over the ceiling.
    low = max(server.min_replicas, 1) if bounds.low is None else bounds.low
    high = elsewhere + (_room(fleet, unit, profile) if unit else 0) if bounds.high is None else bounds.high
    batch = mine.max_batch_size or server.max_batch_size or server.current.max_batch_size
    return Pool(
        server,
        seen,
        accelerator,
        batch or (profile.max_batch_size if profile else 0),
        sum(v.ready for v in had),
        sum(v.pending for v in had),
        elsewhere,
        low,
        max(high, low),
    )


def _asked(variant: Variant) -> int:
    return variant.ready + variant.pending


def _room(fleet: Fleet, unit: Accelerator, profile: Profile | None) -> int:
    """Replicas that all cards of a type together hold, whoever else wants them."""
    if fleet.settings.unlimited:
        return UNLIMITED
    cards = unit.multiplicity * (profile.accelerator_count if profile else 1)
    return fleet.capacity.get(unit.type, 0) // max(cards, 1)


def known(reading: Reading | None) -> float | None:
    """The value of a reading; None where it is absent or stale."""
    if reading is None or reading.age > STALE or not math.isfinite(reading.value):
        return None
    return reading.value


def step(
    pool: Pool,
    replicas: int,
    metric: str = "",
    limit: float = 0.0,
    value: float = 0.0,
    hold: Hold | None = None,
) -> Step:
    """So many replicas, all accelerators together; those elsewhere stay."""
    others = [
        Order(pool.server.name, v.accelerator, _asked(v), v.max_batch_size)
        for v in pool.seen.variants
        if v.accelerator != pool.accelerator and _asked(v)
    ]
    mine = Order(pool.server.name, pool.accelerator, max(replicas - pool.elsewhere, 0), pool.max_batch_size)
    was = [
        Order(pool.server.name, v.accelerator, _asked(v), v.max_batch_size)
        for v in pool.seen.variants
        if _asked(v)
    ]
    return Step(
        pool.server.name,
        tuple(sorted([mine, *others], key=lambda o: o.accelerator)),
        tuple(sorted(was, key=lambda o: o.accelerator)),
        "steady" if replicas == pool.replicas else "threshold",
        offered=known(pool.seen.arrival_rate),
        metric=metric,
        statistic="mean",
        limit=limit,
        value=value,
        holds=() if hold is None else (hold,),
    )


def decision(law: str, snapshot: Snapshot, steps: Sequence[Step], notes: Sequence[str] = ()) -> Decision:
    """The steps as a decision, with what all that is ordered costs."""
    price = {a.name: a.cost for a in snapshot.fleet.accelerators}
    count = {(p.model, p.accelerator): p.accelerator_count for p in snapshot.fleet.profiles}
    model = {s.name: s.model for s in snapshot.fleet.servers}
    cost = sum(
        o.replicas * price.get(o.accelerator, 0.0) * count.get((model[o.server], o.accelerator), 1)
        for s in steps
        for o in s.orders
    )
    return Decision(law, snapshot.seen.time, tuple(steps), cost, notes=tuple(notes))
