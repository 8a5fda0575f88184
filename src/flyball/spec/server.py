"""Model servers: who asks, for what, how much."""

from __future__ import annotations

import msgspec

from flyball.units import DollarsPerHour, RequestsPerSecond, Seconds, Tokens


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Offered load of one server."""

    arrival_rate: RequestsPerSecond = 0.0
    in_tokens: Tokens = 0.0
    out_tokens: Tokens = 0.0
    throughput: RequestsPerSecond = 0.0
    """Completed requests; equals the arrival rate unless overloaded. Never read by the decision."""
    arrival_cov: float = 0.0
    service_cov: float = 0.0
    in_cov: float = 0.0
    """Coefficient of variation of the input tokens; read in Flyball's own form of profiles only."""
    out_cov: float = 0.0


class Allocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a server has or is to get. Latencies are means."""

    accelerator: str = ""
    replicas: int = 0
    max_batch_size: int = 0
    cost: DollarsPerHour = 0.0
    itl: Seconds = 0.0
    ttft: Seconds = 0.0
    """Generation 1 has the wait here: it knows no prefill."""


NO_ALLOCATION = Allocation()


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model served in one class."""

    name: str
    model: str
    service_class: str = "Free"
    load: Load = Load()
    keep_accelerator: bool = False
    min_replicas: int = 0
    max_batch_size: int = 0
    """Over 0: pins the batch limit of every candidate."""
    max_queue_size: int | None = None
    """Requests that may wait at one replica; None: the generation's own rule (Flyball: unbounded)."""
    current: Allocation = NO_ALLOCATION
    tails: dict[str, float] = {}
    """By metric and statistic, `ttft p95`: how many times as long as foretold it has turned out to be.
    Replicas are counted with it, latencies foretold without (Flyball's own form only)."""
    accelerators: tuple[str, ...] = ()
    """Only these are candidates; empty: all."""
