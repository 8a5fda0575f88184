"""The model of Flyball's own form against the plant, case by case; `benchmarks accuracy` has all."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy import ENGINES, MIXTURE, SHAPES, Case, errors
from flyball.simulate.compiled import available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not available(), reason="the plant needs numba")]
REQUESTS = 60_000
LARGE = ENGINES[:3]


def grid(loads: tuple[float, ...], in_cov: float = 0.0, out_cov: float = 0.0) -> list[Case]:
    return [Case(e, *shape, load, in_cov, out_cov) for e in LARGE for shape in SHAPES for load in loads]


def check(cases: list[Case], worst: list[float], median: list[float]) -> None:
    """Of mean, p95, p99 of ttft, then of tpot."""
    found = np.abs(errors(cases, REQUESTS))
    for i, case in enumerate(cases):
        assert (found[i] <= worst).all(), (case, found[i].round(3))
    assert (np.median(found, axis=0) <= median).all(), np.median(found, axis=0)


def test_fixed_lengths() -> None:
    check(
        grid((0.4, 0.6, 0.75)),
        worst=[0.05, 0.15, 0.16, 0.08, 0.08, 0.06],
        median=[0.01, 0.05, 0.05, 0.01, 0.01, 0.02],
    )


def test_near_capacity() -> None:
    # waits for a place in the batch begin: rare, long, and hard to foretell where the quantile is just
    # between those who wait and those who do not
    check(
        grid((0.9,)),
        worst=[0.12, 0.60, 0.35, 0.08, 0.04, 0.04],
        median=[0.03, 0.06, 0.15, 0.01, 0.02, 0.02],
    )


def test_lengths_that_vary() -> None:
    # batches that the KV cache bounds hold fewer long requests than the mean says: they are left out
    cases = [c for c in grid((0.4, 0.6), 0.5, 0.8) if c.in_tokens < 4000]
    check(
        cases,
        worst=[0.02, 0.05, 0.06, 0.02, 0.03, 0.06],
        median=[0.01, 0.02, 0.03, 0.01, 0.02, 0.02],
    )


def test_small_batches_wait_as_regular_servers_do() -> None:
    cases = [Case(ENGINES[3], *shape, load) for shape in SHAPES[1:] for load in (0.75, 0.9)]
    check(
        cases,
        worst=[0.07, 0.13, 0.17, 0.01, 0.01, 0.01],
        median=[0.05, 0.11, 0.15, 0.01, 0.01, 0.01],
    )


def test_a_mixture_of_experts() -> None:
    # the tangent is careful where the batch varies much beside the experts that are still asleep
    cases = [Case(MIXTURE, *shape, load) for shape in SHAPES for load in (0.2, 0.4, 0.6, 0.75)]
    check(
        cases,
        worst=[0.05, 0.15, 0.17, 0.07, 0.15, 0.22],
        median=[0.01, 0.05, 0.06, 0.02, 0.03, 0.05],
    )
