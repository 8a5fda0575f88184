"""The kernel against queues whose laws are known. Iterations are short beside services, so that they flow."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from flyball.simulate.compiled import available
from flyball.simulate.replicas import FloatArray, IntArray, Over, Replicas
from flyball.spec.scenario import Engine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not available(), reason="long runs want numba, which is not installed"),
]

Law = Callable[[np.random.Generator, int, int], IntArray]


def geometric(rng: np.random.Generator, mean: int, size: int) -> IntArray:
    return rng.geometric(1.0 / mean, size)


def fixed(rng: np.random.Generator, mean: int, size: int) -> IntArray:
    return np.full(size, mean)


def two_kinds(rng: np.random.Generator, mean: int, size: int) -> IntArray:
    """Nine in ten are short: squared coefficient of variation 4."""
    return np.where(rng.random(size) < 0.9, mean // 3, 7 * mean).astype(np.int64)


def served(
    engine: Engine, rate: float, size: int, tokens: int, law: Law = geometric, seed: int = 1
) -> tuple[Over, Replicas, float]:
    """Poisson requests of one prompt token at one replica: (all but the first tenth, replica, end)."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1.0 / rate, size))
    ones = np.ones(size, np.int64)
    made = Replicas((engine,), "round_robin")
    made.route.append(made.add(engine))
    end = float(times[-1])
    over = made.run(0.0, end + 1e6, times, ones, law(rng, tokens, size), 0 * ones, times * 0.0)
    columns = [np.concatenate(c) for c in zip(*over, strict=True)]
    whole = Over(*columns)
    return whole.take(whole.arrival > times[size // 10]), made, end + 1e6


def chain(rate: float, tokens: int, time: Callable[[FloatArray], FloatArray], batch: int) -> FloatArray:
    """(4000,) probabilities of n requests where n <= batch of them finish at n / (tokens time(n))."""
    n = np.arange(1, 4000)
    running = np.minimum(n, batch).astype(float)
    p = np.exp(np.concatenate([[0.0], np.cumsum(np.log(rate * tokens * time(running) / running))]))
    return np.asarray(p / p.sum())


def test_one_server_with_exponential_service() -> None:
    # M/M/1: services of about 200 iterations of 5 ms, so mean 1 s
    rho = 0.6
    over, _, _ = served(Engine("m", "a", 0.005, 0.0, 0.0, 0.0, max_sequences=1), rho, 800_000, 200)
    wait = over.first - over.arrival - 0.005
    assert wait.mean() == pytest.approx(rho / (1 - rho), rel=0.03)
    assert (wait > 1e-9).mean() == pytest.approx(rho, rel=0.01)  # waits at all
    for share in (0.9, 0.99):  # P(W > t) = rho exp(-(1 - rho) t)
        law = math.log(rho / (1 - share)) / (1 - rho)
        assert np.quantile(wait, share) == pytest.approx(law, rel=0.05)


@pytest.mark.parametrize(("servers", "rho"), [(2, 0.6), (8, 0.8)])
def test_many_servers_with_exponential_service(servers: int, rho: float) -> None:
    # alpha alone: each of up to c sequences is served at the same rate as alone, which is M/M/c
    engine = Engine("m", "a", 0.001, 0.0, 0.0, 0.0, max_sequences=servers)
    over, _, _ = served(engine, rho * servers, 1_000_000, 1000)
    wait = over.first - over.arrival - 0.001
    load = rho * servers
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    waits = blocked / (1 - rho * (1 - blocked))  # Erlang's C
    assert wait.mean() == pytest.approx(waits / (servers * (1 - rho)), rel=0.03)
    assert (wait > 0.001).mean() == pytest.approx(waits, rel=0.02)
    law = math.log(waits / 0.01) / (servers * (1 - rho))
    assert np.quantile(wait, 0.99) == pytest.approx(law, rel=0.05)


@pytest.mark.parametrize("law", [geometric, fixed, two_kinds])
def test_processor_sharing_does_not_feel_the_law(law: Law) -> None:
    # beta alone: n sequences have a n-th of the speed each; M/G/1-PS: E[T] = E[S] / (1 - rho) for any law
    rho, tokens = 0.6, 300
    engine = Engine("m", "a", 0.0, 1.0 / tokens, 0.0, 0.0, max_sequences=2000)
    over, _, _ = served(engine, rho, 600_000, tokens, law)
    assert (over.finish - over.arrival).mean() == pytest.approx(1 / (1 - rho), rel=0.03)
    # and in proportion to what each needs
    long = over.out_tokens > tokens
    if long.any():
        slowdown = (over.finish - over.arrival)[long] / (over.out_tokens[long] / tokens)
        assert slowdown.mean() == pytest.approx(1 / (1 - rho), rel=0.03)


@pytest.mark.parametrize(
    ("batch", "rate", "size"), [(64, 0.6, 600_000), (16, 0.3, 3_000_000), (4, 0.11, 3_000_000)]
)
def test_the_batching_chain(batch: int, rate: float, size: int) -> None:
    # a birth-death chain with deaths n / (tokens tau(n)), tau(n) = alpha + beta n, waiting above the batch
    alpha, beta, tokens = 0.01, 5e-4, 2000
    engine = Engine("m", "a", alpha, beta, 0.0, 0.0, max_sequences=batch)
    over, made, end = served(engine, rate, size, tokens)

    def tau(n: FloatArray) -> FloatArray:
        return alpha + beta * n

    p = chain(rate, tokens, tau, batch)
    n = np.arange(p.size)
    running = np.minimum(n, batch).astype(float)
    assert rate * (over.finish - over.arrival).mean() == pytest.approx(n @ p, rel=0.03)
    # a token's mean time: requests over tokens a second
    seen = made.counters(0, end)
    itl = (running @ p) / ((running / tau(running)) @ p)
    assert seen.itl_sum / seen.itl.sum() == pytest.approx(itl, rel=0.02)
    # the first token: the queue, what is left of the iteration under way, and one of its own
    begins = tau(np.minimum(n + 1, batch).astype(float)) + np.where(n > 0, tau(running) / 2, 0.0)
    ttft = ((n - running) @ p) / rate + begins @ p
    assert (over.first - over.arrival).mean() == pytest.approx(ttft, rel=0.03)


def test_kv_growth_makes_iterations_longer() -> None:
    engine = Engine("m", "a", 0.001, 0.0, 1e-5, 0.0, max_sequences=1)
    over, _, _ = served(engine, 0.01, 2000, 100)
    n = over.out_tokens.astype(float)
    # prefill finds nothing held; decode j of n - 1 finds 1 + (j - 1)
    assert over.finish - over.first == pytest.approx((n - 1) * 0.001 + 1e-5 * n * (n - 1) / 2, abs=1e-7)
