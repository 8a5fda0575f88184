"""Snapshots: what is known of a running fleet at one instant, each reading with its age.

A reading that is absent is None; nothing here is ever NaN. Times are seconds of the sensor's own clock.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from flyball.spec.decision import Order
from flyball.spec.fleet import Fleet
from flyball.spec.power import PowerSeen
from flyball.units import Seconds

Quantile = Literal["mean", "p50", "p90", "p95", "p99"]


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A measured value and how old it is."""

    value: float
    age: Seconds = 0.0
    least: float | None = None
    """Of a quantile from a histogram: where its bucket begins, so that it is certainly not below."""


class Variant(msgspec.Struct, frozen=True, gc=False):
    """The replicas of one server on one accelerator."""

    accelerator: str
    ready: int = 0
    pending: int = 0
    """Asked for and not ready yet: they cost, and do not serve."""
    draining: int = 0
    """Take no new requests and are not gone yet: they hold their cards."""
    max_batch_size: int = 0
    waited: Seconds = 0.0
    """How long the oldest pending replica has been waiting."""


class Observation(msgspec.Struct, frozen=True):
    """One server as a scrape shows it. Rates, tokens and latencies are over the sensor's window."""

    server: str
    variants: tuple[Variant, ...] = ()
    arrival_rate: Reading | None = None
    """Offered requests per second: also those that wait or were turned away."""
    in_tokens: Reading | None = None
    out_tokens: Reading | None = None
    cached_share: Reading | None = None
    """Share of the prompt tokens found in the prefix cache."""
    ttft: dict[Quantile, Reading] = {}
    itl: dict[Quantile, Reading] = {}
    """Of requests: each counts with the mean time between its tokens. Both are empty where none finished in
    the window."""
    running: Reading | None = None
    waiting: Reading | None = None
    """Requests in a batch, and waiting for a place; all replicas together."""
    kv_usage: Reading | None = None
    """Mean share of the KV cache in use, 0 to 1."""
    cold_start: Reading | None = None
    """Seconds from asked for to ready, mean of those seen last."""
    in_cov: Reading | None = None
    out_cov: Reading | None = None
    """Coefficients of variation of the tokens of finished requests (from their histograms)."""
    stated: bool = False
    """Nothing is measured: the load is what somebody says that it is, and latencies are foretold only."""


class Scrape(msgspec.Struct, frozen=True):
    """Everything that a sensor sees at one instant."""

    time: Seconds
    servers: tuple[Observation, ...] = ()
    """A server that is absent could not be seen."""
    capacity: dict[str, int] | None = None
    """Cards by type that are there now; None: not seen, the fleet's own figures hold."""
    watts: Reading | None = None
    notes: tuple[str, ...] = ()
    """What could not be read, and why."""


class Snapshot(msgspec.Struct, frozen=True):
    """What a law decides from: the fleet as it is configured, and what was seen of it."""

    fleet: Fleet
    seen: Scrape
    advice: tuple[Order, ...] | None = None
    """What an optimizer elsewhere said; None: none was asked, or it gave no answer."""
    power: PowerSeen | None = None
    """None: nobody looks at power."""
