"""What engines say: metrics, refusals; and a sweep's CSV, which a fit reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from flyball.spec.measurement import Point
from flyball.wire.engine import metrics_from_text, reason_in
from flyball.wire.inferno_tuner import read_groups
from flyball.wire.measurements import measurements_from_csv
from flyball.wire.sweep import sweep_csv, tuner_points

PAGE = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a \\"b\\", c"} 3.0
vllm:num_requests_running{engine="1",model_name="a"} 2
vllm:num_requests_waiting{engine="0",model_name="a"} 1e0
vllm:num_requests_waiting_by_reason{engine="0"} 9.0
vllm:cache_config_info{block_size="16",enable_prefix_caching="True",num_gpu_blocks="27884"} 1.0
process_cpu_seconds_total 3.2
"""


def test_metrics_of_all_engines_together() -> None:
    found = metrics_from_text(PAGE)
    assert (found.running, found.waiting, found.kv_tokens, found.engines) == (5.0, 1.0, 27884 * 16, 2)


@pytest.mark.parametrize("blocks", ["None", "", "-3"])
def test_a_cache_that_is_not_said_is_not_known(blocks: str) -> None:
    assert metrics_from_text(PAGE.replace("27884", blocks)).kv_tokens == 0


def test_a_page_of_others_holds_no_engine() -> None:
    assert metrics_from_text("process_cpu_seconds_total 3.2\n<html>").engines == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "no such model", "code": 404}}', "no such model"),
        (b'{"object": "error", "message": "no such model"}', "no such model"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"error": {"code": 3}}', ""),
        (b"[1]", ""),
        (b"upstream is down", "upstream is down"),
        (b"<html>502</html>", ""),
        (b"\xff", "\ufffd"),
    ],
)
def test_reasons_of_refusals(body: bytes, said: str) -> None:
    assert reason_in(body) == said


POINTS = st.builds(
    Point,
    st.floats(1, 1e5),
    st.floats(1, 1e5),
    st.floats(1e-4, 10),
    concurrency=st.floats(1, 1e3),
    ttft=st.none() | st.floats(1e-4, 100),
)


@given(st.lists(st.tuples(POINTS, st.booleans()), max_size=8), POINTS)
def test_a_fit_reads_what_a_sweep_writes(rows: list[tuple[Point, bool]], last: Point) -> None:
    more = (0.1, 0.2, 300.0, 12.0)
    text = sweep_csv("a title, of\n two lines", [(p, more, counts) for p, counts in [*rows, (last, True)]])
    found = measurements_from_csv(text, "runs").points
    kept = [p for p, counts in rows if counts] + [last]
    assert len(found) == len(kept)
    for one, other in zip(found, kept, strict=True):
        for name in ("in_tokens", "out_tokens", "tpot", "concurrency", "ttft"):
            assert (getattr(one, name) or 0.0) == pytest.approx(getattr(other, name) or 0.0, rel=1e-5)


def test_the_tuner_reads_the_points() -> None:
    points = [(Point(1000, 300, 0.01, concurrency=4, ttft=0.05), 1.25)]
    sent = json.encode(tuner_points("m", "H100", 64, points))
    groups = read_groups(sent)
    assert groups is not None
    (observed,) = groups["m", "H100"].observations
    assert (observed.arrival_rate, observed.in_tokens, observed.out_tokens) == (1.25, 1000, 300)
    assert (observed.ttft, observed.itl, observed.max_batch_size) == (0.05, 0.01, 64)
