"""What a scrape shows, against the truth in the records, and all ways in which it is made worse."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.simulate import histogram
from flyball.simulate.kernel import bucket
from flyball.simulate.layout import BUCKETS
from flyball.simulate.metrics_text import metrics_text
from flyball.simulate.plant import Plant
from flyball.spec.scenario import Event, Lengths, Measuring, Stage, Stages, Steady, Stream
from flyball.spec.snapshot import Observation, Reading
from tests.simulate.worlds import world


def seen(until: float = 300.0, measuring: Measuring | None = None, **more: Any) -> tuple[Plant, Observation]:
    made = world(**{"rate": 8.0, "replicas": 3, **more})
    plant = Plant(replace(made, measuring=measuring or Measuring()), 1, compiled=False)
    plant.run(until)
    return plant, plant.observe().servers[0]


def value(reading: Reading | None) -> float:
    assert reading is not None
    return reading.value


def test_readings_are_the_truth_of_the_window() -> None:
    shared = Stream("chat", Steady(8.0), Lengths(500, 0.5), Lengths(100, 0.5), cached_share=0.3)
    plant, found = seen(measuring=Measuring(window=120.0), streams=(shared,))
    done = plant.record("chat").finished
    mine = done.finish > 180.0
    assert value(found.arrival_rate) == pytest.approx(8.0, rel=0.1)
    assert value(found.in_tokens) == pytest.approx(done.in_tokens[mine].mean(), rel=0.03)
    assert value(found.out_tokens) == pytest.approx(done.out_tokens[mine].mean(), rel=0.001)
    assert value(found.cached_share) == pytest.approx(0.3, abs=0.05)
    ttft = done.ttft[done.arrival + done.ttft > 180.0]
    assert value(found.ttft["mean"]) == pytest.approx(ttft.mean(), rel=0.03)
    itl = done.tpot[mine & (done.out_tokens > 1)]
    assert value(found.itl["mean"]) == pytest.approx(itl.mean(), rel=1e-9)
    for times, readings, inner in (
        (ttft, found.ttft, histogram.TTFT_BOUNDS),
        (itl, found.itl, histogram.TOKEN_BOUNDS),
    ):
        bounds = [0.0, *inner]
        for key, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            at = int(np.searchsorted(bounds, float(np.quantile(times, share))))
            assert bounds[at - 1] <= value(readings[key]) <= bounds[at]  # type: ignore[index]
            assert readings[key].least == pytest.approx(bounds[at - 1])  # type: ignore[index]
        assert readings["mean"].least is None
    gauges = [s.gauges for s in plant.standing("chat") if s.gauges]
    assert value(found.running) == sum(g.running for g in gauges) > 0
    assert value(found.kv_usage) == pytest.approx(sum(g.kv_usage for g in gauges) / 3)
    assert 0.0 < value(found.kv_usage) < 1.0


def test_the_spread_of_tokens_is_that_of_the_requests_that_finished() -> None:
    plant, found = seen(measuring=Measuring(window=120.0))
    done = plant.record("chat").finished
    mine = done.finish > 180.0
    for reading, tokens in ((found.in_cov, done.in_tokens[mine]), (found.out_cov, done.out_tokens[mine])):
        assert value(reading) == pytest.approx(tokens.std() / tokens.mean(), rel=1e-6)
    few, found = seen(until=20.0, rate=0.1)
    assert few.record("chat").served < 10
    assert found.in_cov is None


def test_itl_is_of_requests_and_not_of_gaps() -> None:
    # An iteration that computes one of these prompts takes 0.15 s more; each request bears its share of it.
    long = Stream("chat", Steady(2.0), Lengths(5000), Lengths(200))
    plant, found = seen(replicas=2, streams=(long,))
    fine, bounds = plant.serving("chat").replicas.totals(300.0).itl, histogram.TOKEN_BOUNDS
    gap = histogram.quantile(0.99, histogram.cumulative(fine, bounds).tolist(), bounds)
    assert gap is not None
    assert gap > 0.15
    assert value(found.itl["p99"]) < 0.05


def test_requests_of_one_token_have_no_time_between_tokens() -> None:
    single = Stream("chat", Steady(2.0), Lengths(500), Lengths(1))
    _, found = seen(streams=(single,))
    assert found.itl == {}
    assert value(found.ttft["mean"]) > 0


def test_requests_without_replica_are_offered_and_waiting() -> None:
    _, found = seen(replicas=0, start={})
    assert value(found.arrival_rate) == pytest.approx(8.0, rel=0.2)
    assert value(found.waiting) > 2000
    assert found.ttft == found.itl == {}
    assert found.in_tokens is found.out_tokens is None


def test_no_load_is_no_reading() -> None:
    _, found = seen(streams=())
    assert value(found.arrival_rate) == 0.0
    assert found.ttft == {}
    assert found.cold_start is None


def test_a_delay_shows_what_was() -> None:
    course = Stream("chat", Stages((Stage(2.0, 200.0), Stage(40.0, 1000.0))), Lengths(50), Lengths(20))
    _, now = seen(260.0, streams=(course,))
    _, late = seen(260.0, Measuring(delay=60.0), streams=(course,))
    assert value(now.arrival_rate) == pytest.approx(40.0, rel=0.1)
    assert value(late.arrival_rate) == pytest.approx(2.0, rel=0.4)
    assert late.arrival_rate is not None
    assert 60.0 <= late.arrival_rate.age <= 75.0
    assert late.variants == now.variants


def test_nothing_is_seen_before_the_delay() -> None:
    _, found = seen(30.0, Measuring(delay=60.0))
    assert found.arrival_rate is None
    assert found.variants[0].ready == 3


def test_blind_and_stale() -> None:
    events = (Event(100.0, "blind", "chat", 50.0), Event(200.0, "stale", "", 60.0))
    plant, found = seen(149.0, events=events)
    assert found.arrival_rate is None
    assert found.running is None
    assert plant.observe().notes == ("no metrics of 'chat' could be read",)
    ages = []
    for until in (150.0, 230.0, 259.0, 260.0):
        plant.run(until)
        reading = plant.observe().servers[0].arrival_rate
        assert reading is not None
        ages.append(reading.age)
    assert ages == [0.0, 35.0, 64.0, 0.0]  # the last scrape before 200 s was at 195 s


def test_bias_and_noise_and_gaps() -> None:
    _, true = seen()
    _, off = seen(measuring=Measuring(bias={"ttft": 1.5, "arrival_rate": 0.5}))
    assert value(off.arrival_rate) == 0.5 * value(true.arrival_rate)
    assert value(off.ttft["p95"]) == 1.5 * value(true.ttft["p95"])
    assert off.itl == true.itl
    plant, _ = seen(measuring=Measuring(noise=0.2, gaps=0.25))
    looks = [plant.observe().servers[0].arrival_rate for _ in range(1500)]
    there = np.array([r.value for r in looks if r is not None])
    assert len(there) / 1500 == pytest.approx(0.75, abs=0.04)
    assert there.mean() == pytest.approx(value(true.arrival_rate), rel=0.02)
    assert there.std() / there.mean() == pytest.approx(0.2, rel=0.1)


@settings(max_examples=25)
@given(
    st.floats(0.0, 400.0),
    st.builds(
        Measuring,
        window=st.floats(1.0, 200.0),
        noise=st.sampled_from([0.0, 0.5]),
        gaps=st.sampled_from([0.0, 0.5]),
        delay=st.floats(0.0, 100.0),
    ),
    st.sampled_from([0.0, 0.05, 3.0]),
)
def test_never_a_nan(until: float, measuring: Measuring, rate: float) -> None:
    plant, _ = seen(until, measuring, rate=rate, replicas=1, events=(Event(150.0, "lose_node"),))
    text = msgspec.json.encode(plant.observe())
    found = msgspec.json.decode(text)

    def check(x: Any) -> None:
        if isinstance(x, dict):
            for v in x.values():
                check(v)
        elif isinstance(x, list):
            for v in x:
                check(v)
        elif isinstance(x, float):
            assert math.isfinite(x)
            assert x >= 0.0

    for server in found["servers"]:
        check(server)
        for key in ("arrival_rate", "running", "waiting"):
            assert server[key] is None or "value" in server[key]


@given(st.floats(1e-6, 1e5))
def test_buckets(time: float) -> None:
    at = bucket(time)
    assert 0 <= at < BUCKETS
    if 1e-4 < time < 1e4:
        assert (
            1e-4 * math.exp((at - 1) * 0.02) * (1 - 1e-12) <= time <= 1e-4 * math.exp(at * 0.02) * (1 + 1e-12)
        )


def test_quantile_by_hand() -> None:
    # 10 up to 1, 10 more up to 2, 5 above 4
    counts, bounds = [10, 20, 20, 25], (1.0, 2.0, 4.0)
    assert histogram.quantile(0.2, counts, bounds) == 0.5
    assert histogram.quantile(0.6, counts, bounds) == 1.5
    assert histogram.quantile(0.99, counts, bounds) == 4.0
    assert histogram.quantile(0.5, [0, 0, 0, 0], bounds) is None


@given(
    st.lists(st.tuples(st.floats(0.01, 5.0), st.integers(0, 50)), min_size=1, max_size=8),
    st.integers(0, 20),
    st.floats(0.01, 1.0),
)
def test_quantile_is_where_the_line_through_the_counts_reaches_the_rank(
    buckets: list[tuple[float, int]], beyond: int, q: float
) -> None:
    bounds = np.cumsum([width for width, _ in buckets])
    counts = np.cumsum([n for _, n in buckets])
    whole = int(counts[-1]) + beyond
    found = histogram.quantile(q, [*counts.tolist(), whole], tuple(bounds.tolist()))
    rank = q * whole
    if not whole:
        assert found is None
    elif rank > counts[-1]:
        assert found == bounds[-1]  # Prometheus: what lies in +Inf is said to be at the last bound
    else:
        assert found is not None
        assert np.interp(found, [0.0, *bounds], [0, *counts]) == pytest.approx(rank)
        below = np.concatenate([[0.0], bounds])[int(np.sum(counts < rank))]
        assert below <= found <= below + max(w for w, _ in buckets) + 1e-9


def test_metrics_page() -> None:
    plant, _ = seen()
    replica = plant.standing("chat")[1]
    assert replica.gauges is not None
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for line in metrics_text(plant, "chat", replica.number).splitlines():
        if line.startswith("# TYPE "):
            kinds.update([line.removeprefix("# TYPE ").split(" ")])  # type: ignore[list-item]
        elif not line.startswith("#"):
            name, number = line.rsplit(" ", 1)
            assert '{engine="0",model_name="m"' in name
            found[name.replace('engine="0",model_name="m"', "").replace("{}", "")] = float(number)
    counters = plant.serving("chat").replicas.counters(plant.engine_number("chat", replica.number), 300.0)
    assert found["vllm:num_requests_running"] == replica.gauges.running
    assert found["vllm:num_requests_waiting"] == replica.gauges.waiting
    assert found["vllm:kv_cache_usage_perc"] == replica.gauges.kv_usage
    assert found["vllm:generation_tokens_total"] == counters.tokens > 0
    assert found["vllm:prompt_tokens_total"] == counters.prompt_tokens > 0
    assert found['vllm:request_success_total{,finished_reason="length"}'] == counters.finished
    assert found["vllm:time_to_first_token_seconds_count"] == counters.ttft.sum()
    assert found['vllm:inter_token_latency_seconds_bucket{,le="+Inf"}'] == counters.itl.sum()
    assert found["vllm:inter_token_latency_seconds_sum"] == pytest.approx(counters.itl_sum)
    assert found['vllm:request_time_per_output_token_seconds_bucket{,le="+Inf"}'] == counters.tpot.sum() > 0
    assert found["vllm:request_time_per_output_token_seconds_sum"] == pytest.approx(counters.tpot_sum)
    for name, tokens in (("prompt", counters.in_tokens), ("generation", counters.out_tokens)):
        whole = f"vllm:request_{name}_tokens"
        assert found[f"{whole}_sum"] == tokens > 0
        assert found[f"{whole}_count"] == found[whole + '_bucket{,le="+Inf"}'] == counters.finished
    assert set(kinds.values()) == {"gauge", "counter", "histogram"}
    buckets = [v for k, v in found.items() if k.startswith("vllm:time_to_first_token_seconds_bucket")]
    assert buckets == sorted(buckets)
    with pytest.raises(KeyError, match="no replica 99"):
        metrics_text(plant, "chat", 99)
