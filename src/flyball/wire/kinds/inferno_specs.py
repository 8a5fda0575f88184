"""What stands in the spec of Inferno's six kinds.

Whatever the original's definitions accept is valid here: nothing more is required, and its fields have its
bounds. What cannot be planned with all the same is told by `documents`, object by object. The fields of later
generations and of Flyball are new; all may be absent. Where a rule in CEL is on fields of the original,
stored objects that break it go on: from 1.30 on, the API server passes over what an update leaves as it was.

Units are Inferno's: milliseconds, requests per minute, cents per hour.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from flyball.spec.fleet import SaturationPolicy, SolverName
from flyball.wire.kinds.schema import Rule, list_of, rules

Text = Annotated[str, Meta(min_length=1)]
Amount = Annotated[float, Meta(ge=0)]
Watts = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Replicas = Annotated[int, Meta(ge=0, le=1_000_000)]
Batch = Annotated[int, Meta(ge=0, le=65_536)]
Names = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...], Meta(max_length=64), list_of("set")
]
Mode = Literal["recommend", "act", "keda", "gauge", "freeze"]

Flag = bool | None


class Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A part of an object."""


# ---- Accelerator -------------------------------------------------------------------------------


class Power(Part, frozen=True):
    """Watts of one unit, over the share of its compute that is in use: two straight lines."""

    idle: Watts
    """Watts where nothing runs."""
    full: Watts
    """Watts at full utilization."""
    mid_power: Watts | None = None
    """Watts at midUtil, where the lines meet; absent: on the straight line from idle to full."""
    mid_util: Share | None = None
    """Utilization where the lines meet, a share from 0 to 1; absent: 0.5."""


PowerCurve = Annotated[
    Power,
    rules(
        Rule("self.idle <= self.full", "idle is over full: write idle at most as high as full"),
        Rule(
            "!has(self.midPower) || (self.idle <= self.midPower && self.midPower <= self.full)",
            "midPower is not between idle and full: write idle <= midPower <= full",
        ),
    ),
]


class AcceleratorSpec(Part, frozen=True):
    """One accelerator unit as it can be had: a card, or several that are used together."""

    cost: float
    """Cents per hour of one unit, not of one card."""
    name: Text | None = None
    """As models and servers name it; absent: the object's name."""
    type: Text | None = None
    """Type of its cards, as capacities count them; absent: the name."""
    multiplicity: Annotated[int, Meta(ge=1)] = 1
    """Cards of that type in one unit."""
    mem_size: float | None = None
    """Memory, GB. For information."""
    mem_bw: float | None = field(default=None, name="memBW")
    """Memory bandwidth, GB per second. For information."""
    power: PowerCurve | None = None
    """What it draws, watts."""


# ---- Model -------------------------------------------------------------------------------------


class Decode(Part, frozen=True):
    """Generation 2: time between tokens, alpha + beta * batch."""

    alpha: Amount
    """Milliseconds per iteration."""
    beta: Amount
    """Milliseconds per iteration and request in the batch."""


class Prefill(Part, frozen=True):
    """Generation 2: time until the first token, gamma + delta * input tokens * batch."""

    gamma: Amount
    """Milliseconds per request."""
    delta: Amount
    """Milliseconds per input token and request in the batch."""


class Perf(Part, frozen=True):
    """Generation 3: time of an iteration with chunked prefill."""

    alpha: Amount
    """Milliseconds per iteration."""
    beta: Amount
    """Milliseconds per token that is computed."""
    gamma: Amount
    """Milliseconds per token that is computed and token of context that is read."""


class Profile(Part, frozen=True):
    """How fast the model is on one accelerator; in the parameters of one generation."""

    acc: str
    """Name of the accelerator."""
    acc_count: int = 1
    """Accelerator units in one replica."""
    max_batch_size: int | None = None
    """Most requests in the batch of a replica, at atTokens output tokens each."""
    at_tokens: int | None = None
    """Output tokens per request for which maxBatchSize holds."""
    alpha: float | None = None
    """Generation 1: milliseconds per token."""
    beta: float | None = None
    """Generation 1: milliseconds per token and request in the batch."""
    decode_parms: Decode | None = None
    """Generation 2: time between tokens, alpha + beta * batch."""
    prefill_parms: Prefill | None = None
    """Generation 2: time until the first token, gamma + delta * input tokens * batch."""
    perf_parms: Perf | None = None
    """Generation 3: time of an iteration with chunked prefill."""


