"""Pods that ask for it get preferred node affinity as they are made; no other pod, and never later."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, cast

import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.governed import DEPLOYMENT
from flyball.adapters.kubernetes.listing import PODS
from flyball.adapters.kubernetes.placement import PLACEMENT, Racks, placement
from flyball.adapters.kubernetes.webhook import MUTATING
from flyball.commands.operator import OperatorRequest
from flyball.commands.operator_webhooks import start_webhooks
from flyball.operator.placing import Placing
from flyball.sandbox.fleet import RACK_LABEL
from tests.clusters import deployment, eventually, pod

pytestmark = pytest.mark.slow


def test_only_pods_that_ask_are_told_of_racks_and_only_as_they_are_made(api: Api, namespace: str) -> None:
    placing = Placing()
    placing.show(Racks(RACK_LABEL, ("r2",), ("r1",)))
    with ExitStack() as stack:
        request = OperatorRequest(asked=cast(Any, None), local=True, webhook_port=0)
        start_webhooks(request, api, namespace, cast(Any, None), lambda path, said: None, stack, placing)
        wanted = placement({"spec": {}}, ["r2"], ["r1"], RACK_LABEL)[0]["value"]
        eventually(lambda: _affinity(api, namespace, _made(api, namespace, "asks", "enabled")) == wanted)
        assert _affinity(api, namespace, _made(api, namespace, "does-not", None)) is None
        placing.show(Racks(RACK_LABEL, ("r1",), ("r2",)))
        assert _affinity(api, namespace, "asks") == wanted

        labels = {"metadata": {"labels": {PLACEMENT: "enabled"}}}
        api.patch(f"/api/v1/namespaces/{namespace}", labels, dict)
        eventually(lambda: _affinity(api, namespace, _made(api, namespace, "in-it", None)) is not None)
        assert _affinity(api, namespace, _made(api, namespace, "may-not", "disabled")) is None

        # With the real scheduler behind it, new pods go to the cool rack, and old ones stay where they are.
        placing.show(Racks(RACK_LABEL, ("r2",), ("r1", "r3")))
        body = deployment("spread", node="", replicas=4)
        cast(Any, body)["spec"]["template"]["spec"].pop("nodeSelector")
        api.post(DEPLOYMENT.path(namespace), body, dict)
        before = eventually(lambda: _nodes(api, namespace, 4))
        assert set(before.values()) <= {"a100-1", "a100-2"}
        placing.show(Racks(RACK_LABEL, ("r1",), ("r2", "r3")))
        api.patch(DEPLOYMENT.path(namespace, "spread"), {"spec": {"replicas": 6}}, dict)
        after = eventually(lambda: _nodes(api, namespace, 6))
        assert after.items() >= before.items()
        assert {after[name] for name in after.keys() - before.keys()} <= {"h100-1", "h100-2"}
    assert not [one for one in api.items(MUTATING.path(), dict) if one["metadata"]["name"] == "flyball"]


def _made(api: Api, namespace: str, name: str, asks: str | None) -> str:
    """A pod, made anew."""
    api.delete(PODS.path(namespace, name))
    body = pod(name, node="h100-1")
    if asks is not None:
        cast(Any, body)["metadata"]["labels"] = {PLACEMENT: asks}
    eventually(lambda: name not in {one["metadata"]["name"] for one in api.items(PODS.path(namespace), dict)})
    api.post(PODS.path(namespace), body, dict)
    return name


def _affinity(api: Api, namespace: str, name: str) -> Any:
    return api.get(PODS.path(namespace, name), dict)["spec"].get("affinity")


def _nodes(api: Api, namespace: str, count: int) -> dict[str, str]:
    """Where the Deployment's pods are, once all have a node."""
    found = api.items(PODS.path(namespace), dict[str, Any], selector="app=spread")
    nodes = {one["metadata"]["name"]: one["spec"].get("nodeName", "") for one in found}
    return nodes if len(nodes) == count and all(nodes.values()) else {}
