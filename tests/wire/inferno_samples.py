"""One small system document of each generation, and the files that they are usually cut into."""

from __future__ import annotations

from collections.abc import Mapping

FILES = {
    "accelerators": "accelerator-data.json",
    "models": "model-data.json",
    "serviceClasses": "serviceclass-data.json",
    "servers": "server-data.json",
    "optimizer": "optimizer-data.json",
    "count": "capacity-data.json",
}


def _system(parameters: dict, targets: dict, current: dict, load: dict) -> dict:
    model = {
        "name": "granite",
        "acc": "A100",
        "accCount": 1,
        "maxBatchSize": 32,
        "atTokens": 512,
        **parameters,
    }
    allocation = {
        "accelerator": "A100",
        "numReplicas": 4,
        "maxBatch": 16,
        "cost": 160,
        "itlAverage": 25,
        **current,
    }
    return {
        "system": {
            "acceleratorData": {
                "accelerators": [{"name": "A100", "type": "A100", "multiplicity": 1, "cost": 40}]
            },
            "modelData": {"models": [model]},
            "serviceClassData": {
                "serviceClasses": [
                    {
                        "name": "Premium",
                        "priority": 1,
                        "modelTargets": [{"model": "granite", "slo-itl": 40, **targets}],
                    }
                ]
            },
            "serverData": {
                "servers": [
                    {
                        "name": "chat",
                        "class": "Premium",
                        "model": "granite",
                        "currentAlloc": {**allocation, "load": load},
                    }
                ]
            },
            "optimizerData": {"optimizer": {"unlimited": True}},
            "capacityData": {"count": [{"type": "A100", "count": 4}]},
        }
    }


G1 = _system(
    {"alpha": 20, "beta": 0.5},
    {"slo-ttw": 500},
    {"waitAverage": 750},
    {"arrivalRate": 120, "avgLength": 1024, "arrivalCOV": 1.5, "serviceCOV": 1},
)
G2 = _system(
    {"decodeParms": {"alpha": 20, "beta": 0.4}, "prefillParms": {"gamma": 200, "delta": 0.02}},
    {"slo-ttft": 1000},
    {"ttftAverage": 700},
    {"arrivalRate": 60, "AvgInTokens": 128, "AvgOutTokens": 1024},
)
G3 = _system(
    {"perfParms": {"alpha": 20, "beta": 0.04, "gamma": 0.001}},
    {"slo-ttft": 1000},
    {"ttftAverage": 700},
    {"arrivalRate": 60, "throughput": 30, "avgInTokens": 128, "avgOutTokens": 1024},
)


def files_of(document: Mapping[str, dict]) -> dict[str, dict]:
    """The documents of the single files, by the files' usual names."""
    return {FILES[key]: {key: rows} for key, rows in parts_of(document).items()}


def parts_of(document: Mapping[str, dict]) -> dict:
    """The rows of a system document by section, to be read or changed in place."""
    return {key: rows for wrapper in document["system"].values() for key, rows in wrapper.items()}
