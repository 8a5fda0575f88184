"""What an engine and a router call their metrics in Prometheus, `kind: Metrics`: also others than vLLM.

    apiVersion: flyball/v1
    kind: Metrics
    running: vllm:num_requests_running
    kvUsage: [vllm:kv_cache_usage_perc, vllm:gpu_cache_usage_perc]
    router: {requests: llm_d_epp_request_total}

Where several names are given, each pod counts by the first that it has. Behind a name may stand a selector:
`engine_requests_total{outcome!="retried"}`.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

import msgspec

from flyball.wire.catalogue import check_head
from flyball.wire.errors import WireError, child
from flyball.wire.fields import Fields, parse_name, parse_text

Counting = Literal["arrivals", "dispatches"]
_LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
_MATCHER = rf'{_LABEL}(=|!=|=~|!~)"[^"\\\n]*"'
_METRIC = re.compile(rf"[a-zA-Z_:][a-zA-Z0-9_:]*(\{{{_MATCHER}(, *{_MATCHER})*\}})?")
_LABEL_NAME = re.compile(_LABEL)

Metric = tuple[str, ...]
"""Names of one metric, the best first; none: there is no such metric."""


class RouterMetrics(msgspec.Struct, frozen=True):
    """The router's metrics, by model; they also tell of demand where no replica is."""

    requests: Metric
    """Counter."""
    counts: Counting = "arrivals"
    """What the counter counts: requests as they come, or as they are handed to a replica."""
    turned_away: Metric = ()
    """Counter of requests that came and are not among `requests`."""
    queue: Metric = ()
    """Gauge: requests that wait at the router."""
    namespace: str = "namespace"
    model: tuple[str, ...] = ("model_name",)
    """Labels; of several the first that is not empty."""
    pool: str = ""
    """The label that names the pool of pods; "" where there is none."""


class MetricNames(msgspec.Struct, frozen=True):
    """The metrics of an engine by what they say; of a histogram the name without _bucket."""

    running: Metric
    waiting: Metric
    finished: Metric
    """Counter of requests, whatever ended them."""
    kv_usage: Metric = ()
    prompt_tokens: Metric = ()
    generation_tokens: Metric = ()
    preemptions: Metric = ()
    cache_queries: Metric = ()
    cache_hits: Metric = ()
    """Counters of prompt tokens that were looked for, and found, in the prefix cache."""
    ttft: Metric = ()
    itl: Metric = ()
    """Histogram of requests, each with the mean time between its tokens."""
    token_gaps: Metric = ()
    """Histogram of single gaps between tokens: its mean stands in for that of `itl` where a pod lacks it."""
    in_tokens: Metric = ()
    out_tokens: Metric = ()
    """Histograms of the tokens of finished requests."""
    namespace: str = "namespace"
    pod: str = "pod"
    model: str = "model_name"
    engine: str = "engine"
    """Labels; `engine` tells apart the engines within a pod."""
    select: tuple[tuple[str, str], ...] = ()
    """Labels that all series must have, such as the cluster's name where Prometheus sees several."""
    router: RouterMetrics | None = None


_METRICS = (
    *("running", "waiting", "finished", "kvUsage", "promptTokens", "generationTokens", "preemptions"),
    *("cacheQueries", "cacheHits", "ttft", "itl", "tokenGaps", "inTokens", "outTokens"),
)
_NEEDED = ("running", "waiting", "finished")


def metrics_from_own(document: object, where: str) -> MetricNames:
    """Read a `kind: Metrics` document. Or WireError."""
    fields = Fields(document, where, "", ("apiVersion", "kind", *_METRICS, "labels", "select", "router"))
    check_head(fields, "Metrics")
    none: Metric = ()
    found = {
        _attribute(key): fields.read(key, parse_metric, msgspec.UNSET if key in _NEEDED else none)
        for key in _METRICS
    }
    labels = _labels(fields.values.get("labels", {}), where, "labels")
    return MetricNames(
        **found,  # type: ignore[arg-type]
        **labels,  # type: ignore[arg-type]
        select=fields.read("select", parse_select, ()),
        router=fields.read("router", _router, None),
    )


def _router(value: object, where: str, path: str) -> RouterMetrics:
    fields = Fields(value, where, path, ("requests", "counts", "turnedAway", "queue", "labels"))
    counts: tuple[Counting, ...] = get_args(Counting)
    labels = Fields(
        fields.values.get("labels", {}), where, child(path, "labels"), ("namespace", "model", "pool")
    )
    default = RouterMetrics(())
    return RouterMetrics(
        requests=fields.read("requests", parse_metric),
        counts=fields.read("counts", parse_name, default.counts, known=counts, what="way to count"),  # type: ignore[arg-type]
        turned_away=fields.read("turnedAway", parse_metric, ()),
        queue=fields.read("queue", parse_metric, ()),
        namespace=labels.read("namespace", parse_label, default.namespace),
        model=labels.read("model", parse_labels, default.model),
        pool=labels.read("pool", parse_label, ""),
    )


def parse_metric(value: object, where: str, path: str) -> Metric:
    """Read one or several names of a metric. Or WireError."""
    return _several(value, where, path, _METRIC, 'a metric such as vllm:x_total or x_total{reason="y"}')


def parse_labels(value: object, where: str, path: str) -> tuple[str, ...]:
    """Read one or several names of labels. Or WireError."""
    return _several(value, where, path, _LABEL_NAME, "a label such as model_name")


def _several(value: object, where: str, path: str, pattern: re.Pattern[str], what: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        return (_matching(value, where, path, pattern, what),)
    if not value:
        raise WireError(where, "is empty", path=path, mend="Give a name, or leave it out")
    return tuple(
        _matching(each, where, child(path, index), pattern, what) for index, each in enumerate(value)
    )


def _matching(value: object, where: str, path: str, pattern: re.Pattern[str], what: str) -> str:
    text = parse_text(value, where, path)
    if not pattern.fullmatch(text):
        raise WireError(where, f"allowed is {what}", path=path, value=value)
    return text


def parse_label(value: object, where: str, path: str) -> str:
    """Read the name of a label. Or WireError."""
    return _matching(value, where, path, _LABEL_NAME, "a label such as namespace")


def _labels(value: object, where: str, path: str) -> dict[str, str]:
    fields = Fields(value, where, path, ("namespace", "pod", "model", "engine"))
    found = {key: fields.read(key, parse_label) for key in fields.values}
    if len(set(found.values())) < len(found):
        raise WireError(where, "two of them are the same label", path=path, mend="Give each its own")
    return found


def parse_select(value: object, where: str, path: str) -> tuple[tuple[str, str], ...]:
    """Read labels with their values. Or WireError."""
    if not isinstance(value, dict):
        raise WireError(where, "allowed is an object of labels and their values", path=path, value=value)
    return tuple(
        (parse_label(key, where, child(path, str(key))), parse_text(text, where, child(path, str(key))))
        for key, text in value.items()
    )


def _attribute(key: str) -> str:
    return re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", key)
