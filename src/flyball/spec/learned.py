"""What a model on an accelerator has shown: few operating points, each the mean of many readings."""

from __future__ import annotations

import msgspec

from flyball.units import RequestsPerSecond, Seconds, Tokens


class Point(msgspec.Struct, frozen=True, gc=False):
    """Mean latencies of one replica under a load."""

    running: float
    """Requests that decode."""
    rate: RequestsPerSecond
    in_tokens: Tokens
    out_tokens: Tokens
    itl: Seconds
    ttft: Seconds = 0.0
    """0: not known, or with a wait for a place."""
    in_cov: float = 0.0
    out_cov: float = 0.0
    kv_tokens: float = 0.0
    """That the KV cache of a replica holds, by what is in it and the share that this is; 0: not known."""
    weight: float = 1.0
    """Readings that it stands for, as far as they are not forgotten."""
    at: Seconds = 0.0
    """When it was last seen."""


class Learned(msgspec.Struct, frozen=True):
    """What is remembered of a model on an accelerator."""

    points: tuple[Point, ...] = ()
    miss: float = 0.0
    """Mean square of the logarithms of reading over prediction made before it, of late."""
    lean: float = 0.0
    """Mean of the same, which tells drift from noise."""
    strange: tuple[Point, ...] = ()
    """Readings in a row that are no more believed than an outlier, all on one side."""
    readings: int = 0
    outliers: int = 0
    """How many of them were set aside."""
    kv_tokens: float = 0.0
    kv_readings: int = 0
    """Tokens that the KV cache of a replica holds, and from how many readings that is known."""
    at: Seconds | None = None
    """Of the last reading."""
    changes: int = 0
    """How often what came was steadily different: what was known before counts little since then."""
