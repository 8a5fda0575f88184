"""Who else writes a workload's replicas, and what is unwise about how it ends its pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flyball.adapters.kubernetes.listing import Listed, Listing
from flyball.adapters.kubernetes.objects import ManagedFields, PodSpec, Scaler, Workload
from flyball.units import Seconds

GITOPS = {
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "argocd": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
    "flux": "Flux",
}
"""Field managers of tools that set back what differs from git."""
ONCE = {
    ("helm", "Update"): "helm upgrade",
    ("helm", "Apply"): "helm upgrade",
    ("kubectl", "Apply"): "kubectl apply",
    ("kubectl-client-side-apply", "Update"): "kubectl apply",
}
"""Field managers and operations of commands that set it back when somebody types them again."""
GRACE: Seconds = 60.0

Key = tuple[str, str, str]
"""Kind, namespace and name."""


def scalers(listing: Listing) -> dict[Key, str]:
    """Who scales which workload, in words; the HPA that KEDA makes is KEDA's."""
    found: dict[Key, str] = {}
    for one in listing.autoscalers:
        if not any(owner.kind == "ScaledObject" for owner in one.metadata.owner_references):
            found[_target(one, "")] = f"HorizontalPodAutoscaler {one.metadata.namespace}/{one.metadata.name}"
    for one in listing.scaled_objects:
        found[_target(one, "Deployment")] = (
            f"KEDA's ScaledObject {one.metadata.namespace}/{one.metadata.name}"
        )
    return found


def _target(scaler: Scaler, default: str) -> Key:
    to = scaler.spec.scale_target_ref
    return to.kind or default, scaler.metadata.namespace, to.name


def owner_of(listed: Listed, scaling: Mapping[Key, str]) -> str:
    """Who else writes its replicas, in words; "": nobody."""
    metadata = listed.workload.metadata
    scaler = scaling.get((listed.kind.name, metadata.namespace, metadata.name))
    if scaler:
        return scaler
    return next((GITOPS[one.manager] for one in writers(listed.workload) if one.manager in GITOPS), "")


def writers(workload: Workload) -> tuple[ManagedFields, ...]:
    """Who wrote spec.replicas."""
    return tuple(one for one in workload.metadata.managed_fields if one.fields.spec.replicas is not None)


def warnings_of(workload: Workload, template: PodSpec) -> Iterable[str]:
    """What is unwise about a workload, in sentences."""
    wrote = {(one.manager, one.operation) for one in writers(workload) if not one.subresource}
    commands = sorted({ONCE[one] for one in wrote if one in ONCE})
    if commands:
        yield (
            f"replicas are set in what {commands[0]} applied, and are set back by the next one: "
            "leave replicas out there"
        )
    for one in workload.status.conditions:
        if one.type == "ReplicaFailure" and one.status == "True":
            yield f"pods cannot be made: {one.message or one.reason}"
    serving = [one for one in template.containers if one.name]
    if serving and not any("preStop" in one.lifecycle for one in serving):
        yield (
            "no container has a preStop hook: a replica that goes may still get requests. Add "
            "lifecycle.preStop that sleeps until the router has taken it out, 15 s say"
        )
    if template.containers and template.termination_grace_period_seconds < GRACE:
        yield (
            f"terminationGracePeriodSeconds is {template.termination_grace_period_seconds}: requests that "
            f"take longer are cut off when a replica goes. Set it to {GRACE:.0f} or more"
        )
