"""Whether Prometheus ever had metrics of a workload: then the load that its labels state does not count."""

from __future__ import annotations

import time
from collections.abc import Callable

from flyball.adapters.prometheus.client import Prometheus, Vector
from flyball.adapters.prometheus.errors import PrometheusError
from flyball.adapters.prometheus.queries import presence_query
from flyball.units import Seconds
from flyball.wire.metrics import MetricNames

SPAN: Seconds = 24 * 3600.0
EVERY: Seconds = 300.0


class Presence:
    """Asks for a day back, at most once in five minutes, and only when somebody wants to know."""

    def __init__(
        self, prometheus: Prometheus, names: MetricNames, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._prometheus, self._names, self._monotonic = prometheus, names, monotonic
        self._query = presence_query(names, SPAN)
        self._asked: Seconds | None = None
        self._pods: frozenset[tuple[str, str]] | None = None

    def ever(self, namespace: str, workload: str) -> bool:
        """Whether any of its pods was seen; where that cannot be known: it may have been."""
        now = self._monotonic()
        if self._asked is None or now - self._asked >= EVERY:
            self._asked, self._pods = now, self._read()
        if self._pods is None:
            return True
        return any(there == namespace and pod.startswith(f"{workload}-") for there, pod in self._pods)

    def _read(self) -> frozenset[tuple[str, str]] | None:
        names = self._names
        try:
            found: Vector[dict[str, str]] = self._prometheus.query(self._query)
        except PrometheusError:
            return None
        return frozenset(
            (s.labels.get(names.namespace, ""), s.labels.get(names.pod, "")) for s in found.samples
        )
