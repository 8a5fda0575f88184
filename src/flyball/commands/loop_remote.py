"""Parts of the control loop that run elsewhere, Flyball's or Inferno's own, behind the ports of the loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from flyball.client.control import ActuatorClient, CollectorClient
from flyball.client.optimizer import OptimizerClient
from flyball.commands.loop_data import Data
from flyball.spec.decision import Order
from flyball.spec.fleet import Fleet
from flyball.spec.server import Allocation, Load, Server
from flyball.spec.snapshot import Observation, Reading, Scrape, Variant
from flyball.units import Seconds
from flyball.wire.inferno_loop import Collected, Resource
from flyball.wire.inferno_out import system_document


class RemoteCollector:
    """Ports FleetSource, Sensor and Clock."""

    def __init__(
        self,
        client: CollectorClient,
        data: Data,
        speed: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`speed`: seconds of simulated engines in one of ours."""
        self._client, self._data, self._speed, self._monotonic = client, data, speed, monotonic
        self._began = (time.time() - monotonic()) * speed
        self.found: Collected | None = None
        """As it answered last."""

    def now(self) -> Seconds:
        """By the wall clock at the start, and our own since."""
        return self._began + self._monotonic() * self._speed

    def fleet(self) -> Fleet:
        """What the collector has, with the data files. CallError, WireError."""
        self.found = self._client.collect()
        return replace(self._data.fleet(), servers=self.found.servers)

    def observe(self) -> Scrape:
        """Of the same answer."""
        found = self.found or self._client.collect()
        return Scrape(self.now(), tuple(_observation(s) for s in found.servers))


def _observation(server: Server) -> Observation:
    """A collector knows neither pending replicas nor queues: latencies tell."""
    load, current = server.load, server.current
    variants = (
        (Variant(current.accelerator, current.replicas, max_batch_size=current.max_batch_size),)
        if current.accelerator
        else ()
    )
    measured = current.ttft > 0 and current.itl > 0
    return Observation(
        server.name,
        variants,
        Reading(load.arrival_rate),
        Reading(load.in_tokens) if load.in_tokens else None,
        Reading(load.out_tokens) if load.out_tokens else None,
        ttft={"mean": Reading(current.ttft)} if measured else {},
        itl={"mean": Reading(current.itl)} if measured else {},
        waiting=Reading(0.0),
        stated=not measured,
    )


class RemoteOptimizer:
    """Port Advisor."""

    def __init__(self, client: OptimizerClient) -> None:
        self._client = client

    def advise(self, fleet: Fleet, seen: Scrape) -> Sequence[Order]:
        """What it allocates. CallError; WireError for a fleet that Inferno has no words for."""
        solution = self._client.optimize_one(system_document(with_loads(fleet, seen)))
        return [
            Order(name, one.accelerator, one.num_replicas, one.max_batch)
            for name, one in sorted(solution.allocations.items())
        ]


def with_loads(fleet: Fleet, seen: Scrape) -> Fleet:
    """The fleet with loads and allocations as seen; a server whose load is not known is left out."""
    observed = {o.server: o for o in seen.servers}
    return replace(
        fleet,
        servers=tuple(
            _loaded(server, found)
            for server in fleet.servers
            if (found := observed.get(server.name)) is not None and found.arrival_rate is not None
        ),
    )


def _loaded(server: Server, found: Observation) -> Server:
    rate = found.arrival_rate.value if found.arrival_rate else 0.0
    main = max(found.variants, key=lambda v: v.ready + v.pending, default=None)
    count = sum(v.ready + v.pending for v in found.variants)
    return replace(
        server,
        load=Load(
            rate,
            round(found.in_tokens.value) if found.in_tokens else server.load.in_tokens,
            round(found.out_tokens.value) if found.out_tokens else server.load.out_tokens,
            throughput=rate,
        ),
        current=server.current
        if main is None
        else Allocation(main.accelerator, count, main.max_batch_size, cost=server.current.cost),
    )


class RemoteActuator:
    """Port Actuator."""

    def __init__(self, client: ActuatorClient, resources: Callable[[], dict[str, Resource]]) -> None:
        """`resources`: of the collector."""
        self._client, self._resources = client, resources

    def act(self, orders: Sequence[Order]) -> tuple[str, ...]:
        """Hand them over; of a server with several orders what it is to have in the end. CallError."""
        wanted: dict[str, Order] = {}
        for order in orders:
            before = wanted.get(order.server)
            if before is None or order.replicas > before.replicas:
                wanted[order.server] = order
        resources = self._resources()
        allocations = {
            name: {
                "accelerator": order.accelerator,
                "numReplicas": order.replicas,
                "maxBatch": order.max_batch_size,
            }
            for name, order in wanted.items()
            if name in resources
        }
        if allocations:  # the original would scale to nothing what it knows and does not find
            self._client.update(allocations, {name: resources[name] for name in allocations})
        return tuple(
            f"{name}: the collector told no workload of it"
            for name in sorted(wanted.keys() - resources.keys())
        )
