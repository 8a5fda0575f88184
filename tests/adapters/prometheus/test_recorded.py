"""What Prometheus recorded of workloads: chunks, sums over pods, shares; and a real Prometheus' answers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.adapters.prometheus.client import Prometheus
from flyball.adapters.prometheus.figures import Histogram
from flyball.adapters.prometheus.history import (
    MOST_POINTS,
    Chunk,
    Past,
    chunks,
    fetch,
    past_of,
    share_within,
    together,
)
from flyball.adapters.prometheus.mapping import shipped_names
from tests.prometheus import Line, backfill, histogram, prometheus, there

CHAT = ("infer", "chat")


@given(
    length=st.floats(1.0, 5e3), step=st.floats(5.0, 600.0), most=st.floats(1.0, 1e5), start=st.floats(0, 1e9)
)
def test_chunks_follow_each_other_and_cover_all_steps(
    length: float, step: float, most: float, start: float
) -> None:
    found = list(chunks(start, start + length, step, most))
    steps = sum(n for _, n in found)
    assert steps * step <= length * (1 + 1e-6) + 1e-3
    assert (steps + 1) * step > length - 1e-3 * step - 1e-3
    reached = 0
    for begins, n in found:
        assert begins == pytest.approx(start + reached * step)
        assert 1 <= n <= max(round(most / step), 1)
        assert n <= MOST_POINTS
        reached += n


def test_offered_is_what_was_finished_and_what_there_was_more() -> None:
    first = Chunk(0.0, 2, {CHAT: [1.0, 2.0]}, {CHAT: [0.0, 20.0]}, {"finished": {CHAT: [5.0, 5.0]}})
    second = Chunk(20.0, 2, {CHAT: [2.0, None]}, {CHAT: [10.0, None]}, {"finished": {CHAT: [5.0, None]}})
    past = past_of([first, second], CHAT, 10.0)
    assert past.pods == [1.0, 2.0, 2.0, None]
    assert past.offered == [5.0, 7.0, 4.0, None]
    assert past.since(3).offered == [None]
    assert past_of([first, second], ("infer", "other"), 10.0).offered == [None] * 4


counts = st.lists(st.floats(0.0, 100.0), min_size=3, max_size=3).map(
    lambda each: tuple(sum(each[: i + 1]) for i in range(3))
)


@given(counts=counts, low=st.floats(0.0, 3.0), high=st.floats(0.0, 3.0))
def test_a_share_lies_between_0_and_1_and_grows_with_the_limit(
    counts: tuple[float, ...], low: float, high: float
) -> None:
    one = Histogram((0.5, 2.0), counts, None)
    if not counts[-1] > 0:
        assert share_within(one, low) is None
        return
    small, large = share_within(one, min(low, high)), share_within(one, max(low, high))
    assert small is not None
    assert large is not None
    assert 0.0 <= small <= large + 1e-12 <= 1.0 + 2e-12


def test_a_share_is_linear_within_a_bucket() -> None:
    one = Histogram((1.0, 3.0), (4.0, 8.0, 10.0), None)
    assert share_within(one, 1.0) == 0.4
    assert share_within(one, 2.0) == pytest.approx(0.6)
    assert share_within(one, 9.0) == 0.8


def test_histograms_that_begin_at_different_buckets_add_up() -> None:
    whole = together([Histogram((1.0, 2.0), (3.0, 4.0, 4.0), None), Histogram((2.0,), (5.0, 6.0), None)])
    assert whole == Histogram((1.0, 2.0), (3.0, 9.0, 10.0), None)
    assert together([]) is None


# ---- a real Prometheus ---------------------------------------------------------------------------

STEP, LENGTH = 10.0, 600.0
HASH = "6d8f7c9b44"
PODS = {
    f"chat-{HASH}-x2x4z": (CHAT, 2.0, 0.0),
    f"chat-{HASH}-bcdfg": (CHAT, 3.0, 300.0),
    "vllm-002-0": (("infer", "vllm-002"), 1.0, 0.0),
}
"""Workload, requests a second, and from when on."""


def lines(pod: str, rate: float, since: float) -> Iterator[Line]:
    labels = {"namespace": "infer", "pod": pod, "model_name": "m", "engine": "0"}
    count = rate * since
    yield "vllm:num_requests_running", labels, 4.0
    yield "vllm:num_requests_waiting", labels, 1.0
    yield "vllm:request_success_total", {**labels, "finished_reason": "stop"}, count
    yield "vllm:prompt_tokens_total", labels, count * 300.0
    yield "vllm:generation_tokens_total", labels, count * 50.0
    yield from histogram(
        "vllm:time_to_first_token_seconds", labels, (0.1, 0.5, 1.0), {0.05: count * 0.75, 0.7: count * 0.25}
    )


@pytest.mark.slow
@pytest.mark.skipif(not there(), reason="the package prometheus is not installed")
def test_history_is_told_by_workload(tmp_path: Path) -> None:
    start = math.floor(time.time() / STEP) * STEP - LENGTH - 60.0
    backfill(
        tmp_path,
        (
            (start + t, line)
            for t in range(0, int(LENGTH) + 1, 5)
            for pod, (_, rate, began) in PODS.items()
            if t >= began
            for line in lines(pod, rate, t - began)
        ),
    )
    with prometheus(tmp_path) as url, Prometheus(url) as asked:
        parts = [
            fetch(asked, shipped_names(), s, n, STEP) for s, n in chunks(start, start + LENGTH, STEP, 250)
        ]
    assert [part.steps for part in parts] == [25, 25, 10]
    chat: Past = past_of(parts, CHAT, STEP)
    assert chat.pods == [1.0] * 29 + [2.0] * 31
    for at in (5, 20, 40, 55):
        assert chat.rates["finished"][at] == pytest.approx(2.0 if at < 29 else 5.0, rel=0.02)
        assert chat.offered[at] == pytest.approx(2.0 if at < 29 else 5.0, rel=0.02)
        assert chat.rates["prompt_tokens"][at] == pytest.approx(300.0 * (2.0 if at < 29 else 5.0), rel=0.02)
    assert share_within(chat.histograms["ttft"], 0.5) == pytest.approx(0.75, abs=0.01)
    alone = past_of(parts, ("infer", "vllm-002"), STEP)
    assert alone.pods == [1.0] * 60
    assert alone.rates["finished"][30] == pytest.approx(1.0, rel=0.02)
