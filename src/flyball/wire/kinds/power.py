"""The four kinds of power: group flyball.dev, version v1alpha1."""

from __future__ import annotations

from typing import Literal

import msgspec

from flyball.wire.kinds import power_specs as specs
from flyball.wire.kinds import power_status as statuses
from flyball.wire.kinds.kind import AGE, Column, Definition, Version, state
from flyball.wire.kinds.schema import Rule

GROUP, VERSION = "flyball.dev", "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
WHY = state("Ready", "Problem", priority=1, part="message")


def _definition(
    kind: str,
    short: str,
    description: str,
    spec: type[msgspec.Struct],
    status: type[msgspec.Struct],
    columns: tuple[Column, ...],
    rules: tuple[Rule, ...] = (),
    scope: Literal["Namespaced", "Cluster"] = "Namespaced",
) -> Definition:
    version = Version(VERSION, description, spec, status, (*columns, AGE), rules)
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    return Definition(GROUP, kind, plural.lower(), kind.lower(), (version,), (short,), ("flyball",), scope)


POWER_DOMAIN = _definition(
    "PowerDomain",
    "pdom",
    "PowerDomain is a part of the supply: a site, cluster, row, rack, node or feed, with its budget.",
    specs.PowerDomainSpec,
    statuses.PowerDomainStatus,
    (
        Column("Kind", "string", ".spec.level", "Site, cluster, row, rack, node or feed."),
        Column("Parent", "string", ".spec.parentRef.name", "What it is a part of."),
        Column("Watts", "number", ".status.watts", "Drawn now."),
        Column("Budget", "number", ".status.budgetWatts", "That may be drawn now."),
        Column("Headroom", "number", ".status.headroomWatts", "Before replicas go."),
        Column("Level", "string", ".status.level", "What is done about it."),
        Column("Price", "number", ".status.pricePerKilowatt", "Dollars per hour for one more kilowatt."),
        Column("Ungoverned", "number", ".status.ungovernedWatts", "Drawn by others.", priority=1),
        state("TelemetryHealthy", "Measured", priority=1),
        WHY,
    ),
    (specs.UNDER_BREAKER, specs.ONE_WAY),
    "Cluster",
)
POWER_POLICY = _definition(
    "PowerPolicy",
    "ppol",
    "PowerPolicy says what may be done to which pods, to hold which watts.",
    specs.PowerPolicySpec,
    statuses.PowerPolicyStatus,
    (
        Column("Mode", "string", ".spec.mode", "Observe, Recommend or Enforce."),
        Column("Threshold", "string", ".spec.threshold", "Watts, or a share of what was drawn."),
        Column("Window", "string", ".spec.observationWindow", "Over which that is taken."),
        Column("Watts", "number", ".status.attributedWatts", "Drawn by its pods."),
        Column("Cap", "number", ".status.effectiveCapWatts", "That they may draw now."),
        state("Held"),
        Column("Algorithm", "string", ".spec.algorithm.name", "Who proposes.", priority=1),
        state("Overruled", priority=1),
        WHY,
    ),
)
POWER_RECOMMENDATION = _definition(
    "PowerRecommendation",
    "prec",
    "PowerRecommendation is what would be done to hold a budget, and why; made by Flyball, not by people.",
    specs.PowerRecommendationSpec,
    statuses.PowerRecommendationStatus,
    (
        Column("Domain", "string", ".spec.domainRef.name", "Whose budget it is for."),
        Column("Policy", "string", ".spec.policyRef.name", "That allows it."),
        Column("Phase", "string", ".status.phase", "What became of it."),
        Column("Reason", "string", ".spec.reason", "Why."),
        Column("Expires", "string", ".spec.expiresAt", "When it says nothing any more.", priority=1),
    ),
    (specs.UNCHANGED,),
)
DEVICE_POWER_PROFILE = _definition(
    "DevicePowerProfile",
    "dpp",
    "DevicePowerProfile is what a device draws: idle, with a model loaded, and at work.",
    specs.DevicePowerProfileSpec,
    statuses.DevicePowerProfileStatus,
    (
        Column("Product", "string", ".spec.match.gpuProduct", "Of which devices."),
        Column("Model", "string", ".spec.match.model", "While they run it."),
        Column("TDP", "number", ".spec.tdpWatts", "Watts at full load."),
        Column("Idle", "number", ".spec.residentIdleWatts", "Watts with a model loaded."),
        WHY,
    ),
    (specs.RISING,),
    "Cluster",
)

DEFINITIONS = (POWER_DOMAIN, POWER_POLICY, POWER_RECOMMENDATION, DEVICE_POWER_PROFILE)
