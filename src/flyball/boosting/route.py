"""The ModelRoutes of a booster: Kthena's one, and those that Flyball's own `routes` ask for."""

from __future__ import annotations

import msgspec

from flyball.boosting.names import child_meta, child_name, revision_of
from flyball.wire.kthena import NETWORKING_API
from flyball.wire.kthena_booster import ModelBooster, Route
from flyball.wire.kthena_meta import Plain
from flyball.wire.kthena_route import ModelRoute, RateLimit, RouteSpec, Rule, Target

RULE = "default"


def model_routes(booster: ModelBooster) -> tuple[ModelRoute, ...]:
    """The route `<booster>`, then each further one as `<booster>-<name>`."""
    spec = booster.spec
    adapters = sorted(one.name for one in spec.backend.lora_adapters or ())
    own = Target(model_server_name=child_name(booster))
    first = RouteSpec(
        model_name=spec.name or booster.metadata.name,
        rules=[Rule(name=RULE, model_match=spec.model_match, target_models=[own])],
        lora_adapters=adapters or None,
        rate_limit=_limit(spec.rate_limit),
    )
    name = booster.metadata.name
    further = [(f"{name}-{one.name}", _further(one, first.model_name, own)) for one in spec.routes or ()]
    return tuple(_route(booster, title, made) for title, made in [(name, first), *further])


def _further(route: Route, model_name: str, own: Target) -> RouteSpec:
    rules = route.rules or [Rule(name=RULE, target_models=[own])]
    return RouteSpec(
        model_name=model_name if route.model_name is None else route.model_name,
        rules=[_aimed(rule, own) for rule in rules],
        lora_adapters=route.lora_adapters,
        parent_refs=route.parent_refs,
        rate_limit=_limit(route.rate_limit),
    )


def _aimed(rule: Rule, own: Target) -> Rule:
    """The rule with the booster's own ModelServer where a target names none."""

    def aimed(target: Target) -> Target:
        if target.model_server_name or target.external_model_provider_name:
            return target
        return msgspec.structs.replace(target, model_server_name=own.model_server_name)

    return msgspec.structs.replace(rule, target_models=[aimed(target) for target in rule.target_models])


def _limit(limit: RateLimit | None) -> Plain | None:
    """With its unit, which the kind requires."""
    return None if limit is None else {"unit": limit.unit, **msgspec.to_builtins(limit)}


def _route(booster: ModelBooster, name: str, spec: RouteSpec) -> ModelRoute:
    metadata = child_meta(booster, name, revision_of([spec]), backend="")
    return ModelRoute(api_version=NETWORKING_API, kind="ModelRoute", metadata=metadata, spec=spec)
