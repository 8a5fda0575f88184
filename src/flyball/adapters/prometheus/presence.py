"""Which pods Prometheus ever had metrics of: then the load that labels state does not count."""

from __future__ import annotations

import time
from collections.abc import Callable

from flyball.adapters.prometheus.client import Prometheus, Vector
from flyball.adapters.prometheus.errors import PrometheusError
from flyball.adapters.prometheus.figures import PodKey
from flyball.adapters.prometheus.queries import presence_query
from flyball.units import Seconds
from flyball.wire.metrics import MetricNames

SPAN: Seconds = 24 * 3600.0
EVERY: Seconds = 300.0
AGAIN: Seconds = 30.0
"""After it failed."""
TIMEOUT: Seconds = 3.0
"""It is asked after a scrape, in what is left of the time to observe."""


class Presence:
    """Asks for a day back, seldom, and only when somebody wants to know."""

    def __init__(
        self, prometheus: Prometheus, names: MetricNames, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._prometheus, self._names, self._monotonic = prometheus, names, monotonic
        self._query = presence_query(names, SPAN)
        self._next: Seconds = float("-inf")
        self._pods: frozenset[PodKey] | None = None

    def pods(self) -> frozenset[PodKey] | None:
        """Those that were seen; None where that cannot be known."""
        now = self._monotonic()
        if now >= self._next:
            self._pods = self._read()
            self._next = now + (AGAIN if self._pods is None else EVERY)
        return self._pods

    def _read(self) -> frozenset[PodKey] | None:
        names = self._names
        try:
            found: Vector[dict[str, str]] = self._prometheus.query(self._query, timeout=TIMEOUT)
        except PrometheusError:
            return None
        return frozenset(
            (s.labels.get(names.namespace, ""), s.labels.get(names.pod, "")) for s in found.samples
        )
