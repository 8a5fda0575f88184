"""What is asked of Prometheus: expressions by the figure that they give, the same number for any fleet."""

from __future__ import annotations

import json
from collections.abc import Callable

from flyball.units import Seconds
from flyball.wire.metrics import Metric, MetricNames, RouterMetrics

GAUGES = ("running", "waiting")
RATES = ("finished", "prompt_tokens", "generation_tokens", "preemptions", "cache_queries", "cache_hits")
HISTOGRAMS = ("ttft", "itl", "in_tokens", "out_tokens")
Make = Callable[[str], str]


def pod_queries(names: MetricNames, window: Seconds) -> dict[str, str]:
    """Of the engines, over a window of the wall's seconds; vectors by namespace and pod.

    `running` is also by model, the `_buckets` of a histogram also by le: those with something in them, which
    are half of all. As it takes another to know where the first of them begins, `_bounds` counts all by le.
    """
    span = duration(window)
    pod = f"{names.namespace}, {names.pod}"
    select = (*names.select, (names.pod, None))

    def each(metric: Metric, make: Make, suffix: str = "") -> str:
        return _first([make(selector(name, select, suffix)) for name in metric])

    def summed(metric: Metric, suffix: str = "") -> str:
        return each(metric, lambda x: f"sum by ({pod}) (rate({x}[{span}]))", suffix)

    found = {
        "running": each(names.running, lambda x: f"sum by ({pod}, {names.model}) ({x})"),
        "waiting": each(names.waiting, lambda x: f"sum by ({pod}) ({x})"),
        "age": each(names.running, lambda x: f"min by ({pod}) (timestamp({x}))"),
        "copies": each(
            names.running,
            lambda x: (
                f"count by ({pod}) ({x})"
                f" / count by ({pod}) (count by ({pod}, {names.engine}, {names.model}) ({x})) > 1"
            ),
        ),
        "restarts": _first(
            [
                f"sum by ({pod}) (resets({selector(name, select)}[{span}])) > 0"
                for name in (*names.generation_tokens, *names.finished)
            ]
        ),
    }
    for gauge in GAUGES:
        found[f"{gauge}_before"] = each(
            getattr(names, gauge), lambda x: f"sum by ({pod}) ({_before(x, window)})"
        )
    if names.kv_usage:
        found["kv_usage"] = each(names.kv_usage, lambda x: f"avg by ({pod}) ({x})")
    for counter in RATES:
        if metric := getattr(names, counter):
            found[counter] = summed(metric)
    for histogram in HISTOGRAMS:
        if metric := getattr(names, histogram):
            found[f"{histogram}_total"] = summed(metric, "_sum")
            found[f"{histogram}_buckets"] = _buckets(metric, select, pod, span)
            every = _first([selector(name, select, "_bucket") for name in metric])
            found[f"{histogram}_bounds"] = f"count by (le) ({every})"
    if names.token_gaps:
        found["gap_total"] = summed(names.token_gaps, "_sum")
        found["gap_count"] = summed(names.token_gaps, "_count")
    return found


def presence_query(names: MetricNames, span: Seconds) -> str:
    """Pods that were seen at any time within the span; a vector by namespace and pod."""
    by = f"{names.namespace}, {names.pod}"
    select = (*names.select, (names.pod, None))
    made = [
        f"count by ({by}) (present_over_time({selector(name, select)}[{duration(span)}]))"
        for name in names.running
    ]
    return _first(made)


def router_queries(
    router: RouterMetrics, select: tuple[tuple[str, str], ...], window: Seconds
) -> dict[str, str]:
    """Of the router; vectors by namespace, the labels that name the model, and the pool."""
    span = duration(window)
    by = ", ".join(label for label in (router.namespace, *router.model, router.pool) if label)

    def each(metric: Metric, make: Make) -> str:
        return _first([make(selector(name, select)) for name in metric])

    found = {
        "requests": each(router.requests, lambda x: f"sum by ({by}) (rate({x}[{span}]))"),
        "requests_age": each(router.requests, lambda x: f"min by ({by}) (timestamp({x}))"),
    }
    if router.turned_away:
        found["turned_away"] = each(router.turned_away, lambda x: f"sum by ({by}) (rate({x}[{span}]))")
    if router.queue:
        found["queue"] = each(router.queue, lambda x: f"sum by ({by}) ({x})")
        found["queue_before"] = each(router.queue, lambda x: f"sum by ({by}) ({_before(x, window)})")
        found["queue_age"] = each(router.queue, lambda x: f"min by ({by}) (timestamp({x}))")
    return found


def _before(gauge: str, window: Seconds) -> str:
    """Its value a window ago. Not by `offset` alone: where just that scrape failed there would be none, and
    all that waits would count as having come since."""
    return f"last_over_time({gauge}[{duration(2.0 * window)}] offset {duration(window)})"


def duration(span: Seconds) -> str:
    """Seconds as PromQL writes them."""
    return f"{max(round(span * 1000), 1)}ms"


def _buckets(metric: Metric, select: tuple[tuple[str, str | None], ...], pod: str, span: str) -> str:
    made: list[str] = []
    counts: list[str] = []
    for name in metric:
        # A pod that has a better name keeps it, also where nothing was observed under that.
        better = f" unless on ({pod}) ({_first(counts)})" if counts else ""
        rate = f"rate({selector(name, select, '_bucket')}[{span}])"
        made.append(f"sum by ({pod}, le) ({rate}) > 0{better}")
        counts.append(f"count by ({pod}) ({selector(name, select, '_count')})")
    return _first(made)


def _first(expressions: list[str]) -> str:
    return expressions[0] if len(expressions) == 1 else " or ".join(f"({each})" for each in expressions)


def selector(name: str, select: tuple[tuple[str, str | None], ...], suffix: str = "") -> str:
    """A metric with what its labels must be; None: they must be there."""
    base, _, own = name.partition("{")
    wanted = [own.removesuffix("}")] if own else []
    wanted += [
        f'{label}!=""' if value is None else f"{label}={json.dumps(value, ensure_ascii=False)}"
        for label, value in select
    ]
    return f"{base}{suffix}{{{', '.join(wanted)}}}"
