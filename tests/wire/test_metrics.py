"""What engines call their metrics: what is read, what is refused, and how it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyball.adapters.prometheus.mapping import read_names, shipped_names
from flyball.wire.errors import WireError
from flyball.wire.metrics import MetricNames, RouterMetrics, metrics_from_own
from flyball.wire.text import decode

LEAST = """
apiVersion: flyball/v1
kind: Metrics
running: sglang:num_running_reqs
waiting: sglang:num_queue_reqs
finished: [sglang:num_requests_total, 'other_total{outcome!="retried", code=~"2.."}']
"""


def read(text: str) -> MetricNames:
    return metrics_from_own(decode(text.encode(), "x.yaml"), "x.yaml")


def test_the_least() -> None:
    assert read(LEAST) == MetricNames(
        ("sglang:num_running_reqs",),
        ("sglang:num_queue_reqs",),
        ("sglang:num_requests_total", 'other_total{outcome!="retried", code=~"2.."}'),
    )


def test_labels_selection_and_router() -> None:
    found = read(
        f"{LEAST}"
        "labels: {pod: kubernetes_pod_name}\n"
        "select: {cluster: 'it\"s'}\n"
        "router: {requests: r_total, queue: [q, p], labels: {model: m, pool: l}}\n"
    )
    assert (found.pod, found.namespace, found.select) == (
        "kubernetes_pod_name",
        "namespace",
        (("cluster", 'it"s'),),
    )
    assert found.router == RouterMetrics(("r_total",), queue=("q", "p"), model=("m",), pool="l")


def test_the_shipped_names_are_those_of_vllm() -> None:
    names = shipped_names()
    assert names.itl == ("vllm:request_time_per_output_token_seconds",)
    assert names.kv_usage[0] == "vllm:kv_cache_usage_perc"
    assert names.router is not None
    assert names.router.counts == "dispatches"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("kvUsage: 5\n", "kvUsage is 5: allowed is text"),
        ("kvUsage: []\n", "kvUsage: is empty"),
        ("kvUsage: [a, 'b c']\n", r'kvUsage\[1\] is "b c": allowed is a metric such as'),
        ("kvUsage: 'a{b}'\n", "allowed is a metric such as"),
        ("kvUsage: 'a{b=\"c\"}) or (d'\n", "allowed is a metric such as"),
        ("ttfft: a\n", "ttfft: there is no such field. Near: ttft"),
        ("labels: {pod: a-b}\n", 'labels.pod is "a-b": allowed is a label'),
        ("labels: {pod: a, model: a}\n", "two of them are the same label"),
        ("labels: [a]\n", "labels is a list of 1: allowed is an object"),
        ("select: a\n", 'select is "a": allowed is an object'),
        ("select: {a: 5}\n", "select.a is 5: allowed is text"),
        ("router: {queue: q}\n", "router.requests: is missing"),
        ("router: {requests: r, counts: most}\n", 'router.counts is "most": there is no such way to count'),
    ],
)
def test_what_is_refused(more: str, said: str) -> None:
    with pytest.raises(WireError, match=said):
        read(LEAST + more)


def test_what_is_missing() -> None:
    with pytest.raises(WireError, match=r"finished: is missing\. Add finished"):
        read(LEAST.partition("finished")[0])
    with pytest.raises(WireError, match="kind"):
        read(LEAST.replace("Metrics", "Cards"))


def test_files(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(LEAST)
    assert read_names(tmp_path / "x.yaml") == read(LEAST)
    with pytest.raises(WireError, match=r"absent.yaml: cannot be read \(No such file"):
        read_names(tmp_path / "absent.yaml")
