"""What is known of one server in this cycle, and whether it can be trusted.

Absent, stale and contradictory readings are states of their own: they never shrink anything.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from flyball.spec.server import Server
from flyball.spec.service_class import MEAN, ModelTargets, Target
from flyball.spec.snapshot import Observation, Quantile, Reading
from flyball.spec.steering import Steering
from flyball.units import RequestsPerSecond, Seconds

WINDOW: Seconds = 60.0
"""Over which sensors give means."""
CERTAIN = 1e-6
"""A bucket that begins at the limit holds what is above it."""
MOST, MOST_COV, LONGEST_START = 1e9, 30.0, 86_400.0
"""Readings above are nothing that can be; nor are those below zero."""
SILENT = 0.05
"""Requests per second: below this, a window without any latency says nothing."""
QUANTILES: tuple[tuple[float, Quantile], ...] = ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"))


class Miss(msgspec.Struct, frozen=True, gc=False):
    """A target that is not met, as measured."""

    target: Target
    value: Seconds


class Seen(msgspec.Struct, frozen=True):
    """One server: its replicas by accelerator, its load, and how it does."""

    server: Server
    ready: dict[str, int]
    pending: dict[str, int]
    draining: dict[str, int]
    offered: RequestsPerSecond | None
    in_tokens: float | None
    out_tokens: float | None
    in_cov: float | None
    out_cov: float | None
    waiting: float
    running: float | None
    kv_usage: float | None
    ttft: Seconds | None
    itl: Seconds | None
    """Means."""
    cold_start: Seconds | None
    latencies: dict[str, dict[Quantile, Reading]] = {}
    """As measured, by metric."""
    blind: str = ""
    """Why demand or latency cannot be trusted."""
    crowded: bool = False
    """Requests queue."""
    miss: Miss | None = None
    """The target that is missed by most."""
    places: int = 0
    """In the batches of ready replicas; 0: not known."""

    @property
    def asked(self) -> dict[str, int]:
        """Replicas that serve or are coming, by accelerator."""
        return {
            name: count
            for name in sorted({*self.ready, *self.pending})
            if (count := self.ready.get(name, 0) + self.pending.get(name, 0))
        }

    @property
    def main(self) -> str:
        """The accelerator with most replicas; "" without any."""
        asked = self.asked
        return min(asked, key=lambda name: (-asked[name], name)) if asked else ""

    @property
    def saturated(self) -> bool:
        """Whether it has too little now, whatever the model says."""
        return self.crowded or self.miss is not None


def see(
    server: Server,
    found: Observation | None,
    promise: ModelTargets | None,
    steering: Steering,
    patient: bool = False,
) -> Seen | None:
    """Read one observation; None where nothing at all is known of the server's replicas.

    `patient`: its requests may wait, so that they do says nothing.
    """
    if found is None:
        return None
    offered = _fresh(found.arrival_rate, steering)
    waiting, running = _fresh(found.waiting, steering), _fresh(found.running, steering)
    if found.stated:
        waiting = 0.0
    ready = counted(found, "ready")
    count = sum(ready.values())
    latencies: dict[str, dict[Quantile, Reading]] = {
        metric: {q: r for q, r in readings.items() if _fresh(r, steering) is not None}
        for metric, readings in (("ttft", found.ttft), ("itl", found.itl))
        if not found.stated
    }
    return Seen(
        server,
        ready,
        counted(found, "pending"),
        counted(found, "draining"),
        offered,
        _fresh(found.in_tokens, steering),
        _fresh(found.out_tokens, steering),
        _fresh(found.in_cov, steering, MOST_COV),
        _fresh(found.out_cov, steering, MOST_COV),
        waiting or 0.0,
        running,
        _fresh(found.kv_usage, steering, 1.0),
        _mean(latencies.get("ttft", {})),
        _mean(latencies.get("itl", {})),
        _fresh(found.cold_start, None, LONGEST_START),
        latencies,
        _blind(
            offered,
            None if patient else running,
            0.0 if patient and waiting else waiting,
            _missing(promise, latencies),
            count,
        ),
        not patient and (waiting or 0.0) > steering.queue * max(count, 1),
        _worst_miss(promise, latencies),
        sum(v.ready * max(v.max_batch_size, 0) for v in found.variants),
    )


def counted(found: Observation, what: Literal["ready", "pending", "draining"]) -> dict[str, int]:
    """Replicas by accelerator; one that is listed twice counts twice."""
    counts: dict[str, int] = {}
    for variant in found.variants:
        counts[variant.accelerator] = counts.get(variant.accelerator, 0) + max(getattr(variant, what), 0)
    return {name: count for name, count in counts.items() if count}


def _fresh(reading: Reading | None, steering: Steering | None, most: float = MOST) -> float | None:
    """The value; None where it is absent, stale, or nothing that can be."""
    if reading is None or not 0.0 <= reading.value <= most:
        return None
    if steering is not None and not reading.age <= steering.stale:
        return None
    return reading.value


def _mean(readings: dict[Quantile, Reading]) -> Seconds | None:
    found = readings.get("mean")
    return found.value if found is not None and found.value > 0 else None


def _missing(promise: ModelTargets | None, latencies: dict[str, dict[Quantile, Reading]]) -> str:
    """A metric that is promised and not measured, of those that are measured at all."""
    promised: list[str] = [t.metric for t in promise.targets] if promise else []
    measured = [metric for metric in promised if metric in latencies] or list(latencies)
    return next((metric for metric in measured if not latencies[metric]), "")


def _blind(
    offered: float | None, running: float | None, waiting: float | None, missing: str, ready: int
) -> str:
    if offered is None:
        return "demand is not known"
    if waiting is None:
        return "the queue is not known"
    busy = (running or 0.0) + waiting
    if offered == 0 and busy > 0:
        return "no requests arrive, yet some are there"
    if offered > SILENT and ready and missing:
        return f"{missing} is not known"
    return ""


def _worst_miss(promise: ModelTargets | None, latencies: dict[str, dict[Quantile, Reading]]) -> Miss | None:
    """A miss is one that coarse histograms cannot have made up: the bucket begins above, or the mean is."""
    misses = []
    for target in promise.targets if promise else ():
        readings = latencies.get(target.metric, {})
        for reading in (readings.get(reported(target)[1]), readings.get("mean")):
            if reading is not None:
                certain = reading.value if reading.least is None else reading.least
                if certain > target.limit * (1.0 - CERTAIN):
                    misses.append(Miss(target, reading.value))
    return max(misses, key=lambda m: m.value / m.target.limit, default=None)


def reported(target: Target) -> tuple[float, Quantile]:
    """The measured quantile nearest above a target's own, and its name."""
    if target.quantile == MEAN:
        return MEAN, "mean"
    return next((one for one in QUANTILES if one[0] >= target.quantile - 1e-9), QUANTILES[-1])