MANY = "parameters of several generations: keep alpha and beta, or decodeParms and prefillParms, or perfParms"
NOT_FLAT_TOO = Rule(
    "!has(self.alpha) || !(has(self.decodeParms) || has(self.prefillParms) || has(self.perfParms))", MANY
)
NOT_BOTH_NESTED = Rule("!has(self.perfParms) || !(has(self.decodeParms) || has(self.prefillParms))", MANY)
BOTH_FLAT = Rule("has(self.alpha) == has(self.beta)", "alpha and beta go together: write both")


class ModelSpec(Part, frozen=True):
    """A model, and how fast it is on which accelerator."""

    name: Text | None = None
    """As classes and servers name it; absent: the object's name."""
    data: tuple[Annotated[Profile, rules(NOT_FLAT_TOO, NOT_BOTH_NESTED, BOTH_FLAT)], ...] | None = None
    """One entry for each accelerator on which it can run."""


# ---- ServiceClass ------------------------------------------------------------------------------

# A pattern and no rule in CEL, whose words would be better: the API server refuses what might cost it as much
# as that on each entry of a list without bound, and the original's list has none.
TARGET = r"^((mean|p[0-9]{1,2}([.][0-9]+)?) *<=? *)?[0-9.]+ *(h|min|s|ms|us)$"
Target = Annotated[str, Meta(max_length=64, pattern=TARGET)]


Time = Annotated[str, Meta(max_length=64, pattern=r"^[0-9.]+ *(h|min|s)$")]


class Targets(Part, frozen=True):
    """Promises in Flyball's words: statistic (mean, p50, p95, p99, p99.9; none is p95), <, time."""

    ttft: Target | None = None
    """Time to the first token, as "p95<1s". Not in generation 1."""
    itl: Target | None = None
    """Time between tokens, as "p95<40ms"."""
    wait: Target | None = None
    """Time in the queue, as "p99<500ms"."""
    e2e: Target | None = None
    """Time of the whole request, as "p95<20s". Not in generation 1."""


class ModelTarget(Part, frozen=True):
    """What the class promises for one model. 0, or absent: no limit."""

    model: Text
    """Name of the model."""
    itl: float | None = field(default=None, name="slo-itl")
    """Limit of the mean time between tokens, milliseconds."""
    ttft: float | None = field(default=None, name="slo-ttft")
    """Limit of the mean time to the first token, milliseconds. Generations 2 and 3."""
    wait: float | None = field(default=None, name="slo-ttw")
    """Limit of the 95th percentile of the time in the queue, milliseconds. Generation 1."""
    throughput: float | None = field(default=None, name="slo-tps")
    """Output tokens per second to provide for, whatever the load."""
    targets: Targets | None = None
    """Promises by statistic; each goes before the slo-* of the same latency."""


class ServiceClassSpec(Part, frozen=True):
    """A class of service: who goes first, and what is promised."""

    name: Text | None = None
    """As servers name it; absent: the object's name."""
    priority: Annotated[int, Meta(ge=0)] = 0
    """1 goes first, 100 last; 0 and what is over 100 is taken as 100."""
    deferrable: Time | None = None
    """For so long its requests may wait where watts are short, as "2h"; absent: none waits by choice."""
    data: tuple[ModelTarget, ...] | None = None
    """What is promised, model by model."""


# ---- Server ------------------------------------------------------------------------------------


class Load(Part, frozen=True):
    """Requests that come, and how long they are."""

    arrival_rate: float
    """Offered load, requests per minute."""
    throughput: float | None = None
    """Requests per minute that are completed. Generation 3."""
    avg_length: int | None = None
    """Output tokens per request, mean. Generation 1."""
    avg_in_tokens: Annotated[int, Meta(ge=0)] | None = None
    """Input tokens per request, mean. Generations 2 and 3."""
    avg_out_tokens: Annotated[int, Meta(ge=0)] | None = None
    """Output tokens per request, mean. Generations 2 and 3."""
    arrival_cov: float | None = field(default=None, name="arrivalCOV")
    """Coefficient of variation of the time between arrivals. Generation 1."""
    service_cov: float | None = field(default=None, name="serviceCOV")
    """Coefficient of variation of the service time. Generation 1."""


