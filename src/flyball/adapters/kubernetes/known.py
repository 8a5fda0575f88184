"""Cards, models, classes and profiles by name: of a fleet that was given, or of the library."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from msgspec.structs import replace

from flyball.calibrate.hardware import units
from flyball.profiles import library
from flyball.profiles.latency import entries
from flyball.spec.accelerator import Accelerator
from flyball.spec.card import Card
from flyball.spec.fleet import Fleet, Settings
from flyball.spec.model import Model
from flyball.spec.profile import Profile
from flyball.spec.service_class import ServiceClass
from flyball.wire.errors import WireError
from flyball.wire.fields import near_matches

_UNIT = re.compile(r"(.+?)x(\d{1,2})|(\d{1,2})x(.+)")
"""H100x2, or 2xH100."""


class Known(Protocol):
    """What is known of hardware, models and classes."""

    def card_type(self, label: str) -> str:
        """The type of card, as capacity counts it, of the value of a node's label. Or WireError."""
        ...

    def accelerator(self, type_: str, cards: int, model: str) -> str:
        """The name of so many cards of a type, for this model; "" where there is none."""
        ...

    def named(self, name: str, cards: int, model: str) -> str:
        """The accelerator that people call so; `cards`: as the template says, 0: not. Or WireError."""
        ...

    def type_of(self, accelerator: str) -> str:
        """The type of its cards."""
        ...

    def without(self, types: Iterable[str]) -> set[str]:
        """All accelerators that are known but those of some types of card."""
        ...

    def model(self, names: Iterable[str]) -> str:
        """The first of some names that is a model's; WireError: none is."""
        ...

    @property
    def closed(self) -> bool:
        """Whether only accelerators that are asked for have profiles."""
        ...

    def fleet(self, wanted: Iterable[tuple[str, str]]) -> Fleet:
        """Accelerators, profiles, classes and settings; of a library for pairs of model and accelerator."""
        ...


