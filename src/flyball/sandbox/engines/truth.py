"""How fast the engines in the pods really are: the library's profile, off by chance, or as a file has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from flyball.calibrate.hardware import COUNTS, units
from flyball.profiles.latency import entries
from flyball.profiles.library import find_card, find_model
from flyball.sandbox.engines.pods import Pod
from flyball.spec.profile import IterationTiming, Profile
from flyball.spec.scenario import Engine
from flyball.wire.catalogue import catalogue_from_own
from flyball.wire.errors import WireError
from flyball.wire.text import decode
from flyball.wire.truth import drawn_engine

ERROR = 0.1
_BASE = Engine("", "", 0.0, 0.0, 0.0, 0.0)
_UNITS = (
    re.compile(r"(?P<card>.+)x(?P<count>\d{1,2})", re.IGNORECASE),
    re.compile(r"(?P<count>\d{1,2})x(?P<card>.+)", re.IGNORECASE),
)
"""So many cards as one: H100x2, or 2xH100 as Inferno's data have it."""


class Truth:
    """The true engines: each parameter is off by up to `error` from the library's profile, drawn by `seed`.

    Profiles that are `stated`, by model and accelerator as the pods name them, hold as they are.
    """

    def __init__(
        self,
        error: float = ERROR,
        seed: int = 0,
        stated: Mapping[tuple[str, str], Profile] | None = None,
    ) -> None:
        self._error, self._seed = error, seed
        self._stated = dict(stated or {})
        self._found: dict[tuple[str, str, int], Engine | WireError] = {}

    def engine_of(self, pod: Pod) -> Engine:
        """What runs in a pod. WireError: the library knows no such model or card, or it does not fit."""
        weights = pod.weights or pod.model
        key = (weights, pod.accelerator, pod.cards)
        if key not in self._found:
            try:
                self._found[key] = self._make(*key)
            except WireError as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, WireError):
            raise found
        return msgspec.structs.replace(found, max_sequences=max(pod.max_batch_size, 1))

    def _make(self, model: str, accelerator: str, cards: int) -> Engine:
        profile = self._stated.get((model, accelerator))
        if profile is not None:
            return _engine(profile, 0.0, self._seed)
        return _engine(library_profile(model, accelerator, cards), self._error, self._seed)


def library_profile(model: str, accelerator: str, cards: int = 0) -> Profile:
    """What the library believes of a model on an accelerator: H100, H100x2, 2xH100, or a node label's value.

    `cards` make one unit (0: as few as hold it). WireError: unknown, or it does not fit.
    """
    known = find_model(model)
    unit = next((match for one in _UNITS if (match := one.fullmatch(accelerator))), None)
    try:
        card = find_card(accelerator, where="accelerator")
    except WireError:
        if unit is None:
            raise
        card, cards = find_card(unit["card"], where="accelerator"), int(unit["count"])
    found = units(known, [card], entries(), counts=(cards,) if cards else COUNTS)
    if not found:
        room = f"{cards or max(COUNTS)} x {card.name}"
        problem = f"its weights and one request do not fit into {room}"
        raise WireError("model", problem, value=model, mend="Ask for more cards, or for larger ones")
    return found[0].profile


def stated_profiles(path: Path) -> dict[tuple[str, str], Profile]:
    """The profiles of a file with `kind: Catalogue`, by model and accelerator. Or WireError."""
    where = str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise WireError(where, problem, mend="Correct the path") from None
    profiles = catalogue_from_own(decode(data, where), where).profiles
    for profile in profiles:
        if not isinstance(profile.timing, IterationTiming):
            problem = f"{profile.model} on {profile.accelerator} has another timing than iteration"
            raise WireError(where, problem, path="profiles", mend="Say timing: iteration")
    return {(p.model, p.accelerator): p for p in profiles}


def _engine(profile: Profile, error: float, seed: int) -> Engine:
    assert isinstance(
        profile.timing, IterationTiming
    )  # the library has no other, and of a file it was checked
    return drawn_engine(profile, profile.timing, _BASE, error, seed)
