"""Profiles: how fast a model runs on an accelerator, in one of four forms of the iteration time.

n is the number of requests in the batch, L and m are input and output tokens of a request. Times are
seconds. The first three are the generations of the Inferno family, the fourth is Flyball's own.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from flyball.units import Seconds


class FlatTiming(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="flat"):
    """Generation 1: time between tokens = alpha + beta n; no prefill."""

    alpha: Seconds
    beta: Seconds


class PhaseTiming(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="phase"):
    """Generation 2: decode = alpha + beta n; prefill = gamma + delta L n."""

    alpha: Seconds
    beta: Seconds
    gamma: Seconds
    delta: Seconds


class ChunkedTiming(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="chunked"):
    """Generation 3: alpha per iteration, beta per computed token, gamma per KV token read by a token."""

    alpha: Seconds
    beta: Seconds
    gamma: Seconds


class IterationTiming(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="iteration"):
    """Four parameters: alpha + beta n + kappa (KV tokens in the batch) + delta (prompt tokens computed)."""

    alpha: Seconds
    beta: Seconds
    kappa: Seconds
    delta: Seconds


Timing: TypeAlias = FlatTiming | PhaseTiming | ChunkedTiming | IterationTiming


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model on one accelerator."""

    model: str
    accelerator: str
    timing: Timing
    accelerator_count: int = 1
    """Accelerator units in one replica."""
    max_batch_size: int = 256
    """Requests in the batch at most, when a request has `at_tokens` output tokens."""
    at_tokens: int = 0
    """0: `max_batch_size` holds whatever the length."""
    kv_tokens: int = 0
    """Tokens that the KV cache of one replica holds; 0: not known, not limiting."""
    source: str = ""
    """Where the figures come from."""
