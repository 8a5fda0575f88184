"""What one scrape of Prometheus says, pod by pod. Rates are per second; nothing here is NaN or infinite."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from flyball.units import RequestsPerSecond, Seconds, TokensPerSecond

PodKey = tuple[str, str]
"""Namespace and name of a pod."""


class Histogram(msgspec.Struct, frozen=True, gc=False):
    """How fast the buckets of a histogram grew in the window; `counts[-1]` is of all that was observed."""

    bounds: tuple[float, ...]
    """Upper ends, rising; what lies beyond the last is in no bucket."""
    counts: tuple[float, ...]
    """(len(bounds) + 1,) cumulative."""
    total: float | None
    """Of the observed values."""


class PodFigures(msgspec.Struct, frozen=True, gc=False):
    """One pod: rates over the window, gauges now, and a window ago (0 where there was no pod yet).

    None: it has no such metric, or it could not be read.
    """

    namespace: str
    pod: str
    model: str = ""
    age: Seconds | None = None
    """Of its newest sample; None: it is gone, and only what it did in the window is known."""
    fresh: bool = False
    """Nothing was known of it a window ago: it is new."""
    restarted: bool | None = False
    """Its counters began anew in the window; None: that could not be read."""
    running: float | None = None
    waiting: float | None = None
    running_before: float | None = None
    waiting_before: float | None = None
    kv_usage: float | None = None
    finished: RequestsPerSecond | None = None
    prompt_tokens: TokensPerSecond | None = None
    generation_tokens: TokensPerSecond | None = None
    preemptions: float | None = None
    cache_queries: float | None = None
    cache_hits: float | None = None
    ttft: Histogram | None = None
    itl: Histogram | None = None
    gap_count: float | None = None
    gap_total: float | None = None
    in_tokens: Histogram | None = None
    out_tokens: Histogram | None = None
    served: Seconds | None = None
    """Of one that is new, since it is ready; None: within the window, as far as is known."""

    @property
    def key(self) -> PodKey:
        """Namespace and name."""
        return self.namespace, self.pod


class RouterFigures(msgspec.Struct, frozen=True, gc=False):
    """What the router sees of the requests for one model."""

    namespace: str
    model: str
    pool: str = ""
    arrival_rate: RequestsPerSecond | None = None
    """Offered: also those that wait there or were turned away."""
    queue: float | None = None
    age: Seconds = 0.0
    queue_growth: RequestsPerSecond = 0.0
    """How many more wait there than a window before; 0 where that is not known."""


class Metrics(msgspec.Struct, frozen=True):
    """One scrape."""

    time: float
    """Of Prometheus' own clock, Unix seconds: when it looked."""
    window: Seconds
    pods: dict[PodKey, PodFigures] = {}
    routers: tuple[RouterFigures, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be read, and why."""

    def of(self, pods: Iterable[PodKey]) -> tuple[PodFigures, ...]:
        """The figures of those among some pods that Prometheus knows."""
        return tuple(found for key in pods if (found := self.pods.get(key)) is not None)

    def router(self, namespace: str, model: str, pool: str = "") -> RouterFigures | None:
        """What the router sees of a model, in a pool where one is named; None where it sees nothing."""
        found = [
            each
            for each in self.routers
            if (each.namespace, each.model) == (namespace, model)
            and (not (pool and each.pool) or each.pool == pool)
        ]
        if not found:
            return None
        rates = [each.arrival_rate for each in found if each.arrival_rate is not None]
        queues = [each.queue for each in found if each.queue is not None]
        return RouterFigures(
            namespace,
            model,
            pool,
            sum(rates) if rates else None,
            sum(queues) if queues else None,
            max(each.age for each in found),
            sum(each.queue_growth for each in found),
        )
