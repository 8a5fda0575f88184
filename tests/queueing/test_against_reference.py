"""Vectorised sizing beside the scalar reference of the original's algorithm, on cases of our own."""

from __future__ import annotations

import math
import random

import pytest

from benchmarks.reference.queue import G3, InfeasibleTarget
from flyball.queueing.sizing import Targets, size
from tests.queueing.builders import chunked, lanes

CASES = 120


@pytest.mark.parametrize("queue", [0, 32])
def test_rates_are_those_of_the_reference(queue: int) -> None:
    """Where the curve is not flat; the reference stops at 1e-6 of the target, and so do they agree."""
    rng = random.Random(11)
    agreed = 0
    for _ in range(CASES):
        batch, alpha = rng.randint(2, 90), rng.uniform(3, 60)
        beta = alpha * rng.uniform(0.0017, 0.026)
        L, m = rng.randint(16, 3000), rng.randint(16, 900)
        slower = (alpha + beta) * rng.uniform(0.8, 3.0)
        model = G3(alpha, beta, beta / 32, batch, queue, L, m)
        try:
            expected = model.size(25 * slower, slower, 0.0)[3]["throughput"]
        except InfeasibleTarget:
            expected = 0.0
        curve = chunked(batch, alpha / 1e3, beta / 1e3, beta / 32e3, L, m)
        targets = Targets(lanes(25 * slower / 1e3), lanes(slower / 1e3), lanes(math.inf), lanes(math.inf))
        found = size(curve, lanes(queue), targets).throughput[0]
        assert found == pytest.approx(expected, rel=1e-4), (batch, alpha, beta, L, m, slower)
        agreed += expected > 0
    assert agreed > CASES / 3
