"""A mixture of experts is sized by tangents; what they find is what the true, concave form says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.queueing.analysis import analyze
from flyball.queueing.arrays import FloatArray
from flyball.queueing.iteration import IterationCurve, iteration_curve, occupancy, with_experts
from flyball.solve.candidates import Candidates, candidates
from flyball.spec.accelerator import Accelerator
from flyball.spec.fleet import Fleet
from flyball.spec.profile import IterationTiming, Profile
from flyball.spec.server import Load, Server
from flyball.spec.service_class import Metric, ModelTargets, ServiceClass, Target

TIMING = IterationTiming(14e-3, 60e-6, 9e-9, 60e-6, epsilon=30e-3, experts=128, experts_per_token=8)
ASLEEP = IterationTiming(14e-3, 60e-6, 9e-9, 60e-6)
AWAKE = IterationTiming(14e-3 + 30e-3 * 120 / 128, 60e-6, 9e-9, 60e-6)


def sized(timing: IterationTiming, metric: Metric = "itl", limit: float = 0.05) -> Candidates:
    """One server of requests of 1000 and 300 tokens, on an accelerator with this timing."""
    return candidates(
        Fleet(
            accelerators=(Accelerator("H100x8", type="H100", multiplicity=8, cost=24.0),),
            profiles=(Profile("m", "H100x8", timing),),
            service_classes=(ServiceClass("c", 1, (ModelTargets("m", (Target(metric, limit),)),)),),
            servers=(Server("s", "m", "c", load=Load(20, 1000, 300)),),
        )
    )


def at(rate: float) -> IterationCurve:
    """The curve that touches the true one at the batch that a rate leads to."""

    def around(n: FloatArray) -> IterationCurve:
        t = TIMING
        line = with_experts(*(np.array([v]) for v in (t.alpha, t.beta, t.epsilon, t.untouched)), n)
        return iteration_curve(*line, *(np.array([v]) for v in (t.kappa, t.delta, 1000.0, 300.0, 256.0)))

    return around(occupancy(around, np.array([rate]), np.array([256.0])))


@pytest.mark.parametrize(("metric", "limit"), [("itl", 0.03), ("itl", 0.045), ("itl", 0.06), ("ttft", 0.17)])
def test_a_replica_just_meets_its_target(metric: Metric, limit: float) -> None:
    found = sized(TIMING, metric, limit)
    metrics = analyze(at(found.max_rate[0]), np.array([np.inf]), found.max_rate)
    assert getattr(metrics, metric)[0] == pytest.approx(limit, rel=2e-3)
    shown = analyze(at(20 / found.replicas[0]), np.array([np.inf]), 20 / found.replicas)
    assert (found.itl[0], found.ttft[0]) == pytest.approx((shown.itl[0], shown.ttft[0]), rel=1e-6)


@given(st.floats(0.02, 0.08))
def test_between_all_asleep_and_all_awake(limit: float) -> None:
    asleep, found, awake = (sized(t, limit=limit) for t in (ASLEEP, TIMING, AWAKE))
    assert awake.max_rate[0] <= found.max_rate[0] * (1 + 1e-6)
    assert found.max_rate[0] <= asleep.max_rate[0] * (1 + 1e-6)


def test_what_only_few_experts_reach() -> None:
    # with most experts awake an iteration lasts 44 ms: only a batch of two or three is within 20 ms
    found = sized(TIMING, limit=0.02)
    assert found.excluded[0] == 0
    assert 0 < found.max_rate[0] < 0.6
    assert sized(AWAKE, limit=0.02).excluded[0] > 0
    # and nothing is within what one request takes
    assert sized(TIMING, limit=0.014).excluded[0] > 0
