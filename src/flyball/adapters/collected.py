"""What was seen of a cluster, in the form of Inferno's collector."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from flyball.adapters.kubernetes.governed import Cluster, Governed
from flyball.adapters.prometheus.figures import Metrics, PodFigures
from flyball.adapters.prometheus.quantiles import mean
from flyball.spec.fleet import Fleet
from flyball.spec.server import Allocation, Load, Server
from flyball.spec.snapshot import Observation, Reading, Scrape
from flyball.units import DollarsPerHour, Seconds
from flyball.wire.inferno_loop import Collected, Resource

STALE: Seconds = 300.0


def collected(cluster: Cluster, seen: Scrape, metrics: Metrics | None) -> Collected:
    """Servers with their load and latencies, replicas, workloads.

    A server whose load is not known is left out: who reads this would take it for idle, and scale it down.
    """
    observed = {o.server: o for o in seen.servers}
    prices = prices_of(cluster.fleet)
    by_server = cluster.by_server()
    servers, replicas, resources = [], [], {}
    for server in cluster.fleet.servers:
        found, workloads = observed.get(server.name), by_server.get(server.name, [])
        if found is None or not workloads or _value(found.arrival_rate) is None:
            continue
        main = max(workloads, key=lambda w: (w.replicas, w.accelerator))
        servers.append(with_load(server, found, main, prices))
        resources[server.name] = Resource(main.uid, main.name, main.namespace)
        if metrics is not None:
            for one in workloads:
                for pod in metrics.of((one.namespace, p.name) for p in one.pods if p.state == "ready"):
                    if (replica := _replica(server, one, pod)) is not None:
                        replicas.append(replica)
    return Collected(tuple(servers), tuple(replicas), resources)


def with_load(
    server: Server, found: Observation, main: Governed, prices: Mapping[tuple[str, str], DollarsPerHour]
) -> Server:
    """The server as it runs now. Throughput is what is offered, as far as nothing is known of the other."""
    rate = _value(found.arrival_rate) or 0.0
    count = sum(v.ready + v.pending for v in found.variants)
    price = prices.get((server.model, main.accelerator), 0.0)
    return replace(
        server,
        load=Load(
            arrival_rate=rate,
            in_tokens=round(_value(found.in_tokens) or 0.0),
            out_tokens=round(_value(found.out_tokens) or 0.0),
            throughput=rate,
        ),
        current=Allocation(
            main.accelerator,
            count,
            main.max_batch_size,
            price * count,
            _value(found.itl.get("mean")) or 0.0,
            _value(found.ttft.get("mean")) or 0.0,
        ),
    )


def prices_of(fleet: Fleet) -> dict[tuple[str, str], DollarsPerHour]:
    """Of one replica, by model and accelerator."""
    price = {a.name: a.cost for a in fleet.accelerators}
    return {
        (p.model, p.accelerator): price.get(p.accelerator, 0.0) * max(p.accelerator_count, 1)
        for p in fleet.profiles
    }


def _replica(server: Server, workload: Governed, pod: PodFigures) -> Server | None:
    """One replica; None where it had no traffic, or shows too little."""
    if not pod.finished or pod.ttft is None or pod.itl is None:
        return None
    ttft, itl = mean(pod.ttft), mean(pod.itl)
    tokens_in = mean(pod.in_tokens) if pod.in_tokens else (pod.prompt_tokens or 0.0) / pod.finished
    tokens_out = mean(pod.out_tokens) if pod.out_tokens else (pod.generation_tokens or 0.0) / pod.finished
    if ttft is None or itl is None:
        return None
    return replace(
        server,
        name=f"{server.name}/{pod.pod}",
        max_batch_size=workload.max_batch_size,
        load=Load(pod.finished, round(tokens_in or 0.0), round(tokens_out or 0.0), throughput=pod.finished),
        current=Allocation(workload.accelerator, 1, workload.max_batch_size, itl=itl, ttft=ttft),
    )


def _value(reading: Reading | None) -> float | None:
    return None if reading is None or reading.age > STALE else reading.value
