"""`flyball operator --wva`: a VariantAutoscaling governs its Deployment, which nobody labelled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from flyball.wire.wva_config import CLASSES, PRICES
from tests.clusters import eventually
from tests.commands.terminal import flyball
from tests.operator_cluster.desk import Desk, Object, Running

pytestmark = pytest.mark.slow

HOME, RBAC = "wva-home", "rbac.authorization.k8s.io/v1"
MISSING = "VariantAutoscaling objects are not seen: the cluster has no such kind"
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
DEFINITION: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "variantautoscalings.llmd.ai"},
    "spec": {
        "group": "llmd.ai",
        "scope": "Namespaced",
        "names": {"kind": "VariantAutoscaling", "plural": "variantautoscalings", "shortNames": ["va"]},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": ANYTHING, "status": ANYTHING},
                    }
                },
            }
        ],
    },
}


@pytest.fixture(scope="module")
def operator(desk: Desk, kinds: None) -> Iterator[Running]:
    """Started before there is any such kind."""
    words = ("--local", "--wva", "--webhook-port", "0", "--period", "2", "--namespace", HOME)
    with desk.running("operator", *words) as one:
        eventually(lambda: MISSING in one.words)
        desk.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(DEFINITION))
        desk.kubectl("wait", "--for=condition=Established", "crd/variantautoscalings.llmd.ai")
        yield one
        assert one.words.count(MISSING) == 1, one.words
        assert "Traceback" not in one.words
    desk.kubectl("delete", "crd", "variantautoscalings.llmd.ai")
    desk.kubectl("delete", "namespace", HOME, "--wait=false")


def workload(name: str, card: str) -> Object:
    """A Deployment with a load, and with no word of who governs it."""
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.10.1",
        "args": ["--model", "some-name-of-our-own"],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"nodeSelector": {"nvidia.com/gpu.product": card}, "containers": [container]},
    }
    load = {"load.rpm": "3000", "load.intokens": "500", "load.outtokens": "200"}
    labels = {f"inferno.server.{key}": value for key, value in load.items()}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def variant(name: str, target: str, **spec: Any) -> Object:
    """The newest shape."""
    return {
        "apiVersion": "llmd.ai/v1alpha1",
        "kind": "VariantAutoscaling",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "modelID": "meta-llama/Llama-3.1-8B",
            "variantCost": "10.0",
            **spec,
        },
    }


def test_it_is_recommended_for_without_any_label(desk: Desk, operator: Running, space: str) -> None:
    chat = workload("chat", "NVIDIA-A100-SXM4-80GB")
    desk.apply(chat, workload("left-alone", "NVIDIA-H100-80GB-HBM3"), namespace=space)
    desk.apply(variant("va", "chat", minReplicas=3, maxReplicas=40), namespace=space)

    def recommended() -> Any:
        found = yaml.safe_load(desk.kubectl("get", "configmap", "-n", HOME, "-o", "yaml"))
        data = [one.get("data") or {} for one in found["items"]]
        return next((yaml.safe_load(one["chat"]) for one in data if "chat" in one), None)

    found = eventually(recommended)
    (one,) = found["variants"]
    assert (found["mode"], one["workload"], one["namespace"]) == ("recommend", "chat", space)
    assert (one["accelerator"], one["replicas"] >= 3) == ("A100", True)
    assert desk.get("deployment", "chat", space)["spec"]["replicas"] == 1

    said = desk.kubectl("get", "configmap", "-n", HOME, "-o", "yaml")
    assert "left-alone" not in said
    text = desk.kubectl("get", "variantautoscalings", "-n", space, "-o", "yaml")
    assert "flyball" not in text  # nothing is written to it

    done = flyball(
        *("import", "wva", "--from-cluster", "--kubeconfig", desk.sandbox.kubeconfig, "--namespace", space)
    )
    assert (done.code, "kind: Server" in done.out) == (0, True)


def test_a_right_to_two_names_is_enough_for_its_config_maps(desk: Desk, operator: Running) -> None:
    rule = {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "verbs": ["list"],
        "resourceNames": [PRICES, CLASSES],
    }
    role = {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": "wva-maps"}, "rules": [rule]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "wva-maps"}
    bound = {"apiVersion": RBAC, "kind": "ClusterRoleBinding", "metadata": {"name": "wva-maps"}}
    bound |= {
        "roleRef": reference,
        "subjects": [{"kind": "User", "name": "reader", "apiGroup": reference["apiGroup"]}],
    }
    desk.apply(role, bound, namespace="default")
    asked = ("get", "configmaps", "-A", "--as", "reader", "--field-selector")
    try:
        eventually(lambda: "No resources found" in desk.kubectl(*asked, f"metadata.name={PRICES}"))
        desk.kubectl(*asked, "metadata.name=other", fails=True)
    finally:
        desk.kubectl("delete", "clusterrole,clusterrolebinding", "wva-maps")
