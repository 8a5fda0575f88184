"""The original's definitions of the six kinds: which fields it knows, which it wants, and their bounds."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "minLength": 1}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
NATURAL: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}


def of(*required: str, **fields: Schema) -> Schema:
    """An object; `_` in names stands for `-`."""
    made: Schema = {"type": "object", "properties": {k.replace("_", "-"): v for k, v in fields.items()}}
    return made | ({"required": list(required)} if required else {})


def many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_LOAD = of(
    "arrivalRate", "avgLength", arrivalRate=NUMBER, avgLength=WHOLE, arrivalCOV=NUMBER, serviceCOV=NUMBER
)
_ALLOCATION = of(
    "accelerator",
    "numReplicas",
    accelerator=TEXT,
    numReplicas=WHOLE,
    maxBatch=WHOLE,
    cost=NUMBER,
    itlAverage=NUMBER,
    waitAverage=NUMBER,
    load=_LOAD,
)
_FLAGS = ("unlimited", "heterogeneous", "milpSolver", "useCplex")
SPECS: dict[str, Schema] = {
    "Accelerator": of(
        "name",
        "type",
        "cost",
        name=NAME,
        type=NAME,
        cost=NUMBER,
        multiplicity={"type": "integer", "minimum": 1, "default": 1},
        memSize=WHOLE,
        memBW=WHOLE,
        power=of(
            *("idle", "full", "midPower", "midUtil"),
            idle=NATURAL,
            full=NATURAL,
            midPower=NATURAL,
            midUtil={"type": "number", "minimum": 0, "maximum": 1},
        ),
    ),
    "Model": of(
        "name",
        name=NAME,
        data=many(
            of(
                *("acc", "accCount", "alpha", "beta", "maxBatchSize", "atTokens"),
                acc=TEXT,
                accCount=WHOLE,
                alpha=NUMBER,
                beta=NUMBER,
                maxBatchSize=WHOLE,
                atTokens=WHOLE,
            )
        ),
    ),
    "ServiceClass": of(
        "name",
        name=NAME,
        priority={"type": "integer", "minimum": 0, "default": 0},
        data=many(of("model", model=NAME, slo_itl=NUMBER, slo_ttw=NUMBER, slo_tps=NUMBER)),
    ),
    "Server": of(
        *("name", "class", "model"),
        **{"name": NAME, "class": NAME, "model": NAME},
        currentAlloc=_ALLOCATION,
        desiredAlloc=_ALLOCATION,
    ),
    "Capacity": of(
        "count", count=many(of("type", type=NAME, count={"type": "integer", "minimum": 0, "default": 0}))
    ),
    "Optimizer": of(
        "optimize",
        "data",
        optimize=FLAG,
        data=of("optimizer", optimizer=of(*_FLAGS, **dict.fromkeys(_FLAGS, FLAG))),
    ),
}
PLURALS = {
    "Accelerator": "accelerators",
    "Model": "models",
    "ServiceClass": "serviceclasses",
    "Server": "servers",
    "Capacity": "capacities",
    "Optimizer": "optimizers",
}


def schema(kind: str) -> Schema:
    """Of whole objects."""
    word = "done" if kind == "Optimizer" else "active"
    status = of(word, **{word: FLAG})
    return of(apiVersion=TEXT, kind=TEXT, metadata={"type": "object"}, spec=SPECS[kind], status=status)


def crd(kind: str) -> Schema:
    """The CustomResourceDefinition."""
    names = {"kind": kind, "listKind": f"{kind}List", "plural": PLURALS[kind], "singular": kind.lower()}
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema(kind)},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURALS[kind]}.inferno.platform.ai"},
        "spec": {
            "group": "inferno.platform.ai",
            "scope": "Namespaced",
            "names": names,
            "versions": [version],
        },
    }