class Allocation(Part, frozen=True):
    """Replicas on an accelerator."""

    accelerator: str
    """Name of the accelerator; empty: none."""
    num_replicas: int
    """Replicas."""
    max_batch: int | None = None
    """Most requests in the batch of one replica."""
    cost: float | None = None
    """Cents per hour of all replicas."""
    itl_average: float | None = None
    """Time between tokens, mean, milliseconds."""
    wait_average: float | None = None
    """Time in the queue, mean, milliseconds. Generation 1."""
    ttft_average: float | None = None
    """Time to the first token, mean, milliseconds. Generations 2 and 3."""
    load: Load | None = None
    """The load at which this holds."""


class ServerSpec(Part, frozen=True):
    """An inference server: one model in one class of service."""

    model: Text
    """Name of the model."""
    name: Text | None = None
    """As the label inferno.server.name of its workload; absent: the object's name."""
    service_class: Text | None = field(default=None, name="class")
    """Name of the service class; absent: Free."""
    mode: Mode | None = None
    """What becomes of decisions: recommend (they are only told), act (replicas are written), keda (KEDA
    asks), gauge (as metrics), freeze (hands off); absent: as the operator was told."""
    min_num_replicas: Replicas | None = None
    """Never fewer replicas than these; absent or 0: it may have none."""
    max_num_replicas: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Never more replicas than these; absent: no limit."""
    max_batch_size: Batch | None = None
    """Requests in a batch, whatever the model's entry says; absent or 0: as the entry says."""
    max_queue_size: Replicas | None = None
    """Requests that may wait at one replica; absent: 0. Generation 3."""
    keep_accelerator: Flag = None
    """Whether it stays on the accelerator that it has."""
    accelerators: Names | None = None
    """Names of the accelerators on which it may run; absent: all."""
    current_alloc: Allocation | None = None
    """What it has now, and its load."""
    desired_alloc: Allocation | None = None
    """What the last optimization gave; written by the operator."""


REPLICA_BOUNDS = Rule(
    "!has(self.minNumReplicas) || !has(self.maxNumReplicas) || self.minNumReplicas <= self.maxNumReplicas",
    "minNumReplicas is over maxNumReplicas",
)


# ---- Capacity ----------------------------------------------------------------------------------


class Count(Part, frozen=True):
    """Cards of one type."""

    type: Text
    """Type of the cards, as accelerators name it."""
    count: Annotated[int, Meta(ge=0)] = 0
    """How many there are."""


class CapacitySpec(Part, frozen=True):
    """Cards that there are, by type; a type that is not named has none."""

    count: tuple[Count, ...]
    """One entry for each type."""


# ---- Optimizer ---------------------------------------------------------------------------------


class Settings(Part, frozen=True):
    """How to plan; what is absent is false."""

    unlimited: Flag = None
    """Take no notice of capacity."""
    heterogeneous: Flag = None
    """The load of one server may be divided over several accelerators."""
    milp_solver: Flag = None
    """Solve exactly, as solver: exact."""
    use_cplex: Flag = None
    """Solve exactly; HiGHS is used instead of CPLEX."""
    saturation_policy: SaturationPolicy | None = None
    """What becomes of capacity that is left where a server cannot be served whole; absent: None."""
    delayed_best_effort: Flag = None
    """That comes after all priorities, and not after each one."""
    solver: SolverName | None = None
    """auto, exact, greedy (the original's choice) or unlimited; absent: auto. Goes before milpSolver."""


class OptimizerData(Part, frozen=True):
    """How to plan."""

    optimizer: Settings
    """The settings."""


Period = Annotated[
    float,
    Meta(ge=0, le=86_400),
    rules(Rule("self == 0.0 || self >= 1.0", "a period is 0 (only on demand) or at least 1 second")),
]


class OptimizerSpec(Part, frozen=True):
    """A request to plan the servers of the namespace, and how."""

    optimize: Flag = None
    """Write true to plan once; it becomes false again when that is done."""
    period: Period | None = None
    """Plan again so often, seconds; 0 or absent: only on demand."""
    data: OptimizerData | None = None
    """How to plan; absent: with the defaults."""
