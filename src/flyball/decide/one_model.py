"""One model on the units of some cards that hold it, by what is believed of it there, unprofiled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from flyball.calibrate.belief import Belief
from flyball.calibrate.hardware import COUNTS, ENGINE, fleet_of, units
from flyball.calibrate.margin import CONFIDENCE
from flyball.profiles.latency import entries
from flyball.spec.card import Card
from flyball.spec.fleet import Fleet
from flyball.spec.model import Model, Precision
from flyball.spec.server import Load
from flyball.spec.service_class import Target


class Believed(NamedTuple):
    """A fleet of one server on every unit that holds its model, and the beliefs its profiles come from."""

    fleet: Fleet
    beliefs: dict[str, Belief]
    """By accelerator."""


def believed(
    model: Model,
    offered: Iterable[Card],
    load: Load,
    targets: Iterable[Target],
    *,
    engine: str = ENGINE,
    precision: Precision | None = None,
    confidence: float = CONFIDENCE,
    spare: float = 0.0,
    counts: Iterable[int] = COUNTS,
) -> Believed | None:
    """The fleet to plan; None where no unit holds the model and one request."""
    found = units(
        model,
        offered,
        entries(),
        engine=engine,
        precision=precision,
        in_tokens=load.in_tokens,
        out_tokens=load.out_tokens,
        confidence=confidence,
        counts=counts,
    )
    if not found:
        return None
    fleet = fleet_of(model, found, load, targets, spare)
    return Believed(fleet, {unit.accelerator.name: unit.belief for unit in found})
