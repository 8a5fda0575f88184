"""Children as they are in the cluster against children as they should be.

What the API server fills in, empty parts and other spellings of amounts are no differences. Revision
labels are kept where what they stand for is the same, whoever computed them: another one restarts pods.
Objects are plain, as the cluster has them and as `Children.documents` gives them.
"""

from __future__ import annotations

from typing import Any

from flyball.boosting.asked import ASKED_BY, GOVERNING
from flyball.wire.errors import WireError
from flyball.wire.kthena import REVISION
from flyball.wire.kthena_meta import Plain
from flyball.wire.kthena_text import canonical_quantity

# What the API server adds to the children, by the path of who holds it; `*` is any item of a list.
_DEFAULTS: dict[str, list[tuple[str, str, Any]]] = {
    "ModelServing": [
        ("spec", "recoveryPolicy", "RoleRecreate"),
        ("spec", "schedulerName", "volcano"),
        ("spec.template.networkTopology.groupPolicy", "mode", "hard"),
        ("spec.template.networkTopology.rolePolicy", "mode", "hard"),
        ("spec.template.roles.*", "maxUnavailable", 1),
    ],
    "ModelServer": [("spec.workloadPort", "protocol", "http")],
    "ModelRoute": [
        ("spec.rateLimit", "unit", "second"),
        ("spec.rules.*.targetModels.*", "weight", 100),
        ("spec.parentRefs.*", "group", "gateway.networking.k8s.io"),
        ("spec.parentRefs.*", "kind", "Gateway"),
    ],
    "AutoscalingPolicy": [
        ("spec", "tolerancePercent", 10),
        *(
            (f"spec.behavior.{part}", name, value)
            for part in ("scaleDown", "scaleUp.stablePolicy")
            for name, value in (("instances", 1), ("percent", 100), ("period", "15s"), ("selectPolicy", "Or"))
        ),
        ("spec.behavior.scaleUp.panicPolicy", "percent", 1000),
        ("spec.behavior.scaleUp.panicPolicy", "panicThresholdPercent", 200),
        ("spec.behavior.scaleUp.panicPolicy", "panicModeHold", "60s"),
        ("spec.homogeneousTarget.target.metricSources.*.pod", "uri", "/metrics"),
        ("spec.homogeneousTarget.target.metricSources.*.pod", "port", 8100),
    ],
    "AutoscalingPolicyBinding": [
        ("spec.homogeneousTarget.target.metricEndpoint", "uri", "/metrics"),
        ("spec.homogeneousTarget.target.metricEndpoint", "port", 8100),
    ],
}
_AMOUNTS = ("limits", "requests")
_TEMPLATES = ("entryTemplate", "workerTemplate")


def same(existing: Plain, wanted: Plain) -> bool:
    """Whether the specs say the same, revision labels aside."""
    kind = wanted["kind"]
    return _comparable(existing, kind) == _comparable(wanted, kind)


def settled(existing: Plain, wanted: Plain) -> bool:
    """Whether nothing needs to be written: the same spec; wanted labels, annotations and owner are there."""
    have, want = existing.get("metadata", {}), wanted["metadata"]
    labels = {name: value for name, value in want.get("labels", {}).items() if name != REVISION}
    owners = have.get("ownerReferences", [])
    return (
        same(existing, wanted)
        and labels.items() <= have.get("labels", {}).items()
        and want.get("annotations", {}).items() <= have.get("annotations", {}).items()
        and (ASKED_BY not in have.get("annotations", {}) or _governing(have) == _governing(want))
        and all(owner in owners for owner in want.get("ownerReferences", []))
    )


def adopted(existing: Plain, wanted: Plain, keep_replicas: bool = False) -> Plain:
    """The wanted child, fitted to the existing one so that nothing restarts that need not.

    Kept are revision labels where the rest is the same (for each role on its own), the gang policy, which
    nobody can change, and with `keep_replicas` the number of replicas, which then is somebody else's to say.
    """
    have, want = (_comparable(one, wanted["kind"]) for one in (existing, wanted))
    if wanted["kind"] != "ModelServing":
        return _relabelled(wanted, existing) if have == want else wanted
    spec, template = {**wanted["spec"]}, {**wanted["spec"]["template"]}
    had = existing.get("spec", {})
    if keep_replicas and "replicas" in had:
        spec["replicas"] = had["replicas"]
    if gang := had.get("template", {}).get("gangPolicy"):
        template["gangPolicy"] = gang
    kept = _kept_roles(have, want)
    before = {role["name"]: role for role in had.get("template", {}).get("roles", [])}
    template["roles"] = [
        _as_before(before[role["name"]], role) if role["name"] in kept else role for role in template["roles"]
    ]
    spec["template"] = template
    found = {**wanted, "spec": spec}
    return _relabelled(found, existing) if _uncounted(have) == _uncounted(want) else found


