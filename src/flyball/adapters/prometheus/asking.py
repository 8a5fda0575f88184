"""The queries of one scrape: side by side in threads, all for one instant, in a bounded time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeAlias, TypeVar

from flyball.adapters.prometheus.client import Prometheus, Sample, Vector
from flyball.adapters.prometheus.errors import PrometheusError
from flyball.units import Seconds

THREADS = 4

Key: TypeAlias = tuple[str, ...]
Values: TypeAlias = dict[Key, float]
Samples: TypeAlias = Iterable[Sample[Any]]
T = TypeVar("T")


class Asking:
    """The queries of one scrape: what came, and what failed."""

    def __init__(self, prometheus: Prometheus, until: float) -> None:
        self._prometheus, self._until = prometheus, until
        self._at = 0.0
        self._pool = ThreadPoolExecutor(THREADS, "prometheus")
        self._asked: dict[str, Future[Any]] = {}
        self._warnings: dict[str, None] = {}
        self.found: dict[str, Any] = {}
        self.failed: dict[str, PrometheusError] = {}

    def now(self, at: float | None) -> float:
        """The instant for which everything is asked: by Prometheus' clock, where none is given."""
        if at is not None:
            self._at = at
            return at
        samples = self._prometheus.query("vector(time())", None, dict, self._left()).samples
        if len(samples) != 1 or not math.isfinite(samples[0].value[1]):
            url = self._prometheus.url
            raise PrometheusError(
                url, "it does not tell the time", "Is this Prometheus", asked="vector(time())"
            )
        self._at = samples[0].value[1]
        return self._at

    def ask(self, name: str, expr: str, labels: type, collect: Callable[[Samples], Any]) -> None:
        """Ask soon, in another thread."""
        self._asked[name] = self._pool.submit(self._answer, expr, labels, collect)

    def finish(self) -> None:
        """Wait for all answers, as long as there is time. PrometheusError where none came."""
        wait(self._asked.values(), max(self._left(), 0.0))
        self._pool.shutdown(wait=False, cancel_futures=True)
        for name, future in self._asked.items():
            if not future.done() or future.cancelled():
                problem = "no answer in the time for all queries"
                self.failed[name] = PrometheusError(self._prometheus.url, problem, "Allow more time")
                continue
            try:
                self.found[name], warnings = future.result()
                self._warnings |= dict.fromkeys(warnings)
            except PrometheusError as error:
                self.failed[name] = error
        if not self.found:
            raise next(iter(self.failed.values()))

    def values(self, name: str) -> Values | None:
        """What a query found; None where it failed or was not asked."""
        found: Values | None = self.found.get(name)
        return found

    def notes(self) -> list[str]:
        """Which figures are absent and why, in a sentence for each cause; and what Prometheus warns of."""
        causes: dict[str, list[str]] = {}
        for name, error in self.failed.items():
            causes.setdefault(error.problem, []).append(name)
        return [
            *(
                f"{', '.join(missing)} could not be read: {self.failed[missing[0]]}"
                for missing in causes.values()
            ),
            *(f"Prometheus warns: {warning}" for warning in self._warnings),
        ]

    def _answer(self, expr: str, labels: type, collect: Callable[[Samples], T]) -> tuple[T, tuple[str, ...]]:
        vector: Vector[Any] = self._prometheus.query(expr, self._at, labels, self._left())
        return collect(vector.samples), vector.warnings

    def _left(self) -> Seconds:
        return self._until - time.monotonic()
