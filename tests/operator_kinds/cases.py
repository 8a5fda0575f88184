"""Good and bad cases of every rule and bound, each as a change of a sample; and what is said of the bad."""

from __future__ import annotations

from typing import NamedTuple

POWER = {"idle": 150, "full": 400, "midPower": 320, "midUtil": 0.6}
G2 = {"decodeParms": {"alpha": 17.15, "beta": 0.34}, "prefillParms": {"gamma": 170, "delta": 0.017}}
G3 = {"perfParms": {"alpha": 17.15, "beta": 0.034, "gamma": 0.001}}
ENTRY = {"acc": "A100", "accCount": 1, "maxBatchSize": 32, "atTokens": 512}
FLAT = {"alpha": 20.58, "beta": 0.41}


class Case(NamedTuple):
    """One field of one kind: a value that is taken, one that is not, and words of the refusal."""

    kind: str
    path: str
    good: object
    bad: object
    said: str


RULES = (
    Case("Accelerator", "power", POWER, {**POWER, "idle": 500, "midPower": 500}, "idle is over full"),
    Case(
        "Accelerator", "power", {"idle": 1, "full": 1}, {**POWER, "midPower": 401}, "idle <= midPower <= full"
    ),
    Case(
        "Accelerator",
        "power",
        {**POWER, "midPower": 150},
        {**POWER, "midPower": 1},
        "midPower is not between",
    ),
    Case("Model", "data.0", {**ENTRY, **FLAT}, {**ENTRY, **FLAT, **G3}, "parameters of several generations"),
    Case("Model", "data.0", {**ENTRY, **G2}, {**ENTRY, **G2, **G3}, "parameters of several generations"),
    Case("Model", "data.0", {**ENTRY, **G3}, {**ENTRY, **FLAT, **G2}, "parameters of several generations"),
    Case("Model", "data.0", ENTRY, {**ENTRY, "alpha": 1.0}, "alpha and beta go together"),
    Case("ServiceClass", "data.0.targets", {"ttft": "mean <= 1.5s"}, {"ttft": "p955<1s"}, "should match"),
    Case("Optimizer", "period", 0, 0.5, "a period is 0"),
    Case("Optimizer", "period", 15, -1, "greater than or equal to 0"),
)
BOUNDS = (
    Case("ServiceClass", "data.0.targets", {"itl": "p95<40ms"}, {"itl": "fast"}, "should match"),
    Case("ServiceClass", "data.0.targets", {"wait": "500ms"}, {"wait": "500"}, "should match"),
    Case("Accelerator", "multiplicity", 2, 0, "greater than or equal to 1"),
    Case("Accelerator", "power.midUtil", 0.5, 1.5, "less than or equal to 1"),
    Case("Accelerator", "name", "B", "", "at least 1 char"),
    Case("ServiceClass", "priority", 0, -1, "greater than or equal to 0"),
    Case("Server", "mode", "keda", "off", "Unsupported value"),
    Case("Server", "accelerators", ["A100", "G2"], ["A100", "A100"], "Duplicate value"),
    Case("Server", "minNumReplicas", 0, 1.5, "must be of type integer"),
    Case("Server", "currentAlloc.load.avgInTokens", 5, -5, "greater than or equal to 0"),
    Case("Capacity", "count.0.count", 0, -4, "greater than or equal to 0"),
    Case("Optimizer", "data.optimizer.solver", "greedy", "best", "Unsupported value"),
    Case("Optimizer", "data.optimizer.saturationPolicy", "RoundRobin", "roundrobin", "Unsupported value"),
)
