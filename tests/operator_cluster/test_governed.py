"""A Server whose name labels a workload: it is collected, recommended for and, where told so, acted on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.request import urlopen

import pytest

from tests.clusters import eventually
from tests.operator_cluster.desk import Desk, Object, Running, condition, holds, sample

pytestmark = pytest.mark.slow

NAME = "premium-granite-13b"
LABEL = "Premium-granite-13b"


@pytest.fixture(scope="module")
def operator(desk: Desk, kinds: None) -> Iterator[Running]:
    """With the loop, in mode recommend."""
    with desk.running("operator", "--local", "--namespace", "home-governed", "--period", "2") as one:
        yield one
        assert "Traceback" not in one.words
    desk.kubectl("delete", "namespace", "home-governed", "--wait=false")


def workload(rpm: int, **annotations: str) -> Object:
    """A Deployment on A100s that has but the Server's name as label, and a load."""
    labels = {
        "inferno.server.name": LABEL,
        "inferno.server.load.rpm": str(rpm),
        "inferno.server.load.numtokens": "1024",
    }
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.10.1",
        "args": ["--model", "meta-llama/Llama-3.1-8B"],  # the object says another
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    selector = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    template = {
        "metadata": {"labels": {"app": "granite"}},
        "spec": {"nodeSelector": selector, "containers": [container]},
    }
    found = {f"flyball.dev/{key}": value for key, value in annotations.items()}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "granite", "labels": labels, "annotations": found},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "granite"}}, "template": template},
    }


def replicas(desk: Desk, space: str) -> int:
    return int(desk.get("deployment", "granite", space)["spec"]["replicas"])


def test_it_is_recommended_for_and_acted_on_when_its_object_says_so(
    desk: Desk, operator: Running, space: str
) -> None:
    objects = sample()
    objects[3]["spec"]["maxNumReplicas"] = 9
    desk.apply(*objects, workload(240), namespace=space)
    eventually(lambda: desk.get("server", NAME, space).get("status", {}).get("currentAlloc"))
    server = eventually(
        lambda: (
            (one := desk.get("server", NAME, space))["spec"]["desiredAlloc"]["accelerator"] == "A100" and one
        )
    )
    wanted = server["spec"]["desiredAlloc"]["numReplicas"]
    assert wanted > 1
    assert server["status"]["currentAlloc"]["numReplicas"] == 1
    assert server["status"]["currentAlloc"]["load"]["arrivalRate"] == 240
    assert "req/s" in condition(server, "Feasible")["message"]
    assert holds(server, "Stale") == "False Measured"
    before = desk.get("deployment", "granite", space)
    assert before["spec"]["replicas"] == 1
    assert "flyball" not in {m["manager"] for m in before["metadata"].get("managedFields", [])}
    with urlopen(f"{operator.url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    desired = next(line for line in lines if line.startswith("inferno_desired_replicas{"))
    assert f'namespace="{space}"' in desired
    assert float(desired.split()[-1]) == wanted

    patch = '{"spec": {"mode": "act"}}'
    desk.kubectl("patch", "server", NAME, "-n", space, "--type", "merge", "-p", patch)
    eventually(lambda: replicas(desk, space) == wanted)
    eventually(lambda: desk.get("server", NAME, space)["status"]["currentAlloc"]["numReplicas"] == wanted)

    # An Optimizer that is asked beside it leaves it to the loop.
    desk.optimize(namespace=space)
    eventually(lambda: desk.get("optimizer", "inferno", space)["status"]["done"])
    assert holds(desk.get("server", NAME, space), "Stale") == "False Measured"

    desk.kubectl("delete", "server", NAME, "-n", space, "--timeout=10s")
    before = operator.words
    desk.kubectl("label", "deployment", "granite", "-n", space, "inferno.server.load.rpm=600", "--overwrite")
    time.sleep(6.0)  # a workload that nobody names any more is left alone
    assert replicas(desk, space) == wanted


def test_objects_go_before_annotations(desk: Desk, operator: Running, space: str) -> None:
    objects = sample()
    objects[3]["spec"] |= {"minNumReplicas": 3, "mode": "recommend"}
    desk.apply(*objects, workload(30, mode="act", min="1"), namespace=space)
    eventually(
        lambda: (
            desk.get("server", NAME, space)["spec"]["desiredAlloc"].get("numReplicas") == 3
            and desk.get("server", NAME, space)["spec"]["desiredAlloc"]["accelerator"] == "A100"
        )
    )
    assert replicas(desk, space) == 1
