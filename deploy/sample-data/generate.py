"""Write large/ and ../one-process/configmap.yaml from the catalogue: python deploy/sample-data/generate.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flyball.calibrate.hardware import units
from flyball.profiles.latency import entries
from flyball.profiles.library import cards, find_model
from flyball.spec.profile import IterationTiming
from flyball.units import to_cents, to_ms

HERE = Path(__file__).parent / "large"
CONFIG_MAP = Path(__file__).parents[1] / "one-process" / "configmap.yaml"
HEAD = """\
# All data in one object: the files of ../sample-data/large, written by ../sample-data/generate.py.
apiVersion: v1
kind: ConfigMap
metadata:
  name: inferno-data
  namespace: inferno
data:
"""
MODELS = {
    "llama_7b": "meta-llama/Llama-2-7b-chat-hf",
    "llama_13b": "meta-llama/Llama-2-13b-chat-hf",
    "llama_70b": "meta-llama/Llama-2-70b-chat-hf",
    "mixtral_8_7b": "mistralai/Mixtral-8x7B-Instruct-v0.1",
}
CARDS = {"L4": 64, "L40S": 64, "A100": 128, "H100": 64, "MI210": 64, "MI250": 96, "MI300X": 48}
"""How many there are."""
COUNTS = (1, 2, 4)
TOKENS = 512
"""Output tokens for which maxBatchSize is meant; half as many of input come with them."""
MOST = 256
CLASSES = {"Premium": (1, 80, 1000), "Bronze": (2, 160, 2000), "Free": (3, 320, 4000)}
"""Priority, and targets in milliseconds: between tokens, to the first."""
SERVERS = (
    ("vllm-001", "llama_13b", "Premium", 30, 0, 2048),
    ("vllm-002", "llama_7b", "Bronze", 120, 512, 256),
    ("vllm-003", "llama_70b", "Free", 60, 1024, 256),
)
"""Those of ../workload: model, class, requests a minute, input and output tokens."""


def documents() -> dict[str, dict[str, Any]]:
    """The files by name."""
    offered = [card for card in cards() if card.name in CARDS]
    accelerators: dict[str, dict[str, Any]] = {}
    models: list[dict[str, Any]] = []
    for name, full in MODELS.items():
        found = units(
            find_model(full, where="MODELS"),
            offered,
            entries(),
            in_tokens=TOKENS / 2,
            out_tokens=TOKENS,
            counts=COUNTS,
        )
        for unit in found:
            accelerator, timing = unit.accelerator, unit.profile.timing
            assert isinstance(timing, IterationTiming)
            of = (
                f"{accelerator.multiplicity}x{accelerator.type}"
                if accelerator.multiplicity > 1
                else accelerator.type
            )
            accelerators[of] = {
                "name": of,
                "type": accelerator.type,
                "multiplicity": accelerator.multiplicity,
                "cost": round(to_cents(accelerator.cost), 2),
            }
            # A token's share of an iteration is that of a prompt's, a little more than that of an output's.
            perf = {
                "alpha": round(to_ms(timing.alpha), 3),
                "beta": round(to_ms(timing.delta), 5),
                "gamma": round(to_ms(timing.kappa), 7),
            }
            batch = min(MOST, int(unit.profile.kv_tokens / (1.5 * TOKENS)))
            models.append(
                {
                    "name": name,
                    "acc": of,
                    "accCount": 1,
                    "maxBatchSize": batch,
                    "atTokens": TOKENS,
                    "perfParms": perf,
                }
            )
    targets = {
        name: [{"model": model, "slo-itl": itl, "slo-ttft": ttft} for model in MODELS]
        for name, (_, itl, ttft) in CLASSES.items()
    }
    classes = [
        {"name": name, "priority": CLASSES[name][0], "modelTargets": targets[name]} for name in CLASSES
    ]
    servers = [
        {
            "name": name,
            "model": model,
            "class": class_,
            "currentAlloc": {"load": {"arrivalRate": rate, "avgInTokens": in_, "avgOutTokens": out}},
        }
        for name, model, class_, rate, in_, out in SERVERS
    ]
    settings = {"unlimited": False, "saturationPolicy": "PriorityExhaustive"}
    return {
        "accelerator-data.json": {"accelerators": list(accelerators.values())},
        "model-data.json": {"models": models},
        "serviceclass-data.json": {"serviceClasses": classes},
        "optimizer-data.json": {"optimizer": settings},
        "capacity-data.json": {"count": [{"type": type_, "count": n} for type_, n in CARDS.items()]},
        "server-data.json": {"servers": servers},
    }


def text(document: dict[str, Any]) -> str:
    """JSON with a line for each entry."""
    ((key, value),) = document.items()
    if isinstance(value, dict):
        return f'{{"{key}": {json.dumps(value)}}}\n'
    lines = ",\n".join(f"  {json.dumps(one)}" for one in value)
    return f'{{"{key}": [\n{lines}\n]}}\n'


def config_map(files: dict[str, str]) -> str:
    """All files in one object, but for the servers: the loop finds those in the cluster."""
    held = {name: content for name, content in files.items() if name != "server-data.json"}
    parts = (
        f"  {name}: |\n" + "".join(f"    {line}\n" for line in content.splitlines())
        for name, content in held.items()
    )
    return HEAD + "".join(parts)


if __name__ == "__main__":
    files = {name: text(document) for name, document in documents().items()}
    for name, content in files.items():
        (HERE / name).write_text(content)
    CONFIG_MAP.write_text(config_map(files))
