"""A ModelBooster without devices, filled in with what was chosen for it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import msgspec

from flyball.boosting.asked import BATCH, CHOICE, MODEL, Asked, lacks
from flyball.boosting.config import PARALLEL, SGLANG, object_of
from flyball.boosting.errors import BoosterError
from flyball.units import DollarsPerHour
from flyball.wire.kthena_booster import Backend, ModelBooster, Worker
from flyball.wire.kthena_meta import Plain

SERVED = ("served-model-name", "served_model_name")
CONTEXT = ("max-model-len", "max_model_len", "context-length", "context_length")
_FLAGS = {SGLANG: ("tp-size", "max-running-requests", "context-length")}
_VLLM_FLAGS = ("tensor-parallel-size", "max-num-seqs", "max-model-len")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


class Choice(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was chosen for an ask, and why; to be kept, as another look at the load is no reason to move."""

    asked: Asked
    accelerator: str
    """The unit, H100x2."""
    card: str
    cards: int
    """Of a replica, which tensor parallelism makes one."""
    resource: str
    """By which pods ask for the card: nvidia.com/gpu."""
    products: dict[str, tuple[str, ...]]
    """Labels of nodes that have the card, and their values."""
    replicas: int
    batch: int
    cost: DollarsPerHour
    """Of all replicas."""
    context: int | None = None
    """Tokens of the longest request that fits, where the model's own longest does not."""
    image: str = ""
    """Of the engine, where the booster names none."""
    reason: str = ""
    next_best: str = ""
    """The second choice, in words."""


def chosen_before(annotations: Mapping[str, str], asked: Asked) -> Choice | None:
    """The choice that the annotations of a ModelServing keep, None where it was for another ask."""
    try:
        found = msgspec.json.decode(annotations.get(CHOICE, ""), type=Choice)
    except msgspec.MsgspecError:
        return None
    return found if found.asked == asked else None


def sized(booster: ModelBooster, choice: Choice) -> ModelBooster:
    """The booster with devices, nodes, replicas, flags and image as chosen. Or BoosterError.

    Flags, affinity and image that it has stay. The choice goes along as an annotation, which `expand` puts on
    the ModelServing.
    """
    if not lacks(booster):
        problem = "names devices, or no class and no target: there is nothing to choose"
        raise BoosterError(f"ModelBooster {booster.metadata.name}: {problem}")
    backend = booster.spec.backend
    first, *others = backend.workers
    filled = msgspec.structs.replace(
        backend,
        workers=[_filled(first, backend.type, choice, booster.metadata.name), *others],
        replicas=_within(backend, choice.replicas),
    )
    kept = {CHOICE: msgspec.json.encode(choice, order="sorted").decode()}
    annotations = {MODEL: choice.asked.model, **(booster.metadata.annotations or {}), **kept}
    return msgspec.structs.replace(
        booster,
        metadata=msgspec.structs.replace(booster.metadata, annotations=annotations),
        spec=msgspec.structs.replace(booster.spec, backend=filled),
    )


def _within(backend: Backend, replicas: int) -> int:
    """What was chosen, within the bounds."""
    # `replicas` itself says nothing: Kthena's definition asks for it, whether one has an opinion or not.
    low, high = backend.min_replicas or 0, backend.max_replicas
    return max(low, replicas if high is None else min(replicas, high))


def _filled(worker: Worker, engine: str, choice: Choice, name: str) -> Worker:
    resources = dict(worker.resources or {})
    for kind in ("limits", "requests"):
        resources[kind] = {**(resources.get(kind) or {}), choice.resource: str(choice.cards)}
    return msgspec.structs.replace(
        worker,
        image=worker.image or choice.image or None,
        resources=resources,
        affinity=_on(worker.affinity or {}, choice.products),
        config=_config(worker.config, engine, choice, name),
    )


def _config(config: Any, engine: str, choice: Choice, name: str) -> dict[str, Any]:
    """The flags, where none of the same meaning is there."""
    found = dict(object_of(config))
    parallel, batch, context = _FLAGS.get(engine, _VLLM_FLAGS)
    spread = [name for names in PARALLEL for name in names]
    for flag, synonyms, value in (
        (parallel, spread, choice.cards),
        (batch, BATCH, choice.batch),
        (context, CONTEXT, choice.context),
        # Without it the engine knows its model by the directory alone, and the router asks for the name.
        (SERVED[0], SERVED, name),
    ):
        if value is not None and not any(one in found for one in synonyms):
            found[flag] = value
    return found


def _on(affinity: Plain, products: Mapping[str, tuple[str, ...]]) -> Plain:
    """The affinity, and nodes of the products only: terms are alternatives, of which each gets each label."""
    of_nodes = affinity.get("nodeAffinity") or {}
    terms = (of_nodes.get(_REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    asks = [
        {"key": key, "operator": "In", "values": list(values)} for key, values in products.items() if values
    ]
    made = [
        {**term, "matchExpressions": [*(term.get("matchExpressions") or ()), ask]}
        for term, ask in itertools.product(terms, asks)
    ]
    if not made:
        return affinity
    return {**affinity, "nodeAffinity": {**of_nodes, _REQUIRED: {"nodeSelectorTerms": made}}}
