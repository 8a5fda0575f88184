"""System documents of all three generations, of any size, and what stands at the edge of what is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np

Document = dict[str, Any]
GENERATIONS = ("G1", "G2", "G3")


def system(generation: str, servers: int, seed: int, unlimited: bool = False) -> Document:
    """A system that can be planned: three accelerators, three models, two classes."""
    rng = np.random.default_rng([seed, servers, GENERATIONS.index(generation)])
    models, accelerators = ["m0", "m1", "m2"], ["A", "B", "C"]
    return {
        "system": {
            "acceleratorData": {
                "accelerators": [
                    {"name": a, "type": a, "multiplicity": 1, "cost": 20 + 25 * i}
                    for i, a in enumerate(accelerators)
                ]
            },
            "modelData": {
                "models": [
                    {"name": m, "acc": a, "accCount": 1, "maxBatchSize": 64, "atTokens": 256}
                    | _parameters(generation, float(rng.uniform(0.5, 1.5)) / (1 + i))
                    for m in models
                    for i, a in enumerate(accelerators)
                ]
            },
            "serviceClassData": {
                "serviceClasses": [
                    {
                        "name": name,
                        "priority": priority,
                        "modelTargets": [
                            {"model": m, "slo-itl": 60.0, _second(generation): 2000.0} for m in models
                        ],
                    }
                    for name, priority in (("Premium", 1), ("Free", 10))
                ]
            },
            "serverData": {
                "servers": [
                    {
                        "name": f"server-{seed}-{i}",
                        "class": ("Premium", "Free")[i % 2],
                        "model": models[i % 3],
                        "minNumReplicas": 1,
                        "currentAlloc": {"load": _load(generation, float(rng.uniform(1, 600)))},
                    }
                    for i in range(servers)
                ]
            },
            "optimizerData": {
                "optimizer": {"unlimited": unlimited, "saturationPolicy": "PriorityRoundRobin"}
            },
            "capacityData": {"count": [{"type": a, "count": 2 * servers} for a in accelerators]},
        }
    }


def _second(generation: str) -> str:
    return "slo-ttw" if generation == "G1" else "slo-ttft"


def _load(generation: str, rate: float) -> Document:
    tokens = {"avgLength": 200} if generation == "G1" else {"avgInTokens": 300, "avgOutTokens": 200}
    return {"arrivalRate": rate, **tokens}


def _parameters(generation: str, slow: float) -> Document:
    if generation == "G1":
        return {"alpha": 20 * slow, "beta": 0.3 * slow}
    if generation == "G2":
        decode, prefill = {"alpha": 20 * slow, "beta": 0.3 * slow}, {"gamma": 10 * slow, "delta": 0.01 * slow}
        return {"decodeParms": decode, "prefillParms": prefill}
    return {"perfParms": {"alpha": 15 * slow, "beta": 0.03 * slow, "gamma": 0.0002 * slow}}


# ---- at the edge -----------------------------------------------------------------------------------

TIMES = (0.0, 5e-324, 1e-300, 1e-30, 1e-12, 1e-9, 1e-6, 1e-3, 1.0, 20.0, 1e3, 1e12)
TOKENS = (-1.0, 0.0, 1e-300, 0.5, 1.0, 1.5, 100.0, 8191.0, 8192.0, 8193.0, 1e5, 1e7)
RATES = (-5.0, 0.0, 1e-300, 1e-9, 1.0, 60.0, 6e4, 1e9)
LIMITS = (0.0, 0.0, 1e-300, 1e-6, 1.0, 30.0, 500.0, 1e12)
BATCHES = (0, 1, 2, 64, 4096, 65_535, 65_536)
COUNTS = (0, 0, 1, 8, 1000, 10**6, 10**9)
POWERS: tuple[Document, ...] = (
    {},
    {"power": {"idle": 0, "full": 0}},
    {"power": {"idle": 1e12, "full": 1e12, "midPower": 0, "midUtil": 1}},
    {"power": {"idle": 0, "full": 1e12, "midPower": 1e12, "midUtil": 0}},
    {"power": {"idle": 5, "full": 10, "midPower": 1e12, "midUtil": 1e-300}},
)
POLICIES = ("", "PriorityExhaustive", "PriorityRoundRobin", "RoundRobin")


class Edge:
    """Draws documents whose every value is allowed, and which nobody should send."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def of(self, *values: Any) -> Any:
        return values[self.rng.integers(len(values))]

    def often(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def system(self) -> Document:
        generation = self.of(*GENERATIONS)
        names = [f"A{i}" for i in range(self.of(1, 2, 3))]
        models = ["m0", "m1"][: self.of(1, 2)]
        return {
            "system": {
                "acceleratorData": {"accelerators": [self._accelerator(name) for name in names]},
                "modelData": {"models": [self._profile(generation, m, a) for m in models for a in names]},
                "serviceClassData": {
                    "serviceClasses": [self._class(generation, name, models) for name in ("P", "Q")]
                },
                "serverData": {
                    "servers": [self._server(generation, i, models) for i in range(self.of(1, 2, 3, 6, 12))]
                },
                "optimizerData": {
                    "optimizer": {
                        "unlimited": self.often(0.3),
                        "heterogeneous": self.often(0.3),
                        "milpSolver": self.often(0.3),
                        "delayedBestEffort": self.often(0.3),
                        "saturationPolicy": self.of(*POLICIES),
                    }
                },
                "capacityData": {"count": [{"type": t, "count": self.of(*COUNTS)} for t in ("t", "u")]},
            }
        }

    def _accelerator(self, name: str) -> Document:
        return {
            "name": name,
            "type": self.of("t", "u", ""),
            "multiplicity": self.of(1, 1, 2, 10**9),
            "cost": self.of(0.0, 1e-300, 1.0, 40.0, 1e12),
            **self.of(*POWERS),
        }

    def _profile(self, generation: str, model: str, accelerator: str) -> Document:
        def time() -> Any:
            return self.of(*TIMES)

        parameters: Document = {"alpha": time(), "beta": time()}
        if generation == "G2":
            prefill = {"gamma": time(), "delta": time()}
            parameters = {"decodeParms": parameters, "prefillParms": prefill}
        elif generation == "G3":
            parameters = {"perfParms": {**parameters, "gamma": time()}}
        return {
            "name": model,
            "acc": accelerator,
            "accCount": self.of(0, 1, -5, 8, 10**9),
            "maxBatchSize": self.of(*BATCHES),
            "atTokens": self.of(0, 1, 512, 10**7),
            **parameters,
        }

    def _class(self, generation: str, name: str, models: list[str]) -> Document:
        targets = [
            {
                "model": model,
                "slo-itl": self.of(*LIMITS),
                _second(generation): self.of(*LIMITS),
                "slo-tps": self.of(0.0, 0.0, 0.0, 1e-300, 100.0, 1e12),
            }
            for model in models
        ]
        return {"name": name, "priority": self.of(1, 2, 0, -5, 10**9), "modelTargets": targets}

    def _server(self, generation: str, number: int, models: list[str]) -> Document:
        load: Document = {"arrivalRate": self.of(*RATES)}
        if generation == "G1":
            load |= {"avgLength": self.of(*TOKENS), "arrivalCOV": self.of(0, 1, -1e12)}
        else:
            load |= {"avgInTokens": self.of(*TOKENS), "avgOutTokens": self.of(*TOKENS), "throughput": 1e12}
        return {
            "name": f"s{number}",
            "class": self.of("P", "Q", "none"),
            "model": self.of(*models, "x"),
            "keepAccelerator": self.often(0.2),
            "minNumReplicas": self.of(*COUNTS),
            "maxBatchSize": self.of(0, 0, 0, 1, 65_536),
            "maxQueueSize": self.of(*COUNTS),
            "currentAlloc": {
                "accelerator": self.of("", "A0", "zz"),
                "numReplicas": self.of(*COUNTS),
                "maxBatch": self.of(*BATCHES),
                "cost": self.of(0, 1, 1e12),
                "load": load,
            },
        }
