"""What Prometheus recorded of each workload: load, replicas and latencies, over a period, in chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from flyball.adapters.prometheus.client import Prometheus
from flyball.adapters.prometheus.figures import Histogram
from flyball.adapters.prometheus.quantiles import merged
from flyball.adapters.prometheus.queries import HISTOGRAMS, pod_queries
from flyball.units import RequestsPerSecond, Seconds
from flyball.wire.metrics import MetricNames

WORKLOAD = "flyball_workload"
_HASH = "[bcdfghjklmnpqrstvwxz2456789]"
"""What Kubernetes makes the names of pods of."""
_PODS = ("(.+)-[0-9]+", f"(.+)-{_HASH}{{1,10}}-{_HASH}{{5}}")
"""Pods of a StatefulSet, and of a Deployment, which goes before."""
COUNTERS = ("finished", "prompt_tokens", "generation_tokens", "cache_queries", "cache_hits")
MOST_POINTS = 10_000
"""Of a series in one answer: Prometheus gives 11,000."""

Key = tuple[str, str]
"""Namespace and name of a workload."""
Values = dict[Key, list[float | None]]


class Chunk(msgspec.Struct, frozen=True):
    """A part of the period; of each workload a value for each step, None where nothing was recorded."""

    start: float
    """Of the first step, Unix seconds of Prometheus; a value is of the step that ends a step later."""
    steps: int
    pods: Values = {}
    """That were scraped."""
    present: Values = {}
    """Requests that ran or waited, at the end of the step."""
    rates: dict[str, Values] = {}
    """Per second, by counter (`COUNTERS`)."""
    histograms: dict[str, dict[Key, Histogram]] = {}
    """Over the whole chunk, by name (`HISTOGRAMS`)."""


class Past(msgspec.Struct, frozen=True):
    """One workload over the period, a value for each step; None: nothing was recorded."""

    pods: list[float | None]
    offered: list[RequestsPerSecond | None]
    rates: dict[str, list[float | None]]
    histograms: dict[str, Histogram]

    def since(self, first: int) -> Past:
        """Without so many steps at the beginning."""
        rates = {name: values[first:] for name, values in self.rates.items()}
        return Past(self.pods[first:], self.offered[first:], rates, self.histograms)


def chunks(start: float, end: float, step: Seconds, most: Seconds) -> Iterator[tuple[float, int]]:
    """Where chunks of at most so many seconds begin, and how many steps each has."""
    steps, each = math.floor((end - start) / step + 1e-9), max(round(min(most / step, MOST_POINTS)), 1)
    for first in range(0, steps, each):
        yield start + first * step, min(each, steps - first)


def fetch(
    prometheus: Prometheus, names: MetricNames, start: float, steps: int, step: Seconds, window: Seconds = 0.0
) -> Chunk:
    """One chunk of all workloads. Or PrometheusError. Rates are over a step, and over `window` at least."""
    asked = pod_queries(names, max(step, window))
    of_pod = f"{names.namespace}, {names.pod}"
    each = f"sum by ({of_pod})"

    def ranged(expr: str) -> Values:
        found: Values = {}
        matrix = prometheus.query_range(expr, start + step, start + steps * step, step)
        for series in matrix.series:
            values: list[float | None] = [None] * steps
            for at, value in series.points:
                if math.isfinite(value):
                    values[min(max(round((at - start) / step) - 1, 0), steps - 1)] = value
            found[_key(series.labels, names)] = values
        return found

    running = f"{each} ({asked['running']})"
    return Chunk(
        start,
        steps,
        ranged(_by_workload("count", running, names)),
        ranged(_by_workload("sum", f"{each} (({running}) + ({asked['waiting']}))", names)),
        {name: ranged(_by_workload("sum", asked[name], names)) for name in COUNTERS if name in asked},
        _histograms(prometheus, names, start, steps * step),
    )


def _histograms(
    prometheus: Prometheus, names: MetricNames, start: float, length: Seconds
) -> dict[str, dict[Key, Histogram]]:
    asked = pod_queries(names, length)
    found: dict[str, dict[Key, Histogram]] = {}
    for name in HISTOGRAMS:
        if f"{name}_buckets" not in asked:
            continue
        expr = _by_workload("sum", asked[f"{name}_buckets"], names, "le")
        buckets: dict[Key, list[tuple[float, float]]] = {}
        for sample in prometheus.query(expr, start + length, dict[str, str]).samples:
            bound, count = float(sample.labels.get("le", "nan")), sample.value[1]
            if not math.isnan(bound) and math.isfinite(count):
                buckets.setdefault(_key(sample.labels, names), []).append((bound, count * length))
        found[name] = {key: one for key, each in buckets.items() if (one := _histogram(each)) is not None}
    return found


def _histogram(buckets: list[tuple[float, float]]) -> Histogram | None:
    """Cumulative counts; what lies below the first bound that is not empty is taken to begin at 0."""
    buckets.sort()
    if not buckets or buckets[-1][0] != math.inf:
        return None
    most, counts = 0.0, []
    for _, count in buckets:
        most = max(most, count)
        counts.append(most)
    return Histogram(tuple(bound for bound, _ in buckets[:-1]), tuple(counts), None)


def _by_workload(how: str, expr: str, names: MetricNames, *more: str) -> str:
    """Over the pods of each workload, which is told from their names."""
    for pattern in _PODS:
        expr = f'label_replace({expr}, "{WORKLOAD}", "$1", "{names.pod}", "{pattern}")'
    return f"{how} by ({', '.join((names.namespace, WORKLOAD, *more))}) ({expr})"


def _key(labels: dict[str, str], names: MetricNames) -> Key:
    return labels.get(names.namespace, ""), labels.get(WORKLOAD, "")


def past_of(parts: list[Chunk], key: Key, step: Seconds) -> Past:
    """One workload over all chunks, in their order.

    Offered is what was finished, and how many more there were at the end of a step than of the one before.
    """
    pods = _joined(parts, [part.pods for part in parts], key)
    present = _joined(parts, [part.present for part in parts], key)
    rates = {name: _joined(parts, [part.rates.get(name, {}) for part in parts], key) for name in COUNTERS}
    offered: list[float | None] = []
    for at, finished in enumerate(rates["finished"]):
        now, before = present[at], present[at - 1] if at else None
        growth = 0.0 if now is None or before is None else (now - before) / step
        offered.append(None if finished is None else max(finished + growth, 0.0))
    histograms = {}
    for name in HISTOGRAMS:
        each = [found for part in parts if (found := part.histograms.get(name, {}).get(key)) is not None]
        if (whole := together(each)) is not None:
            histograms[name] = whole
    return Past(pods, offered, rates, histograms)


def _joined(parts: list[Chunk], values: list[Values], key: Key) -> list[float | None]:
    found: list[float | None] = []
    for part, by_key in zip(parts, values, strict=True):
        found += by_key.get(key, [None] * part.steps)
    return found


def together(each: list[Histogram]) -> Histogram | None:
    """All in one, with all bounds; below the first bound that one has it is empty. None of none."""
    bounds = sorted({bound for one in each for bound in one.bounds})
    return merged(_widened(one, bounds) for one in each)


def _widened(one: Histogram, bounds: list[float]) -> Histogram:
    counts, at, last = [], 0, 0.0
    for bound in bounds:
        while at < len(one.bounds) and one.bounds[at] <= bound:
            last = one.counts[at]
            at += 1
        counts.append(last)
    return Histogram(tuple(bounds), (*counts, one.counts[-1]), None)


def share_within(histogram: Histogram, limit: float) -> float | None:
    """The share of values up to a limit, linear in a bucket; what is beyond the last bound is over it."""
    if not histogram.counts[-1] > 0:
        return None
    low, below = 0.0, 0.0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        if bound >= limit:
            part = (limit - low) / (bound - low) if bound > low else 1.0
            return (below + (count - below) * min(max(part, 0.0), 1.0)) / histogram.counts[-1]
        low, below = bound, count
    return below / histogram.counts[-1]
