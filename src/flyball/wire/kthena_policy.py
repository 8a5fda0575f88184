"""AutoscalingPolicy and AutoscalingPolicyBinding of Kthena, both generations.

v0.4 keeps metrics in the policy and the target in a binding beside it; v1 has the target in the policy, and
another name for a metric's name. What both share, the behaviour, is also part of a ModelBooster.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from flyball.wire.kthena_meta import Document, ObjectMeta, Part

Percent = Annotated[int, Meta(ge=0, le=1000)]
Replicas = Annotated[int, Meta(ge=0, le=1_000_000)]
MostReplicas = Annotated[int, Meta(ge=1, le=1_000_000)]
Amount = Annotated[int | str, Meta(description="A quantity of Kubernetes, such as 10 or 800m.")]
Duration = Annotated[str, Meta(description="A duration, such as 30s or 5m.")]


class StablePolicy(Part, frozen=True):
    """How far replicas may move within a period, in one direction."""

    instances: Annotated[int, Meta(description="At most so many replicas a period.", ge=0)] | None = None
    percent: Annotated[Percent, Meta(description="At most this share of the replicas a period.")] | None = (
        None
    )
    period: Duration | None = None
    select_policy: (
        Annotated[
            Literal["Or", "And"], Meta(description="Whether the larger (Or) or the smaller limit holds.")
        ]
        | None
    ) = None
    stabilization_window: Duration | None = None


class PanicPolicy(Part, frozen=True):
    """Faster growth for a while when the load jumps."""

    period: Annotated[Duration, Meta(description="Growth is counted over it; 0s means without limit.")]
    percent: Annotated[Percent, Meta(description="At most this growth a period.")] | None = None
    panic_threshold_percent: (
        Annotated[int, Meta(description="Panic begins at this share of the replicas.", ge=110, le=1000)]
        | None
    ) = None
    panic_mode_hold: Annotated[Duration, Meta(description="How long panic lasts; 0s: never.")] | None = None


class ScaleUp(Part, frozen=True):
    """Growth: as a rule, and in panic."""

    stable_policy: StablePolicy | None = None
    panic_policy: PanicPolicy | None = None


class Behavior(Part, frozen=True):
    """How fast the number of replicas may change."""

    scale_up: ScaleUp | None = None
    scale_down: StablePolicy | None = None


class Metric(Part, frozen=True):
    """A metric, as v0.4 and a ModelBooster write it."""

    metric_name: Annotated[str, Meta(description="Name of the metric of the pods.", min_length=1)]
    target_value: Amount


class PolicySpec(Part, frozen=True):
    """AutoscalingPolicy of v0.4, also `autoscalingPolicy` of a ModelBooster."""

    metrics: Annotated[list[Metric], Meta(description="What is scaled by.", min_length=1)]
    tolerance_percent: Annotated[
        int, Meta(description="Deviation from the target that changes nothing.", ge=0, le=100)
    ] = 10
    behavior: Behavior | None = None


class NamedMetric(Part, frozen=True):
    """A metric, as v1 writes it."""

    name: Annotated[str, Meta(min_length=1)]
    target_value: Amount


class TargetRef(Part, frozen=True):
    """The object that is scaled."""

    name: str
    kind: Literal["ModelServing"]


class Selector(Part, frozen=True):
    match_labels: dict[str, str]


class Endpoint(Part, frozen=True):
    """Where the metrics of a pod are read: by default /metrics on port 8100."""

    uri: str | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    label_selector: Selector | None = None


class MetricSource(Part, frozen=True):
    pod: Endpoint


class EndpointTarget(Part, frozen=True):
    """Target of v0.4: one endpoint for all metrics."""

    target_ref: TargetRef
    metric_endpoint: Endpoint


class SourcesTarget(Part, frozen=True):
    """Target of v1: a source for each metric."""

    target_ref: TargetRef
    metric_sources: dict[str, MetricSource]


class BoundTarget(Part, frozen=True):
    target: EndpointTarget
    min_replicas: Replicas
    max_replicas: MostReplicas


class SourcedTarget(Part, frozen=True):
    target: SourcesTarget
    min_replicas: Replicas
    max_replicas: MostReplicas


class PolicyRef(Part, frozen=True):
    name: str


class BindingSpec(Part, frozen=True):
    """AutoscalingPolicyBinding of v0.4."""

    policy_ref: PolicyRef
    homogeneous_target: BoundTarget


class TargetedPolicySpec(Part, frozen=True):
    """AutoscalingPolicy of v1: metrics and target in one."""

    metrics: list[NamedMetric]
    behavior: Behavior
    homogeneous_target: SourcedTarget
    tolerance_percent: int


class RenderedPolicySpec(Part, frozen=True):
    """AutoscalingPolicy of v0.4 as a child: nothing left to defaults."""

    metrics: list[Metric]
    behavior: Behavior
    tolerance_percent: int


class AutoscalingPolicy(Document, frozen=True):
    """How something is scaled, in v0.4."""

    metadata: ObjectMeta
    spec: RenderedPolicySpec


class TargetedPolicy(Document, frozen=True):
    """How a ModelServing is scaled, in v1; also of the kind AutoscalingPolicy."""

    metadata: ObjectMeta
    spec: TargetedPolicySpec


class AutoscalingPolicyBinding(Document, frozen=True):
    """What an AutoscalingPolicy of v0.4 scales."""

    metadata: ObjectMeta
    spec: BindingSpec
