"""Margins: how much longer than foretold an iteration is taken to be, as little is known of it."""

from __future__ import annotations

import math
from statistics import NormalDist

from flyball.calibrate.belief import Belief, predicted
from flyball.calibrate.design import design
from flyball.units import Tokens

CONFIDENCE = 0.8
"""With which replicas are counted where nothing else is said."""
MOST = 4.0


def margin(
    belief: Belief,
    in_tokens: Tokens,
    out_tokens: Tokens,
    running: float,
    confidence: float = CONFIDENCE,
    residual: bool = True,
) -> float:
    """The factor on an iteration's time that is not exceeded with this confidence; 1 from a half down.

    Of an iteration of `running` requests: with a full batch is where a queue stops being stable. Without
    the residual it is for the parameters alone, and goes as they are learned.
    """
    lengths = in_tokens, max(out_tokens, 1.0)
    columns = design(max(running, 1.0), *lengths, belief.experts, belief.experts_per_token)
    sigma = float(predicted(belief, columns).sigma[0])
    if not residual:
        sigma = math.sqrt(max(sigma**2 - belief.residual**2, 0.0))
    return min(max(math.exp(NormalDist().inv_cdf(confidence) * sigma), 1.0), MOST)
