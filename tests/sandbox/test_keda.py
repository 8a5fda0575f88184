"""KEDA beside the cluster: from zero by its operator, further by the API server's way to its adapter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lightkube.codecs import from_dict
from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler
from lightkube.resources.core_v1 import ConfigMap
from lightkube.types import PatchType

from flyball.sandbox.cluster import Options, Sandbox
from flyball.sandbox.errors import SandboxError
from flyball.sandbox.keda import Keda
from tests.clusters import deployment, eventually, fleet, found, needed

ScaledObject = create_namespaced_resource("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects")


def test_a_kind_that_has_no_status_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["error: .status.conditions accessor error: <nil>", ""]

    def answers(self: Keda, command: list[str]) -> None:
        if problem := said.pop(0):
            raise SandboxError(problem)

    monkeypatch.setattr(Keda, "_run", answers)
    Keda.__new__(Keda)._established([])
    assert not said
    said.append("error: the server is away")
    with pytest.raises(SandboxError, match="away"):
        Keda.__new__(Keda)._established([])


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


LABELS = {
    "inferno.server.managed": "true",
    "inferno.server.class": "Chat",
    "inferno.server.load.rpm": "6000",
    "inferno.server.load.intokens": "800",
    "inferno.server.load.outtokens": "200",
}


@contextmanager
def loop(sandbox: Sandbox) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A loop that governs, and the address of its external scaler."""
    options = ["2", "--port", "0", "--external-scaler-port", "0", "--kubeconfig", str(sandbox.kubeconfig)]
    command = [sys.executable, "-m", "flyball", "loop", *options]
    with (sandbox.folder / "logs" / "loop.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()[-1]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.soak
def test_a_deployment_follows_flyball_through_keda_and_stays_when_flyball_is_gone() -> None:
    needed()
    with Sandbox.start(Options(fleet=fleet(), cold_start=0.5, parts=("keda",))) as sandbox:
        client = sandbox.client("default")
        body: dict[str, Any] = deployment("chat", node="h100-1", replicas=1)
        body["metadata"] |= {"labels": LABELS, "annotations": {"flyball.dev/mode": "keda"}}
        body["spec"]["template"]["spec"]["nodeSelector"] = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
        engine = body["spec"]["template"]["spec"]["containers"][0]
        engine["args"] = ["--model", "meta-llama/Llama-3.1-8B"]
        client.create(from_dict(body))

        def wanted() -> int:
            there = found(lambda: client.get(ConfigMap, "flyball-recommendations", namespace="flyball"))
            said = (there.data or {}).get("chat") if there else None
            return json.loads(said)["variants"][0]["replicas"] if said else 0

        def replicas() -> int:
            return client.get(Deployment, "chat").spec.replicas

        with loop(sandbox) as (process, address):
            asked = {"scalerAddress": address, "server": "chat"}
            behavior = {"scaleDown": {"stabilizationWindowSeconds": 0}}
            spec = {
                "scaleTargetRef": {"name": "chat"},
                "pollingInterval": 1,
                "minReplicaCount": 1,
                "maxReplicaCount": 12,
                "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
                "triggers": [{"type": "external", "metadata": asked}],
            }
            client.create(ScaledObject(metadata={"name": "scale-chat"}, spec=spec))
            eventually(lambda: wanted() > 2 and replicas() == wanted(), limit=180)
            high = replicas()
            client.patch(Deployment, "chat", {"metadata": {"labels": {"inferno.server.load.rpm": "2400"}}})
            eventually(lambda: wanted() < high and replicas() == wanted(), limit=180)
            low = replicas()
            process.kill()
        eventually(lambda: not _fed(client.get(HorizontalPodAutoscaler, "keda-hpa-scale-chat")), limit=120)
        assert replicas() == low
        logs = Path(sandbox.folder / "logs" / "loop.log").read_text()
        assert "Traceback" not in logs


def _fed(hpa: HorizontalPodAutoscaler) -> bool:
    """Whether it has metrics."""
    conditions = (hpa.status and hpa.status.conditions) or []
    return any(one.type == "ScalingActive" and one.status == "True" for one in conditions)
