"""From the kernel's fine histograms to vLLM's coarse ones, and Prometheus' quantiles of those."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from flyball.simulate.layout import BUCKETS, SHORTEST, WIDTH
from flyball.simulate.replicas import IntArray

# vLLM's vllm/v1/metrics/loggers.py.
TTFT_BOUNDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
TOKEN_BOUNDS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
"""Of the time between two tokens, and of its mean by request."""

# A fine bucket counts as a whole, by its middle.
_MIDDLES = SHORTEST * np.exp((np.arange(BUCKETS) - 0.5) * WIDTH)
_UPTO: dict[tuple[float, ...], IntArray] = {
    b: np.append(np.searchsorted(_MIDDLES, b, side="right") - 1, BUCKETS - 1)
    for b in (TTFT_BOUNDS, TOKEN_BOUNDS)
}


def cumulative(fine: IntArray, bounds: tuple[float, ...]) -> IntArray:
    """(len(bounds) + 1,) counts up to each bound, and all, of a fine histogram."""
    sums: IntArray = fine.cumsum()
    return sums[_UPTO[bounds]]


def quantile(q: float, counts: Sequence[float], bounds: tuple[float, ...]) -> float | None:
    """Prometheus' histogram_quantile of cumulative counts, for 0 < q <= 1; None where nothing was counted.

    Linear within a bucket, of which the first begins at 0; what lies beyond the last bound counts as there.
    """
    rank = q * counts[-1]
    if counts[-1] <= 0:
        return None
    at = bisect_left(counts, rank)
    if at >= len(bounds):
        return bounds[-1]
    low, before = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    return low + (bounds[at] - low) * ((rank - before) / (counts[at] - before))
