"""The pods of one server, the requests that they share, and the router's queue before them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flyball.sandbox.engines.offer import Offer
from flyball.sandbox.engines.pods import Pod, Workload
from flyball.simulate.load import in_order
from flyball.simulate.record import Record
from flyball.simulate.replicas import Counters, Gauges, Replicas
from flyball.spec.scenario import Engine, Router
from flyball.units import Seconds

MOST_SEQUENCES = 4096
"""A batch limit beyond this counts as this."""
MOST_REQUESTS = 200_000
"""In one server at once, with those that wait at the router; more are turned away."""
GATHER = 256
"""After so many runs what finished is put together, as many small arrays take much memory."""
_WIDEST = Engine("", "", 0.0, 0.0, 0.0, 0.0, max_sequences=MOST_SEQUENCES)


@dataclass(eq=False)
class Host:
    """What computes for one pod: its replica, and those that it had before and that still finish."""

    pod: Pod
    engine: Engine
    number: int
    others: list[int] = field(default_factory=list)
    gone: Counters | None = None
    """What replicas that are gone have done."""
    draining: bool = False


@dataclass(eq=False)
class Leaving:
    """A replica that takes no new requests, and when what it has left then is lost."""

    number: int
    due: Seconds
    host: Host


class Pool:
    """One server."""

    def __init__(
        self, seed: np.random.SeedSequence, router: Router, keep: Seconds, compiled: bool | None
    ) -> None:
        self.replicas = Replicas((_WIDEST,), router, compiled)
        self.record = Record(keep)
        self.hosts: dict[str, Host] = {}
        """By pod."""
        self.workloads: dict[str, Workload] = {}
        self.turned_away = 0
        """Requests for which there was no room any more."""
        self._seed = seed
        self._offers: dict[str, Offer] = {}
        self._leaving: list[Leaving] = []
        self._runs = 0

    # ---- who is there --------------------------------------------------------------------------

    def follow(self, workloads: Iterable[Workload], now: Seconds) -> None:
        """These are the server's workloads, and what they ask for."""
        self.workloads = {w.name: w for w in workloads}
        self._offers = {name: offer for name, offer in self._offers.items() if name in self.workloads}
        for name, workload in self.workloads.items():
            if name not in self._offers:
                self._offers[name] = Offer(_below(self._seed, name))
            self._offers[name].follow(workload, now)

    def join(self, pod: Pod, engine: Engine) -> None:
        """A pod's engine is up."""
        number = self.replicas.add(engine)
        self.hosts[pod.name] = Host(pod, engine, number)
        self.replicas.route.append(number)

    def update(self, host: Host, pod: Pod, engine: Engine, now: Seconds) -> None:
        """How a pod that is there stands now. Another engine takes over at once; the one before finishes."""
        host.pod = pod
        if host.draining:
            return
        if engine != host.engine:
            self._leave(host, now + pod.grace)
            host.others.append(host.number)
            host.number, host.engine = self.replicas.add(engine), engine
        if pod.terminating:
            self.drain(host, now)
            return
        ready, route = pod.ready_since is not None and pod.ready_since <= now, self.replicas.route
        if ready and host.number not in route:
            route.append(host.number)
        elif not ready and host.number in route:
            route.remove(host.number)

    def drain(self, host: Host, now: Seconds) -> None:
        """A pod takes no new requests, and finishes what it has within its grace."""
        if not host.draining:
            host.draining = True
            self._leave(host, now + host.pod.grace)

    def kill(self, host: Host, now: Seconds) -> None:
        """A pod is gone at once, and what it has is lost."""
        for leaving in [each for each in self._leaving if each.host is host]:
            self._end(leaving, now)
        if not host.draining:
            self._end(Leaving(host.number, now, host), now)
        self.forget(host)

    def forget(self, host: Host) -> None:
        """A pod is not shown any more; what it still has goes on."""
        if self.hosts.get(host.pod.name) is host:
            del self.hosts[host.pod.name]

    @property
    def empty(self) -> bool:
        """Whether nobody would miss it."""
        return not (self.hosts or self.workloads or self._leaving)

    def _leave(self, host: Host, due: Seconds) -> None:
        if host.number in self.replicas.route:
            self.replicas.route.remove(host.number)
        self._leaving.append(Leaving(host.number, due, host))

    def _end(self, leaving: Leaving, now: Seconds) -> None:
        host, number = leaving.host, leaving.number
        done = self.replicas.counters(number, now)
        host.gone = done if host.gone is None else _sum(host.gone, done)
        if number in host.others:
            host.others.remove(number)
        elif number == host.number:
            host.number = -1
        self.record.lose(self.replicas.remove(number, now), now)
        if leaving in self._leaving:
            self._leaving.remove(leaving)

    # ---- time ----------------------------------------------------------------------------------

    def run(self, begin: Seconds, end: Seconds) -> None:
        """Serve from `begin` to `end`."""
        taken = [offer.take(end) for offer in self._offers.values()]
        arrived = in_order([part for part in taken if part is not None])
        room = max(MOST_REQUESTS - self.replicas.present, 0)
        if arrived.times.size > room:
            late = arrived.times[room:]
            self.turned_away += late.size
            self.record.lose(late, end)
            arrived = arrived.at(slice(room))
        # By rounding, an arrival could lie before the beginning.
        arrived = arrived._replace(times=np.maximum(arrived.times, begin))
        for over in self.replicas.run(begin, end, *arrived):
            self.record.add(over, end)
        for leaving in list(self._leaving):
            if end >= leaving.due or self.replicas.load(leaving.number) == 0:
                self._end(leaving, end)
        self._runs += 1
        if self._runs % GATHER == 0:
            _ = self.record.finished

    # ---- what can be read ----------------------------------------------------------------------

    @property
    def model(self) -> str:
        """As its workloads name it, or else its pods."""
        named = [w.model for w in self.workloads.values()] + [h.pod.model for h in self.hosts.values()]
        return next((model for model in named if model), "")

    @property
    def offered(self) -> int:
        """Requests since the start, also those that wait or were turned away."""
        return self.replicas.arrived + self.turned_away

    @property
    def dispatched(self) -> int:
        """Requests that were handed to a pod, since the start: the endpoint picker counts no others."""
        return self.replicas.arrived - self.replicas.queued

    def shown(self, host: Host, now: Seconds) -> tuple[Gauges, Counters]:
        """What a pod has and has done until now."""
        numbers = [host.number, *host.others] if host.number >= 0 else host.others
        gauges = [self.replicas.gauges(r) for r in numbers]
        counters = [self.replicas.counters(r, now) for r in numbers]
        done = counters[0] if counters else host.gone
        assert done is not None  # a host without a replica has had one
        for more in counters[1:]:
            done = _sum(done, more)
        if counters and host.gone is not None:
            done = _sum(done, host.gone)
        return Gauges(
            sum(g.running for g in gauges),
            sum(g.waiting for g in gauges),
            max((g.kv_usage for g in gauges), default=0.0),
        ), done


def warm_up(compiled: bool | None = None) -> None:
    """Have the plant's kernel compiled before anyone waits; where it never was, that takes long."""
    Pool(np.random.SeedSequence(0), "least_loaded", 0.0, compiled).run(0.0, 1.0)


def _sum(a: Counters, b: Counters) -> Counters:
    pairs: Any = zip(a, b, strict=True)  # numbers, and arrays of the same shape
    return Counters(*(x + y for x, y in pairs))


def _below(seed: np.random.SeedSequence, name: str) -> np.random.SeedSequence:
    """A seed of its own for each name."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *name.encode()))
