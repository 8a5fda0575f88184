"""How many requests a replica should batch: the smallest limit that gives up next to no throughput.

Inferno's search (queue-analysis v0.8, section 2.7 of the behaviour notes): the throughput within targets
f(M) rises with the batch limit M and then saturates; probe the largest M, bracket the knee by the largest
batches at which a token and a prefill alone are within their targets, and bisect for the smallest M with
f(M) >= (1 - tolerance / 2) f(largest).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flyball.queueing.arrays import FloatArray
from flyball.queueing.curves import Curve
from flyball.queueing.percentiles import largest_batch
from flyball.queueing.sizing import Targets, size

TOLERANCE = 0.02
MAX_BISECTIONS = 6


@dataclass(frozen=True, eq=False)
class Concurrency:
    """The batch limit for one replica, and what it was found from."""

    batch: int
    throughput: float
    """Within the targets at that limit, requests per second; 0 where they are out of reach."""
    feasible: bool
    itl_batch: int
    """Largest batch at which a token alone meets its target; 1 without target, as in the original."""
    ttft_batch: int
    probes: tuple[int, ...]
    """Limits asked about, in order; the one that is returned is asked about once more at the end."""
    feasible_probes: int
    rate: float
    """The largest arrival rate within the targets at that limit, requests per second; or 0."""


def optimal_concurrency(
    curve_at: Callable[[FloatArray], Curve],
    queue_size: float,
    ttft: float,
    itl: float,
    largest: int,
    smallest: int = 1,
) -> Concurrency:
    """Search for one replica: `curve_at` makes its curve for (1,) limits; targets are means [s] or inf."""
    queue, none = np.array([queue_size]), np.array([np.inf])
    targets = Targets(np.array([ttft]), np.array([itl]), none, none)
    seen: dict[int, tuple[float, float]] = {}
    probes: list[int] = []

    def throughput(batch: int) -> float:
        if batch not in seen:
            found = size(curve_at(np.array([float(batch)])), queue, targets)
            seen[batch] = float(found.throughput[0]), float(found.rate[0])  # 0 where infeasible
        probes.append(batch)
        return seen[batch][0]

    whole = curve_at(np.array([float(largest)]))
    itl_batch = _alone(whole, itl, "itl", largest)
    ttft_batch = _alone(whole, ttft, "prefill", largest)
    best = throughput(largest)
    if best <= 0.0:
        return Concurrency(smallest, 0.0, False, itl_batch, ttft_batch, tuple(probes), 0, 0.0)
    enough = (1.0 - TOLERANCE / 2.0) * best
    low = max(smallest, min(itl_batch, ttft_batch))
    high = max(low, min(largest, max(3 * max(itl_batch, ttft_batch), low + 1)))
    for _ in range(MAX_BISECTIONS):
        if low >= high:
            break
        middle = (low + high) // 2
        if throughput(middle) >= enough:
            high = middle
        else:
            low = middle + 1
    last, rate = throughput(high), seen[high][1]
    good = sum(seen[batch][0] > 0.0 for batch in probes)
    return Concurrency(high, last, last > 0.0, itl_batch, ttft_batch, tuple(probes), good, rate)


def _alone(curve: Curve, limit: float, what: str, largest: int) -> int:
    if not np.isfinite(limit):
        return 1
    if what == "itl":
        return max(1, int(largest_batch(curve, "itl", np.array([limit]))[0]))
    low, high = 1, largest + 1
    while high - low > 1:
        middle = (low + high) // 2
        if curve.prefill_at(np.array([float(middle)]))[0] <= limit:
            low = middle
        else:
            high = middle
    return low
