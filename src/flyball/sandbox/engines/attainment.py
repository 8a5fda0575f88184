"""What came of a server's requests, and in which share of them its targets held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from flyball.sandbox.engines.pool import Pool
from flyball.simulate.record import Finished
from flyball.simulate.replicas import FloatArray
from flyball.spec.service_class import Target
from flyball.units import Seconds

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class Attainment(msgspec.Struct, frozen=True):
    """One server's requests that arrived in a time. Latencies are seconds, of the finished."""

    namespace: str
    server: str
    since: Seconds
    until: Seconds
    finished: int
    failed: int
    """Lost with their pod, too long for any, or turned away."""
    attained: int
    """Finished, with every latency within the limit of its target."""
    share: float | None
    """attained / (finished + failed); None: none is over."""
    limits: dict[str, Seconds]
    """What was asked of each request."""
    ttft: dict[str, Seconds]
    itl: dict[str, Seconds]
    """Mean time between the tokens of a request."""
    ready: int
    """Pods that take requests now."""
    running: int
    waiting: int
    """At the pods now."""
    queued: int
    """At the router now."""


def attainment(
    namespace: str, server: str, pool: Pool, since: Seconds, until: Seconds, targets: Sequence[Target] = ()
) -> Attainment:
    """What came of a server's requests that arrived from `since` to before `until`."""
    limits = limits_of(targets or [t for w in pool.workloads.values() for t in w.targets])
    done = pool.record.finished
    inside = (done.arrival >= since) & (done.arrival < until)
    columns: list[Any] = [column[inside] for column in done]
    done = Finished(*columns)
    lost = pool.record.lost_arrivals
    failed = int(((lost >= since) & (lost < until)).sum())
    kept = np.ones(done.arrival.size, bool)
    for metric, limit in limits.items():
        kept &= _latency(metric, done) <= limit
    over = done.arrival.size + failed
    gauges = [pool.replicas.gauges(r) for r in pool.replicas.active]
    return Attainment(
        namespace=namespace,
        server=server,
        since=since,
        until=until,
        finished=done.arrival.size,
        failed=failed,
        attained=int(kept.sum()),
        share=float(kept.sum() / over) if over else None,
        limits=limits,
        ttft=_statistics(done.ttft),
        itl=_statistics(done.tpot[done.out_tokens > 1]),
        ready=len(pool.replicas.route),
        running=sum(g.running for g in gauges),
        waiting=sum(g.waiting for g in gauges),
        queued=pool.replicas.queued,
    )


def limits_of(targets: Sequence[Target]) -> dict[str, Seconds]:
    """The strictest limit of each latency, whatever its statistic."""
    limits: dict[str, Seconds] = {}
    for target in targets:
        limits[target.metric] = min(target.limit, limits.get(target.metric, target.limit))
    return limits


def _latency(metric: str, done: Finished) -> FloatArray:
    match metric:
        case "itl":
            return done.tpot
        case "e2e":
            return done.finish - done.arrival
    return done.ttft  # and the wait, which is a part of it that is not recorded


def _statistics(times: FloatArray) -> dict[str, Seconds]:
    if not times.size:
        return {}
    found = np.quantile(times, list(QUANTILES.values()))
    return {"mean": float(times.mean()), **dict(zip(QUANTILES, map(float, found), strict=True))}
