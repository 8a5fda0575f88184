"""Cards of a cluster that a new workload could have."""

from __future__ import annotations

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.kubernetes.listing import ALIVE, FORBIDDEN, NODES, PODS
from flyball.adapters.kubernetes.nodes import Pool
from flyball.adapters.kubernetes.objects import Node, Pod


def free_cards(api: Api) -> dict[str, int] | None:
    """Cards that are free, by each type that there is; None: nothing is known of any. ClusterError."""
    try:
        nodes = api.items(NODES.path(), Node)
        pods = api.items(PODS.path(), Pod, fields=ALIVE)
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        return None
    # A cluster whose nodes come with the pods that need them has none to begin with.
    return Pool(nodes, Library().card_type).capacity(pods, set()) or None
