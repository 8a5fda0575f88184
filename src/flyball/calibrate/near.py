"""Which entry of the library of profiles is nearest to what is wanted, and how near that is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from flyball.profiles.library import find_card, find_model
from flyball.spec.card import Card
from flyball.spec.library import Entry
from flyball.spec.model import Model, Precision
from flyball.wire.errors import WireError

TIERS = ("version", "engine", "tp", "card", "precision")
"""From near to far: of the same model, the farthest that differs; what is named before it may differ too."""


class Near(NamedTuple):
    """An entry of the same model, and how near it is."""

    tier: str
    """"exact" or one of TIERS."""
    entry: Entry


def nearest(
    model: Model,
    card: Card,
    tp: int,
    engine: str,
    precision: Precision,
    entries: Iterable[Entry],
    version: str = "",
) -> Near | None:
    """The nearest entry of a model of the same shape; of equally near ones a measured one, of most points.

    Exact is one only that has no like: two layouts under one name differ as two versions do. What is
    suspect is left out but for itself.
    """
    kin = [e for e in entries if _akin(e, model)]
    tiers = [(tier_of(e, card, tp, engine, precision, version), e) for e in kin]
    exact = {e.timing: e for tier, e in tiers if tier == "exact"}
    if len(exact) == 1:
        return Near("exact", *exact.values())

    def order(found: tuple[str, Entry]) -> tuple[float, ...]:
        tier, e = found
        far = abs(math.log(e.tp / tp))
        return TIERS.index(tier), e.tier != "measured", e.engine != engine, far, -e.points

    rest = [
        ("version" if tier == "exact" else tier, e)
        for tier, e in tiers
        if not e.suspect and (e.card == card.name or known_card(e.card))
    ]
    return Near(*min(rest, key=order)) if rest else None


def sentence(near: Near, model: Model, card: Card, tp: int, engine: str, precision: Precision) -> str:
    """Where a prior comes from, and what had to be carried over."""
    entry = near.entry
    made = "measured" if entry.tier == "measured" else "added up from measured kernels"
    on = f"{made} on {entry.tp} {entry.card} with {entry.engine} {entry.version}".rstrip()
    if entry.precision != precision:
        on += f" at {entry.precision}"
    if entry.model.casefold() != model.name.casefold():
        on += f" as {entry.model}"
    if near.tier == "exact":
        return on
    if near.tier == "version":
        return on if entry.tier == "op-level" else f"{on}; versions and layouts differ"
    if near.tier == "engine":
        return f"{on}, taken for {engine}"
    cards = f"{tp} {card.name}" if (entry.card, entry.tp) != (card.name, tp) else ""
    weights = precision if entry.precision != precision else ""
    to = " at ".join(filter(None, (cards, weights)))
    return f"{on}, carried over to {to} by the roofline"


def tier_of(entry: Entry, card: Card, tp: int, engine: str, precision: Precision, version: str = "") -> str:
    """How near an entry of the same model is: "exact", or the farthest of TIERS in which it differs."""
    if entry.precision != precision:
        return "precision"
    if entry.card != card.name:
        return "card"
    if entry.tp != tp:
        return "tp"
    if entry.engine != engine:
        return "engine"
    return "exact" if version and entry.version == version else "version"


def _akin(entry: Entry, model: Model) -> bool:
    known = known_model(entry.model)
    same = entry.model == model.name or (known is not None and family(known) == family(model))
    return same and entry.timing.experts == model.experts


def family(model: Model) -> object:
    """The same for models that cost the same: fine-tunes, and other precisions published apart."""
    return (model.layers, model.experts, model.experts_per_token, model.shape) if model.shape else model.name


@cache
def known_model(name: str) -> Model | None:
    """The library's model of a name, if it has one."""
    try:
        return find_model(name)
    except WireError:
        return None


@cache
def known_card(name: str) -> Card | None:
    """The library's card of a name, if it has one."""
    try:
        return find_card(name)
    except WireError:
        return None
