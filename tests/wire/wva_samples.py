"""VariantAutoscaling objects of each shape, and their ConfigMaps."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]

PARMS = {
    "decodeParms": {"alpha": "20.58", "beta": "0.41"},
    "prefillParms": {"gamma": "5.2", "delta": "0.1"},
}
LLAMA = "meta-llama/Llama-3.1-8B"


def variant(name: str = "chat", namespace: str = "infer", acc: str = "", **spec: Any) -> Document:
    """An object with a model; `acc` as its label."""
    labels = {"inference.optimization/acceleratorName": acc} if acc else {}
    return {
        "apiVersion": "llmd.ai/v1alpha1",
        "kind": "VariantAutoscaling",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"modelID": LLAMA, **spec},
    }


def target(name: str, kind: str = "Deployment") -> Document:
    """A scaleTargetRef."""
    return {"apiVersion": "apps/v1", "kind": kind, "name": name}


def profiled(name: str = "chat", namespace: str = "infer", **row: Any) -> Document:
    """The first shape: a profile for each accelerator."""
    entry = {"acc": "A100", "accCount": 1, "maxBatchSize": 64, **(row or {"perfParms": PARMS})}
    slo = {"name": "service-classes-config", "key": "premium.yaml"}
    return variant(name, namespace, "A100", sloClassRef=slo, modelProfile={"accelerators": [entry]})


def single(name: str, workload: str, accelerator: str, **more: Any) -> Document:
    """The second: one variant, with its own profile."""
    given = {
        "scaleTargetRef": target(workload),
        "variantID": f"{LLAMA}-{accelerator}-1",
        "accelerator": accelerator,
        "acceleratorCount": 1,
        "sloClassRef": {"name": "service-classes-config", "key": "premium.yaml"},
        "variantProfile": {"maxBatchSize": 64, "perfParms": PARMS},
    }
    return variant(name, **given | more)


def bare(name: str = "chat-va", workload: str = "chat", **more: Any) -> Document:
    """The newest: a workload, a model, a cost."""
    given = {"scaleTargetRef": target(workload), "variantCost": "10.0", **more}
    return variant(name, **given)


def config_map(name: str, namespace: str = "wva-system", **data: str) -> Document:
    """A ConfigMap; keys with _yaml end in .yaml."""
    texts = {key.replace("_yaml", ".yaml"): text for key, text in data.items()}
    return {"kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": texts}


PRICES = config_map(
    "accelerator-unit-costs",
    A100='{"device": "NVIDIA-A100-SXM4-80GB", "cost": "40.00"}',
    H100='{"device": "NVIDIA-H100-80GB-HBM3", "cost": 80}',
)
CLASSES = config_map(
    "service-classes-config",
    freemium_yaml="name: Freemium\npriority: 10\ndata:\n- {model: other, slo-tpot: 200, slo-ttft: 2000}",
    premium_yaml=f"name: Premium\npriority: 1\ndata:\n- {{model: {LLAMA}, slo-tpot: 24, slo-ttft: '500'}}",
)
