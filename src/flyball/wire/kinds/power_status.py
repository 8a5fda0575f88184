"""What stands in the status of the four kinds of power. All of it may be absent."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from flyball.spec.power import Level
from flyball.wire.kinds.inferno_specs import Part
from flyball.wire.kinds.inferno_status import Conditions, Generation, Moment
from flyball.wire.kinds.power_specs import Name, Sentence, Watts
from flyball.wire.kinds.schema import list_of

Count = Annotated[int, Meta(ge=0)]


class Foretold(Part, frozen=True):
    """The draw some time ahead."""

    seconds: Annotated[int, Meta(ge=1)]
    """So many seconds ahead."""
    p50: Watts
    """Median, watts."""
    p90: Watts
    """90th percentile, watts."""
    p99: Watts
    """99th percentile, watts."""
    coverage90: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Share of earlier forecasts whose 90th percentile was not passed."""


class Exceedance(Part, frozen=True):
    """How often and how long it was above its budget."""

    count: Count = 0
    """How often."""
    seconds: Annotated[float, Meta(ge=0)] = 0.0
    """Seconds in all."""
    joules: Annotated[float, Meta(ge=0)] = 0.0
    """Energy above the budget, joules."""


class PowerDomainStatus(Part, frozen=True):
    """What the domain draws, may draw, and what is done about it."""

    observed_generation: Generation | None = None
    """The metadata.generation that this status tells of."""
    conditions: Conditions | None = None
    """Ready: it can be read. TelemetryHealthy: all of it is measured. WithinBudget. GuaranteeFeasible:
    floors, protection and resident idle fit under the budget."""
    level: Level | None = None
    """normal; warn: near; hold: nothing grows; shed: replicas go in steps; emergency: at once."""
    watts: Watts | None = None
    """Drawn now, watts; what is not measured counts with its upper bound."""
    budget_watts: Watts | None = None
    """That may be drawn now, watts."""
    budget_reason: Sentence | None = None
    """Why it is this."""
    threshold_watts: Watts | None = None
    """Above this replicas go: the budget without error and sudden rises, watts."""
    headroom_watts: Annotated[float, Meta(ge=-1e9, le=1e9)] | None = None
    """Threshold less draw, watts."""
    rise_watts: Watts | None = None
    """Kept free for rises within the loop's latency, watts."""
    ungoverned_watts: Watts | None = None
    """Drawn by what nobody here governs, as estimated, watts."""
    forecast: Annotated[tuple[Foretold, ...], Meta(max_length=8), list_of("atomic")] | None = None
    """The draw ahead."""
    price_per_kilowatt: Annotated[float, Meta(ge=0)] | None = None
    """What one more kilowatt would save, dollars per hour."""
    nodes: Count | None = None
    """Nodes in it."""
    inlet_celsius: float | None = None
    """Of the inlets, as modelled or measured, degrees Celsius."""
    exceedance: Exceedance | None = None
    """How often and how long it was above its budget."""


class PowerPolicyStatus(Part, frozen=True):
    """What the pods of the policy draw and may draw."""

    observed_generation: Generation | None = None
    """The metadata.generation that this status tells of."""
    conditions: Conditions | None = None
    """Ready: it can be read. Overruled: a more restrictive policy holds for some of its pods. Held: it holds
    something back."""
    attributed_watts: Watts | None = None
    """Drawn by its pods, watts."""
    effective_cap_watts: Watts | None = None
    """That they may draw now, watts."""
    reference_watts: Watts | None = None
    """Peak or average of which that is a share, watts."""
    servers: Count | None = None
    """Servers that it governs."""
    held: Count | None = None
    """Servers of which it holds something back."""
    last_recommendation: Name | None = None
    """Name of the newest PowerRecommendation."""


class PowerRecommendationStatus(Part, frozen=True):
    """What became of it."""

    phase: Literal["Proposed", "Applied", "Withdrawn", "Expired"] | None = None
    """Proposed; Applied: it was done; Withdrawn: it is not needed any more; Expired."""
    by: Name | None = None
    """Who applied it."""
    applied_at: Moment | None = None
    """When it was done."""
    observed_watts: Annotated[float, Meta(ge=-1e9, le=1e9)] | None = None
    """Watts that it saved, as measured."""
    conditions: Conditions | None = None
    """Free for what approves."""


class DevicePowerProfileStatus(Part, frozen=True):
    """Whether it is used."""

    observed_generation: Generation | None = None
    """The metadata.generation that this status tells of."""
    conditions: Conditions | None = None
    """Ready: it can be read and is used."""
