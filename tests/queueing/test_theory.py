"""The chain against textbook queues and against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.queueing.analysis import analyze, highest_rate
from flyball.queueing.chain import geometric_tail, prepare, steady_state
from flyball.queueing.curves import ChunkedCurve
from flyball.queueing.negative_binomial import log_cdf, log_gamma, top_share
from flyball.queueing.percentiles import quantiles, wait_tail
from tests.queueing.builders import brute, chunked, lanes, straight

INF = lanes(math.inf)


@given(st.floats(0.01, 0.98), st.floats(0.1, 10))
def test_mm1(rho: float, service: float) -> None:
    # N = 1, unbounded: W = rho / (mu - lambda)
    found = analyze(straight(service, 0.0, 1), INF, lanes(rho / service))
    assert found.wait_time[0] == pytest.approx(rho * service / (1 - rho), rel=1e-9)
    assert found.in_batch[0] == pytest.approx(rho, rel=1e-9)
    assert found.blocking[0] == 0.0


@given(st.floats(0.05, 3.0), st.integers(1, 60))
def test_mm1k_blocking(rho: float, queue: int) -> None:
    # P(block) = (1 - rho) rho^K / (1 - rho^(K+1)), K = Q + 1, also at and beyond rho = 1
    found = analyze(straight(1.0, 0.0, 1), lanes(queue), lanes(rho))
    p = rho ** np.arange(queue + 2)
    assert found.blocking[0] == pytest.approx(p[-1] / p.sum(), rel=1e-9)
    assert found.waiting[0] == pytest.approx(
        (np.arange(queue + 2) - 1)[1:] @ p[1:] / p.sum(), rel=1e-8, abs=1e-12
    )


@given(st.floats(0.1, 40.0), st.integers(1, 40))
def test_erlang_b(load: float, servers: int) -> None:
    # flat curve, no waiting room: M/M/c/c
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    found = analyze(straight(1.0, 0.0, servers), lanes(0), lanes(load))
    assert found.blocking[0] == pytest.approx(blocked, rel=1e-9, abs=1e-15) or found.in_batch[
        0
    ] == pytest.approx(load * (1 - blocked), rel=1e-9)
    assert found.throughput[0] == pytest.approx(load * (1 - blocked), rel=1e-9)


@given(st.floats(0.1, 0.97), st.integers(1, 30))
def test_erlang_c_wait_and_its_quantile(utilization: float, servers: int) -> None:
    load = utilization * servers
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    waits = blocked / (1 - utilization * (1 - blocked))
    curve = straight(1.0, 0.0, servers)
    found = analyze(curve, INF, lanes(load))
    assert found.wait_time[0] == pytest.approx(waits / (servers - load), rel=1e-8)
    expected = max(0.0, math.log(waits / 0.05) / (servers - load))
    assert quantiles(curve, INF, lanes(load), "wait", 0.95)[0] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_processor_sharing_of_unlimited_batch() -> None:
    # tau(n) = s n is M/M/1 processor sharing: R = s / (1 - rho)
    found = analyze(straight(0.0, 0.5, 4000), lanes(0), lanes(1.6))
    assert found.response_time[0] == pytest.approx(0.5 / (1 - 0.8), rel=1e-9)


@given(
    st.floats(0.001, 1.0),
    st.floats(1e-5, 0.3),
    st.integers(1, 300),
    st.integers(0, 40),
    st.floats(0.01, 1.6),
)
def test_any_curve_against_brute_force(
    base: float, slope: float, batch: int, queue: int, load: float
) -> None:
    curve = straight(base, slope, batch)
    rate = load * highest_rate(curve)[0]
    p = brute(curve, queue, rate)
    n = np.arange(p.size)
    found = analyze(curve, lanes(queue), lanes(rate))
    inside = np.minimum(n, batch)
    assert found.in_batch[0] == pytest.approx(inside @ p, rel=1e-8)
    assert found.waiting[0] == pytest.approx((n - inside) @ p, rel=1e-7, abs=1e-12)
    assert found.throughput[0] == pytest.approx(rate * (1 - p[-1]), rel=1e-9)


@given(
    st.integers(200, 6000),
    st.integers(1, 60),
    st.integers(2, 250),
    st.floats(0.05, 1.3),
    st.sampled_from([0, 7]),
)
def test_chunked_prefill_against_brute_force(L: int, m: int, batch: int, load: float, queue: int) -> None:
    curve = chunked(batch=batch, in_tokens=L, out_tokens=m, budget=2048)
    rate = load * highest_rate(curve)[0]
    p = brute(curve, queue, rate)
    found = analyze(curve, lanes(queue), lanes(rate))
    assert found.in_batch[0] == pytest.approx(np.minimum(np.arange(p.size), batch) @ p, rel=1e-8)
    assert found.throughput[0] == pytest.approx(rate * (1 - p[-1]), rel=1e-9)


@pytest.mark.parametrize(("L", "m", "batch"), [(30_000, 4, 256), (200_000, 2, 64), (8000, 8, 500)])
@pytest.mark.parametrize("between", [0.0, 0.3, 0.9])
def test_where_many_chunks_make_a_full_batch_the_slowest(L: int, m: int, batch: int, between: float) -> None:
    """mu(n) has its peak at a small batch: a load between mu(N) and the peak fills the batch all the same."""
    curve = chunked(batch=batch, in_tokens=L, out_tokens=m)
    n = np.arange(1.0, batch + 1.0)
    mu = n / curve.residence_time(n[:, None])[:, 0]
    assert mu.max() > 2.0 * mu[-1]
    rate = mu[-1] + between * (mu.max() - mu[-1])
    p = brute(curve, 40, rate)
    found = analyze(curve, lanes(40), lanes(rate))
    assert found.in_batch[0] == pytest.approx(np.minimum(np.arange(p.size), batch) @ p, rel=1e-8)
    assert found.throughput[0] == pytest.approx(rate * (1 - p[-1]), rel=1e-8)


@given(st.integers(1, 8000), st.integers(1, 500), st.integers(1, 600), st.integers(64, 16384))
def test_chunk_count_is_the_first_that_fits(L: int, m: int, n: int, budget: int) -> None:
    k = 1
    while (k + m) * (budget - L / k) < n * (L + m):
        k += 1
    assert chunked(in_tokens=L, out_tokens=m, budget=budget).chunks(lanes(n))[0] == k


@given(st.floats(0.02, 40), st.integers(1, 400), st.floats(0.01, 0.995))
def test_top_share(r: float, n: int, x: float) -> None:
    from flyball.queueing.negative_binomial import log_binomial

    log_p = np.cumsum(np.log(x * (r + np.arange(n)) / np.arange(1, n + 1)))
    p = np.exp(np.concatenate([[0.0], log_p]) - max(0.0, log_p.max()))
    found = top_share(lanes(x), lanes(r), lanes(n), log_binomial(lanes(r), lanes(n)))
    assert found[0] == pytest.approx(p[-1] / p.sum(), rel=1e-9, abs=1e-18)


@given(st.floats(0.02, 400), st.integers(0, 400), st.floats(0.01, 0.995))
def test_log_cdf(r: float, n: int, x: float) -> None:
    log_p = r * np.log1p(-x) + np.concatenate(
        [[0.0], np.cumsum(np.log(x * (r + np.arange(n)) / np.arange(1, n + 1)))]
    )
    expected = log_p.max() + np.log(np.exp(log_p - log_p.max()).sum())
    assert log_cdf(lanes(x), lanes(r), lanes(n))[0] == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(
    st.floats(0.001, 1.0),
    st.floats(1e-3, 0.3),
    st.integers(13, 300),
    st.floats(0.05, 0.99),
    st.integers(-1, 300),
)
def test_distribution_at_a_threshold_in_closed_form(
    base: float, slope: float, batch: int, load: float, threshold: int
) -> None:
    curve = straight(base, slope, batch)
    rate = load * highest_rate(curve)
    found = prepare(curve, INF, closed=True).states.below(rate, np.array([[float(threshold)]]))
    p = brute(curve, 0, rate[0])
    assert found.upto is not None
    assert found.upto[0, 0] == pytest.approx(p[: threshold + 1].sum(), rel=1e-8, abs=1e-12)


@given(st.floats(1e-3, 1e5))
def test_log_gamma(z: float) -> None:
    assert log_gamma(lanes(z))[0] == pytest.approx(math.lgamma(z), rel=1e-13, abs=1e-13)


@given(st.one_of(st.floats(0.0, 3.0), st.floats(0.9999, 1.0001)), st.integers(0, 500))
def test_geometric_tail(rho: float, queue: int) -> None:
    j = np.arange(1, queue + 1, dtype=float)
    scale, tail, first, last = (v[0] for v in geometric_tail(lanes(rho), lanes(queue)))
    powers = np.power(rho, j) if scale == 1.0 else np.power(rho, j - queue)
    assert tail == pytest.approx(powers.sum(), rel=1e-7, abs=1e-200)
    assert first == pytest.approx(j @ powers, rel=1e-7, abs=1e-200)
    assert last == pytest.approx(powers[-1] if queue else 1.0, rel=1e-7, abs=1e-200)


@given(st.floats(0.3, 2.0), st.integers(1, 50), st.floats(0.0, 20.0))
def test_bounded_wait_tail_is_a_mixture_of_erlangs(rho: float, queue: int, time: float) -> None:
    def erlang(stages: int) -> float:  # P(Erlang(stages, 1) > time)
        return sum(
            math.exp(-time + i * math.log(time) - math.lgamma(i + 1)) if time else float(i == 0)
            for i in range(stages)
        )

    full = 1.0 / sum(rho**j for j in range(queue))
    expected = sum(full * rho**j * erlang(j + 1) for j in range(queue))
    found = wait_tail(lanes(full), lanes(time), lanes(rho), lanes(1.0), lanes(queue))[0]
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-12)


@given(
    st.sampled_from(["ttft", "itl", "e2e"]), st.floats(0.2, 0.95), st.integers(0, 30), st.floats(0.5, 0.99)
)
def test_quantiles_against_brute_force(metric: str, load: float, queue: int, q: float) -> None:
    curve = chunked(batch=24)
    rate = load * highest_rate(curve)[0]
    p = brute(curve, queue, rate)
    batch = 24
    mu = batch / curve.residence_time(lanes(batch))[0]

    def value(n: int) -> float:
        at = lanes(n)
        return {
            "ttft": curve.prefill_at(at)[0] + curve.itl_at(at)[0],
            "itl": curve.itl_at(at)[0],
            "e2e": curve.residence_time(at)[0],
        }[metric]

    time = quantiles(curve, lanes(queue), lanes(rate), metric, q)[0]  # type: ignore[arg-type]

    def late(limit: float) -> float:
        total = 0.0
        for found, share in enumerate(p[:-1]):
            base = value(min(found + 1, batch))
            if found < batch or metric == "itl":
                total += share * (base > limit)
            else:
                slack = limit - base
                stages, x = found - batch + 1, mu * max(slack, 0.0)
                tail = sum(
                    math.exp(-x + i * math.log(x) - math.lgamma(i + 1)) if x else float(i == 0)
                    for i in range(stages)
                )
                total += share * (1.0 if slack < 0 else tail)
        return total / (1 - p[-1])

    assert late(time * (1 + 1e-9)) <= 1 - q + 1e-9
    assert late(time * (1 - 1e-6)) >= 1 - q - 1e-6


def test_unstable_queue_waits_for_ever() -> None:
    curve = chunked()
    found = analyze(curve, INF, 1.2 * highest_rate(curve))
    assert math.isinf(found.wait_time[0])
    assert math.isinf(found.ttft[0])
    assert found.throughput[0] == pytest.approx(highest_rate(curve)[0] / 0.999)
    assert found.utilization[0] == 1.0
    assert math.isinf(quantiles(curve, INF, 1.2 * highest_rate(curve), "ttft", 0.5)[0])


def test_no_load_is_the_limit_of_little_load() -> None:
    curve = chunked()
    idle, little = analyze(curve, INF, lanes(0.0)), analyze(curve, INF, 1e-6 * highest_rate(curve))
    assert idle.ttft[0] == pytest.approx(little.ttft[0], rel=1e-4)
    assert idle.itl[0] == pytest.approx(little.itl[0], rel=1e-4)
    assert idle.in_batch[0] == 0.0
    assert idle.throughput[0] == 0.0


def test_lanes_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(5)
    from flyball.queueing.curves import ChunkedCurve

    count = 300
    columns = [
        np.floor(np.exp(rng.uniform(0, 6, count))) + 1,
        rng.uniform(0.002, 0.3, count),
        rng.uniform(0, 1e-3, count),
        rng.uniform(0, 1e-6, count),
        np.floor(rng.uniform(0, 7000, count)),
        np.floor(rng.uniform(1, 900, count)),
        np.full(count, 8192.0),
    ]
    curve = ChunkedCurve(*columns)
    queue = rng.choice([0.0, 3.0, 256.0, math.inf], count)
    rate = rng.uniform(0.01, 0.99, count) * highest_rate(curve)
    together = analyze(curve, queue, rate)
    for i in range(0, count, 17):
        alone = analyze(ChunkedCurve(*(c[i : i + 1] for c in columns)), queue[i : i + 1], rate[i : i + 1])
        for name in ("throughput", "ttft", "itl", "in_batch"):
            assert getattr(alone, name)[0] == pytest.approx(getattr(together, name)[i], rel=1e-9)


def test_closed_form_and_recursion_meet() -> None:
    for batch in (13, 100, 2000):
        for base, slope in ((1.0, 1e-3), (0.01, 0.2), (5.0, 1e-4)):
            curve = straight(base, slope, batch)
            for load in (0.1, 0.9, 0.999):
                rate = load * highest_rate(curve)
                if rate[0] * slope >= 0.9995:
                    continue
                a = steady_state(prepare(curve, lanes(3), closed=True), rate)
                b = steady_state(prepare(curve, lanes(3), closed=False), rate)
                assert a.in_batch[0] == pytest.approx(b.in_batch[0], rel=1e-9)
                assert a.blocking[0] == pytest.approx(b.blocking[0], rel=1e-9, abs=1e-14)


def test_the_table_sums_what_brute_force_sums_in_lanes_of_all_kinds() -> None:
    # short and long, straight and bent, nearly idle, saturated and far beyond: each as if it were alone
    shapes = [(3, 256), (64, 256), (900, 700), (900, 7000), (2500, 400), (65_536, 100)]
    loads = (1e-3, 0.4, 0.999, 1.5, 1e6)
    curves = [chunked(batch, in_tokens=prompt) for batch, prompt in shapes for _ in loads]
    fields = ("max_batch_size", "alpha", "beta", "gamma", "in_tokens", "out_tokens", "tokens_per_iteration")
    several = ChunkedCurve(*(np.concatenate([getattr(c, name) for c in curves]) for name in fields))
    assert 0 < several.linear.sum() < len(curves)
    rate = highest_rate(several) * np.tile(loads, len(shapes))
    limit = several.max_batch_size
    threshold = np.stack([np.full(limit.size, -1.0), np.zeros(limit.size), np.floor(limit / 3), limit])
    found = prepare(several, 0.0 * rate, closed=False).states.below(rate, threshold)
    assert found.upto is not None
    for i, curve in enumerate(curves):
        n = np.arange(1.0, limit[i] + 1.0)
        logs = np.cumsum(np.log(rate[i] * curve.residence_time(n) / n), out=np.zeros(n.size))
        p = np.exp(np.concatenate([[0.0], logs]) - max(logs.max(), 0.0))
        p /= p.sum()
        assert found.mean[i] == pytest.approx(p[1:] @ n, rel=1e-9)
        assert found.top_share[i] == pytest.approx(p[-1], rel=1e-8, abs=1e-15)
        upto = [p[: int(t) + 1].sum() for t in threshold[:, i]]
        assert found.upto[:, i] == pytest.approx(upto, rel=1e-8, abs=1e-15)
