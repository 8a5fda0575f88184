"""ModelBooster of Kthena as one definition, wider than both stock ones: v1, v0.4 and Flyball's own fields."""

from __future__ import annotations

from typing import Annotated

import msgspec

from flyball.wire.kinds.kind import AGE, Column, Condition, Definition, Version, state
from flyball.wire.kinds.schema import list_of
from flyball.wire.kthena import WORKLOAD
from flyball.wire.kthena_booster import BoosterSpec

VERSION = "v1alpha1"


class BoosterStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What became of a booster."""

    observed_generation: int | None = None
    """The metadata.generation that the children are made from."""
    conditions: Annotated[list[Condition], list_of("map", "type")] | None = None
    """Its state, one aspect each: Initialized, Active, Failed."""
    accelerator: str | None = None
    """What was chosen for a booster that names targets and no devices, such as H100x2."""


# A stock definition does not ask for a spec; that of a booster without one is refused by admission.
MODEL_BOOSTER = Definition(
    WORKLOAD,
    "ModelBooster",
    "modelboosters",
    "modelbooster",
    (
        Version(
            VERSION,
            "ModelBooster is a model that is deployed with its server, its route and its scaling.",
            BoosterSpec,
            BoosterStatus,
            (
                state("Active"),
                Column("Model", "string", ".spec.backend.modelURI", "Where the model is."),
                Column("Type", "string", ".spec.backend.type", "The engine."),
                Column("Replicas", "integer", ".spec.backend.replicas", "Replicas to begin with."),
                Column("Accelerator", "string", ".status.accelerator", "That was chosen for it."),
                state("Failed", "Problem", priority=1, part="message"),
                AGE,
            ),
            needs_spec=False,
        ),
    ),
)
DEFINITIONS = (MODEL_BOOSTER,)
