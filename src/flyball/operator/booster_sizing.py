"""ModelBoosters that name no devices: sized once from their targets, and then left at that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from flyball.boosting.asked import Asked, asked_of, lacks
from flyball.boosting.sized import Choice, chosen_before, sized
from flyball.decide.boost import choose
from flyball.units import Seconds
from flyball.wire.kthena_booster import ModelBooster

Free = Callable[[], Mapping[str, int] | None]
FRESH: Seconds = 60.0
"""So long a choice is the same for all that ask the same, as if made at once."""


class Sizing:
    """Fills in what a ModelBooster lacks: as its ModelServing says that it was chosen, else chosen now."""

    def __init__(self, free: Free, now: Callable[[], Seconds] = time.monotonic) -> None:
        """`free`: cards by type that nobody has; None: not known."""
        self._free, self._now = free, now
        self._lock = threading.Lock()
        self._made: dict[Asked, tuple[Choice, Seconds]] = {}

    def __call__(self, booster: ModelBooster, serving: Mapping[str, str]) -> ModelBooster:
        """The booster, sized where it lacks it; `serving`: annotations of its ModelServing. BoosterError,
        WireError, ClusterError."""
        if not lacks(booster):
            return booster
        asked = asked_of(booster)
        return sized(booster, chosen_before(serving, asked) or self._choice(booster, asked))

    def _choice(self, booster: ModelBooster, asked: Asked) -> Choice:
        with self._lock:  # one at a time: equal asks get equal answers, and each costs a tenth of a second
            now = self._now()
            self._made = {one: made for one, made in self._made.items() if now - made[1] < FRESH}
            if asked not in self._made:
                self._made[asked] = choose(booster, self._free()), now
            return self._made[asked][0]
