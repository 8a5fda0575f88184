"""Names of Kthena's kinds: groups, labels, and the annotations that carry what a stock CRD would prune.

Source: Kthena, main of August 2026 (v1 shape) and v0.4. The groups are Kthena's, so that its objects, clients
and selectors go on working; what is Flyball's own stands under `flyball.dev/`.
"""

from __future__ import annotations

WORKLOAD = "workload.serving.volcano.sh"
NETWORKING = "networking.serving.volcano.sh"
WORKLOAD_API = f"{WORKLOAD}/v1alpha1"
NETWORKING_API = f"{NETWORKING}/v1alpha1"

MODEL_NAME = f"{WORKLOAD}/model-name"
BACKEND_NAME = f"{WORKLOAD}/backend-name"
MANAGED_BY = f"{WORKLOAD}/managed-by"
REVISION = f"{WORKLOAD}/revision"
MODEL_UID = f"{WORKLOAD}/model-uid"
DOCUMENTED_MANAGED_BY = "registry.volcano.sh/managed-by"
DOCUMENTED_MANAGER = "registry.volcano.sh"
"""What Kthena's documentation names, and its code does not write."""

GROUP_NAME = "modelserving.volcano.sh/group-name"
ROLE = "modelserving.volcano.sh/role"
ENTRY = "modelserving.volcano.sh/entry"
"""`true` on the first pod of a replica of a role, absent on its workers."""

ANNOTATIONS: dict[str, tuple[str, ...]] = {
    "flyball.dev/min-replicas": ("backend", "minReplicas"),
    "flyball.dev/max-replicas": ("backend", "maxReplicas"),
    "flyball.dev/autoscaling-policy": ("autoscalingPolicy",),
    "flyball.dev/routes": ("routes",),
    "flyball.dev/rate-limit": ("rateLimit",),
    "flyball.dev/network-topology": ("backend", "networkTopology"),
    "flyball.dev/lora-adapters": ("backend", "loraAdapters"),
}
"""Annotations in JSON or YAML that stand for fields of a ModelBooster's spec, which a stock CRD prunes."""
