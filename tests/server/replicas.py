"""Replicas in the form of Inferno's servers, showing what the model says of known parameters."""

from __future__ import annotations

from typing import Any

from tests.calibrate.inferno.points import LOADS, shown


def replica(
    load: tuple[float, float, float] = LOADS[0], /, model: str = "granite", **changes: Any
) -> dict[str, Any]:
    """One of `model` on H100, under this load; changes are of its current allocation."""
    seen = shown(load)
    rate, prompt, output = load
    allocation = {
        "accelerator": "H100",
        "numReplicas": 1,
        "maxBatch": 256,
        "itlAverage": 1000 * seen.itl,
        "ttftAverage": 1000 * seen.ttft,
        "load": {"arrivalRate": rate, "throughput": rate, "avgInTokens": prompt, "avgOutTokens": output},
    }
    return {
        "name": f"{model}/pod-0",
        "model": model,
        "class": "Premium",
        "currentAlloc": allocation | changes,
    }
