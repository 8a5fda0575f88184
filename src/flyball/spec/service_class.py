"""Service classes: what is promised, to whom, and who goes first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from flyball.units import Seconds, TokensPerSecond

Metric = Literal["ttft", "itl", "wait", "e2e"]
MEAN = 0.0
"""As a quantile: the mean."""


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A promise: the mean (quantile 0) or a quantile of a latency stays at or below a limit."""

    metric: Metric
    limit: Seconds
    quantile: float = MEAN

    @property
    def statistic(self) -> str:
        """`mean`, `p95`, `p99.9`."""
        return "mean" if self.quantile == MEAN else f"p{self.quantile * 100:.10g}"


class ModelTargets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a class promises for one model. No targets: only stability is asked."""

    model: str
    """`*` stands for every model that is not named."""
    targets: tuple[Target, ...] = ()
    throughput: TokensPerSecond = 0.0
    """Output tokens per second to provide for, whatever the load; 0: provide for the load."""


class ServiceClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A class of service. Priority 1 goes first, 100 last."""

    name: str
    priority: int = 100
    models: tuple[ModelTargets, ...] = ()
    deferrable: Seconds = 0.0
    """Its requests may wait for so long where watts are short; 0: none waits by choice."""


def promise_of(classes: Iterable[ServiceClass], service_class: str, model: str) -> ModelTargets | None:
    """What a class promises for a model, by its name, else by `*`; None: nothing, or no such class."""
    promises = [m for c in classes if c.name == service_class for m in c.models]
    return next((m for wanted in (model, "*") for m in promises if m.model == wanted), None)
