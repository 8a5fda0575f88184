"""The sandbox as a cluster: nodes and pods behave, and what breaks comes back."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from datetime import datetime

import pytest
from lightkube import ApiError, Client, KubeConfig
from lightkube.codecs import from_dict
from lightkube.resources.core_v1 import ConfigMap, Node, Pod

from flyball.sandbox.build import program
from flyball.sandbox.cluster import Sandbox
from flyball.sandbox.monitoring import TARGETS
from flyball.sandbox.network import answers
from tests.clusters import condition, deployment, eventually, found, is_here, pod, pods

pytestmark = pytest.mark.slow


def is_ready(one: Pod) -> bool:
    return condition(one, "Ready")[0] == "True"


def test_nodes_are_ready_and_carry_cards_labels_and_racks(sandbox: Sandbox) -> None:
    nodes = {node.metadata.name: node for node in sandbox.client().list(Node)}
    assert set(nodes) == {"h100-1", "h100-2", "a100-1", "a100-2", "l40s-1", "l40s-2", "mi300x-1"}
    labels = nodes["a100-2"].metadata.labels
    assert labels["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-80GB"
    assert labels["topology.kubernetes.io/rack"] == "r2"
    assert nodes["h100-1"].metadata.annotations["sandbox.flyball.dev/watts"] == "10200"
    assert nodes["l40s-1"].status.allocatable["nvidia.com/gpu"] == "4"
    assert nodes["mi300x-1"].status.allocatable["amd.com/gpu"] == "8"


def test_the_ninth_pod_of_a_node_with_eight_cards_waits_for_one(sandbox: Sandbox, namespace: str) -> None:
    client = sandbox.client(namespace)
    for number in range(9):
        client.create(from_dict(pod(f"p{number}", node="h100-1")))
    eventually(lambda: sum(map(is_ready, pods(client, namespace))) == 8)
    (waiting,) = [one for one in pods(client, namespace) if not is_ready(one)]
    scheduled = next(one for one in waiting.status.conditions if one.type == "PodScheduled")
    assert scheduled.status == "False"
    assert "Insufficient nvidia.com/gpu" in scheduled.message
    gone = next(one.metadata.name for one in pods(client, namespace) if is_ready(one))
    client.delete(Pod, gone)
    eventually(lambda: is_ready(client.get(Pod, waiting.metadata.name)))


def test_pods_of_a_deployment_get_ready_after_their_cold_start(sandbox: Sandbox, namespace: str) -> None:
    client = sandbox.client(namespace)
    client.create(from_dict(deployment("chat", node="h100-2", replicas=3, cold_start="3s")))
    ready = eventually(
        lambda: (
            [one for one in pods(client, namespace) if is_ready(one)]
            if sum(map(is_ready, pods(client, namespace))) == 3
            else []
        )
    )
    for one in ready:
        _, scheduled = condition(one, "PodScheduled")
        _, then = condition(one, "Ready")
        assert isinstance(scheduled, datetime)
        assert isinstance(then, datetime)
        assert (then - scheduled).total_seconds() >= 2  # both are whole seconds
        assert one.status.containerStatuses[0].state.running is not None


def test_a_drain_holds_a_deleted_pod_but_not_past_its_grace(sandbox: Sandbox, namespace: str) -> None:
    client = sandbox.client(namespace)
    for name, drain in (("short", "2s"), ("long", "600s")):
        client.create(from_dict(pod(name, node="a100-1", drain=drain)))
    eventually(lambda: all(map(is_ready, pods(client, namespace))))
    begun = time.monotonic()
    for name in ("short", "long"):
        client.delete(Pod, name, grace_period=4)
    assert all(one.metadata.deletionTimestamp for one in pods(client, namespace))
    left: dict[str, float] = {}
    while len(left) < 2:
        here = {one.metadata.name for one in pods(client, namespace)}
        left |= {name: time.monotonic() - begun for name in {"short", "long"} - here - set(left)}
        assert time.monotonic() - begun < 60
        time.sleep(0.1)
    assert left["short"] >= 1.9
    assert left["long"] >= 3.9


def test_a_lost_node_takes_its_pods_along_until_it_returns(sandbox: Sandbox, namespace: str) -> None:
    client = sandbox.client(namespace)
    client.create(from_dict(pod("there", node="a100-2")))
    eventually(lambda: is_ready(client.get(Pod, "there")))
    sandbox.lose_node("a100-2")
    try:
        assert not is_ready(client.get(Pod, "there"))
        eventually(lambda: "node.kubernetes.io/not-ready" in taints(client, "a100-2"))
        assert not is_ready(client.get(Pod, "there"))
    finally:
        sandbox.return_node("a100-2")
    eventually(lambda: not taints(client, "a100-2"))
    assert is_ready(client.get(Pod, "there"))


def taints(client: Client, node: str) -> set[str]:
    return {taint.key for taint in client.get(Node, node).spec.taints or []}


def test_what_an_owner_had_is_collected(sandbox: Sandbox, namespace: str) -> None:
    client = sandbox.client(namespace)
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    owner = client.create(from_dict({**kind, "metadata": {"name": "owner"}}))
    reference = {**kind, "name": "owner", "uid": owner.metadata.uid}
    client.create(from_dict({**kind, "metadata": {"name": "child", "ownerReferences": [reference]}}))
    client.delete(ConfigMap, "owner")
    eventually(lambda: found(lambda: client.get(ConfigMap, "child")) is None)


def test_service_accounts_get_tokens_and_only_their_rights(
    sandbox: Sandbox, namespace: str, request: pytest.FixtureRequest
) -> None:
    path = sandbox.kubeconfig_of(namespace, "default")
    user = Client(KubeConfig.from_file(str(path)), trust_env=False)
    request.addfinalizer(user.close)
    with pytest.raises(ApiError, match="cannot list resource") as refused:
        list(user.list(Pod))
    assert refused.value.status.code == 403
    rights = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "view", "namespace": namespace},
        "roleRef": rights,
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    sandbox.client(namespace).create(from_dict(binding))
    eventually(lambda: _listed(user) == [])


def _listed(user: Client) -> list[Pod] | None:
    try:
        return list(user.list(Pod))
    except ApiError:
        return None


def test_kubectl_comes_in_with_the_kubeconfig(sandbox: Sandbox) -> None:
    command = [*program("kubectl"), "--kubeconfig", str(sandbox.kubeconfig), "get", "nodes", "-o", "name"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "node/h100-1" in out.splitlines()


def test_an_api_server_that_was_killed_comes_back_with_all_it_had(sandbox: Sandbox, namespace: str) -> None:
    client = sandbox.client(namespace)
    client.create(from_dict(deployment("kept", node="l40s-1", replicas=1)))
    sandbox.kill("kube-apiserver")
    assert not answers(sandbox.plane.port, "/readyz", sandbox.authority, sandbox.token)
    sandbox.restart("kube-apiserver")
    again = sandbox.client(namespace)
    eventually(lambda: any(map(is_ready, pods(again, namespace))))


def test_a_paused_process_does_nothing_until_it_is_resumed(sandbox: Sandbox, namespace: str) -> None:
    client = sandbox.client(namespace)
    sandbox.pause("kube-scheduler")
    try:
        client.create(from_dict(pod("waits", node="l40s-2")))
        time.sleep(1.0)
        assert client.get(Pod, "waits").spec.nodeName is None
    finally:
        sandbox.resume("kube-scheduler")
    eventually(lambda: is_ready(client.get(Pod, "waits")))


def test_a_process_that_ended_by_itself_is_started_again(sandbox: Sandbox) -> None:
    process = sandbox.process("kwok")
    before = process.pid
    assert sandbox.tend() == []
    sandbox.process("kwok").send(9)  # as the kernel would, short of memory
    eventually(lambda: not process.alive)
    assert sandbox.tend() == ["kwok"]
    eventually(lambda: process.is_ready)
    assert process.pid != before


@pytest.mark.skipif(not (is_here("prometheus") and is_here("alertmanager")), reason="they are not installed")
def test_prometheus_scrapes_targets_and_alerts_reach_alertmanager(sandbox: Sandbox) -> None:
    prometheus, alertmanager = sandbox.urls["prometheus"], sandbox.urls["alertmanager"]
    target = prometheus.removeprefix("http://")
    (sandbox.folder / TARGETS).write_text(json.dumps([{"targets": [target], "labels": {"who": "itself"}}]))
    rule = {"alert": "Here", "expr": 'up{who="itself"} == 1'}
    rules = {"groups": [{"name": "test", "rules": [rule]}]}
    (sandbox.folder / "rules" / "test.yaml").write_text(json.dumps(rules))
    sandbox.reload("prometheus")
    try:
        eventually(
            lambda: asked(f"{prometheus}/api/v1/query?query=up%7Bwho%3D%22itself%22%7D")["data"]["result"]
        )
        alerts = eventually(lambda: asked(f"{alertmanager}/api/v2/alerts"))
        assert alerts[0]["labels"]["alertname"] == "Here"
    finally:
        (sandbox.folder / "rules" / "test.yaml").unlink()
        (sandbox.folder / TARGETS).write_text("[]")
        sandbox.reload("prometheus")


def asked(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def test_the_kubeconfig_is_for_our_eyes_only(sandbox: Sandbox) -> None:
    assert sandbox.kubeconfig.stat().st_mode & 0o777 == 0o600
    assert sandbox.folder.stat().st_mode & 0o777 == 0o700
    assert KubeConfig.from_file(str(sandbox.kubeconfig)).current_context == "flyball-sandbox"
