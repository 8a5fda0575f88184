"""Objects of the API that a sandbox makes and waits for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from lightkube import ApiError, Client
from lightkube.codecs import from_dict
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node, Pod, PodStatus, ServiceAccount, ServiceAccountToken

from flyball.sandbox.errors import SandboxError
from flyball.units import Seconds

POLL: Seconds = 0.1
CONFLICT, MISSING = 409, 404
LOST = "sandbox.flyball.dev/lost"
"""Annotation of a node that kwok plays as not ready."""


def create_all(client: Client, objects: Iterable[dict[str, object]]) -> None:
    """Create objects that are not there yet."""
    for one in objects:
        try:
            client.create(from_dict(one))
        except ApiError as error:
            if error.status.code != CONFLICT:
                raise


def token_of(client: Client, namespace: str, account: str) -> str:
    """A token of a service account, good for an hour."""
    wanted = ServiceAccountToken(metadata=ObjectMeta(), spec=TokenRequestSpec(audiences=[]))
    made = client.create(wanted, account, namespace=namespace)
    if made.status is None or not made.status.token:
        raise SandboxError(f"no token was given for the service account {namespace}/{account}")
    return made.status.token


def mark_lost(client: Client, node: str, lost: bool) -> None:
    """Have a node not ready and its pods with it, as when its kubelet is silent; or both ready again."""
    client.patch(Node, node, {"metadata": {"annotations": {LOST: "yes" if lost else None}}})
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "False" if lost else "True", "lastTransitionTime": now}
    for pod in client.list(Pod, namespace="*", fields={"spec.nodeName": node, "status.phase": "Running"}):
        if pod.metadata is not None and pod.metadata.name is not None:
            patch = {"status": {"conditions": [ready]}}
            client.patch(PodStatus, pod.metadata.name, patch, namespace=pod.metadata.namespace)


def wait_ready(client: Client, nodes: int, limit: Seconds) -> None:
    """Wait until so many nodes are Ready, and pods can be made in the namespace default; or SandboxError."""
    until = time.monotonic() + limit
    while True:
        ready = sum(1 for node in client.list(Node) if _is_ready(node))
        if ready >= nodes and _exists(client):
            return
        if time.monotonic() > until:
            raise SandboxError(f"only {ready} of {nodes} nodes became ready within {limit:g} s")
        time.sleep(POLL)


def _is_ready(node: Node) -> bool:
    conditions = (node.status and node.status.conditions) or []
    return any(one.type == "Ready" and one.status == "True" for one in conditions)


def _exists(client: Client) -> bool:
    try:
        client.get(ServiceAccount, "default", namespace="default")
    except ApiError as error:
        if error.status.code != MISSING:
            raise
        return False
    return True
