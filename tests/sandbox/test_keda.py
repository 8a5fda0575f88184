"""KEDA beside the cluster: from zero by its operator, further by the API server's way to its adapter."""

from __future__ import annotations

import pytest
from lightkube.codecs import from_dict
from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.apps_v1 import Deployment
from lightkube.types import PatchType

from flyball.sandbox.cluster import Options, Sandbox
from tests.clusters import deployment, eventually, fleet, needed

ScaledObject = create_namespaced_resource("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects")


@pytest.mark.soak  # its first build takes ten minutes
def test_a_scaled_object_scales_from_zero_and_on() -> None:
    needed()
    with Sandbox.start(Options(fleet=fleet(), cold_start=0.5, parts=("prometheus", "keda"))) as sandbox:
        client = sandbox.client("default")
        client.create(from_dict(deployment("chat", node="h100-1", replicas=0)))
        asked = {"serverAddress": sandbox.urls["prometheus"], "query": "vector(3)", "threshold": "1"}
        spec = {
            "scaleTargetRef": {"name": "chat"},
            "pollingInterval": 1,
            "minReplicaCount": 0,
            "maxReplicaCount": 6,
            "triggers": [{"type": "prometheus", "metadata": asked}],
        }
        client.create(ScaledObject(metadata={"name": "chat"}, spec=spec))
        eventually(lambda: client.get(Deployment, "chat").status.readyReplicas == 3, limit=120)
        client.patch(ScaledObject, "chat", {"spec": {"maxReplicaCount": 2}}, patch_type=PatchType.MERGE)
        eventually(lambda: client.get(Deployment, "chat").spec.replicas == 2, limit=120)