class Library:
    """The shipped cards, models and classes, or one's own; profiles are made when first asked for."""

    closed = True

    def __init__(
        self,
        *,
        cards: tuple[Card, ...] | None = None,
        models: tuple[Model, ...] | None = None,
        classes: tuple[ServiceClass, ...] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._cards, self._models = cards, models
        self._classes = library.classes() if classes is None else classes
        self._settings = settings or Settings()
        self._card: dict[str, Card | WireError] = {}
        self._model: dict[str, Model | WireError] = {}
        self._units: dict[str, tuple[str, int]] = {}
        """Type and number of cards, by name of accelerator."""
        self._pairs: dict[tuple[str, str], tuple[Accelerator, Profile | None]] = {}

    def card_type(self, label: str) -> str:
        return self._find_card(label).name

    def accelerator(self, type_: str, cards: int, model: str) -> str:
        name = type_ if cards <= 1 else f"{type_}x{cards}"
        self._units[name] = type_, max(cards, 1)
        return name

    def type_of(self, accelerator: str) -> str:
        return self._units[accelerator][0]

    def without(self, types: Iterable[str]) -> set[str]:
        return set()  # it is closed: cards of the cluster alone are candidates

    def named(self, name: str, cards: int, model: str) -> str:
        try:
            return self.accelerator(self.card_type(name), cards, model)
        except WireError:
            match = _UNIT.fullmatch(name)
            if not match:
                raise
            count = int(match[2] or match[3])
            return self.accelerator(self.card_type(match[1] or match[4]), cards or count, model)

    def model(self, names: Iterable[str]) -> str:
        first: WireError | None = None
        for name in names:
            if name not in self._model:
                try:
                    self._model[name] = library.find_model(name, self._models)
                except WireError as error:
                    self._model[name] = error
            found = self._model[name]
            if isinstance(found, Model):
                return name
            first = first or found
        raise first or WireError("model", "none is named")

    def fleet(self, wanted: Iterable[tuple[str, str]]) -> Fleet:
        accelerators: dict[str, Accelerator] = {}
        profiles: list[Profile] = []
        for model, name in sorted(set(wanted)):
            accelerator, profile = self._pair(model, name)
            accelerators[name] = accelerator
            if profile is not None:
                profiles.append(profile)
        return Fleet(
            accelerators=tuple(accelerators.values()),
            profiles=tuple(profiles),
            service_classes=self._classes,
            settings=self._settings,
        )

    def _pair(self, model: str, name: str) -> tuple[Accelerator, Profile | None]:
        if (model, name) not in self._pairs:
            type_, count = self._units[name]
            card, of = self._find_card(type_), self._model.get(model)
            found = units(of, [card], entries(), counts=(count,)) if isinstance(of, Model) else ()
            profile = replace(found[0].profile, model=model, accelerator=name) if found else None
            accelerator = replace(library.accelerator_of(card, count), name=name)
            self._pairs[model, name] = accelerator, profile
        return self._pairs[model, name]

    def _find_card(self, name: str) -> Card:
        if name not in self._card:
            try:
                self._card[name] = library.find_card(name, self._cards)
            except WireError as error:
                self._card[name] = error
        found = self._card[name]
        if isinstance(found, Card):
            return found
        raise found


class Given:
    """A fleet that was given, Inferno's static data say: its accelerators, profiles, classes and settings."""

    closed = False

    def __init__(self, fleet: Fleet) -> None:
        self.given = fleet
        self._accelerators = {a.name: a for a in fleet.accelerators}
        self._units = {(p.model, p.accelerator): max(p.accelerator_count, 1) for p in fleet.profiles}
        self._names = tuple(dict.fromkeys(p.model for p in fleet.profiles))
        self._folded = {name.casefold(): name for name in reversed(self._names)}
        self._types: dict[str, str] = {}
        self._wrong: dict[str, WireError] = {}

    def card_type(self, label: str) -> str:
        if label in self._wrong:
            raise self._wrong[label]
        if label not in self._types:
            try:
                self._types[label] = self._find_type(label)
            except WireError as error:
                self._wrong[label] = error
                raise
        return self._types[label]

    def _find_type(self, label: str) -> str:
        types = {a.type for a in self.given.accelerators}
        if label in types:
            return label
        card = library.find_card(label).name
        for type_ in sorted(types):
            try:
                if library.find_card(type_).name == card:
                    return type_
            except WireError:
                continue
        problem = f"is {card}, and the data have no accelerator of such cards"
        raise WireError("card", problem, value=label, mend=near_matches(card, types))

    def accelerator(self, type_: str, cards: int, model: str) -> str:
        of_type = {
            name: self._cards(name, model) for name, a in self._accelerators.items() if a.type == type_
        }
        fitting = [name for name, count in of_type.items() if not cards or count == cards]
        return min(fitting, key=lambda name: (of_type[name], name), default="")

    def type_of(self, accelerator: str) -> str:
        return self._accelerators[accelerator].type

    def _cards(self, name: str, model: str) -> int:
        return self._accelerators[name].multiplicity * self._units.get((model, name), 1)

    def named(self, name: str, cards: int, model: str) -> str:
        if name in self._accelerators:
            return name
        mend = near_matches(name, self._accelerators)
        raise WireError("accelerator", "there is no such accelerator in the data", value=name, mend=mend)

    def without(self, types: Iterable[str]) -> set[str]:
        gone = set(types)
        return {name for name, a in self._accelerators.items() if a.type not in gone}

    def model(self, names: Iterable[str]) -> str:
        asked = tuple(names)
        for name in asked:
            for spelled in (name, name.rpartition("/")[2]):
                if spelled.casefold() in self._folded:
                    return spelled if spelled in self._names else self._folded[spelled.casefold()]
        first = asked[0] if asked else ""
        raise WireError(
            "model", "the data have no profile of it", value=first, mend=near_matches(first, self._names)
        )

    def fleet(self, wanted: Iterable[tuple[str, str]]) -> Fleet:
        return self.given
