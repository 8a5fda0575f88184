"""What stands in the spec of the four kinds of power.

Units are watts, degrees Celsius, seconds and percent, as power engineers write them; times may carry a unit.
Lists and texts have bounds, so that the API server can reckon what the rules in CEL cost.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from flyball.spec.power import DomainLevel, Lever, Mode, Source
from flyball.wire.kinds.inferno_specs import Part
from flyball.wire.kinds.schema import Rule, list_of, rules

Name = Annotated[str, Meta(min_length=1, max_length=253)]
Word = Annotated[str, Meta(max_length=253)]
Sentence = Annotated[str, Meta(max_length=1024)]
Watts = Annotated[float, Meta(ge=0, le=1e9)]
Budget = Annotated[float, Meta(gt=0, le=1e9)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Celsius = Annotated[float, Meta(ge=-50, le=200)]
Labels = Annotated[dict[str, Annotated[str, Meta(max_length=63)]], Meta(max_length=32)]

CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?(Z|[+-][0-9]{2}:[0-9]{2})$"
When = Annotated[str, Meta(max_length=40, pattern=rf"{CLOCK}|{MOMENT}")]
WINDOW = (
    r"^([0-9]*[1-9][0-9]*([.][0-9]+)?|0+[.][0-9]*[1-9][0-9]*) *(h|[Hh]ours?|min|[Mm]inutes?|s|[Ss]econds?)$"
)
Window = Annotated[str, Meta(max_length=32, pattern=WINDOW)]
PERCENT = r"^(100([.]0+)?|[1-9][0-9]?([.][0-9]+)?|0[.][0-9]*[1-9][0-9]*) *%$"


# ---- PowerDomain -------------------------------------------------------------------------------


class NameRef(Part, frozen=True):
    """An object of the same kind of scope, by name."""

    name: Name
    """Its name."""


class Selector(Part, frozen=True):
    """What is selected by labels."""

    match_labels: Labels | None = None
    """All of these labels must be there with these values; absent: no condition."""


class Slot(Part, frozen=True):
    """A time in which another budget holds: both moments, or both times of day (UTC)."""

    start: When
    """From when on: 2026-12-01T17:00:00Z, or every day 17:00."""
    end: When
    """Until when; a time of day that is not later than start is on the next day."""
    watts: Budget
    """The budget in that time, watts."""
    reason: Sentence | None = None
    """Why, for status and messages."""


SAME_FORM = Rule(
    "self.start.contains('T') == self.end.contains('T')",
    "start and end are both moments or both times of day: write both the same way",
)


class DomainBudget(Part, frozen=True):
    """What may be drawn."""

    watts: Budget | None = None
    """Watts at most, as a mean over a few seconds; absent: the domain is only watched."""
    schedule: (
        Annotated[
            tuple[Annotated[Slot, rules(SAME_FORM)], ...],
            Meta(max_length=64),
            list_of("atomic"),
        ]
        | None
    ) = None
    """Times in which another budget holds; where several do, the lowest."""


class Limits(Part, frozen=True):
    """What must never be passed, whatever the budget."""

    breaker_watts: Budget | None = None
    """Watts of the breaker; no schedule goes above."""
    max_exceedance_seconds: Annotated[float, Meta(ge=0, le=3600)] = 10.0
    """Seconds above the budget, after which it is an emergency."""


class GuardBand(Part, frozen=True):
    """What is kept free for rises within the loop's own latency."""

    floor_percent: Percent = 3.0
    """Percent of the budget that are kept free at least."""
    quantile: Annotated[float, Meta(ge=0.9, le=0.999999)] = 0.9999
    """Of the rises that were seen, a share from 0.9 to 0.999999."""


class Thermal(Part, frozen=True):
    """Temperatures of the domain."""

    max_inlet_celsius: Celsius
    """Of the air at the inlets, degrees Celsius."""
    supply_celsius: Celsius = 18.0
    """Of the air that the cooling supplies, degrees Celsius."""
    kelvin_per_kilowatt: (
        Annotated[dict[str, Annotated[float, Meta(ge=0, le=1000)]], Meta(max_length=256)] | None
    ) = None
    """By domain: how many kelvin one kilowatt there adds at the inlets here (recirculation)."""


class Telemetry(Part, frozen=True):
    """How sensors are read."""

    sources: Annotated[tuple[Source, ...], Meta(max_length=4), list_of("set")] | None = None
    """Only these, the most trusted first; absent: all, agent, redfish, dcgm, kepler."""
    stale_after_seconds: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    """Seconds after which a reading is none."""
    tolerance_percent: Percent = 10.0
    """Percent by which two sources of one figure may differ before that is told."""
    common_error_percent: Percent = 1.0
    """Percent by which all sensors may be off together."""


