"""Power: domains and their budgets, policies, devices, and what a cycle sees of them.

Watts are means over a few seconds. Moments are seconds of the loop's clock; those of a schedule are seconds
since 1970, or since midnight where they come back every day (both UTC).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from flyball.units import Seconds, Watts

DomainLevel = Literal["Site", "Cluster", "Row", "Rack", "Node", "Feed"]
Mode = Literal["Observe", "Recommend", "Enforce"]
"""Only watched, said what would be done, or done."""
Lever = Literal["hold", "replicas", "pause", "concurrency", "resources", "placement"]
"""hold: no new replicas; pause: all the way to the floor at once (training); the rest say it themselves."""
Level = Literal["normal", "warn", "hold", "shed", "emergency"]
LEVELS: tuple[Level, ...] = ("normal", "warn", "hold", "shed", "emergency")
"""Rising: told; nothing grows; replicas go in steps; replicas go at once, whatever the step limits."""
PodPhase = Literal["running", "pending", "surge", "terminating"]
"""surge: beside those that are wanted, as during a rollout."""
Source = Literal["agent", "redfish", "dcgm", "kepler"]
Part = Literal["whole", "cpu", "card", "pod"]
DAY: Seconds = 86400.0


# ---- domains -----------------------------------------------------------------------------------


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A time in which another budget holds."""

    start: Seconds
    end: Seconds
    watts: Watts
    daily: bool = False
    """Every day from `start` to `end`, over midnight where `end` is not later."""
    reason: str = ""


class Thermal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Temperatures of a domain, degrees Celsius."""

    max_inlet: float
    supply: float
    """Of the air that comes in where nothing recirculates."""
    kelvin_per_watt: dict[str, float] = {}
    """By domain: how much warmer one watt there makes the inlet here; D of T = T_supply + D P."""


class Domain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the supply with a budget; domains form trees, and a node may be in several (rack, feed)."""

    name: str
    level: DomainLevel = "Cluster"
    parent: str = ""
    labels: dict[str, str] = {}
    """Nodes that have all of these are in it; empty: those of the domains below, or all at the root."""
    watts: Watts | None = None
    """The budget; None: watched only."""
    schedule: tuple[Slot, ...] = ()
    breaker: Watts | None = None
    """Never above this, whatever the schedule says."""
    max_exceedance: Seconds = 10.0
    """Above the budget for longer than this is an emergency."""
    ungoverned: Watts = 0.0
    """At least so much is drawn by what nobody here governs, whatever is estimated."""
    floor: float = 0.03
    """Least share of the budget that is kept free for sudden rises."""
    quantile: float = 0.9999
    """Of the rises that are kept free for."""
    common_error: float = 0.01
    """Share by which all sensors of the domain may be off together."""
    stale_after: Seconds = 60.0
    """Readings that are older are none."""
    tolerance: float = 0.1
    """Two sources of one figure may differ by this share before it is said."""
    thermal: Thermal | None = None


class PowerNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node, with the bounds of what it can draw."""

    name: str
    labels: dict[str, str] = {}
    cards: int = 0
    cards_used: int | None = None
    """By pods; None: not known, so any may be."""
    host_idle: Watts = 0.0
    host_most: Watts = 0.0
    """CPU, memory, fans and losses: all but the cards."""
    host_other: Watts = 0.0
    """Of that, what sensors of the CPU do not see, at most."""
    card_idle: Watts = 0.0
    card_most: Watts = 0.0
    """Of one card; most: what it draws in prefill."""
    card_type: str = ""
    """As the fleet counts its cards; empty: not known."""

    @property
    def least(self) -> Watts:
        """What it draws with nothing running."""
        return self.host_idle + self.cards * self.card_idle

    @property
    def most(self) -> Watts:
        """The modelled upper bound, with the pods that are on it."""
        used = self.cards if self.cards_used is None else min(max(self.cards_used, 0), self.cards)
        return self.host_most + used * self.card_most + (self.cards - used) * self.card_idle


# ---- readings ----------------------------------------------------------------------------------


class PowerReading(msgspec.Struct, frozen=True, gc=False):
    """One figure of one sensor."""

    source: Source
    part: Part
    node: str
    """Or the domain, of a meter of its whole."""
    watts: Watts | None
    """None, 0 and not finite: not known."""
    age: Seconds = 0.0
    error: float = 0.05
    """Share of it by which it may be off."""
    zone: str = ""
    """Of a CPU: psys, package, core, uncore or dram, which overlap."""
    device: str = ""
    """Which card (its UUID), package, or pod (namespace/name)."""


class PlacedPod(msgspec.Struct, frozen=True, gc=False):
    """A governed pod on a node, with its affine draw."""

    name: str
    server: str
    node: str
    """Empty: none yet."""
    phase: PodPhase = "running"
    accelerator: str = ""
    idle: Watts = 0.0
    """With its model loaded and no request."""
    load: Watts = 0.0
    """On top of it, at its present load."""
    most: Watts = 0.0
    empty: Watts = 0.0
    """Of all that, what its cards still draw when it is gone."""


class Known(msgspec.Struct, frozen=True, gc=False):
    """Watts as far as they are known."""

    watts: Watts
    """Measured, with the model's upper bound for what is not."""
    most: Watts
    """The same with every part at the upper end of its error, or of the model."""
    complete: bool
    """Whether all of it is measured."""
    age: Seconds = 0.0
    """Of the oldest reading in it."""
    error: float = 0.0
    """Share of `watts` by which what is measured may be off."""
    least: Watts = 0.0
    """What is measured alone."""


