"""Pairs of a model and cards: what is believed of one, and what fits there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flyball.calibrate.belief import Belief
from flyball.calibrate.hardware import COUNTS
from flyball.calibrate.near import family, known_model
from flyball.calibrate.over_batch import Band, itl_over, largest_batch
from flyball.calibrate.prior import prior
from flyball.physics.roofline import kv_tokens
from flyball.profiles.library import accelerator_of
from flyball.spec.accelerator import Accelerator
from flyball.spec.card import Card
from flyball.spec.library import Entry
from flyball.spec.model import Model, Precision
from flyball.units import SECONDS_PER_HOUR, Tokens


@dataclass(frozen=True, eq=False)
class Pair:
    """A model on cards under an engine, what is believed of it, and requests of so many tokens."""

    model: Model
    card: Card
    count: int
    engine: str
    precision: Precision
    belief: Belief
    kv_tokens: int
    """0: its weights do not fit."""
    in_tokens: Tokens
    out_tokens: Tokens

    @property
    def accelerator(self) -> Accelerator:
        """Its cards as one unit."""
        return accelerator_of(self.card, self.count)

    @property
    def batch(self) -> int:
        """Requests that fit at once; 0: none does."""
        return largest_batch(self.kv_tokens, self.in_tokens, self.out_tokens) if self.kv_tokens else 0

    def itl(self, batches: Sequence[float]) -> Band:
        """Times between tokens."""
        return itl_over(self.belief, batches, self.in_tokens, self.out_tokens)

    @property
    def tokens_per_second(self) -> float:
        """Output tokens with as many requests as fit; 0 where none does."""
        return self.batch / float(self.itl([self.batch]).itl[0]) if self.batch else 0.0

    @property
    def dollars_per_million(self) -> float:
        """Price of a million output tokens at that rate; 0 where it is not known."""
        rate = self.tokens_per_second
        return 1e6 * self.accelerator.cost / (SECONDS_PER_HOUR * rate) if rate else 0.0


def pair_of(
    model: Model,
    card: Card,
    entries: Sequence[Entry],
    *,
    engine: str,
    count: int | None = None,
    precision: Precision | None = None,
    in_tokens: Tokens = 1000.0,
    out_tokens: Tokens = 300.0,
) -> Pair:
    """What is believed of a model on so many cards; where not said, on as few as hold it and one request.

    ValueError: the card does not say its bandwidth or operations.
    """
    weights = precision or model.precision
    if count is None:
        fits = (n for n in COUNTS if kv_tokens(model, card, n, weights) >= in_tokens + out_tokens)
        count = next(fits, COUNTS[-1])
    belief = prior(model, card, count, engine, weights, entries)
    room = kv_tokens(model, card, count, weights)
    return Pair(model, card, count, engine, weights, belief, room, in_tokens, out_tokens)


def same_model(entry: Entry, model: Model) -> bool:
    """Whether an entry is of a model of this name or shape."""
    known = known_model(entry.model)
    return entry.model == model.name or (known is not None and family(known) == family(model))


def cards_measured(model: Model, entries: Iterable[Entry]) -> list[str]:
    """Cards on which a model stands in the library, those with most points first."""
    points: dict[str, int] = {}
    for entry in entries:
        if same_model(entry, model) and not entry.suspect:
            points[entry.card] = points.get(entry.card, 0) + entry.points + 1
    return sorted(points, key=lambda card: (-points[card], card))
