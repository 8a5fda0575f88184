"""What the catalogue knows of a ModelBooster: bytes of its model's weights, and of its devices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flyball.profiles import library
from flyball.spec.model import BYTES_PER_PARAMETER
from flyball.wire.errors import WireError
from flyball.wire.kthena_booster import Worker

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def weights_of(model: str) -> float | None:
    """Bytes of a model's weights, by `org/model`; None: it is not known."""
    try:
        found = library.find_model(model)
    except WireError:
        return None
    return found.parameters * BYTES_PER_PARAMETER[found.precision]


def device_memory_of(worker: Worker) -> float | None:
    """Bytes of the largest device on which a worker's affinity lets it run; None: it may run anywhere."""
    cards = {label: card for card in library.cards() for label in card.labels}
    asked = [value for value in _values(worker.affinity) if value in cards]
    return max((cards[value].memory_bytes for value in asked), default=None)


def _values(affinity: Any) -> Iterator[str]:
    """Values of labels that a node must have."""
    for key in ("nodeAffinity", REQUIRED, "nodeSelectorTerms"):
        affinity = affinity.get(key) if isinstance(affinity, dict) else None
    for term in affinity if isinstance(affinity, list) else ():
        for rule in (term.get("matchExpressions") or ()) if isinstance(term, dict) else ():
            if isinstance(rule, dict) and rule.get("operator") == "In":
                yield from (value for value in rule.get("values") or () if isinstance(value, str))