class Ungoverned(Part, frozen=True):
    """What is drawn by others."""

    watts: Watts = 0.0
    """Watts that are counted at least for switches, pumps and foreign machines."""


class PowerDomainSpec(Part, frozen=True):
    """A part of the supply, its budget and its place in the tree."""

    level: DomainLevel
    """What it is: Site, Cluster, Row, Rack, Node, Feed."""
    parent_ref: NameRef | None = None
    """The domain that it is a part of; absent: it is a root."""
    node_selector: Selector | None = None
    """Which nodes are in it; absent: those of the domains below it, for a root without any all."""
    discover: Word | None = None
    """Key of a node label: a domain for each of its values is made below this one, with this budget each."""
    budget: DomainBudget | None = None
    """What may be drawn; absent: it is only watched."""
    limits: Limits | None = None
    """What must never be passed."""
    guard_band: GuardBand | None = None
    """What is kept free for sudden rises."""
    thermal: Thermal | None = None
    """Temperatures; absent: they do not matter."""
    telemetry: Telemetry | None = None
    """How sensors are read."""
    ungoverned: Ungoverned | None = None
    """What is drawn by others."""


UNDER_BREAKER = Rule(
    "!has(self.budget) || !has(self.budget.watts) || !has(self.limits) || "
    "!has(self.limits.breakerWatts) || self.budget.watts <= self.limits.breakerWatts",
    "the budget is over breakerWatts: lower budget.watts",
    field_path=".budget.watts",
)
ONE_WAY = Rule(
    "!has(self.discover) || !has(self.nodeSelector)",
    "discover and nodeSelector: keep one, the domains that are found select their nodes themselves",
    field_path=".discover",
)


# ---- PowerPolicy -------------------------------------------------------------------------------


class Targets(Part, frozen=True):
    """Which pods, in the namespace of the policy."""

    selector: Selector | None = None
    """Labels of the pods."""
    kinds: Annotated[tuple[Name, ...], Meta(max_length=16), list_of("set")] | None = None
    """Only those of workloads of these kinds, as Deployment or ScaledObject; absent: of all."""


