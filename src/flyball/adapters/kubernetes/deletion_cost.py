"""Which pods go first when a Deployment shrinks.

The ReplicaSet's controller takes pods that are not ready first, then those of least deletion cost. So only
ready pods matter, and only where the busy ones do not stay anyway.
"""

from __future__ import annotations

from collections.abc import Mapping

from flyball.adapters.kubernetes.governed import Governed

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
LEAST = -(2**31)
KINDS = frozenset({"Deployment", "ReplicaSet"})
"""Others do not ask for it."""


def deletion_costs(workload: Governed, replicas: int, busy: Mapping[str, float]) -> dict[str, int]:
    """New costs by pod so that the idlest go when it shrinks to `replicas`.

    `busy`: 0 to 1 by "namespace/pod"; what is absent counts as busy.
    """
    if workload.kind.name not in KINDS:
        return {}
    ready = [pod for pod in workload.pods if pod.state == "ready"]
    pending = sum(pod.state == "pending" for pod in workload.pods)
    leaving = workload.replicas - replicas - pending
    if not 0 < leaving < len(ready):
        return {}
    load = {pod.name: busy.get(f"{workload.namespace}/{pod.name}", 1.0) for pod in ready}
    cost = {pod.name: pod.deletion_cost or 0 for pod in ready}
    if len(set(load.values())) == 1 and len(set(cost.values())) == 1:
        return {}  # all the same: the controller's own order is as good
    names = sorted(load, key=lambda name: (load[name], cost[name], name))
    bound = min(cost[name] for name in names[leaving:])
    return {name: max(LEAST, bound - 1) for name in names[:leaving] if cost[name] >= bound}
