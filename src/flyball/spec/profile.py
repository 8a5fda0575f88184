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
    """alpha + beta n + kappa (KV tokens in the batch) + delta (prompt tokens computed), and for a mixture of
    experts epsilon (q - q^n), q = 1 - experts_per_token / experts: the weights of the experts that are read
    because others than the first token wake them, when each token goes to any with the same chance.
    """

    alpha: Seconds
    beta: Seconds
    kappa: Seconds
    delta: Seconds
    gamma: Seconds = 0.0
    """Of each request, outside the iterations: until it is in the queue, and its first token is out."""
    epsilon: Seconds = 0.0
    """To read the weights of all routed experts."""
    experts: int = 0
    """Routed experts of a layer; 0: a dense model."""
    experts_per_token: int = 0

    @property
    def untouched(self) -> float:
        """The share of the routed experts that one token leaves alone, q; 0 for a dense model."""
        return 1.0 - self.experts_per_token / self.experts if self.experts else 0.0


Timing: TypeAlias = FlatTiming | PhaseTiming | ChunkedTiming | IterationTiming


class Uncertainty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Standard deviations of the logarithms of an iteration timing's parameters: 0.1 is about 10 %."""

    alpha: float = 0.0
    beta: float = 0.0
    kappa: float = 0.0
    delta: float = 0.0
    gamma: float = 0.0
    epsilon: float = 0.0
    residual: float = 0.0
    """Of an iteration, whatever the parameters: what the form does not say."""
    common: float = 0.0
    """Of a factor that all times share: how far the engine as a whole may be off."""


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
    uncertainty: Uncertainty | None = None
    """None: not known."""
    margin: float = 1.0
    """An iteration is taken for so many times as long where replicas are counted, as far as it may be longer
    than foretold; latencies are foretold without it (iteration timing only)."""
