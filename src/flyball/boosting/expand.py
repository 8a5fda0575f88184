"""A ModelBooster to all of its children."""

from __future__ import annotations

import msgspec

from flyball.boosting.asked import as_governed
from flyball.boosting.policy import policy_and_binding, targeted_policy
from flyball.boosting.route import model_routes
from flyball.boosting.server import model_server
from flyball.boosting.serving import model_serving
from flyball.boosting.settings import Images, Settings
from flyball.wire.kthena_booster import ModelBooster
from flyball.wire.kthena_meta import Plain, plain
from flyball.wire.kthena_policy import AutoscalingPolicy, AutoscalingPolicyBinding, TargetedPolicy
from flyball.wire.kthena_route import ModelRoute
from flyball.wire.kthena_serving import ModelServer, ModelServing


class Children(msgspec.Struct, frozen=True):
    """What a ModelBooster stands for; `notes` say what was left out, and why."""

    serving: ModelServing
    server: ModelServer
    routes: tuple[ModelRoute, ...]
    policy: AutoscalingPolicy | TargetedPolicy | None = None
    binding: AutoscalingPolicyBinding | None = None
    notes: tuple[str, ...] = ()

    def documents(self) -> list[Plain]:
        """The children as plain objects, in the order in which they are written."""
        found = (self.serving, self.server, *self.routes, self.policy, self.binding)
        return [plain(one) for one in found if one is not None]


def expand(booster: ModelBooster, images: Images, settings: Settings) -> Children:
    """The children of a booster; equal input gives equal output. Or BoosterError, WireError."""
    serving = as_governed(model_serving(booster, images), booster)
    server, routes = model_server(booster), model_routes(booster)
    if booster.spec.autoscaling_policy is None:
        return Children(serving, server, routes)
    if settings.policies is None:
        note = (
            "spec.autoscalingPolicy: the cluster serves no AutoscalingPolicy; "
            f"{serving.spec.replicas} replicas stay until somebody scales them"
        )
        return Children(serving, server, routes, notes=(note,))
    if settings.policies == "v1":
        return Children(serving, server, routes, targeted_policy(booster))
    policy, binding = policy_and_binding(booster) or (None, None)
    return Children(serving, server, routes, policy, binding)
