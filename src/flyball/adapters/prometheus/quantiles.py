"""Histograms as Prometheus has them: merged, their quantiles, and how much the values differ."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from flyball.adapters.prometheus.figures import Histogram


class Quantile(NamedTuple):
    """A value, and where its bucket begins."""

    value: float
    least: float


def merged(histograms: Iterable[Histogram]) -> Histogram | None:
    """All together, by the bounds that they have in common; None of none."""
    given = list(histograms)
    if len(given) < 2:
        return given[0] if given else None
    bounds = given[0].bounds
    if any(each.bounds != bounds for each in given):
        common = set(bounds).intersection(*(each.bounds for each in given))
        given = [_reduced(each, common) for each in given]
        bounds = given[0].bounds
    counts = tuple(map(sum, zip(*(each.counts for each in given), strict=True)))
    totals = [each.total for each in given if each.total is not None]
    return Histogram(bounds, counts, sum(totals) if len(totals) == len(given) else None)


def _reduced(histogram: Histogram, bounds: set[float]) -> Histogram:
    kept = [(b, c) for b, c in zip(histogram.bounds, histogram.counts, strict=False) if b in bounds]
    counts = (*(count for _, count in kept), histogram.counts[-1])
    return Histogram(tuple(bound for bound, _ in kept), counts, histogram.total)


def mean(histogram: Histogram) -> float | None:
    """Of the values; None where their sum is not known."""
    if histogram.total is None or not histogram.counts[-1] > 0 or histogram.total < 0:
        return None
    return histogram.total / histogram.counts[-1]


def quantile(histogram: Histogram, q: float) -> Quantile | None:
    """Prometheus' histogram_quantile, for 0 < q <= 1: linear in a bucket, the first of which begins at 0.

    What lies beyond the last bound counts as there; None without any bound or value.
    """
    bounds, counts = histogram.bounds, histogram.counts
    if not bounds or not counts[-1] > 0:
        return None
    rank = q * counts[-1]
    at = bisect_left(counts, rank)
    if at >= len(bounds):
        return Quantile(bounds[-1], bounds[-1])
    low, before = (bounds[at - 1], counts[at - 1]) if at else (min(bounds[0], 0.0), 0.0)
    return Quantile(low + (bounds[at] - low) * ((rank - before) / (counts[at] - before)), low)


def cov(histogram: Histogram) -> float | None:
    """Coefficient of variation of values that are spread evenly in their buckets: of narrow laws too much.

    It has the true mean where that is known. What lies beyond the last bound counts as there.
    """
    edges = (0.0, *histogram.bounds)
    moments = [0.0, 0.0]
    before = 0.0
    for low, high, count in zip(edges, (*histogram.bounds, edges[-1]), histogram.counts, strict=True):
        inside, before = count - before, count
        moments[0] += inside * (low + high) / 2.0
        moments[1] += inside * (low * low + low * high + high * high) / 3.0
    if not before > 0 or not moments[0] > 0:
        return None
    middle = moments[0] / before
    true = mean(histogram) or middle
    return math.sqrt(max(moments[1] / before - middle * middle, 0.0)) / true
