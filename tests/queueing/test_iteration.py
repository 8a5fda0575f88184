"""What a request sees of the iterations of Flyball's own form: against a simulation of nothing but them."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.queueing.analysis import analyze, highest_rate
from flyball.queueing.arrays import FloatArray
from flyball.queueing.iteration import IterationCurve, Seen, iteration_curve, occupancy, with_experts
from flyball.queueing.laws import Law, normal_tail
from flyball.queueing.percentiles import QuantileTarget, quantile_rows, quantiles
from flyball.queueing.sizing import STABILITY, Targets, size
from tests.queueing.builders import lanes

INF = lanes(math.inf)
NONE = lanes(math.inf)


def own(
    in_tokens: float = 1500, out_tokens: float = 250, batch: float = 256, cov: tuple[float, float] = (0, 0)
) -> IterationCurve:
    """Llama-3.1-70B on four H100."""
    values = (15.1474e-3, 32.74e-6, 26.655e-9, 60.831e-6, in_tokens, out_tokens, batch)
    return iteration_curve(*(lanes(v) for v in values), in_cov=lanes(cov[0]), out_cov=lanes(cov[1]))


def mixture(around: FloatArray, gamma: float = 0.0) -> IterationCurve:
    """A mixture of 128 experts, 8 for a token, at a batch of `around`."""
    line = with_experts(*(lanes(v) for v in (14e-3, 60e-6, 30e-3, 1 - 8 / 128)), around)
    return iteration_curve(*line, *(lanes(v) for v in (9e-9, 60e-6, 1000, 300, 256)), gamma=lanes(gamma))


def prefills(rho: float, base: float, fit: float, count: int = 60_000) -> FloatArray:
    """Times to the first token of Poisson arrivals. An iteration lasts `base` + its prompts (one second
    each), up to `fit` of them, first come, first served; it computes who was there when it began."""
    arrivals = np.cumsum(np.random.default_rng(1).exponential(1.0 / rho, count))
    done = np.empty(count)
    now, head, work = 0.0, 0, 1.0
    while head < count:
        room, end = fit, head
        while end < count and arrivals[end] <= now and room > 1e-12:
            part = min(work, room)
            room, work = room - part, work - part
            if work <= 1e-12:
                end, work = end + 1, 1.0
        now += base + (fit - room)
        done[head:end] = now
        head = end
    return done - arrivals


@pytest.mark.parametrize(
    ("rho", "base", "fit", "within"),
    [
        # the budget is far: the moments are exact
        (0.2, 0.1, 40, 0.015),
        (0.6, 0.5, 40, 0.02),
        (0.6, 0.1, 40, 0.02),
        (0.8, 0.1, 40, 0.03),
        # it always binds, and one prompt fills it just: the model counts others who are never there
        (0.6, 0.1, 1, 0.15),
        # between
        (0.4, 0.1, 1.37, 0.12),
        (0.8, 0.1, 1.37, 0.10),
        (0.8, 0.1, 2.05, 0.10),
        (0.6, 0.5, 2.05, 0.10),
    ],
)
def test_prefill_against_iterations_alone(rho: float, base: float, fit: float, within: float) -> None:
    # decodes cost nothing, and are so many that the replica never stands still
    tokens = 8000.0
    occupancy = rho * 5000.0 * base / (1.0 - rho)
    values = (base, 0.0, 0.0, 1.0 / tokens, tokens, 5000.0, 1e6)
    curve = iteration_curve(*(lanes(v) for v in values), fit * tokens + occupancy)
    law = Seen(curve, lanes(occupancy), lanes(occupancy / rho)).prefill_law()
    found = prefills(rho, base, fit)[500:]
    assert law.mean[0] == pytest.approx(found.mean(), rel=within)
    assert law.deviation[0] == pytest.approx(found.std(), rel=2.5 * within)
    if base < rho:
        assert law.quantile(0.95)[0] == pytest.approx(np.quantile(found, 0.95), rel=0.12)


def test_spread_prompts_wait_longer_for_each_other() -> None:
    rate = lanes(5.05)
    narrow, wide = (analyze(own(cov=cov), INF, rate) for cov in ((0, 0), (0.8, 0)))
    assert narrow.ttft[0] < wide.ttft[0]
    assert narrow.itl[0] == pytest.approx(wide.itl[0], rel=0.01)
    tails = [quantiles(own(cov=cov), INF, rate, "ttft", 0.95)[0] for cov in ((0, 0), (0.8, 0))]
    assert tails[1] > 1.3 * tails[0]


def test_golden() -> None:
    # plant, 100,000 requests: 0.187, 0.388, 0.550; 32.9, 42.3, 46.9 ms
    curve = own()
    rate = 0.6 * highest_rate(curve) / 0.999
    found = analyze(curve, INF, rate)
    rows = quantile_rows(curve, INF, rate, [("ttft", 0.95), ("ttft", 0.99), ("itl", 0.95), ("itl", 0.99)])
    assert found.ttft[0] == pytest.approx(0.187, rel=0.01)
    assert found.itl[0] == pytest.approx(0.0329, rel=0.01)
    assert rows[:, 0] == pytest.approx([0.388, 0.550, 0.0423, 0.0469], rel=0.05)


@given(st.floats(0.05, 0.95))
def test_a_batch_of_one_is_a_single_server_queue(load: float) -> None:
    # M/D/1 waits half as long as M/M/1, and so does every quantile of those that wait
    for cov, share in ((0.0, 0.5), (1.0, 1.0)):
        values = (0.01, 0.0, 0.0, 0.0, 100.0, 50.0, 1.0)
        curve = iteration_curve(*(lanes(v) for v in values), out_cov=lanes(cov))
        service = 0.01 * 50
        found = analyze(curve, INF, lanes(load / service))
        assert found.wait_time[0] == pytest.approx(share * service * load / (1 - load), rel=1e-6)


def test_an_idle_replica_answers_at_once() -> None:
    curve = own()
    found = analyze(curve, INF, lanes(0.0))
    alone = curve.alpha[0] + curve.prompt[0]
    assert found.ttft[0] == pytest.approx(alone, rel=1e-4)
    assert quantiles(curve, INF, lanes(1e-6), "ttft", 0.99)[0] == pytest.approx(alone, rel=1e-3)
    assert found.itl[0] == pytest.approx(curve.alpha[0] + curve.decode[0], rel=1e-4)


SHAPES = st.tuples(st.integers(0, 20_000), st.integers(1, 2000), st.integers(1, 300))


@given(SHAPES, st.floats(0.0, 1.5), st.floats(0.0, 1.5), st.floats(0.01, 0.95))
def test_latencies_are_finite_and_in_order(
    shape: tuple[int, int, int], in_cov: float, out_cov: float, load: float
) -> None:
    curve = own(*shape, cov=(in_cov, out_cov))
    rate = load * highest_rate(curve)
    found = analyze(curve, INF, rate)
    assert 0 < curve.alpha[0] <= found.itl[0] < math.inf
    assert curve.alpha[0] + curve.prompt[0] <= found.ttft[0] * (1 + 1e-9) < math.inf
    for metric in ("ttft", "itl", "wait", "e2e"):
        rows = quantile_rows(curve, INF, rate, [(metric, q) for q in (0.5, 0.9, 0.95, 0.99)])[:, 0]  # type: ignore[misc]
        assert np.isfinite(rows).all()
        assert (np.diff(rows) >= -1e-9).all()


@given(st.tuples(st.integers(0, 20_000), st.integers(1, 2000), st.integers(4, 300)), st.floats(0.0, 1.0))
def test_more_load_is_never_faster(shape: tuple[int, int, int], in_cov: float) -> None:
    curve = own(*shape, cov=(in_cov, 0.0))
    before = np.zeros(2)
    for load in np.linspace(0.02, 0.95, 12):
        found = analyze(curve, INF, load * highest_rate(curve))
        now = np.array([found.ttft[0], found.itl[0]])
        assert (now >= before * (1 - 2e-3)).all()
        before = now


@given(SHAPES, st.sampled_from(["ttft", "itl", "e2e"]), st.floats(0.8, 0.99), st.floats(1.05, 6.0))
def test_sizing_meets_its_targets(shape: tuple[int, int, int], metric: str, q: float, factor: float) -> None:
    curve = own(*shape)
    idle = quantiles(curve, INF, 1e-3 * highest_rate(curve), metric, q)[0]  # type: ignore[arg-type]
    limit = lanes(factor * idle)
    target = QuantileTarget(metric, lanes(q), limit)  # type: ignore[arg-type]
    found = size(curve, INF, Targets(NONE, NONE, NONE, NONE, [target]), 0.9 * highest_rate(curve))
    assert found.feasible[0]
    at_rate = quantiles(curve, INF, found.rate, metric, q)[0]  # type: ignore[arg-type]
    assert at_rate <= limit[0] * (1 + 1e-4)
    if found.binding[0] != STABILITY:
        beyond = quantiles(curve, INF, 1.01 * found.rate, metric, q)[0]  # type: ignore[arg-type]
        assert beyond > limit[0] * (1 - 1e-4)


@given(st.floats(-8, 8))
def test_normal_tail(z: float) -> None:
    assert normal_tail(lanes(z))[0] == pytest.approx(NormalDist().cdf(-z), abs=2e-7)


@given(st.floats(0.01, 5.0), st.floats(0.01, 3.0), st.floats(0.55, 0.999))
def test_the_tail_of_a_quantile(over: float, cov: float, q: float) -> None:
    law = Law(lanes(1.0 + over), lanes(cov * over), lanes(1.0))
    time = law.quantile(q)
    if time[0] > 1.0:
        assert law.tail(time)[0] == pytest.approx(1 - q, abs=1e-6)
    else:
        assert law.tail(time + 1e-9)[0] <= 1 - q + 1e-2


def test_a_gamma_law() -> None:
    # shape 4, scale 1: P(X > 7.7537) = 0.05, P(X > 10.0451) = 0.01
    law = Law(lanes(4.0), lanes(2.0), lanes(0.0))
    assert law.quantile(0.95)[0] == pytest.approx(7.7537, rel=2e-3)
    assert law.quantile(0.99)[0] == pytest.approx(10.0451, rel=3e-3)


@given(st.floats(1, 256), st.floats(1, 256), st.integers(1, 64))
def test_experts_by_their_tangent(around: float, n: float, per_token: int) -> None:
    q = 1 - per_token / 64
    alpha, beta = (v[0] for v in with_experts(lanes(1.0), lanes(0.1), lanes(5.0), lanes(q), lanes(around)))
    line = alpha + beta * np.array([around, n])
    true = 1.0 + 0.1 * np.array([around, n]) + 5.0 * (q - q ** np.array([around, n]))
    assert line[0] == pytest.approx(true[0], rel=1e-9)
    assert line[1] >= true[1] - 1e-9


def test_without_experts_the_tangent_is_the_line() -> None:
    found = with_experts(lanes(1.0, 2.0), lanes(0.1, 0.2), lanes(0, 0), lanes(0, 0.9), lanes(1, 256))
    assert np.array(found).tolist() == [[1.0, 2.0], [0.1, 0.2]]
    # a layer with all its experts awake is dense
    found = with_experts(lanes(1.0), lanes(0.1), lanes(5.0), lanes(0.0), lanes(30))
    assert np.array(found).tolist() == [[1.0], [0.1]]


@given(st.floats(0.01, 1.2))
def test_as_many_are_in_the_batch_as_come(load: float) -> None:
    top = 256 / mixture(lanes(256)).residence_time(lanes(256))
    n = occupancy(mixture, load * top, lanes(256))
    if load >= 1:
        assert n[0] == 256
    elif n[0] > 1:
        assert load * top * mixture(n).residence_time(n) == pytest.approx(n, rel=1e-3)


def test_gamma_is_before_the_first_token_only() -> None:
    rate, wanted = lanes(4.0), [("ttft", 0.9), ("itl", 0.9), ("e2e", 0.5), ("wait", 0.9)]
    plain, late = mixture(lanes(64)), mixture(lanes(64), gamma=0.05)
    before, after = analyze(plain, INF, rate), analyze(late, INF, rate)
    assert after.ttft - before.ttft == pytest.approx(lanes(0.05))
    assert after.response_time - before.response_time == pytest.approx(lanes(0.05))
    assert (after.itl, after.prefill, after.wait_time) == (before.itl, before.prefill, before.wait_time)
    rows = quantile_rows(late, INF, rate, wanted) - quantile_rows(plain, INF, rate, wanted)
    assert rows[:, 0] == pytest.approx([0.05, 0, 0.05, 0], abs=1e-6)
