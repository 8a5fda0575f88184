"""What is known of a model on an accelerator: what its profile said, and what was seen of it since."""

from __future__ import annotations

import msgspec

from flyball.units import Seconds, Tokens


class Known(msgspec.Struct, frozen=True, gc=False):
    """One profile as a plan took it; times between tokens are at the batch and the lengths that it names."""

    model: str
    accelerator: str
    running: float
    """Requests that decode at the rate that a replica is to take; where none is known, the batch limit."""
    in_tokens: Tokens
    out_tokens: Tokens
    profile_itl: Seconds
    """As the profile says."""
    itl: Seconds
    """As it is known now: what the profile says where nothing was seen."""
    sigma: float
    """Standard deviation of its logarithm, as a measured one may lie."""
    readings: int = 0
    points: int = 0
    """Loads (and lengths) at which it was read."""
    at: Seconds | None = None
    """Of the last reading."""
    margin: float = 1.0
    """With which replicas are counted; distrust is in it."""
    miss: float = 0.0
    """Root mean square of the logarithms of reading over prediction, of late."""
    distrust: float = 1.0
    """The factor by which the margin is widened for that."""
    kv_tokens: int = 0
    """That a replica's KV cache holds, as learned; 0: too few readings."""
    outliers: int = 0
    """Readings that were set aside."""
    strange: int = 0
    """The last readings in a row that are set aside, as yet."""
    changes: int = 0
    """How often all before was given up."""
