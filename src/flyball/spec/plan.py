"""The plan: for each server what it gets and why, and how good the whole is."""

from __future__ import annotations

from typing import Literal

import msgspec

from flyball.spec.fleet import Generation
from flyball.units import DollarsPerHour, RequestsPerSecond, Seconds, Watts

Status = Literal["served", "best_effort", "idle", "unserved"]
"""idle: no load and no replica asked for."""

Reason = Literal[
    "cheapest",  # the option of least value, and it fits
    "kept",  # cheaper ones exist, but not by as much as the switch costs
    "capacity",  # options of less value exist; what they need is short
    "mix",  # the load is divided over several accelerators
    "pinned",  # keep_accelerator or accelerators leave no other
    "no_load",  # nothing asked, nothing given
    "short",  # served in part: capacity ran out
    "no_capacity",  # could be served, but capacity ran out
    "out_of_reach",  # no accelerator meets the targets at any load
    "no_profile",  # no profile of this model on a known accelerator
    "no_target",  # the class is not known or promises nothing for this model
    "bad_load",  # the load is negative
]

Binding = Literal["ttft", "itl", "wait", "e2e", "throughput", "stability", "min_replicas", "none"]
"""What fixes the number of replicas."""


class Option(msgspec.Struct, frozen=True, gc=False):
    """One way to serve one server, at its load."""

    accelerator: str
    replicas: int
    max_batch_size: int
    cost: DollarsPerHour
    value: float
    """What the solver minimises: cost and switching, as the generation defines it."""
    itl: Seconds
    ttft: Seconds
    """Generation 1: the wait."""
    utilization: float
    """Mean share of the batch in use."""
    max_rate: RequestsPerSecond
    """Of one replica, within the targets."""
    watts: Watts | None
    binding: Binding


class Latency(msgspec.Struct, frozen=True, gc=False):
    """A latency as far as the profile is known: what is likely, and from the 10th to the 90th percentile."""

    metric: str
    statistic: str
    likely: Seconds
    low: Seconds
    high: Seconds


class Estimate(msgspec.Struct, frozen=True, gc=False):
    """An option as far as its profile is known. Bars are from the 10th to the 90th percentile."""

    server: str
    option: Option
    card: str
    cards: int
    """In one replica."""
    cost_low: DollarsPerHour
    """Where the profile is better than likely: fewer replicas are enough."""
    cost_high: DollarsPerHour
    """inf: its targets may be out of reach."""
    replicas_low: float
    replicas_high: float
    per_million: float
    """Dollars per million tokens, input and output together, at this load."""
    latencies: tuple[Latency, ...]
    """Of the option as it is."""
    within: float
    """Share of what the profile may be in which the option as it is meets all its targets."""
    basis: str
    """How near what its profile rests on is: exact, version, engine, tp, card, precision, roofline."""
    source: str
    """The same in a sentence."""


class Exclusion(msgspec.Struct, frozen=True, gc=False):
    """Why an accelerator is not a candidate."""

    accelerator: str
    reason: Literal[
        "out_of_reach",
        "not_current",
        "not_allowed",
        "unknown_accelerator",
        "not_learned",
        "kv_too_small",
        "too_many",
    ]
    metric: str = ""
    statistic: str = ""
    limit: Seconds = 0.0
    best: Seconds = 0.0
    """What an almost idle replica would reach."""


class Shortage(msgspec.Struct, frozen=True, gc=False):
    """Which capacity an option lacks."""

    accelerator: str
    resource: str
    needed: float
    free: float


class Promise(msgspec.Struct, frozen=True, gc=False):
    """One target of a server's class, and what becomes of it."""

    metric: str
    statistic: str
    limit: Seconds
    value: Seconds
    met: bool


class ServerPlan(msgspec.Struct, frozen=True):
    """What one server gets, and why."""

    server: str
    priority: int
    status: Status
    reason: Reason
    allocation: Option | None = None
    promises: tuple[Promise, ...] = ()
    """Each target with the latency that this allocation gives; of a mix, its slowest part."""
    turned_away: float = 0.0
    """Share of its requests that find the waiting room full."""
    mix: tuple[Option, ...] = ()
    """The parts, where the load is divided; `allocation` is then the largest."""
    next_best: Option | None = None
    shortages: tuple[Shortage, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()

    @property
    def keeps_promises(self) -> bool:
        """Whether it is served whole, or idle, and every target is met."""
        return self.status in ("served", "idle") and all(promise.met for promise in self.promises)


class ResourceUse(msgspec.Struct, frozen=True):
    """How much of a resource row the plan uses."""

    name: str
    used: float
    limit: float


class Plan(msgspec.Struct, frozen=True):
    """One plan for one fleet."""

    generation: Generation
    solver: str
    servers: tuple[ServerPlan, ...]
    resources: tuple[ResourceUse, ...]
    objective: float
    bound: float
    """No plan that serves these servers has a lower objective."""
    gap: float
    """(objective - bound) / cost."""
    proved: bool
    """Who is served, and at which objective, is proved best (gap at most 1e-6)."""
    cost: DollarsPerHour
    watts: Watts | None
    notes: tuple[str, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    """Of a server whose profiles come from the library: its options, cheapest first."""
    seconds: Seconds = 0.0
    """Wall time; filled in by whoever called, so that plans compare equal."""
