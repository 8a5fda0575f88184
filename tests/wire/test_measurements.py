"""One's own measurements as CSV: names as people and load generators write them, and what is refused."""

from __future__ import annotations

import contextlib
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.spec.measurement import Point
from flyball.wire.errors import WireError
from flyball.wire.measurements import NAMES, measurements_from_csv

PLAIN = {"concurrency": "8", "input_tokens": "1000", "output_tokens": "300", "tpot_ms": "12.5"}


def table(*rows: dict[str, str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def without(name: str, **more: str) -> dict[str, str]:
    return {key: value for key, value in PLAIN.items() if key != name} | more


def points(*rows: dict[str, str]) -> tuple[Point, ...]:
    return measurements_from_csv(table(*rows), "x.csv").points


def message(text: str) -> str:
    with pytest.raises(WireError) as caught:
        measurements_from_csv(text, "x.csv")
    return str(caught.value)


def test_plain_names() -> None:
    second = PLAIN | {"concurrency": "1"}
    first, other = points(PLAIN, second)
    assert first == Point(1000.0, 300.0, 0.0125, concurrency=8.0, line=2)
    assert (other.concurrency, other.line) == (1.0, 3)


def test_times_in_seconds_and_the_first_token() -> None:
    (found,) = points(without("tpot_ms", itl_s="0.0125", ttft_ms="80"))
    assert (found.tpot, found.ttft) == (0.0125, 0.08)


def test_comments_empty_lines_and_a_byte_order_mark_are_passed_over() -> None:
    text = "\ufeff# ours\n\nrunning,in,out,itl_ms\n\n4,10,20,5\n"
    assert measurements_from_csv(text, "x").points == (Point(10.0, 20.0, 0.005, running=4.0, line=5),)


def test_what_vllm_bench_serve_writes() -> None:
    row = {
        **{"date": "20261101", "backend": "vllm", "max_concurrency": "64", "num_prompts": "100"},
        **{"completed": "100", "total_input_tokens": "100000", "total_output_tokens": "30000"},
        **{"request_throughput": "2.5", "request_goodput:": "", "total_token_throughput": "2000"},
        **{"mean_ttft_ms": "80", "median_ttft_ms": "70", "p99_ttft_ms": "99", "mean_tpot_ms": "10"},
        **{"std_tpot_ms": "1", "mean_itl_ms": "11", "max_concurrent_requests": "66", "ttfts": ""},
    }
    found = measurements_from_csv(table(row), "x")
    assert found.points == (Point(1000.0, 300.0, 0.01, concurrency=64.0, ttft=0.08, line=2),)
    assert {"median_ttft_ms", "mean_itl_ms", "num_prompts"} <= set(found.left_out)


def test_where_no_concurrency_was_set_littles_law_says_how_many_decode() -> None:
    row = without("concurrency", max_concurrency="None", request_throughput="2.5")
    (found,) = points(row)
    assert (found.concurrency, found.running) == (0.0, pytest.approx(2.5 * 300 * 0.0125))


def test_what_aiperf_writes() -> None:
    row = {
        "Concurrency": "16",
        "Input Sequence Length (tokens)": "1000",
        "Output Sequence Length (tokens)": "300",
        "Inter Token Latency (ms)": "9",
        "Time To First Token (ms)": "110",
    }
    assert points(row) == (Point(1000.0, 300.0, 0.009, concurrency=16.0, ttft=0.11, line=2),)


def test_what_inference_perf_writes_is_in_seconds() -> None:
    row = {
        "successes.throughput.requests_per_sec": "2",
        "successes.latency.request_latency.mean": "3",
        "successes.latency.normalized_time_per_output_token.mean": "0.02",
        "successes.latency.time_per_output_token.mean": "0.01",
        "successes.latency.time_per_output_token.p90": "0.05",
        "successes.latency.time_to_first_token.mean": "0.1",
        "successes.prompt_len.mean": "1000",
        "successes.output_len.mean": "300",
    }
    assert points(row) == (Point(1000.0, 300.0, 0.01, running=6.0, ttft=0.1, line=2),)


def test_the_median_counts_where_there_is_no_mean() -> None:
    (found,) = points(without("tpot_ms", p99_tpot_ms="90", median_tpot_ms="10"))
    assert found.tpot == 0.01


@pytest.mark.parametrize("name", PLAIN)
def test_a_column_that_is_missing_is_named(name: str) -> None:
    said = message(table(without(name)))
    assert "line 1" in said
    assert name.removesuffix("_ms") in said


@pytest.mark.parametrize(("slip", "meant"), [("concurency", "concurrency"), ("tfft_ms", "ttft_ms")])
def test_a_slip_is_not_passed_over(slip: str, meant: str) -> None:
    said = message(table(PLAIN | {slip: "1"}))
    assert f"there is no column {slip}. Near: {meant}." in said


def test_a_time_must_say_its_unit() -> None:
    assert "the column itl does not say its unit. Name it itl_ms or itl_s." in message(
        table(without("tpot_ms", itl="3"))
    )


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("value", ["x", "", "-1", "nan", "1e30", "inf"])
def test_what_is_no_number_is_named_with_its_line(name: str, value: str) -> None:
    said = message(table(PLAIN, PLAIN | {name: value}))
    assert "line 3" in said
    assert name in said


def test_lines_of_another_length_and_columns_that_are_there_twice() -> None:
    assert "line 3: has 2 cells, and the header 4" in message(table(PLAIN) + "1,2\n")
    assert "has in twice" in message("in,in,out\n1,2,3\n")
    assert "holds no measurements" in message("")
    assert "holds no measurements" in message(table(PLAIN).splitlines()[0])


def test_every_name_is_known_once() -> None:
    every = [name for names in NAMES.values() for name in names]
    assert len(every) == len(set(every))


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(WireError):
        assert measurements_from_csv(text, "x").points
