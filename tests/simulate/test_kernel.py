"""The kernel against the token-by-token reference, and what must hold whatever happens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.simulate.compiled import available
from flyball.simulate.kernel import bucket
from flyball.simulate.layout import BUCKETS
from flyball.simulate.replicas import Over, Replicas
from flyball.spec.scenario import Engine
from tests.simulate import reference

SIMPLE = Engine("m", "a", alpha=0.01, beta=0.001, kappa=1e-5, delta=1e-4)


@st.composite
def cases(draw: st.DrawFn, short: bool = False) -> tuple[Engine, int, str, list[tuple[Any, ...]]]:
    """An engine, replicas, a router and requests: prompts are cut, memory is often (or always) short."""
    block = draw(st.sampled_from([1, 3, 4, 16]))
    gap, tokens_in, tokens_out = (
        draw(st.sampled_from(v)) for v in ([1e-3, 0.05, 1.0], [3, 60, 300], [2, 30, 120])
    )
    if short:
        gap, tokens_in, tokens_out = 1e-3, draw(st.integers(1, 40)), draw(st.integers(20, 120))
    engine = Engine(
        "m",
        "a",
        alpha=draw(st.sampled_from([0.0, 0.01, 0.03])),
        beta=draw(st.sampled_from([1e-3, 2.5e-4])),
        kappa=draw(st.sampled_from([0.0, 1e-5, 1.1e-4])),
        delta=draw(st.sampled_from([0.0, 1e-4, 1.3e-3])),
        epsilon=draw(st.sampled_from([0.0, 0.02])),
        experts=16,
        experts_per_token=draw(st.sampled_from([1, 6, 16])),
        kv_tokens=draw(st.sampled_from([11, 14, 20] if short else [0, 8, 12, 20]))
        * (tokens_in + tokens_out + 10 * block)
        // 10,
        max_sequences=32 if short else draw(st.sampled_from([1, 2, 5, 32])),
        batched_tokens=draw(st.sampled_from([32, 40, 100, 2000])),
        block_size=block,
    )
    seed = draw(st.integers(0, 2**32 - 1))
    size = draw(st.integers(1, 40))
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(gap, size))
    requests = []
    for time in times.tolist():
        n = int(rng.integers(1, tokens_in + 1))
        requests.append(
            (time, n, int(rng.integers(1, tokens_out + 1)), int(rng.integers(0, n)), float(rng.random()))
        )
    return engine, draw(st.sampled_from([1, 2, 5])), draw(st.sampled_from(sorted(ROUTERS))), requests


ROUTERS = ("least_loaded", "random", "round_robin")


def columns(requests: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    kinds = (np.float64, np.int64, np.int64, np.int64, np.float64)
    rows = list(zip(*requests, strict=True)) if requests else [()] * 5
    return tuple(np.array(c, kind) for c, kind in zip(rows, kinds, strict=True))


def replicas_of(engine: Engine, count: int, router: Any, compiled: bool = False) -> Replicas:
    made = Replicas((engine,), router, compiled)
    for _ in range(count):
        made.route.append(made.add(engine))
    return made


def joined(parts: list[Over]) -> np.ndarray[Any, Any]:
    """(n, 6) rows in order of arrival."""
    rows = np.concatenate([np.stack(p, 1) for p in parts]) if parts else np.zeros((0, 6))
    return rows[np.argsort(rows[:, 0], kind="stable")]


def run_all(
    case: tuple[Any, ...], compiled: bool = False, end: float = 1e6
) -> tuple[Replicas, np.ndarray[Any, Any]]:
    engine, count, router, requests = case
    made = replicas_of(engine, count, router, compiled)
    return made, joined(made.run(0.0, end, *columns(requests)))


@settings(max_examples=250)
@given(st.one_of(cases(), cases(short=True)))
def test_equal_to_token_by_token(case: tuple[Any, ...]) -> None:
    engine, count, router, requests = case
    plain = [reference.Request(*r[:4]) for r in requests]
    finished, refused, replicas = reference.simulate(engine, count, router, plain, [r[4] for r in requests])
    made, rows = run_all(case)
    assert made.present == 0
    assert len(rows) == len(requests) == len(finished) + len(refused)
    for request, row in zip(sorted(plain, key=lambda r: r.arrival), rows, strict=True):
        assert row[1] == pytest.approx(request.first, rel=1e-9, abs=1e-9)
        if request.first >= 0:
            assert row[2] == pytest.approx(request.finish, rel=1e-9, abs=1e-9)
            assert row[5] == request.replica
    for replica in replicas:
        found = made.counters(replica.number, 1e6)
        mine = [r for r in finished if r.replica == replica.number]
        assert found.finished == len(mine)
        assert found.preemptions == replica.preemptions
        assert found.tokens == sum(r.out_tokens for r in mine)
        assert found.prompt_tokens == found.queries == sum(r.in_tokens for r in mine)
        assert found.hits == sum(r.cached for r in mine)
        assert found.ttft.sum() == len(mine)
        assert found.ttft_sum == pytest.approx(sum(r.first - r.arrival for r in mine))
        assert found.itl.sum() == len(replica.gaps)
        assert found.itl_sum == pytest.approx(sum(replica.gaps))
        means = [(r.finish - r.first) / (r.out_tokens - 1) for r in mine if r.out_tokens > 1]
        assert found.tpot.sum() == len(means)
        assert found.tpot_sum == pytest.approx(sum(means))
        # Every time is in its bucket; only one that stands at a bucket's edge may be beside it.
        for times, counts in ((replica.gaps, found.itl), (means, found.tpot)):
            expected = np.zeros(BUCKETS, int)
            np.add.at(expected, [bucket(t) for t in times], 1)
            assert np.abs(np.cumsum(expected - counts)).max() <= sum(_on_edge(t) for t in times)


def _on_edge(time: float) -> bool:
    return bucket(time * (1 - 1e-9)) != bucket(time * (1 + 1e-9))


@settings(max_examples=150)
@given(
    st.one_of(cases(), cases(short=True)),
    st.lists(st.floats(0.0, 20.0), max_size=12),
    st.integers(0, 2**32 - 1),
)
def test_pausing_changes_nothing(case: tuple[Any, ...], pauses: list[float], seed: int) -> None:
    engine, count, router, requests = case
    whole, expected = run_all(case)
    made = replicas_of(engine, count, router)
    parts: list[Over] = []
    now = 0.0
    for pause in [*sorted(pauses), 1e6]:
        block = columns([r for r in requests if now <= r[0] < pause])
        parts += made.run(now, pause, *block)
        now = pause
    assert np.array_equal(joined(parts), expected)
    for r in range(count):
        a, b = made.counters(r, 1e6), whole.counters(r, 1e6)
        assert a[:9] == b[:9]
        assert np.array_equal(a.ttft, b.ttft)
        assert np.array_equal(a.tpot, b.tpot)


@settings(max_examples=100)
@given(st.one_of(cases(), cases(short=True)), st.floats(0.0, 5.0))
def test_every_request_is_somewhere(case: tuple[Any, ...], end: float) -> None:
    engine, count, router, requests = case
    block = [r for r in requests if r[0] < end]
    made = replicas_of(engine, count, router)
    rows = joined(made.run(0.0, end, *columns(block)))
    inside = sum(made.load(r) for r in range(count))
    assert made.arrived == len(block) == len(rows) + inside
    for r in range(count):
        seen = made.gauges(r)
        assert seen.running <= min(engine.max_sequences, engine.batched_tokens)
        assert 0.0 <= seen.kv_usage <= 1.0
        assert made.counters(r, end).busy <= end + 1e-9
    lost = sum(made.remove(r, end).size for r in range(count))
    assert lost == inside
    assert made.present == 0


@settings(max_examples=100)
@given(cases())
def test_first_come_first_served_and_kv_within_its_room(case: tuple[Any, ...]) -> None:
    engine, _, _, requests = case
    _, rows = run_all((engine, 1, "least_loaded", requests))
    served = rows[rows[:, 1] >= 0]
    assert np.all(np.diff(served[:, 1]) >= 0.0)  # by arrival, first tokens are in order
    made = replicas_of(engine, 1, "least_loaded")
    now = 0.0
    for end in np.linspace(0.0, 3.0, 25)[1:]:
        made.run(now, end, *columns([r for r in requests if now <= r[0] < end]))
        now = float(end)
        assert made.gauges(0).kv_usage <= 1.0


@given(cases(), st.floats(0.0, 3.0))
def test_a_copy_goes_on_alike_and_apart(case: tuple[Any, ...], at: float) -> None:
    engine, count, router, requests = case
    made = replicas_of(engine, count, router)
    made.run(0.0, at, *columns([r for r in requests if r[0] < at]))
    other = made.copy()
    rest = columns([r for r in requests if r[0] >= at])
    first, second = joined(made.run(at, 1e6, *rest)), joined(other.run(at, 1e6, *rest))
    assert np.array_equal(first, second)


def test_the_cases_are_hard() -> None:
    # Preemption, also of what was preempted before and of prompts half computed, must be among them.
    engine = replace(SIMPLE, kv_tokens=240, batched_tokens=40, max_sequences=32)
    rng = np.random.default_rng(1)
    requests = [(0.001 * i, int(rng.integers(1, 60)), int(rng.integers(20, 120)), 0, 0.0) for i in range(40)]
    plain = [reference.Request(*r[:4]) for r in requests]
    *_, replicas = reference.simulate(engine, 1, "random", plain, [0.0] * 40)
    made, rows = run_all((engine, 1, "random", requests))
    assert made.counters(0, 1e6).preemptions == replicas[0].preemptions > 40
    assert rows[:, 2] == pytest.approx([r.finish for r in plain], rel=1e-9)
    assert replicas[0].most_blocks == replicas[0].total


def test_one_request_by_hand() -> None:
    # 10 prompt tokens, 4 of them cached, 3 tokens out: prefill, then two iterations over 10 and 11 KV tokens
    _, rows = run_all((SIMPLE, 1, "round_robin", [(1.0, 10, 3, 4, 0.0)]))
    first = 1.0 + 0.01 + 0.001 + 4e-5 + 6e-4
    assert rows[0, 1] == pytest.approx(first)
    assert rows[0, 2] == pytest.approx(first + 2 * 0.011 + 21e-5)


def test_requests_wait_at_the_gateway_while_there_is_no_replica() -> None:
    made = Replicas((SIMPLE,), "least_loaded", False)
    assert made.run(0.0, 5.0, *columns([(1.0, 10, 3, 0, 0.0), (2.0, 10, 3, 0, 0.0)])) == []
    assert made.queued == made.present == 2
    made.route.append(made.add(SIMPLE))
    rows = joined(made.run(5.0, 50.0, *columns([])))
    assert made.queued == 0
    assert rows[:, 1].min() == pytest.approx(5.0 + 0.011 + 1e-3)


def test_what_never_fits_is_refused() -> None:
    engine = Engine("m", "a", 0.01, 0.0, 0.0, 0.0, kv_tokens=64)
    _, rows = run_all((engine, 1, "round_robin", [(1.0, 60, 6, 0, 0.0), (1.5, 60, 5, 0, 0.0)]))
    assert rows[0, 1] == -1.0
    assert rows[1, 1] > 0.0


def test_slow_from_the_next_iteration_on() -> None:
    engine = Engine("m", "a", 0.1, 0.0, 0.0, 0.0)
    made = replicas_of(engine, 1, "round_robin")
    made.run(0.0, 0.45, *columns([(0.0, 10, 11, 0, 0.0)]))
    made.slow(0, engine, 2.0, 0.45)
    rows = joined(made.run(0.45, 10.0, *columns([])))
    assert rows[0, 2] == pytest.approx(0.5 + 6 * 0.2)


def test_output_in_several_blocks() -> None:
    size = 20_000
    engine = Engine("m", "a", 1e-4, 0.0, 0.0, 0.0, max_sequences=8)
    times = np.sort(np.random.default_rng(1).uniform(0.0, 100.0, size))
    made = replicas_of(engine, 3, "least_loaded")
    ones = np.ones(size, np.int64)
    rows = joined(made.run(0.0, 1e3, times, ones, ones, 0 * ones, times * 0.0))
    assert len(rows) == size
    assert np.array_equal(rows[:, 0], times)


@pytest.mark.slow
@pytest.mark.skipif(not available(), reason="numba is not installed")
@settings(max_examples=100)
@given(st.one_of(cases(), cases(short=True)))
def test_compiled_is_equal_to_the_last_bit(case: tuple[Any, ...]) -> None:
    plain, expected = run_all(case)
    made, rows = run_all(case, compiled=True)
    assert np.array_equal(rows, expected)
    for r in range(case[1]):
        a, b = plain.counters(r, 1e6), made.counters(r, 1e6)
        assert a[:13] == b[:13]
        for name in ("ttft", "itl", "tpot"):
            assert np.array_equal(getattr(a, name), getattr(b, name))