class DomainReading(msgspec.Struct, frozen=True):
    """A domain at one instant."""

    domain: str
    known: Known
    governed: Watts = 0.0
    """Of the pods that are governed, by their models, less what their empty cards would draw."""
    ungoverned: Watts = 0.0
    """All the rest."""
    most: Watts = 0.0
    """That the governed pods which draw now could draw."""
    committed: Watts = 0.0
    """Of pods that serve or end beside those that are wanted: surge and terminating."""
    ages: tuple[tuple[Seconds, float], ...] = ()
    """How old what is read of its nodes is, each with its share of the watts."""
    notes: tuple[str, ...] = ()


# ---- policies ----------------------------------------------------------------------------------


class AbsoluteCap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="watts"):
    """So many watts."""

    watts: Watts


class RelativeCap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="share"):
    """A share of the peak or the average over a window."""

    share: float
    of: Literal["Peak", "Average"] = "Peak"
    window: Seconds = 3600.0


Cap: TypeAlias = AbsoluteCap | RelativeCap


class WorkloadRef(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """An object that scales something."""

    kind: str
    name: str
    api_version: str = ""


class Trim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lever `resources` leaves running pods, as shares of what they ask for and may have."""

    cpu: float = 0.5
    memory: float = 1.0
    """1 leaves it alone."""


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be done to which pods, to hold which watts."""

    name: str
    namespace: str = "default"
    mode: Mode = "Recommend"
    cap: Cap | None = None
    """Of all its pods together; None: only the budgets of its domains."""
    domains: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    """Pods of its namespace that have all of these; with no workloads named, none means all."""
    workloads: tuple[WorkloadRef, ...] = ()
    kinds: tuple[str, ...] = ()
    """Only workloads of these kinds; empty: all."""
    priority: int | None = None
    """Of its pods, 1 sheds last; None: that of their service class."""
    protected: bool = False
    """Its pods are never shed."""
    min_replicas: int = 0
    levers: tuple[Lever, ...] = ("hold", "replicas")
    """In order of use."""
    trim: Trim = Trim()
    algorithm: str = "oversubscription"
    parameters: dict[str, float | int | str | bool] = {}
    outputs: tuple[Literal["alertmanager", "slack", "gitops"], ...] = ()
    max_celsius: float | None = None
    """Of the inlets of its nodes."""
    notes: tuple[str, ...] = ()
    """What was asked for and is done otherwise."""

    @property
    def key(self) -> str:
        """`namespace/name`, by which all else names it."""
        return f"{self.namespace}/{self.name}"


class DeviceDraw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device draws in one phase, batch by batch."""

    phase: Literal["prefill", "decode", "mixed"]
    batch: int
    watts: Watts
    relative_speed: float = 1.0
    clock_mhz: int | None = None


class DeviceProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Power of a card, or of one under a certain model."""

    product: str
    tdp: Watts
    idle: Watts
    resident_idle: Watts
    """With a model loaded and no request."""
    model: str = ""
    tensor_parallel: int = 0
    """0: any."""
    table: tuple[DeviceDraw, ...] = ()
    provenance: str = ""


# ---- what a cycle sees -------------------------------------------------------------------------


class PowerWorkload(msgspec.Struct, frozen=True):
    """Something with replicas that policies may select: a governed server, or another workload with pods."""

    name: str
    """Of the server that it is; of others `namespace/Kind/name`."""
    namespace: str = ""
    labels: dict[str, str] = {}
    """Of its pods."""
    scaled_by: tuple[WorkloadRef, ...] = ()
    """Itself and all that scale it: a policy may name any of them."""
    replicas: int = 0
    """Asked for now."""
    least: int = 0
    most: int | None = None
    """Its user's own bounds, as they were before anything of ours; None: no maximum."""
    wanted: int | None = None
    """What it would have without us; None: what the plan says, of governed servers."""
    governed: bool = True
    """Whether the plan decides its replicas."""
    batch: int = 0
    """Of its engines now, where the plan may change it; 0: it may not."""


class Answer(msgspec.Struct, frozen=True):
    """What an algorithm said, or why it said nothing."""

    algorithm: str
    replicas: dict[str, float] | None = None
    """At most, by workload; None: there is no answer, and the safety filter acts alone."""
    problem: str = ""


class PowerSeen(msgspec.Struct, frozen=True):
    """All that is known of power at one instant: what is asked for, and what is read."""

    now: Seconds
    """Since 1970: schedules and windows go by it."""
    tau: Seconds
    """From a reading to the end of what it causes: period, slowest lever and drain."""
    domains: tuple[Domain, ...] = ()
    policies: tuple[Policy, ...] = ()
    nodes: tuple[PowerNode, ...] = ()
    readings: tuple[PowerReading, ...] = ()
    pods: tuple[PlacedPod, ...] = ()
    workloads: tuple[PowerWorkload, ...] = ()
    answers: dict[str, Answer] = {}
    """By policy, `namespace/name`."""
    notes: tuple[str, ...] = ()
    """What could not be read, and why."""


def aged(seen: PowerSeen, seconds: Seconds) -> PowerSeen:
    """The same so much later: nothing new was read, and no answer holds any more."""
    return msgspec.structs.replace(
        seen,
        now=seen.now + seconds,
        readings=tuple(msgspec.structs.replace(r, age=r.age + seconds) for r in seen.readings),
        answers={},
    )
