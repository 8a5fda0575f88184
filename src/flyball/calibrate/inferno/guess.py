"""A first guess of the parameters from one observation, as if the replica served one request at a time:

TTFT = alpha + (beta + gamma) L
ITL  = alpha + beta + gamma (L + (m + 1) / 2)
"""

from __future__ import annotations

from flyball.calibrate.inferno.model import credible, vector_of
from flyball.spec.calibration import Observation
from flyball.spec.profile import ChunkedTiming


def guess_from(seed: ChunkedTiming, observation: Observation) -> ChunkedTiming:
    """gamma from the seed, alpha and beta from the observation; the seed where these make no sense."""
    L, read = observation.in_tokens, (observation.out_tokens + 1.0) / 2.0
    if L <= 1:
        return seed
    beta = (observation.ttft - observation.itl + seed.gamma * read) / (L - 1.0)
    alpha = observation.itl - beta - seed.gamma * (L + read)
    guessed = ChunkedTiming(alpha, beta, seed.gamma)
    return guessed if credible(vector_of(guessed)).all() else seed
