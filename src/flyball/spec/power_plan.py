"""What a cycle decides of watts: limits of the plan, caps of workloads, recommendations, states."""

from __future__ import annotations

from typing import Literal

import msgspec

from flyball.spec.power import Level, Lever, Mode, Trim
from flyball.units import DollarsPerHour, Seconds, TokensPerSecond, Watts


class HeatLimit(msgspec.Struct, frozen=True):
    """An inlet that may not get too warm."""

    domain: str
    margin: float
    """Kelvin that are left above the supply for what is up for decision."""
    kelvin_per_watt: dict[str, float]
    """By domain."""


class CapLimit(msgspec.Struct, frozen=True):
    """What the pods of a policy may draw together."""

    policy: str
    """`namespace/name`."""
    watts: Watts
    """For those that are up for decision."""
    servers: tuple[str, ...]
    """That it selects of these."""


class PodDraw(msgspec.Struct, frozen=True, gc=False):
    """What a replica draws, on top of its empty cards."""

    idle: Watts
    """Without its load, as far as that can go to others."""
    most: Watts


class WattLimits(msgspec.Struct, frozen=True):
    """What the replicas that are up for decision may draw, and where they are."""

    watts: dict[str, Watts] = {}
    """By domain, for them alone: its threshold less all else that draws there."""
    heat: tuple[HeatLimit, ...] = ()
    places: dict[str, tuple[str, ...]] = {}
    """Sets of nodes that have none in common, with the domains that each is in."""
    replicas: dict[str, dict[str, int]] = {}
    """By server: how many it has in each place, on the accelerator that it is on."""
    free: dict[str, dict[str, int]] = {}
    """By type of cards: how many are free in each place."""
    exempt: tuple[str, ...] = ()
    """Servers that do not hold to it; what they draw is taken off already."""
    caps: tuple[CapLimit, ...] = ()
    pods: dict[str, PodDraw] = {}
    """By server: what its pods draw on the accelerator that it is on, instead of the accelerator's curve."""
    empty: dict[str, Watts] = {}
    """By type of cards: what one draws that nobody uses; it is not in `watts`."""


# ---- what is recommended -----------------------------------------------------------------------


class WorkloadCap(msgspec.Struct, frozen=True):
    """Replicas that a workload may have at most, for the watts."""

    workload: str
    most: int
    """What it may go to now: the next step, never below its least nor above its user's maximum."""
    goal: int
    """Where the steps lead."""
    policy: str = ""
    lever: Lever = "replicas"
    mode: Mode = "Recommend"
    """In Enforce it is carried out, else told."""
    at_once: bool = False
    """An emergency: no steps."""
    reason: str = ""
    leave: tuple[str, ...] = ()
    """Pods that go on the way to the goal, in this order: so that each domain holds, and none is emptied."""


class Relief(msgspec.Struct, frozen=True):
    """What is left for a workload whose replicas cannot go any further."""

    workload: str
    policy: str
    lever: Literal["concurrency", "resources"]
    mode: Mode
    """In Enforce it is carried out, else told."""
    domain: str = ""
    """That is short; "": none is any more, and it is too early to give it back."""
    batch: int = 0
    """Of its engines at most; 0: as the plan says."""
    own: int = 0
    """What that was before."""
    trim: Trim = Trim(1.0, 1.0)
    """Shares of CPU and memory that its pods keep."""
    watts: Watts = 0.0
    """Saved by the model; 0: nobody knows beforehand."""

    @property
    def words(self) -> str:
        """What it may have."""
        if self.lever == "concurrency":
            return f"a batch of {self.batch}"
        memory = f" and {self.trim.memory:.0%} of its memory" if self.trim.memory < 1 else ""
        return f"{self.trim.cpu:.0%} of its CPU{memory}"


class PowerAction(msgspec.Struct, frozen=True, gc=False):
    """One lever moved for one server."""

    lever: Lever
    server: str
    before: int
    after: int
    """Replicas at most; of `concurrency` the batch, of `resources` percent of the CPU."""
    watts: Watts = 0.0
    """Saved; below 0: given back."""
    lost: TokensPerSecond = 0.0


class Recommendation(msgspec.Struct, frozen=True):
    """What would be done in one domain or for one policy, and why."""

    domain: str
    policy: str
    level: Level
    actions: tuple[PowerAction, ...]
    reason: str
    expires: Seconds
    peak: Watts | None = None
    """Foretold, where it is not done."""


class Ahead(msgspec.Struct, frozen=True):
    """The draw at one horizon."""

    horizon: Seconds
    watts: tuple[Watts, ...]
    """Median, 90th and 99th percentile."""
    coverage: tuple[float, ...]
    """Of earlier forecasts: how often the draw stayed at or below the median, and the 90th percentile."""
    checks: int
    """How many that were."""


class Exceeded(msgspec.Struct, frozen=True, gc=False):
    """How often and how long a domain was above its budget."""

    count: int = 0
    seconds: Seconds = 0.0
    joules: float = 0.0


class DomainState(msgspec.Struct, frozen=True):
    """A domain as a plan or a page tells it."""

    domain: str
    level: Level
    watts: Watts
    complete: bool
    budget: Watts | None
    budget_reason: str = ""
    threshold: Watts | None = None
    rise: Watts = 0.0
    ungoverned: Watts = 0.0
    per_kilowatt: DollarsPerHour | None = None
    """What one more kilowatt saves."""
    feasible: bool = True
    """Floors, protection and resident idle fit under the budget."""
    notes: tuple[str, ...] = ()
    nodes: int = 0
    """In it."""
    inlet: float | None = None
    """Degrees of the air that comes in, where that can be told."""
    ahead: tuple[Ahead, ...] = ()
    """Foretold, the nearest first."""
    exceeded: Exceeded | None = None
    """None: it has no budget."""


class PolicyState(msgspec.Struct, frozen=True):
    """A policy as it holds now."""

    policy: str
    """`namespace/name`."""
    workloads: tuple[str, ...] = ()
    """That it selects."""
    watts: Watts = 0.0
    """Drawn by their pods, by their models."""
    cap: Watts | None = None
    """Of them together; None: none, or its window was not seen yet."""
    batches: bool = False
    """Whether the batch of any may be changed."""


class PowerPlan(msgspec.Struct, frozen=True):
    """What a cycle says of power."""

    domains: tuple[DomainState, ...] = ()
    caps: tuple[WorkloadCap, ...] = ()
    """Of all workloads that may not have what they want."""
    reliefs: tuple[Relief, ...] = ()
    """Of those that have their least, and it is too much."""
    recommendations: tuple[Recommendation, ...] = ()
    hot: tuple[str, ...] = ()
    """Nodes that replicas should go from first, the hottest first."""
    cool: tuple[str, ...] = ()
    """Nodes that new replicas should go to, the best first; none: it is of no matter."""
    surge: dict[str, int] = {}
    """Servers that have one more for a while, so that one can leave a rack, with their replicas."""
    overruled: dict[str, str] = {}
    """By policy, `namespace/name`: which others are more restrictive, in a sentence."""
    infeasible: tuple[str, ...] = ()
    """Budgets that cannot be held, in a sentence each with the mend."""
    policies: tuple[PolicyState, ...] = ()
    notes: tuple[str, ...] = ()
