"""Small fleets to plan, as documents: Inferno's three generations and Flyball's own form."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from tests.wire.inferno_samples import G1, G2, G3, parts_of

OWN: dict[str, Any] = {
    "apiVersion": "flyball/v1",
    "kind": "Fleet",
    "accelerators": [
        {"name": "H100", "price": 3.0, "power": {"idle": 100, "mid": 300, "full": 700}},
        {"name": "L40S", "price": 1.0},
    ],
    "profiles": [
        {"model": "granite", "accelerator": "H100", "maxBatch": 32}
        | {"alpha": "8ms", "beta": "20us", "kappa": "20ns", "delta": "10us"},
        {"model": "granite", "accelerator": "L40S", "maxBatch": 16}
        | {"alpha": "20ms", "beta": "80us", "kappa": "60ns", "delta": "60us"},
    ],
    "classes": [
        {"name": "Premium", "priority": 1, "targets": {"ttft": "p95<1s", "itl": "p95<60ms"}},
        {"name": "Free", "priority": 50, "targets": {"itl": "mean<200ms"}},
    ],
    "capacity": {"H100": 8, "L40S": 8},
    "servers": [
        {"name": "chat", "model": "granite", "class": "Premium", "rate": "4/s", "in": 500, "out": 200},
        {"name": "batch", "model": "granite", "class": "Free", "rate": "90/min", "in": 200, "out": 100},
        {"name": "night", "model": "granite", "class": "Free"},
    ],
}
ALL: dict[str, dict[str, Any]] = {"G1": G1, "G2": G2, "G3": G3, "flyball": OWN}


def sample(generation: str = "G3") -> dict[str, Any]:
    """A document of one's own to change."""
    return copy.deepcopy(ALL[generation])


def two_servers(generation: str = "G3", cards: int = 4) -> dict[str, Any]:
    """Servers `chat` and `code` on A100, of which there are so many."""
    document = sample(generation)
    parts = parts_of(document)
    chat = parts["servers"][0]
    parts["servers"].append({**chat, "name": "code"})
    parts["optimizer"]["unlimited"] = False
    parts["count"][0]["count"] = cards
    return document


def written(path: Path, document: object) -> Path:
    """The document as a JSON file."""
    path.write_text(json.dumps(document), "utf-8")
    return path
