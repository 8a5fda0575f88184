"""The catalogue that a fleet's document asks for: the sample, or what the library knows of its models."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from flyball.calibrate.hardware import units
from flyball.profiles.latency import entries
from flyball.profiles.library import cards, find_card, find_model
from flyball.profiles.sample import catalogue as sample
from flyball.spec.accelerator import Accelerator
from flyball.spec.card import Card
from flyball.spec.profile import Profile
from flyball.wire.catalogue import LIBRARY, Catalogue


def catalogue_for(document: object) -> Catalogue:
    """For `catalogue: library` units and profiles of the models that are served, else the sample.

    Of the cards under `capacity`, or of all that have a price; models and cards by the names that the
    document has for them. WireError: the library knows no such model or card.
    """
    if not isinstance(document, dict) or document.get("catalogue") != LIBRARY:
        return sample()
    accelerators: dict[str, Accelerator] = {}
    profiles: list[Profile] = []
    for name, place in _served(document).items():
        model = find_model(name, where=place)
        for type_, card in _cards(document.get("capacity")).items():
            for unit in units(model, [card], entries()):
                count = unit.accelerator.multiplicity
                named = type_ if count == 1 else f"{type_}x{count}"
                accelerators[named] = replace(unit.accelerator, name=named, type=type_)
                profiles.append(replace(unit.profile, model=name, accelerator=named))
    return Catalogue(LIBRARY, tuple(accelerators.values()), tuple(profiles))


def _served(document: Mapping[str, object]) -> dict[str, str]:
    """Models of the servers, and where they stand; what is no server is told by whoever reads them."""
    servers = document.get("servers")
    return {
        str(server["model"]): f"servers[{i}].model"
        for i, server in enumerate(servers if isinstance(servers, list) else [])
        if isinstance(server, dict) and isinstance(server.get("model"), str)
    }


def _cards(capacity: object) -> dict[str, Card]:
    if isinstance(capacity, dict) and capacity:
        return {str(name): find_card(str(name), where="capacity") for name in capacity}
    return {card.name: card for card in cards() if card.price > 0}
