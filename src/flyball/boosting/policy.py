"""AutoscalingPolicy and Binding of a booster, in the generation that the cluster serves."""

from __future__ import annotations

import msgspec

from flyball.boosting.config import DISAGGREGATED
from flyball.boosting.errors import BoosterError
from flyball.boosting.names import child_meta, child_name, revision_of
from flyball.boosting.pods import RUNTIME_PORT, runtime_port
from flyball.wire.kthena import ROLE, WORKLOAD_API
from flyball.wire.kthena_booster import Backend, ModelBooster
from flyball.wire.kthena_policy import (
    AutoscalingPolicy,
    AutoscalingPolicyBinding,
    Behavior,
    BindingSpec,
    BoundTarget,
    Endpoint,
    EndpointTarget,
    Metric,
    MetricSource,
    NamedMetric,
    PanicPolicy,
    PolicyRef,
    PolicySpec,
    RenderedPolicySpec,
    ScaleUp,
    Selector,
    SourcedTarget,
    SourcesTarget,
    StablePolicy,
    TargetedPolicy,
    TargetedPolicySpec,
    TargetRef,
)
from flyball.wire.kthena_text import canonical_duration, canonical_quantity

UP_WINDOW, DOWN_WINDOW = "0s", "5m0s"
# What Kthena gives to a policy that is written by hand and says nothing. In that of a booster its controller
# leaves panic on instead, with growth without limit.
UP = StablePolicy(instances=4, percent=100, period="1m0s", select_policy="Or", stabilization_window=UP_WINDOW)
DOWN = StablePolicy(
    instances=0, percent=100, period="1m0s", select_policy="Or", stabilization_window=DOWN_WINDOW
)
NO_PANIC = PanicPolicy(percent=0, period="0s", panic_threshold_percent=200, panic_mode_hold="0s")

_WHERE = "spec.autoscalingPolicy"


def policy_and_binding(booster: ModelBooster) -> tuple[AutoscalingPolicy, AutoscalingPolicyBinding] | None:
    """Of v0.4; None where the booster has no policy. Or BoosterError, WireError."""
    if (asked := booster.spec.autoscaling_policy) is None:
        return None
    name, (low, high) = child_name(booster), bounds(booster.spec.backend)
    policy = RenderedPolicySpec(
        metrics=[Metric(metric_name=one, target_value=value) for one, value in _metrics(asked).items()],
        behavior=behavior_of(asked),
        tolerance_percent=asked.tolerance_percent,
    )
    target = EndpointTarget(target_ref=_target(name), metric_endpoint=_endpoint(booster.spec.backend))
    binding = BindingSpec(
        policy_ref=PolicyRef(name=name),
        homogeneous_target=BoundTarget(target=target, min_replicas=low, max_replicas=high),
    )
    return (
        AutoscalingPolicy(
            api_version=WORKLOAD_API,
            kind="AutoscalingPolicy",
            metadata=child_meta(booster, name, revision_of([policy])),
            spec=policy,
        ),
        AutoscalingPolicyBinding(
            api_version=WORKLOAD_API,
            kind="AutoscalingPolicyBinding",
            metadata=child_meta(booster, name, revision_of([binding])),
            spec=binding,
        ),
    )


def targeted_policy(booster: ModelBooster) -> TargetedPolicy | None:
    """Of v1; None where the booster has no policy. Or BoosterError, WireError."""
    if (asked := booster.spec.autoscaling_policy) is None:
        return None
    name, (low, high) = child_name(booster), bounds(booster.spec.backend)
    metrics = _metrics(asked)
    source = MetricSource(pod=_endpoint(booster.spec.backend))
    target = SourcesTarget(target_ref=_target(name), metric_sources=dict.fromkeys(metrics, source))
    spec = TargetedPolicySpec(
        metrics=[NamedMetric(name=one, target_value=value) for one, value in metrics.items()],
        behavior=behavior_of(asked),
        homogeneous_target=SourcedTarget(target=target, min_replicas=low, max_replicas=high),
        tolerance_percent=asked.tolerance_percent,
    )
    return TargetedPolicy(
        api_version=WORKLOAD_API,
        kind="AutoscalingPolicy",
        metadata=child_meta(booster, name, revision_of([spec])),
        spec=spec,
    )


def bounds(backend: Backend) -> tuple[int, int]:
    """Fewest and most replicas of a booster that is scaled. Or BoosterError."""
    if backend.min_replicas is None or backend.max_replicas is None:
        raise BoosterError("spec.autoscalingPolicy needs spec.backend.minReplicas and maxReplicas; give both")
    return backend.min_replicas, backend.max_replicas


def behavior_of(asked: PolicySpec) -> Behavior:
    """The behaviour that is asked for, with nothing left to chance where it is not."""
    found = asked.behavior or Behavior()
    up = found.scale_up or ScaleUp()
    return Behavior(
        scale_up=ScaleUp(
            stable_policy=_stable(up.stable_policy, UP, UP_WINDOW),
            panic_policy=NO_PANIC if up.panic_policy is None else _panic(up.panic_policy),
        ),
        scale_down=_stable(found.scale_down, DOWN, DOWN_WINDOW),
    )


def _stable(found: StablePolicy | None, default: StablePolicy, window: str) -> StablePolicy:
    if found is None:
        return default
    return msgspec.structs.replace(
        found,
        period=_written(found.period),
        stabilization_window=_written(found.stabilization_window) or window,
    )


def _panic(found: PanicPolicy) -> PanicPolicy:
    return msgspec.structs.replace(
        found,
        period=canonical_duration(found.period, _WHERE, "panicPolicy.period"),
        panic_mode_hold=_written(found.panic_mode_hold),
    )


def _written(duration: str | None) -> str | None:
    return None if duration is None else canonical_duration(duration, _WHERE, "behavior")


def _metrics(asked: PolicySpec) -> dict[str, str]:
    return {
        one.metric_name: canonical_quantity(one.target_value, _WHERE, one.metric_name)
        for one in asked.metrics
    }


def _target(name: str) -> TargetRef:
    return TargetRef(name=name, kind="ModelServing")


def _endpoint(backend: Backend) -> Endpoint:
    """Where metrics are read: of all first pods of a disaggregated model, none of which is a leader."""
    port = runtime_port(backend)
    selector = None if backend.type == DISAGGREGATED else Selector(match_labels={ROLE: "leader"})
    return Endpoint(port=None if port == RUNTIME_PORT else port, label_selector=selector)
