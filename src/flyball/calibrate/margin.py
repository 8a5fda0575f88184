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
    belief: Belief, in_tokens: Tokens, out_tokens: Tokens, max_batch_size: int, confidence: float = CONFIDENCE
) -> float:
    """The factor on an iteration's time that is not exceeded with this confidence; 1 from a half down.

    Of an iteration with a full batch: that is where a queue stops being stable.
    """
    columns = design(
        max(max_batch_size, 1), in_tokens, max(out_tokens, 1.0), belief.experts, belief.experts_per_token
    )
    sigma = float(predicted(belief, columns).sigma[0])
    return min(max(math.exp(NormalDist().inv_cdf(confidence) * sigma), 1.0), MOST)
