"""The six objects that the original's description shows, as text, and how to make variants of them."""

from __future__ import annotations

import copy
from typing import Any

from flyball.wire.text import decode

Document = dict[str, Any]

TEXTS = {
    "Accelerator": """
apiVersion: inferno.platform.ai/v1alpha1
kind: Accelerator
metadata: {name: a100}
spec:
  name: "A100"
  type: "A100"
  multiplicity: 1
  power: {idle: 150, full: 400, midPower: 320, midUtil: 0.6}
  cost: 40.00
""",
    "Model": """
apiVersion: inferno.platform.ai/v1alpha1
kind: Model
metadata: {name: granite-13b}
spec:
  name: "granite-13b"
  data:
    - {"acc": "A100", "accCount": 1, "alpha": 20.58, "beta": 0.41, "maxBatchSize": 32, "atTokens": 512}
    - {"acc": "G2", "accCount": 1, "alpha": 17.15, "beta": 0.34, "maxBatchSize": 38, "atTokens": 512}
""",
    "ServiceClass": """
apiVersion: inferno.platform.ai/v1alpha1
kind: ServiceClass
metadata: {name: premium}
spec:
  name: "Premium"
  "priority": 1
  "data":
    - {"model": "granite-13b", "slo-itl": 40, "slo-ttw": 500}
    - {"model": "llama0-70b", "slo-itl": 80, "slo-ttw": 500}
""",
    "Server": """
apiVersion: inferno.platform.ai/v1alpha1
kind: Server
metadata: {name: premium-granite-13b}
spec:
  name: "Premium-granite-13b"
  class: "Premium"
  model: "granite-13b"
  currentAlloc:
    accelerator: "A100"
    numReplicas: 4
    maxBatch: 16
    cost: 160
    itlAverage: 25.2
    waitAverage: 726.5
    load: {arrivalRate: 40, avgLength: 1024, arrivalCOV: 1, serviceCOV: 1}
  desiredAlloc:
    accelerator: "G2"
    numReplicas: 6
    maxBatch: 20
    cost: 125
    itlAverage: 20.5
    waitAverage: 100.0
    load: {arrivalRate: 40, avgLength: 1024}
""",
    "Capacity": """
apiVersion: inferno.platform.ai/v1alpha1
kind: Capacity
metadata: {name: capacity}
spec:
  count:
    - {type: "A100", count: 4}
    - {type: "G2", count: 8}
""",
    "Optimizer": """
apiVersion: inferno.platform.ai/v1alpha1
kind: Optimizer
metadata: {name: inferno}
spec:
  optimize: false
  data:
    optimizer: {unlimited: true, heterogeneous: false, milpSolver: false, useCplex: false}
""",
}
KINDS = tuple(TEXTS)


def sample(kind: str, namespace: str = "", /, **changes: object) -> Document:
    """One of the six, with values at paths of the spec, `currentAlloc__load__arrivalRate=0`; None removes."""
    made: Document = decode(TEXTS[kind].encode(), kind)  # type: ignore[assignment]
    if namespace:
        made["metadata"]["namespace"] = namespace
    for path, value in changes.items():
        at(made["spec"], path.replace("__", "."), value)
    return made


def at(document: Any, path: str, value: object) -> None:
    """Set the value at a path, as `data.0.alpha`; None removes it."""
    *before, last = (int(key) if key.isdigit() else key for key in path.split("."))
    for key in before:
        document = document[key] if isinstance(document, list) else document.setdefault(key, {})
    if value is None:
        del document[last]
    else:
        document[last] = copy.deepcopy(value)
