"""The engines of a real cluster's pods: started, loaded, scaled, killed, and scraped by a real Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from lightkube import Client
from lightkube.codecs import from_dict
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Pod

from flyball.sandbox.cluster import Sandbox
from flyball.sandbox.engines.process import EngineProcess, command, start
from flyball.sandbox.monitoring import TARGETS
from tests.clusters import deployment, eventually, pods
from tests.sandbox_engines.builders import figures

pytestmark = pytest.mark.slow
SPEED = 10.0
LABELS = {
    "inferno.server.managed": "true",
    "inferno.server.name": "chat",
    "inferno.server.model": "Llama-3.1-8B",
    "inferno.server.class": "Chat",
    "inferno.server.load.rpm": "240",
    "inferno.server.load.intokens": "500",
    "inferno.server.load.outtokens": "100",
}


@pytest.fixture
def process(sandbox: Sandbox, tmp_path: Path) -> Iterator[EngineProcess]:
    started = start(command(sandbox.kubeconfig, speed=SPEED, seed=1), tmp_path / "log")
    yield started
    started.stop()
    assert (tmp_path / "log").read_text() == ""


def get(url: str, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def chat(namespace: str, replicas: int) -> Deployment:
    made = deployment("chat-h100", node="h100-1", replicas=replicas)
    made["metadata"]["labels"] = LABELS  # type: ignore[index]
    return from_dict({**made, "metadata": {**made["metadata"], "namespace": namespace}})  # type: ignore[dict-item,return-value]


def patch(client: Client, namespace: str, change: dict[str, Any]) -> None:
    client.patch(Deployment, "chat-h100", change, namespace=namespace)


def test_pods_are_served_loaded_scaled_and_killed(
    sandbox: Sandbox, namespace: str, process: EngineProcess
) -> None:
    client = sandbox.client()

    def of_router() -> dict[str, float]:
        page = get(process.url, "/router/metrics")[1].decode()
        mine = [line for line in page.splitlines() if f'namespace="{namespace}"' in line]
        return figures("\n".join(mine) + "\n")

    def served(pod: str) -> float:
        status, body = get(process.url, f"/pods/{namespace}/{pod}/metrics")
        return figures(body.decode())["vllm:request_success_total"] if status == 200 else -1.0

    def report() -> dict[str, Any]:
        servers = json.loads(get(process.url, "/report")[1])["servers"]
        return next((s for s in servers if s["namespace"] == namespace), {})

    def clock() -> float:
        return figures(get(process.url, "/router/metrics")[1].decode())["flyball_sandbox_time_seconds"]

    client.create(chat(namespace, 0))
    eventually(lambda: of_router().get("inference_extension_flow_control_queue_size", 0) > 20)
    assert report()["limits"] == {"ttft": 1.0, "itl": 0.05}

    patch(client, namespace, {"spec": {"replicas": 2}})
    eventually(lambda: len(names := sorted(p.metadata.name for p in pods(client, namespace))) == 2 and names)
    names = sorted(p.metadata.name for p in pods(client, namespace))
    for name in names:
        eventually(lambda name=name: served(name) > 0)
    assert of_router()["inference_extension_flow_control_queue_size"] == 0
    targets = json.loads(get(process.url, "/targets")[1])
    mine = {
        t["labels"]["pod"]: t["labels"]["job"] for t in targets if t["labels"].get("namespace") == namespace
    }
    assert mine == dict.fromkeys(names, "chat-h100")

    # A real Prometheus asks for them, under the labels of the discovery.
    file = sandbox.folder / TARGETS
    file.write_bytes(get(process.url, "/targets")[1])
    try:
        query = f'sum by (job) (vllm:request_success_total{{namespace="{namespace}",pod="{names[0]}"}})'

        def found() -> Any:
            answer = json.loads(get(sandbox.urls["prometheus"], f"/api/v1/query?query={quote(query)}")[1])
            return answer["data"]["result"]

        (series,) = eventually(found)
        assert series["metric"] == {"job": "chat-h100"}
        assert float(series["value"][1]) > 0
    finally:
        file.write_text("[]\n")

    # The labels are followed as they change.
    patch(client, namespace, {"metadata": {"labels": {"inferno.server.load.rpm": "6000"}}})
    before = of_router()["inference_objective_request_total"], clock()
    eventually(lambda: clock() > before[1] + 60.0)
    sent = of_router()["inference_objective_request_total"] - before[0]
    assert sent / (clock() - before[1]) == pytest.approx(100.0, rel=0.3)
    eventually(lambda: report()["running"] > 20)

    # A pod that is killed loses what it has; one that is scaled away does not.
    failed = report()["failed"]
    assert failed == 0
    client.delete(Pod, names[0], namespace=namespace, grace_period=0)
    eventually(lambda: report()["failed"] > 0)
    lost = report()["failed"]
    eventually(lambda: report()["ready"] == 2)
    patch(client, namespace, {"spec": {"replicas": 1}})
    eventually(lambda: report()["ready"] == 1)
    patch(client, namespace, {"metadata": {"labels": {"inferno.server.load.rpm": "60"}}})
    eventually(lambda: len(pods(client, namespace)) == 1)
    assert report()["failed"] == lost


def test_an_api_server_that_dies_and_comes_back(
    sandbox: Sandbox, namespace: str, process: EngineProcess
) -> None:
    client = sandbox.client()
    client.create(chat(namespace, 1))

    def health() -> dict[str, Any]:
        return json.loads(get(process.url, "/healthz")[1])  # type: ignore[no-any-return]

    def mine() -> list[str]:
        targets = json.loads(get(process.url, "/targets")[1])
        return [t["labels"]["pod"] for t in targets if t["labels"].get("namespace") == namespace]

    (before,) = eventually(mine)
    sandbox.kill("kube-apiserver")
    try:
        eventually(lambda: health()["problem"])
        assert mine() == [before]
    finally:
        sandbox.restart("kube-apiserver")
    eventually(lambda: not health()["problem"])
    patch(client, namespace, {"spec": {"replicas": 2}})
    eventually(lambda: len(mine()) == 2)
    assert before in mine()
