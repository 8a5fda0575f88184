"""What one replica delivers at a given load: rates, occupancy and mean latencies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flyball.queueing.arrays import FloatArray, IntArray
from flyball.queueing.chain import (
    CLOSED_FORM_LIMIT,
    Replicas,
    Steady,
    has_closed_form,
    in_blocks,
    steady_state,
)
from flyball.queueing.curves import Curve
from flyball.queueing.iteration import IterationCurve

EPSILON = 0.001
"""Loads are considered from EPSILON mu(1) to (1 - EPSILON) mu(N), as in the original."""


@dataclass(frozen=True, eq=False)
class Metrics:
    """Means of (C,) replicas. Seconds, requests, requests per second."""

    arrival_rate: FloatArray
    throughput: FloatArray
    """Completed; less than offered where requests are blocked or the queue is unstable."""
    blocking: FloatArray
    in_batch: FloatArray
    waiting: FloatArray
    utilization: FloatArray
    """in_batch / max_batch_size, 0 to 1."""
    wait_time: FloatArray
    prefill: FloatArray
    itl: FloatArray
    ttft: FloatArray
    response_time: FloatArray


def empty_metrics(size: int) -> Metrics:
    """Metrics of `size` lanes, all nan, to be filled."""
    return Metrics(*(np.full(size, np.nan) for _ in range(11)))


def metrics_of(replicas: Replicas, state: Steady) -> Metrics:
    """Read the latencies off a steady state."""
    prefill, itl, ttft = replicas.curve.latencies(state.in_batch, state.residence_time, state.wait_time)
    utilization = np.clip(state.in_batch / replicas.curve.max_batch_size, 0.0, 1.0)
    return Metrics(
        state.arrival_rate,
        state.throughput,
        state.blocking,
        state.in_batch,
        state.waiting,
        utilization,
        state.wait_time,
        prefill,
        itl,
        ttft,
        response_time(replicas.curve, state, itl, ttft),
    )


def response_time(curve: Curve, state: Steady, itl: FloatArray, ttft: FloatArray) -> FloatArray:
    """Mean seconds from arrival to the last token."""
    if isinstance(curve, IterationCurve):
        return ttft + curve.decodes * itl
    return state.wait_time + state.residence_time


def analyze(curve: Curve, queue_size: FloatArray, rate: FloatArray) -> Metrics:
    """Metrics of (C,) replicas at (C,) arrival rates >= 0; rate 0 is the limit of an idle replica."""
    result = empty_metrics(rate.size)
    served = np.maximum(rate, 1e-9 * lowest_rate(curve))
    closed = has_closed_form(curve) & (served * curve.slope < CLOSED_FORM_LIMIT)
    for lanes, replicas in in_blocks(curve, queue_size, closed):
        part = metrics_of(replicas, steady_state(replicas, served[lanes]))
        store(result, lanes, part)
    idle = rate <= 0
    for name in ("arrival_rate", "throughput", "blocking", "in_batch", "waiting", "utilization", "wait_time"):
        values: FloatArray = getattr(result, name)
        values[idle] = 0.0
    return result


def store(into: Metrics, lanes: IntArray, part: Metrics) -> None:
    """Write the metrics of some lanes to their places."""
    for name, value in vars(part).items():
        getattr(into, name)[lanes] = value


def lowest_rate(curve: Curve) -> FloatArray:
    """EPSILON mu(1)."""
    return EPSILON / curve.residence_time(np.ones_like(curve.max_batch_size))


def highest_rate(curve: Curve) -> FloatArray:
    """(1 - EPSILON) mu(N)."""
    n = curve.max_batch_size
    return n / curve.residence_time(n) * (1.0 - EPSILON)
