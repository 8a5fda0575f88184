"""What the operator does, in figures for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from flyball.operator.kinds import Kinds
from flyball.units import Seconds

BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Figures(Collector):
    """Registered with the metrics of the service."""

    def __init__(
        self,
        waiting: Callable[[], int],
        writes: Callable[[], int],
        kinds: Kinds,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._waiting, self._writes, self._kinds, self._leads = waiting, writes, kinds, leads
        self._own = CollectorRegistry()
        self._seconds = Histogram(
            "flyball_reconcile_seconds",
            "Time that one look at a namespace took.",
            buckets=BUCKETS,
            registry=self._own,
        )
        self._failures = Counter(
            "flyball_reconcile_failures", "Looks that failed, and are done again.", registry=self._own
        )

        self._reviews = Counter(
            "flyball_webhook_reviews",
            "Objects that webhooks were asked about.",
            ["path", "verdict"],
            registry=self._own,
        )

    def reviewed(self, path: str, verdict: str) -> None:
        """Count one object that was admitted, admitted with a warning, or refused."""
        self._reviews.labels(path, verdict).inc()

    def looked(self, seconds: Seconds) -> None:
        """Count one look."""
        self._seconds.observe(seconds)

    def failed(self) -> None:
        """Count one that failed."""
        self._failures.inc()

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        yield from self._own.collect()
        yield GaugeMetricFamily(
            "flyball_reconcile_waiting", "Namespaces that are to be looked at.", value=self._waiting()
        )
        yield GaugeMetricFamily(
            "flyball_leading", "1 where this process decides and writes.", value=float(self._leads())
        )
        yield CounterMetricFamily(
            "flyball_object_writes", "Writes of objects of our kinds.", value=self._writes()
        )
        objects = GaugeMetricFamily("flyball_objects", "Objects of our kinds.", labels=["kind"])
        for kind, watch in self._kinds.watches.items():
            objects.add_metric([kind], len(watch.all()))
        yield objects