class Protect(Part, frozen=True):
    """What is not taken from them."""

    never_shed: bool = False
    """Whether nothing is ever taken from them; they then count as if their draw were fixed."""
    min_replicas: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Replicas of each workload that stay."""


class Resources(Part, frozen=True):
    """What lever `resources` leaves running pods of what they ask for and may have."""

    cpu_percent: Annotated[int, Meta(ge=1, le=100)] = 50
    """Of CPU."""
    memory_percent: Annotated[int, Meta(ge=1, le=100)] = 100
    """Of memory; 100 leaves it alone."""


class Algorithm(Part, frozen=True):
    """Who proposes."""

    name: Name = "oversubscription"
    """static-cap, oversubscription, perf-per-watt, maximize-replicas, prioritize-high-replica, or that of an
    installed package."""
    parameters: dict[str, Any] | None = None
    """Its parameters."""


THRESHOLD = Rule(
    f"type(self) == int ? (self > 0 && self <= 1000000000) : self.matches('{PERCENT}')",
    "a threshold is watts, as 40000, or a share, as 90%",
)
Threshold = Annotated[int | str, rules(THRESHOLD)]


class PowerPolicySpec(Part, frozen=True):
    """What may be done to which pods, to hold which watts."""

    mode: Mode = "Recommend"
    """Observe: nothing is said or done; Recommend: it is said; Enforce: it is done."""
    threshold: Threshold | None = None
    """Of all its pods together: watts, as 40000, or a share of what they drew, as 90%; absent: only the
    budgets of its domains."""
    of: Literal["Peak", "Average"] = "Peak"
    """Of which a share is meant."""
    observation_window: Window = "1h"
    """Over which peak or average are taken, as 4h or 4 Hours."""
    targets: Targets | None = None
    """Which pods; absent: all of the namespace that are governed."""
    domain_refs: Annotated[tuple[NameRef, ...], Meta(max_length=32), list_of("map", "name")] | None = None
    """Only for the budgets of these domains; absent: of all that its pods are in."""
    priority: Annotated[int, Meta(ge=1, le=100)] | None = None
    """1 sheds last, 100 first; absent: that of the class of service, 100 where there is none (training)."""
    protect: Protect | None = None
    """What is not taken from them."""
    levers: Annotated[tuple[Lever, ...], Meta(min_length=1, max_length=6), list_of("set")] | None = None
    """In this order: hold (no new replicas), replicas, pause, concurrency, resources, placement; absent:
    hold, replicas."""
    resources: Resources | None = None
    """For the lever of this name; absent: half of the CPU, all of the memory."""
    algorithm: Algorithm | None = None
    """Who proposes; absent: oversubscription."""
    outputs: (
        Annotated[tuple[Literal["alertmanager", "slack", "gitops"], ...], Meta(max_length=3), list_of("set")]
        | None
    ) = None
    """Where recommendations go beside objects and Events."""


# ---- PowerRecommendation -----------------------------------------------------------------------


class Action(Part, frozen=True):
    """One lever moved for one workload."""

    lever: Lever
    """Which lever."""
    target: Name
    """The workload, as Deployment/name."""
    before: Annotated[int, Meta(ge=0, le=1_000_000)] = field(name="from")
    """What is set now: replicas at most; for concurrency the batch, for resources percent of the CPU."""
    after: Annotated[int, Meta(ge=0, le=1_000_000)] = field(name="to")
    """What should be set."""
    expected_watts: Annotated[float, Meta(ge=-1e9, le=1e9)]
    """Watts that it saves; below 0 where it gives back."""
    expected_slo: Sentence | None = None
    """What becomes of latencies."""


class NotTaken(Part, frozen=True):
    """What is foretold where nothing is done."""

    peak_watts: Watts | None = None
    """Highest draw, watts."""
    exceed_seconds: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    """Seconds above the budget."""
    slo_miss: Percent | None = None
    """Percent of requests that miss their targets."""


class PowerRecommendationSpec(Part, frozen=True):
    """What would be done, and why; never changed once it is made."""

    reason: Sentence
    """Why, in a sentence."""
    actions: Annotated[tuple[Action, ...], Meta(max_length=256), list_of("atomic")]
    """What would be done, in this order."""
    expires_at: Annotated[str, Meta(max_length=40, extra_json_schema={"format": "date-time"})]
    """After this it says nothing any more."""
    domain_ref: NameRef | None = None
    """The domain whose budget it is for."""
    policy_ref: NameRef | None = None
    """The policy of the same namespace that allows it."""
    snapshot_digest: Word | None = None
    """Of the snapshot that it was decided from, for replay."""
    if_not_taken: NotTaken | None = None
    """What is foretold where nothing is done."""


UNCHANGED = Rule("self == oldSelf", "a recommendation does not change: make another one")


# ---- DevicePowerProfile ------------------------------------------------------------------------


class DeviceMatch(Part, frozen=True):
    """For which devices it holds."""

    gpu_product: Name
    """As nodes label it in nvidia.com/gpu.product, or the name of the catalogue."""
    model: Word | None = None
    """Only while they run this model."""
    tensor_parallel: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """Only where so many of them hold one replica."""


class Draw(Part, frozen=True):
    """What a device draws in one phase, at one batch."""

    phase: Literal["prefill", "decode", "mixed"]
    """Of the work."""
    batch: Annotated[int, Meta(ge=1, le=65_536)]
    """Requests in the batch."""
    watts: Watts
    """Watts of one device."""
    relative_speed: Annotated[float, Meta(gt=0, le=100)] = 1.0
    """Of the speed at the highest clock, a share."""
    clock_mhz: Annotated[int, Meta(ge=1, le=100_000)] | None = field(default=None, name="clockMHz")
    """Clock of the multiprocessors, MHz; absent: the highest."""


class DevicePowerProfileSpec(Part, frozen=True):
    """What a device draws."""

    match: DeviceMatch
    """For which devices it holds."""
    tdp_watts: Budget
    """Watts by design at full load."""
    idle_watts: Watts
    """Watts with nothing loaded."""
    resident_idle_watts: Watts
    """Watts with a model loaded and no request."""
    table: Annotated[tuple[Draw, ...], Meta(max_length=512), list_of("atomic")] | None = None
    """Measured draws."""
    provenance: Sentence | None = None
    """Who measured it, and how."""
    measured_at: Annotated[str, Meta(max_length=40, extra_json_schema={"format": "date-time"})] | None = None
    """When."""


RISING = Rule(
    "self.idleWatts <= self.residentIdleWatts && self.residentIdleWatts <= self.tdpWatts",
    "watts do not rise: write idleWatts <= residentIdleWatts <= tdpWatts",
    field_path=".residentIdleWatts",
)
