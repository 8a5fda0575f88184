"""A fluid world behind the ports: one formula for a fleet, to test laws in thousands of worlds a minute.

Each server's replicas take `max_rate` requests a second each; what arrives above that waits. Latencies are
those of a processor-sharing queue at the present utilization, and of the wait. It has nothing of the plant's
detail, and like it nothing of the decision's model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from flyball.spec.decision import Order
from flyball.spec.fleet import Fleet
from flyball.spec.snapshot import Observation, Quantile, Reading, Scrape, Variant

SPREAD: dict[Quantile, float] = {"mean": 1.0, "p50": 0.9, "p90": 1.5, "p95": 1.8, "p99": 2.5}
"""Quantiles over the mean."""


@dataclass
class Pool:
    """Replicas of one server on one accelerator: ready ones, and the times at which pending ones will be."""

    ready: int = 0
    pending: list[float] = field(default_factory=list)


@dataclass
class FluidWorld:
    """`step(dt)` moves it, `observe` and `act` are ports; it is a clock and a fleet source too."""

    configured: Fleet
    rate: Callable[[str, float], float]
    """Requests per second of a server at a time."""
    max_rate: Mapping[tuple[str, str], float]
    """Of one replica of a model on an accelerator."""
    rng: np.random.Generator
    cold_start: float = 100.0
    ttft: float = 0.1
    itl: float = 0.02
    noise: float = 0.0
    gaps: float = 0.0
    delay: float = 0.0
    capacity: dict[str, int] | None = None
    time: float = 0.0
    pools: dict[tuple[str, str], Pool] = field(default_factory=dict)
    waiting: dict[str, float] = field(default_factory=dict)
    blind: set[str] = field(default_factory=set)
    past: list[Scrape] = field(default_factory=list)

    def now(self) -> float:
        """The time of the world."""
        return self.time

    def fleet(self) -> Fleet:
        """The fleet as configured."""
        return self.configured

    def step(self, dt: float) -> None:
        """Let the world go on."""
        self.time += dt
        for pool in self.pools.values():
            pool.ready += sum(t <= self.time for t in pool.pending)
            pool.pending = [t for t in pool.pending if t > self.time]
        for server in self.configured.servers:
            taken = self.rate(server.name, self.time) - self.takes(server.name)
            self.waiting[server.name] = max(0.0, self.waiting.get(server.name, 0.0) + taken * dt)

    def takes(self, name: str) -> float:
        """Requests per second that the server's ready replicas take."""
        model = next(s.model for s in self.configured.servers if s.name == name)
        return sum(
            pool.ready * self.max_rate.get((model, accelerator), 0.0)
            for (server, accelerator), pool in self.pools.items()
            if server == name
        )

    def asked(self, name: str) -> int:
        """Replicas that are ready or pending."""
        return sum(p.ready + len(p.pending) for (server, _), p in self.pools.items() if server == name)

    def cards(self) -> dict[str, int]:
        """Cards in use, by type."""
        kinds = {a.name: (a.type, a.multiplicity) for a in self.configured.accelerators}
        units = {(p.model, p.accelerator): p.accelerator_count for p in self.configured.profiles}
        models = {s.name: s.model for s in self.configured.servers}
        used: dict[str, int] = {}
        for (server, accelerator), pool in self.pools.items():
            type_, cards = kinds[accelerator]
            count = (pool.ready + len(pool.pending)) * cards * units.get((models[server], accelerator), 1)
            used[type_] = used.get(type_, 0) + count
        return used

    def observe(self) -> Scrape:
        """What a scrape of this moment (or of `delay` ago) shows."""
        servers = tuple(self._server(s.name) for s in self.configured.servers)
        made = Scrape(self.time, tuple(o for o in servers if o is not None), self.capacity)
        self.past = [*(s for s in self.past if s.time >= self.time - self.delay - 60.0), made]
        old = [s for s in self.past if s.time <= self.time - self.delay]
        if not self.delay or not old:
            return made
        shown = {o.server: o for o in old[-1].servers}
        return Scrape(
            self.time,
            tuple(_aged(shown.get(o.server, o), o.variants, self.time - old[-1].time) for o in made.servers),
            self.capacity,
        )

    def _server(self, name: str) -> Observation | None:
        variants = tuple(
            Variant(accelerator, pool.ready, len(pool.pending))
            for (server, accelerator), pool in sorted(self.pools.items())
            if server == name and (pool.ready or pool.pending)
        )
        if name in self.blind:
            return Observation(name, variants)
        rate, takes = self.rate(name, self.time), self.takes(name)
        waiting = self.waiting.get(name, 0.0)
        busy = min(rate / takes, 0.999) if takes else 0.999
        wait = waiting / takes if takes else 1e3
        ttft, itl = self.ttft * (1 + busy) + wait, self.itl * (1 + busy)
        ready = sum(v.ready for v in variants)
        some = rate > 0 and ready > 0
        return Observation(
            name,
            variants,
            arrival_rate=self._reading(rate),
            in_tokens=self._reading(1000.0),
            out_tokens=self._reading(200.0),
            ttft={q: r for q, f in SPREAD.items() if some and (r := self._reading(ttft * f)) is not None},
            itl={q: r for q, f in SPREAD.items() if some and (r := self._reading(itl)) is not None},
            running=self._reading(busy * ready * 10.0),
            waiting=self._reading(waiting),
            cold_start=Reading(self.cold_start),
        )

    def _reading(self, value: float) -> Reading | None:
        if self.gaps and self.rng.random() < self.gaps:
            return None
        factor = max(0.0, 1.0 + self.noise * float(self.rng.standard_normal())) if self.noise else 1.0
        return Reading(value * factor)

    def act(self, orders: Sequence[Order]) -> tuple[str, ...]:
        """Pending replicas begin their cold start; of too many, the pending ones leave first."""
        for order in orders:
            pool = self.pools.setdefault((order.server, order.accelerator), Pool())
            more = order.replicas - pool.ready - len(pool.pending)
            pool.pending += [self.time + self.cold_start] * max(more, 0)
            drop = min(len(pool.pending), max(-more, 0))
            pool.pending = pool.pending[: len(pool.pending) - drop]
            pool.ready -= max(-more, 0) - drop
        return ()


def _aged(old: Observation, variants: tuple[Variant, ...], age: float) -> Observation:
    def aged(reading: Reading | None) -> Reading | None:
        return None if reading is None else Reading(reading.value, reading.age + age)

    return Observation(
        old.server,
        variants,
        aged(old.arrival_rate),
        aged(old.in_tokens),
        aged(old.out_tokens),
        None,
        {q: Reading(r.value, r.age + age) for q, r in old.ttft.items()},
        {q: Reading(r.value, r.age + age) for q, r in old.itl.items()},
        aged(old.running),
        aged(old.waiting),
        None,
        old.cold_start,
    )
