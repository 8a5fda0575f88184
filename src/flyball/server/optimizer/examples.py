"""What the description of the routes shows."""

ACCELERATOR = {
    "name": "A100",
    "type": "A100",
    "multiplicity": 1,
    "memSize": 80,
    "memBW": 2039,
    "power": {"idle": 55, "full": 400, "midPower": 300, "midUtil": 0.6},
    "cost": 250,
}
PROFILE = {
    "name": "granite_13b",
    "acc": "A100",
    "accCount": 1,
    "maxBatchSize": 64,
    "atTokens": 512,
    "perfParms": {"alpha": 20.5, "beta": 0.04, "gamma": 0.0013},
}
TARGET = {"model": "granite_13b", "slo-itl": 40, "slo-ttft": 1000, "slo-tps": 0}
SERVICE_CLASS = {"name": "Premium", "priority": 1, "modelTargets": [TARGET]}
LOAD = {"arrivalRate": 120, "throughput": 120, "avgInTokens": 512, "avgOutTokens": 256}
SERVER = {"name": "chat", "class": "Premium", "model": "granite_13b", "currentAlloc": {"load": LOAD}}
OPTIMIZER = {"unlimited": False, "saturationPolicy": "PriorityExhaustive"}
COUNT = {"type": "A100", "count": 16}
SYSTEM = {
    "system": {
        "acceleratorData": {"accelerators": [ACCELERATOR]},
        "modelData": {"models": [PROFILE]},
        "serviceClassData": {"serviceClasses": [SERVICE_CLASS]},
        "serverData": {"servers": [SERVER]},
        "optimizerData": {"optimizer": OPTIMIZER},
        "capacityData": {"count": [COUNT]},
    }
}
FLEET = """\
kind: Fleet
"""
