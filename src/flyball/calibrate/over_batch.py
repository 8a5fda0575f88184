"""What a belief says of a replica over its batch: times between tokens, and which of two is faster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from flyball.calibrate.belief import Belief, FloatArray, predicted
from flyball.calibrate.design import design
from flyball.calibrate.prior import MAX_BATCH_SIZE, belief_of
from flyball.spec.library import Entry
from flyball.spec.profile import Profile
from flyball.units import Tokens

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TENTH = NormalDist().inv_cdf(0.9)
"""Standard deviations from the median to the 90th percentile."""


class Band(NamedTuple):
    """Times between tokens over the batch [s]: (B,) medians, 10th and 90th percentiles, log deviations."""

    batch: FloatArray
    itl: FloatArray
    low: FloatArray
    high: FloatArray
    sigma: FloatArray


def itl_over(belief: Belief, batches: Sequence[float], in_tokens: Tokens, out_tokens: Tokens) -> Band:
    """Times between tokens with so many requests in the batch, all of so many tokens."""
    n = np.asarray(batches, np.float64)
    columns = design(n, in_tokens, max(out_tokens, 1.0), belief.experts, belief.experts_per_token)
    time, sigma = predicted(belief, columns)
    return Band(n, time, time * np.exp(-TENTH * sigma), time * np.exp(TENTH * sigma), sigma)


def largest_batch(kv_tokens: int, in_tokens: Tokens, out_tokens: Tokens, most: int = MAX_BATCH_SIZE) -> int:
    """Requests of so many tokens, at most `most`, whose KV cache fits when whole; 0 KV tokens: no limit."""
    if not kv_tokens:
        return most
    return min(most, int(kv_tokens // max(in_tokens + out_tokens, 1.0)))


def surely_faster(a: Belief, b: Belief, batch: float, in_tokens: Tokens, out_tokens: Tokens) -> float:
    """The share of what is believed in which `a` has the shorter time between tokens; errors independent."""
    first, second = (itl_over(one, [batch], in_tokens, out_tokens) for one in (a, b))
    spread = math.hypot(float(first.sigma[0]), float(second.sigma[0]))
    gain = float(np.log(second.itl[0] / first.itl[0]))
    if spread == 0.0:
        return 0.5 if gain == 0.0 else float(gain > 0.0)
    return NormalDist().cdf(gain / spread)


def belief_of_entry(entry: Entry) -> Belief:
    """What an entry of the library says of its own pair; correlations are not kept there."""
    return belief_of(Profile(entry.model, entry.card, entry.timing, uncertainty=entry.uncertainty))
