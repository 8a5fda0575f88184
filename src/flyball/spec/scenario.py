"""Scenarios: a world for the plant: true engines, nodes, load, events, and how badly it is measured."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from flyball.spec.fleet import Fleet
from flyball.units import RequestsPerSecond, Seconds, Tokens, Watts

# ---- load --------------------------------------------------------------------------------------


class Lengths(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The law of input or output tokens of a request, rounded to whole tokens, at least 1."""

    mean: Tokens
    cov: float = 0.0
    """Coefficient of variation of the law, before it is cut off."""
    law: Literal["fixed", "normal", "lognormal", "gamma", "geometric"] = "lognormal"
    """cov 0 is fixed; geometric has the cov that it has."""
    low: Tokens = 1
    high: Tokens = 131072


class Steady(msgspec.Struct, frozen=True, tag="steady", forbid_unknown_fields=True):
    """A renewal process with gamma gaps; cov 1 is Poisson, 0 is a clock."""

    rate: RequestsPerSecond
    cov: float = 1.0


class Stage(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A rate for a while."""

    rate: RequestsPerSecond
    duration: Seconds


class Stages(msgspec.Struct, frozen=True, tag="stages", forbid_unknown_fields=True):
    """Rates one after the other; the last one stays. With `exact`, each stage has rate x duration requests
    (exponential gaps scaled to the stage, as inference-perf's constant timer has them)."""

    stages: tuple[Stage, ...]
    cov: float = 1.0
    exact: bool = False


class Days(msgspec.Struct, frozen=True, tag="days", forbid_unknown_fields=True):
    """Days and weeks: a daily swing, a weekend, slow noise, bursts. `rate` is the mean of a working day."""

    rate: RequestsPerSecond
    swing: float = 0.6
    """(peak - mean) / mean of the daily curve."""
    peak: Seconds = 14 * 3600.0
    """Time of the day at which the peak is."""
    weekend: float = 0.5
    """Saturday's and Sunday's share of a working day."""
    noise: float = 0.1
    """Coefficient of variation of the slow noise on the rate."""
    bursts: float = 2.0
    """Bursts a day."""
    burst_size: float = 2.0
    """Mean factor of the rate in a burst."""
    burst_length: Seconds = 300.0
    cov: float = 1.0
    """Of the gaps between requests, beside all that."""
    start: Seconds = 0.0
    """Time of the (first, Monday) day at which the run begins."""


class Trace(msgspec.Struct, frozen=True, tag="trace", forbid_unknown_fields=True):
    """Requests as recorded. Times in seconds from the first; tokens; cached: prompt tokens found again."""

    times: tuple[Seconds, ...]
    in_tokens: tuple[int, ...]
    out_tokens: tuple[int, ...]
    cached_tokens: tuple[int, ...] = ()
    scale: float = 1.0
    """So many copies, each shifted by a random time of up to `jitter`; a part of a copy is a random part."""
    jitter: Seconds = 20.0
    repeat: bool = False
    """Begin again at the end."""


Arrivals: TypeAlias = Steady | Stages | Days | Trace


class Stream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The requests of one server. A trace brings its own lengths."""

    server: str
    arrivals: Arrivals
    in_tokens: Lengths = Lengths(1000)
    out_tokens: Lengths = Lengths(300)
    cached_share: float = 0.0
    """Mean share of the prompt that is found in the prefix cache."""


# ---- world -------------------------------------------------------------------------------------


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one model really runs on one accelerator. An iteration lasts
    alpha + beta n + kappa (KV tokens held) + delta (prompt tokens computed) + epsilon (q - q^n), where n is
    the number of sequences and q the share of the experts that one of them leaves alone."""

    model: str
    accelerator: str
    alpha: Seconds
    beta: Seconds
    kappa: Seconds
    delta: Seconds
    kv_tokens: int = 0
    """0: never short."""
    max_sequences: int = 256
    batched_tokens: int = 8192
    """Tokens of one iteration at most: one for each decoding sequence, the rest for prompts."""
    block_size: int = 16
    accelerator_count: int = 1
    """Accelerator units in one replica."""
    epsilon: Seconds = 0.0
    """Mixture of experts: to read the weights of all of them."""
    experts: int = 0
    experts_per_token: int = 0


class Duration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A random time, lognormal; cov 0 is fixed."""

    mean: Seconds
    cov: float = 0.0


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine with cards of one type."""

    name: str
    type: str
    cards: int = 8
    rack: str = ""


class Draw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Watts of one card: when nothing runs, when it decodes, when it computes prompts."""

    type: str
    idle: Watts
    decode: Watts
    prefill: Watts
    resident: Watts = 0.0
    """With a model loaded and no request; below idle: as idle."""
    token: float = 0.0
    """Joules of each output token on top, of the whole replica; together never more than in prefill."""


# ---- power and heat of a hall ------------------------------------------------------------------


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What nodes with cards of one type draw beside the cards."""

    type: str
    idle: Watts
    share: float = 0.0
    """Of the watts of its cards: fans and losses."""


class Others(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Load that nobody governs, on each node apart: bursts at random on top of a base."""

    watts: Watts = 0.0
    burst: Watts = 0.0
    bursts: float = 0.0
    """An hour, of each node."""
    length: Seconds = 60.0
    """Of a burst, exponential."""


class Air(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Inlets of racks, degrees Celsius: T = supply + D P in the end, a first-order lag behind it."""

    supply: float = 20.0
    lag: Seconds = 120.0
    kelvin_per_watt: dict[str, dict[str, float]] = {}
    """D: of the inlet of a rack, by the racks that draw."""


class Hall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The building around the nodes."""

    hosts: tuple[Host, ...] = ()
    others: Others = Others()
    air: Air = Air()
    keep: Seconds = 7200.0
    """How much of the series of watts and degrees is kept."""


class PowerFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A power sensor that fails for a while."""

    what: Literal[
        "drop",  # no reading
        "zero",  # 0 W
        "stale",  # as at the beginning, and known to be so old
        "stuck",  # as at the beginning, and taken for new
        "wrong",  # `value` times as much as it is
    ]
    start: Seconds
    length: Seconds
    name: str = ""
    """Of a node; empty: all."""
    part: Literal["", "whole", "cpu", "card"] = ""
    """Only sensors of this; empty: all of the node."""
    value: float = 1.0


class PowerMeasuring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How well watts can be seen."""

    parts: Literal["cards", "whole", "both"] = "both"
    """Of a node: each card and the rest apart, the whole, or both."""
    error: float = 0.05
    """Each sensor is off by a constant share of up to this."""
    delay: Seconds = 5.0
    """How old readings are at least; up to a step of the series more."""
    model: float = 0.1
    """What a server's pods are taken to draw is off by a constant share of up to this."""
    faults: tuple[PowerFault, ...] = ()


# ---- events ------------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens at a time. `value` is what the kind needs; for `load` and `slow` a factor."""

    at: Seconds
    what: Literal[
        "load",  # the load of server `name` (all: "") times `value` from now on
        "lose_node",  # node `name` ("": a random one in use) fails at once
        "return_node",  # node `name` ("": all that are lost) is back
        "capacity",  # only `value` cards of type `name` may be used from now on; nodes above it are drained
        "lose_replica",  # one replica of server `name` fails
        "slow",  # engines on accelerator `name` (all: "") take `value` times as long from now on
        "blind",  # nothing can be measured of server `name` (all: "") for `value` seconds
        "stale",  # what is measured stands still for `value` seconds, and grows old
    ]
    name: str = ""
    value: float = 0.0


class Measuring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How well the plant can be seen."""

    window: Seconds = 60.0
    noise: float = 0.0
    """Coefficient of variation of a factor on each reading."""
    gaps: float = 0.0
    """Share of readings that are absent."""
    delay: Seconds = 0.0
    """How old readings are."""
    bias: dict[Literal["arrival_rate", "ttft", "itl"], float] = {}
    """A factor on every reading of a kind."""


Router = Literal["round_robin", "least_loaded", "random"]
Placing = Literal["first_fit", "spread"]
"""Of new replicas: to the first node with cards for them, or to the one with the most free cards."""


class World(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that the plant is made from; it knows nothing of the decision's profiles."""

    fleet: Fleet
    """Accelerators (cards, prices), servers (names, models, classes) and capacity. Profiles are not read."""
    engines: tuple[Engine, ...]
    streams: tuple[Stream, ...] = ()
    nodes: tuple[Node, ...] = ()
    """None: each type has its capacity in nodes of 8."""
    draws: tuple[Draw, ...] = ()
    """A type without one draws nothing that is known."""
    hall: Hall | None = None
    """None: nobody asks what nodes draw second by second."""
    cold_start: Duration = Duration(100.0, 0.1)
    grace: Seconds = 300.0
    """How long a drained replica may go on; what is unfinished then is lost."""
    router: Router = "least_loaded"
    hold: dict[str, int] = {}
    """By server: requests that a replica takes at most. The others wait in front of all of them, and are
    handed on every five seconds: it should be more than a replica serves in that time."""
    placing: Placing = "first_fit"
    measuring: Measuring = Measuring()
    events: tuple[Event, ...] = ()
    start: dict[str, dict[str, int]] = {}
    """Ready replicas at the beginning, by server and accelerator."""


# ---- scenario ----------------------------------------------------------------------------------


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A world, for how long it runs, and what the law that steers in it is told."""

    name: str
    duration: Seconds
    world: World
    believed: Fleet
    """The fleet as it is configured, with the profiles as they are believed to be, and the targets."""
    about: str = ""
    score_from: Seconds = 0.0
    """What is before is not counted."""
    loop: dict[str, object] = {}
    """Settings of the loop by name, plain values."""