def needs_replacing(existing: Plain, wanted: Plain) -> str:
    """Why the existing child must be deleted before the wanted one is written; empty where it need not."""
    have, want = existing.get("spec", {}), wanted["spec"]
    if wanted["kind"] == "ModelRoute" and have.get("modelName", "") != want["modelName"]:
        return f"modelName cannot be changed from {have.get('modelName')} to {want['modelName']}"
    if wanted["kind"] == "ModelServing":
        least = have.get("template", {}).get("gangPolicy", {}).get("minRoleReplicas", {})
        replicas = {role["name"]: role["replicas"] for role in want["template"]["roles"]}
        for name, count in least.items():
            if name not in replicas:
                return f"minRoleReplicas cannot be changed, and names the role {name}, which is to go"
            if replicas[name] < count:
                wished = f"{replicas[name]} are wanted"
                return f"minRoleReplicas of {name} cannot be changed from {count}, and {wished}"
    return ""


def _governing(metadata: Plain) -> Plain:
    """What tells the loop to govern it, and how."""
    found = {**metadata.get("labels", {}), **metadata.get("annotations", {})}
    return {name: found[name] for name in GOVERNING if name in found}


def _kept_roles(have: Plain, want: Plain) -> set[str]:
    """Names of the roles whose pods stay as they are."""
    before, after = (
        {
            role["name"]: [role.get(name) for name in _TEMPLATES]
            for role in spec.get("template", {}).get("roles", [])
        }
        for spec in (have, want)
    )
    return {name for name, templates in after.items() if before.get(name) == templates}


def _as_before(before: Plain, role: Plain) -> Plain:
    """The role with the templates that its pods have, to the letter: another spelling restarts them."""
    return {**role, **{name: before[name] for name in _TEMPLATES if role.get(name)}}


def _uncounted(spec: Plain) -> Plain:
    """The spec of a ModelServing without what says how many of anything there are."""
    template = {key: value for key, value in spec.get("template", {}).items() if key != "gangPolicy"}
    roles = [
        {key: one for key, one in role.items() if key != "replicas"} for role in template.get("roles", [])
    ]
    return {key: one for key, one in spec.items() if key != "replicas"} | {
        "template": {**template, "roles": roles}
    }


def _relabelled(holder: Plain, before: Plain) -> Plain:
    """What has metadata, with the revision label that it had before."""
    kept = before.get("metadata", {}).get("labels", {}).get(REVISION)
    metadata = holder.get("metadata")
    if kept is None or not metadata:
        return holder
    return {**holder, "metadata": {**metadata, "labels": {**metadata["labels"], REVISION: kept}}}


def _comparable(document: Plain, kind: str) -> Plain:
    """The spec with defaults filled in, without empty parts and revision labels, in one spelling."""
    found: Plain = _cleaned(document.get("spec", {}), "spec")
    for path, name, value in _DEFAULTS.get(kind, ()):
        for holder in _holders(found, path.split(".")[1:]):
            holder.setdefault(name, value)
    return found


def _holders(value: Any, path: list[str]) -> list[Plain]:
    if not path:
        return [value] if isinstance(value, dict) else []
    step, *rest = path
    if step == "*":
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [holder for item in items for holder in _holders(item, rest)]
    return _holders(value[step], rest) if isinstance(value, dict) and step in value else []


def _cleaned(value: Any, name: str) -> Any:
    """A copy without what is empty, revision labels and the default of a port; amounts in one spelling."""
    if isinstance(value, list):
        items = [_cleaned(item, "") for item in value]
        return [{"protocol": "TCP", **item} for item in items] if name == "ports" else items
    if not isinstance(value, dict):
        return value
    if name in _AMOUNTS:
        return {key: _amount(one) for key, one in value.items()}
    found = {}
    for key, one in value.items():
        if isinstance(one, dict | list):
            one = _cleaned(one, key)
        if (one or one == 0) and key != REVISION:
            found[key] = one
    return found


def _amount(value: Any) -> Any:
    try:
        return canonical_quantity(value, "amount")
    except WireError:
        return value
