"""The inverse problem: the rate found meets every target, and a little more does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.queueing.analysis import analyze, highest_rate, lowest_rate
from flyball.queueing.percentiles import QuantileTarget, quantiles
from flyball.queueing.sizing import STABILITY, Targets, no_targets, size
from tests.queueing.builders import chunked, lanes, straight

NONE = lanes(math.inf)


@given(
    st.integers(1, 400),
    st.floats(0.002, 0.2),
    st.floats(1e-6, 1e-3),
    st.integers(0, 4000),
    st.integers(1, 800),
    st.floats(1.02, 6.0),
    st.floats(1.02, 6.0),
    st.sampled_from([0.0, 16.0, math.inf]),
)
def test_rate_meets_mean_targets_and_is_the_largest(
    batch: int, alpha: float, beta: float, L: int, m: int, ttft: float, itl: float, queue: float
) -> None:
    curve = chunked(batch, alpha, beta, beta / 100, L, m)
    idle = analyze(curve, lanes(queue), lowest_rate(curve))
    targets = Targets(ttft * idle.ttft, itl * idle.itl, NONE, NONE)
    found = size(curve, lanes(queue), targets)
    assert found.feasible[0]
    at = analyze(curve, lanes(queue), found.rate)
    assert at.ttft[0] <= targets.ttft[0] * (1 + 1e-7)
    assert at.itl[0] <= targets.itl[0] * (1 + 1e-7)
    if found.binding[0] == STABILITY:
        assert found.rate[0] == pytest.approx(highest_rate(curve)[0])
    elif curve.linear[0]:
        beyond = analyze(curve, lanes(queue), found.rate * (1 + 1e-5))
        assert beyond.ttft[0] > targets.ttft[0] * (1 - 1e-9) or beyond.itl[0] > targets.itl[0] * (1 - 1e-9)
    assert found.throughput[0] == pytest.approx(at.throughput[0], rel=1e-6)


@given(
    st.sampled_from(["ttft", "itl", "e2e", "wait"]),
    st.floats(0.5, 0.99),
    st.floats(1.05, 8.0),
    st.integers(2, 128),
)
def test_rate_meets_quantile_targets(metric: str, q: float, factor: float, batch: int) -> None:
    curve = chunked(batch)
    idle = quantiles(curve, NONE, lanes(1e-3), metric, q)[0]  # type: ignore[arg-type]
    limit = factor * idle if metric != "wait" else factor * 0.1
    targets = Targets(NONE, NONE, NONE, NONE, [QuantileTarget(metric, lanes(q), lanes(limit))])  # type: ignore[arg-type]
    found = size(curve, NONE, targets)
    assert found.feasible[0]
    assert quantiles(curve, NONE, found.rate * (1 - 1e-6), metric, q)[0] <= limit * (1 + 1e-6)  # type: ignore[arg-type]
    if found.binding[0] != STABILITY:
        assert quantiles(curve, NONE, found.rate * (1 + 1e-4), metric, q)[0] > limit * (1 - 1e-6)  # type: ignore[arg-type]


def test_tighter_targets_never_take_more() -> None:
    curve = chunked()
    before = math.inf
    for limit in np.linspace(0.2, 0.02, 12):
        found = size(curve, lanes(8), Targets(lanes(limit), NONE, NONE, NONE))
        assert found.rate[0] <= before * (1 + 1e-9)
        before = found.rate[0]


def test_no_targets_asks_for_stability_only() -> None:
    curve = chunked()
    found = size(curve, NONE, no_targets(1))
    assert found.binding[0] == STABILITY
    assert found.rate[0] == pytest.approx(highest_rate(curve)[0])


def test_out_of_reach_says_by_how_much() -> None:
    curve = straight(0.1, 0.01, 8)
    found = size(curve, NONE, Targets(NONE, lanes(0.05), NONE, NONE))
    assert not found.feasible[0]
    assert found.rate[0] == 0.0
    assert found.light[1, 0] == pytest.approx(0.11 / 0.05, rel=1e-2)


def test_lanes_without_a_limit_stand_beside_lanes_with_one() -> None:
    curve = straight(0.1, 0.01, 8)
    both = type(curve)(*(np.repeat(column, 2) for column in vars(curve).values()))
    limit = QuantileTarget("e2e", lanes(0.95, 0.95), lanes(0.15, math.inf))
    none = lanes(math.inf, math.inf)
    for queue in (0.0, 40.0, math.inf):
        found = size(both, lanes(queue, queue), Targets(none, none, none, none, [limit]))
        assert found.feasible.all()
        assert found.rate[0] < found.rate[1]
        assert found.binding[1] == STABILITY


# what the original gets wrong: docs/deviations.md


def test_batch_of_one_without_queue_is_served() -> None:
    curve = chunked(batch=1)
    itl = analyze(curve, lanes(0), lanes(0.0)).itl
    found = size(curve, lanes(0), Targets(NONE, 1.5 * itl, NONE, NONE))
    assert found.feasible[0]
    assert found.rate[0] == pytest.approx(highest_rate(curve)[0])
    assert not size(curve, lanes(0), Targets(NONE, 0.9 * itl, NONE, NONE)).feasible[0]


def test_flat_curve_within_and_beyond_its_target() -> None:
    curve = chunked(batch=32, beta=0.0, gamma=0.0, alpha=0.01)
    assert size(curve, lanes(16), Targets(NONE, lanes(0.02), NONE, NONE)).feasible[0]
    assert not size(curve, lanes(16), Targets(NONE, lanes(0.009), NONE, NONE)).feasible[0]


def test_targets_exactly_at_an_idle_replica() -> None:
    curve = chunked(batch=32, beta=0.0, gamma=0.0, alpha=0.01)
    assert size(curve, lanes(0), Targets(NONE, lanes(0.01), NONE, NONE)).feasible[0]


def test_no_prompt_and_one_token() -> None:
    curve = chunked(in_tokens=0, out_tokens=1)
    found = size(curve, lanes(0), Targets(lanes(1.0), lanes(1.0), NONE, NONE))
    assert found.feasible[0]
    assert found.rate[0] > 0
