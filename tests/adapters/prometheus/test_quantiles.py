"""Histograms: merged, quantiles as Prometheus reckons them, and spread."""

from __future__ import annotations

import statistics
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flyball.adapters.prometheus.figures import Histogram
from flyball.adapters.prometheus.quantiles import cov, mean, merged, quantile

BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
values = st.lists(st.floats(0.0, 100.0), min_size=1, max_size=60)


def of(seen: list[float], bounds: tuple[float, ...] = BOUNDS) -> Histogram:
    counts = (*(float(sum(v <= b for v in seen)) for b in bounds), float(len(seen)))
    return Histogram(bounds, counts, sum(seen))


def bucket(value: float) -> tuple[float, float]:
    return next((low, high) for low, high in pairwise((0.0, *BOUNDS)) if value <= high)


@given(values, st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(seen: list[float], q: float) -> None:
    found = quantile(of(seen), q)
    assert found is not None
    rank = q * len(seen)
    true = sorted(seen)[min(max(int(-(-rank // 1)) - 1, 0), len(seen) - 1)]
    low, high = bucket(true)
    assert low <= found.least <= found.value <= high * (1 + 1e-9)
    assert found.least <= true, "certainly not below"


@given(values, values)
def test_merged_is_of_all_values(one: list[float], other: list[float]) -> None:
    both, expected = merged([of(one), of(other)]), of(one + other)
    assert both is not None
    assert (both.bounds, both.counts) == (expected.bounds, expected.counts)
    assert both.total == pytest.approx(expected.total)


@given(values, values)
def test_other_buckets_are_merged_by_what_they_share(one: list[float], other: list[float]) -> None:
    both = merged([of(one), of(other, (2.0, 3.0, 50.0))])
    expected = of(one + other, (2.0, 50.0))
    assert both is not None
    assert (both.bounds, both.counts) == (expected.bounds, expected.counts)


@given(st.lists(st.floats(0.0, 100.0), min_size=10, max_size=200))
def test_spread_is_near_the_true_one(seen: list[float]) -> None:
    assume(sum(seen) > len(seen))
    found, true = cov(of(seen)), statistics.pstdev(seen) / statistics.fmean(seen)
    widest = max(high - low for low, high in map(bucket, seen))
    assert found is not None
    assert abs(found - true) <= widest / statistics.fmean(seen)


def test_beyond_the_last_bound() -> None:
    late = of([200.0, 300.0])
    assert quantile(late, 0.5) == (100.0, 100.0)
    assert mean(late) == 250.0


def test_nothing_says_nothing() -> None:
    empty = of([])
    assert merged([]) is None
    assert (quantile(empty, 0.5), mean(empty), cov(empty)) == (None, None, None)
    assert quantile(Histogram((), (3.0,), 3.0), 0.5) is None
    assert mean(Histogram(BOUNDS, of([1.0]).counts, None)) is None
