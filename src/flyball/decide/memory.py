"""What a cycle hands on to the next: small, immutable, and all that it needs to know of the past."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from flyball.forecast.history import History
from flyball.power.govern import PowerMemory
from flyball.spec.known import Known
from flyball.spec.learned import Learned
from flyball.spec.plan import Plan
from flyball.units import RequestsPerSecond, Seconds


class Goal(msgspec.Struct, frozen=True, gc=False):
    """Where a server is heading, until the next plan."""

    accelerator: str
    replicas: int
    max_batch_size: int
    max_rate: RequestsPerSecond
    """Of one replica, within the targets."""
    short: bool = False
    """Capacity gives it less than it needs."""


class Settled(msgspec.Struct, frozen=True, gc=False):
    """A steady state: replicas on one accelerator under a load."""

    accelerator: str
    replicas: int
    load: float
    """Requests per second; where it is full, requests in the batches."""
    full: bool = False
    """Whether more wait than there is place for."""


class ServerMemory(msgspec.Struct, frozen=True):
    """What is remembered of one server."""

    history: History | None = None
    tails: dict[str, float] = {}
    """By metric and statistic, `ttft p95`: the logarithm of measured over foretold, smoothed."""
    settled: Settled | None = None
    settled_since: Seconds = 0.0
    """The steady state that it is in, and since when."""
    holds: dict[str, int] = {}
    """Replicas by accelerator, draining ones too: their cards are not free while it is not seen."""
    demand: RequestsPerSecond = 0.0
    """Last provided for."""
    in_cov: float | None = None
    out_cov: float | None = None
    """Coefficients of variation of its tokens, smoothed; None: not seen yet."""
    goal: Goal | None = None
    rates: dict[str, RequestsPerSecond] = {}
    """Of one replica within the targets, by accelerator, as of the last plan."""
    wanted: tuple[tuple[Seconds, int], ...] = ()
    """Replicas that were enough, with the times, as far back as stabilisation looks."""
    grew_at: Seconds | None = None
    grew_for: RequestsPerSecond = 0.0
    shrank_at: Seconds | None = None
    flaps: int = 0
    """When it grew last, and the demand that it grew for; when it shrank, and how often that was undone at
    once."""
    moved_at: Seconds | None = None
    moving_to: str = ""
    """When it last began to move to another accelerator, and to which."""
    candidate: str = ""
    candidate_since: Seconds = 0.0
    """The accelerator that plans would have it on, and since when."""
    correction: float = 1.0
    """Measured saturation says that the model is too bright by this factor."""
    saturated_since: Seconds | None = None
    waiting: float = 0.0
    """Since when it is saturated without a break and without its queue growing shorter; and that queue."""
    corrected_at: Seconds | None = None
    corrected_on: str = ""
    """The accelerator on which that was seen."""
    patient: bool = False
    """Its requests may wait for watts: that they do is no alarm."""
    arrived: tuple[tuple[Seconds, float], ...] = ()
    """Of such a server: requests that had come by a time, as far back as they may wait."""
    deferred: tuple[tuple[Seconds, int], ...] = ()
    """While some wait: replicas that the rest needs, as far back as stabilisation looks."""


class Memory(msgspec.Struct, frozen=True):
    """What is remembered of the fleet."""

    servers: dict[str, ServerMemory] = {}
    plan: Plan | None = None
    planned_at: Seconds | None = None
    doubted: dict[str, Seconds] = {}
    """Types of which fewer cards are seen than serving replicas hold, and since when."""
    learned: dict[str, Learned] = {}
    """Of models on accelerators, by `calibration.key`."""
    known: tuple[Known, ...] = ()
    """The account of it, as of the last plan."""
    lean: bool = False
    """Whether the plan had to do without margins, because cards are short."""
    power: PowerMemory | None = None
    """None: nobody looked at power yet."""
    rest: dict[str, History] = {}
    """By domain: what all but servers that may wait draw."""
    data: int = 0
    """Fingerprint of the fleet's data that the plan was made from."""


def models_of(memory: Memory, ended: Seconds, begins: Seconds) -> Memory:
    """Of a memory only what was learned of models, as old when a world `begins` as when another `ended`."""
    by = begins - ended
    learned = {
        pair: replace(
            one,
            at=None if one.at is None else one.at + by,
            points=tuple(replace(p, at=p.at + by) for p in one.points),
            strange=tuple(replace(p, at=p.at + by) for p in one.strange),
        )
        for pair, one in memory.learned.items()
    }
    return Memory(learned=learned)
