"""What stands in the status of Inferno's six kinds. All of it may be absent."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from flyball.wire.kinds.inferno_specs import Allocation, Amount, Part, Replicas
from flyball.wire.kinds.kind import Condition
from flyball.wire.kinds.schema import list_of

Conditions = Annotated[tuple[Condition, ...], list_of("map", "type")]
Generation = Annotated[int, Meta(ge=0)]
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class Status(Part, frozen=True):
    """What is known of the object."""

    active: bool | None = None
    """Whether it is planned with."""
    observed_generation: Generation | None = None
    """The metadata.generation that this status tells of."""
    conditions: Conditions | None = None
    """Ready: the object can be read and is planned with; if not, the message says why and how to mend it."""


class NextBest(Part, frozen=True):
    """What the server would get if its choice were not there."""

    accelerator: str
    """Name of the accelerator."""
    num_replicas: Replicas
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


class ServerStatus(Part, frozen=True):
    """What the server has and is to get, and why."""

    active: bool | None = None
    """Whether it is planned with."""
    observed_generation: Generation | None = None
    """The metadata.generation that this status tells of."""
    conditions: Conditions | None = None
    """Ready: it can be planned with. Feasible: its targets can be met within capacity. Limited: something
    holds the change back. Stale: what is known of its load is too old."""
    reason: str | None = None
    """Why it gets what it gets, in a word: cheapest, kept, capacity, mix, pinned, no_load, short,
    no_capacity, out_of_reach, no_profile, no_target, bad_load, left_out."""
    binding_constraint: str | None = None
    """What fixes the number of replicas: ttft, itl, wait, e2e, throughput, stability, min_replicas, none."""
    next_best: NextBest | None = None
    """What it would get if its choice were not there."""
    current_alloc: Allocation | None = None
    """What it has."""
    desired_alloc: Allocation | None = None
    """What it is to get."""
    last_decision_time: Moment | None = None
    """When that was decided."""


class OptimizerStatus(Part, frozen=True):
    """What the last plan came to."""

    done: bool | None = None
    """Whether the last request is done."""
    observed_generation: Generation | None = None
    """The metadata.generation that this status tells of."""
    conditions: Conditions | None = None
    """Ready: the settings can be read. Feasible: every server is served."""
    last_run_time: Moment | None = None
    """When the last plan was made."""
    cost: Amount | None = None
    """Of the last plan, cents per hour."""
    served: Replicas | None = None
    """Servers that the last plan serves."""
    unserved: Replicas | None = None
    """Servers that it does not serve, or not whole."""
