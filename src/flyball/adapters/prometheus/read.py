"""One scrape of Prometheus: from its vectors to the figures of each pod."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from functools import cache
from typing import Any, TypeAlias

import msgspec

from flyball.adapters.prometheus.asking import Asking, Key, Samples, Values
from flyball.adapters.prometheus.client import Prometheus
from flyball.adapters.prometheus.figures import Histogram, Metrics, PodFigures, PodKey, RouterFigures
from flyball.adapters.prometheus.queries import GAUGES, HISTOGRAMS, RATES, pod_queries, router_queries
from flyball.units import Seconds
from flyball.wire.metrics import MetricNames, RouterMetrics

TIMEOUT: Seconds = 20.0
LOOKBACK: Seconds = 300.0
"""Prometheus shows no sample that is older; so old are those of which it cannot tell the age."""

Buckets: TypeAlias = dict[Key, list[tuple[float, float]]]


def read(
    prometheus: Prometheus,
    names: MetricNames,
    window: Seconds = 60.0,
    speed: float = 1.0,
    timeout: Seconds = TIMEOUT,
    at: float | None = None,
) -> Metrics:
    """Scrape the fleet; it takes at most about `timeout`. Or PrometheusError, where nothing could be read.

    `window` is in seconds of the engines, of which `speed` pass in one of Prometheus' clock (simulated ones
    run fast); rates and ages come out in their seconds, too. `at`: as it was then, Unix seconds.
    """
    if not (window > 0 and speed > 0):
        raise ValueError(f"window and speed are {window:g} and {speed:g}: both are above 0")
    asking = Asking(prometheus, time.monotonic() + timeout)
    now = asking.now(at)
    wall = window / speed
    pod = _labels(namespace=names.namespace, pod=names.pod)
    model = _labels(namespace=names.namespace, pod=names.pod, model=names.model)
    bucket = _labels(namespace=names.namespace, pod=names.pod, le="le")
    for name, expr in pod_queries(names, wall).items():
        if name == "running":
            asking.ask(name, expr, model, _models)
        elif name.endswith("_buckets"):
            asking.ask(name, expr, bucket, _buckets)
        elif name.endswith("_bounds"):
            asking.ask(name, expr, bucket, _common)
        else:
            asking.ask(name, expr, pod, _values)
    if names.router is not None:
        kind, keys = _router_labels(names.router)
        for name, expr in router_queries(names.router, names.select, wall).items():
            asking.ask(f"router {name}", expr, kind, lambda found: _router_values(found, keys))
    asking.finish()
    pods = _pods(asking, now, speed)
    notes = [*asking.notes(), *_doubts(asking, names, pods, wall)]
    routers = () if names.router is None else _routers(asking, names.router, now, window, speed)
    return Metrics(now, window, pods, routers, tuple(notes))


@cache
def _labels(**names: str) -> type:
    """A struct with these fields, from the labels of these names; one and the same in every scrape."""
    return msgspec.defstruct(
        "Labels", [(field, str, "") for field in names], frozen=True, gc=False, rename=names
    )


def _router_labels(router: RouterMetrics) -> tuple[type, tuple[str, ...]]:
    models = {f"model{index}": label for index, label in enumerate(router.model)}
    pool = {"pool": router.pool} if router.pool else {}
    return _labels(namespace=router.namespace, **models, **pool), tuple(models)


def _values(samples: Samples) -> Values:
    """By namespace and pod, without what is no figure."""
    return {(s.labels.namespace, s.labels.pod): s.value[1] for s in samples if math.isfinite(s.value[1])}


def _models(samples: Samples) -> dict[Key, tuple[float, str]]:
    """By namespace and pod: the sum over models, and the model with most."""
    found: dict[Key, tuple[float, str]] = {}
    most: Values = {}
    for s in sorted(samples, key=lambda s: s.labels.model):
        value = s.value[1]
        if math.isfinite(value):
            key = (s.labels.namespace, s.labels.pod)
            before, model = found.get(key, (0.0, ""))
            if value > most.get(key, -math.inf):
                most[key], model = value, s.labels.model
            found[key] = before + value, model
    return found


def _buckets(samples: Samples) -> Buckets:
    found: Buckets = {}
    bounds: dict[str, float] = {}
    for s in samples:
        value = s.value[1]
        if math.isfinite(value):
            labels = s.labels
            bound = bounds.get(labels.le)
            if bound is None:
                bound = bounds[labels.le] = _bound(labels.le)
            found.setdefault((labels.namespace, labels.pod), []).append((bound, value))
    return found


def _common(samples: Samples) -> tuple[float, ...]:
    """The bounds that all have, rising: with others, some are of another version and begin elsewhere."""
    found = [(_bound(s.labels.le), s.value[1]) for s in samples]
    most = max((count for _, count in found), default=0.0)
    return tuple(sorted(bound for bound, count in found if count == most and math.isfinite(bound)))


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _router_values(samples: Samples, models: tuple[str, ...]) -> Values:
    """By namespace, model and pool."""
    found: Values = {}
    for s in samples:
        if math.isfinite(s.value[1]):
            model = next((name for key in models if (name := getattr(s.labels, key))), "")
            key = (s.labels.namespace, model, getattr(s.labels, "pool", ""))
            found[key] = found.get(key, 0.0) + s.value[1]
    return found


def _pods(asking: Asking, now: float, speed: float) -> dict[PodKey, PodFigures]:
    running: dict[Key, tuple[float, str]] = asking.found.get("running", {})
    sums = {key: value for key, (value, _) in running.items()}
    waiting, times = asking.values("waiting") or {}, asking.values("age") or {}
    finished, kv_usage = asking.values("finished") or {}, asking.values("kv_usage") or {}
    copies, restarts = asking.values("copies") or {}, asking.values("restarts")
    before = {gauge: asking.values(f"{gauge}_before") for gauge in GAUGES}
    rates = {name: asking.values(name) or {} for name in (*RATES, "gap_count", "gap_total")}
    buckets: dict[str, Buckets] = {name: asking.found.get(f"{name}_buckets", {}) for name in HISTOGRAMS}
    totals = {name: asking.values(f"{name}_total") or {} for name in HISTOGRAMS}
    bounds = {name: _Bounds(asking.found.get(f"{name}_bounds", ())) for name in HISTOGRAMS}
    pods = {}
    for key in sorted({*running, *times, *waiting, *finished}):
        namespace, pod = key
        there = key in running or key in waiting or key in times
        share = 1.0 / copies.get(key, 1.0)
        figures: dict[str, Any] = {
            name: values[key] * share / speed for name, values in rates.items() if key in values
        }
        figures |= {
            name: _histogram(found[key], totals[name].get(key), share / speed, bounds[name])
            for name, found in buckets.items()
            if key in found
        }
        if there:
            figures["age"] = max(now - times[key], 0.0) * speed if key in times else LOOKBACK * speed
            for gauge, values in (("running", sums), ("waiting", waiting)):
                past = before[gauge]
                figures[gauge] = values[key] * share if key in values else None
                figures[f"{gauge}_before"] = None if past is None else past.get(key, 0.0) * share
            known = [past for past in before.values() if past is not None]
            figures["fresh"] = bool(known) and not any(key in past for past in known)
        figures["restarted"] = None if restarts is None else key in restarts
        model = running[key][1] if key in running else ""
        pods[namespace, pod] = PodFigures(namespace, pod, model, kv_usage=kv_usage.get(key), **figures)
    return pods


class _Bounds:
    """From the buckets that are not empty to all of them; each tuple of bounds is there once."""

    def __init__(self, common: tuple[float, ...]) -> None:
        self._common = common
        self._whole: dict[tuple[float, ...], tuple[tuple[float, ...], int]] = {}

    def whole(self, filled: tuple[float, ...]) -> tuple[tuple[float, ...], int]:
        """The bounds of all buckets, as far as they are known, and how many of the first are empty."""
        found = self._whole.get(filled)
        if found is None:
            empty = bisect_left(self._common, filled[0]) if filled else len(self._common)
            if self._common[empty:] != filled:
                # Buckets of its own: only where the first begins can be told.
                found = (*self._common[max(empty - 1, 0) : empty], *filled), min(empty, 1)
            else:
                found = self._common, empty
            self._whole[filled] = found
        return found


def _histogram(
    buckets: list[tuple[float, float]], total: float | None, factor: float, known: _Bounds
) -> Histogram | None:
    """Cumulative, also where Prometheus extrapolated one bucket further than the next."""
    buckets.sort()
    if not buckets or buckets[-1][0] != math.inf:
        return None
    most, counts = 0.0, []
    for _, count in buckets:
        most = max(most, count * factor)
        counts.append(most)
    bounds, empty = known.whole(tuple([bound for bound, _ in buckets[:-1]]))
    return Histogram(bounds, (*(0.0,) * empty, *counts), None if total is None else total * factor)


def _routers(
    asking: Asking, router: RouterMetrics, now: float, window: Seconds, speed: float
) -> tuple[RouterFigures, ...]:
    """Offered are those that were handed on, those that wait more than before, and those turned away."""
    requests, turned_away = asking.values("router requests"), asking.values("router turned_away")
    queue, before = asking.values("router queue"), asking.values("router queue_before")
    times = [asking.values(f"router {name}") or {} for name in ("requests_age", "queue_age")]
    waits = router.queue and router.counts == "dispatches"
    known = (
        requests is not None
        and not (router.turned_away and turned_away is None)
        and not (waits and (queue is None or before is None))
    )
    found = []
    for key in sorted({*(requests or {}), *(turned_away or {}), *(queue or {})}):
        rate = ((requests or {}).get(key, 0.0) + (turned_away or {}).get(key, 0.0)) / speed
        growth = 0.0
        if queue is not None and before is not None:
            growth = (queue.get(key, 0.0) - before.get(key, 0.0)) / window
        if waits:
            rate += growth
        seen = [values[key] for values in times if key in values]
        found.append(
            RouterFigures(
                key[0],
                key[1],
                key[2],
                rate if known and (waits or key in (requests or {})) else None,
                (queue or {}).get(key),
                max(now - min(seen), 0.0) * speed if seen else LOOKBACK * speed,
                growth,
            )
        )
    return tuple(found)


def _doubts(asking: Asking, names: MetricNames, pods: dict[PodKey, PodFigures], wall: Seconds) -> list[str]:
    """What is odd about the fleet as a whole."""
    notes = []
    old = [pod for pod in pods.values() if pod.age is not None and not pod.fresh]
    if old and "finished" in asking.found and all(pod.finished is None for pod in old):
        notes.append(
            f"no pod has a rate of {names.finished[0]}: there are fewer than two scrapes within {wall:g} s, "
            "or it is called otherwise"
        )
    if (
        pods
        and all(pod.fresh for pod in pods.values() if pod.age is not None)
        and "running_before" in asking.found
    ):
        notes.append("nothing is known of a window ago: all that runs now counts as come since")
    if doubled := asking.values("copies"):
        notes.append(
            f"{len(doubled)} pods are scraped more than once, such as {'/'.join(min(doubled))}: halved here; "
            "keep one of the monitors"
        )
    if (
        any(pod.gap_count for pod in pods.values())
        and not any(pod.itl for pod in pods.values())
        and names.itl
    ):
        notes.append(f"no pod has {names.itl[0]}: of itl there is only the mean, over all tokens")
    return notes
