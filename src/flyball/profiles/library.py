"""The shipped cards, models and service classes: found by name or label, priced anew, made into units."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from functools import cache
from importlib import resources

import msgspec

from flyball.spec.accelerator import Accelerator, PowerCurve
from flyball.spec.card import Card
from flyball.spec.model import Model, Precision
from flyball.spec.service_class import ServiceClass
from flyball.wire import text
from flyball.wire.cards import Prices, cards_from_own
from flyball.wire.errors import WireError
from flyball.wire.fields import LONGEST_NAME, near_matches
from flyball.wire.models import classes_from_own, models_from_own

CARDS_FILE = "cards.yaml"
MODELS_FILE = "models.yaml"
CLASSES_FILE = "classes.yaml"

IDLE_SHARE = 0.17
"""Of the TDP, with a model resident (H100: 122 W)."""
DECODE_SHARES = ((2, 0.75), (4, 0.62), (math.inf, 0.45))
"""Of the TDP while decoding, by cards that share one model (Splitwise's A100 tables at 2, 4 and 8)."""
DECODE_UTIL = 0.5

_SHARED, _SLICE = "-SHARED", "-MIG-"

_PRECISIONS: dict[str, Precision] = {
    "bf16": "bf16",
    "fp16": "bf16",
    "fp8": "fp8",
    "int8": "int8",
    "8bit": "int8",
    "w8a8": "int8",
    "w8a16": "int8",
    "int4": "int4",
    "4bit": "int4",
    "w4a16": "int4",
    "awq": "int4",
    "gptq": "int4",
    "mxfp4": "mxfp4",
    "nvfp4": "nvfp4",
    "fp4": "nvfp4",
}
"""What the ends of names say of the weights."""
_FORMS = (
    "instruct",
    "it",
    "chat",
    "base",
    "hf",
    "pt",
    "dynamic",
    "static",
    "pertensor",
    "kv",
    "quantized",
    "bnb",
)
"""Ends of names that change neither shape nor precision."""


@cache
def cards() -> tuple[Card, ...]:
    """The shipped cards; read once."""
    return cards_from_own(_packaged(CARDS_FILE), CARDS_FILE)


@cache
def models() -> tuple[Model, ...]:
    """The shipped models; read once."""
    return models_from_own(_packaged(MODELS_FILE), MODELS_FILE)


@cache
def classes() -> tuple[ServiceClass, ...]:
    """The shipped service classes; read once."""
    return classes_from_own(_packaged(CLASSES_FILE), CLASSES_FILE)


def find_card(name: str, among: Iterable[Card] | None = None, where: str = "card") -> Card:
    """The card of a name, an alias or a node label's value, in any case and punctuation. Or WireError.

    What GPU feature discovery appends for time slicing (-SHARED) is passed over; a MIG slice is no card.
    """
    known = tuple(cards() if among is None else among)
    wanted = name.strip().removesuffix(_SHARED)
    if _SLICE in wanted:
        mend = "Plan with whole cards, or describe the slice as a card of your own (kind: Cards)"
        raise WireError(where, "a MIG slice is a part of a card", value=name, mend=mend)
    for card in known:
        if _key(wanted) in map(_key, (card.name, *card.aliases, *card.labels)):
            return card
    names = {spelling for card in known for spelling in (card.name, *card.aliases)}
    labels = {label for card in known for label in card.labels}
    raise WireError(where, "there is no such card", value=name, mend=_near(wanted, names, labels))


def find_model(name: str, among: Iterable[Model] | None = None, where: str = "model") -> Model:
    """The model of a name, alias or path, in any case; with the precision that the name says. Or WireError.

    Sought in full, then by the last part alone, then without its ends (-Instruct, -FP8): whoever has
    quantised a model has kept its shape. So nvidia/Llama-3.1-70B-Instruct-FP8 is Llama-3.1-70B at fp8.
    """
    known = tuple(models() if among is None else among)
    wanted = name.strip().rstrip("/")
    for spelled in (_key, _last_key, _bare_key):
        if model := _spelled(known, wanted, spelled):
            said = _precision(wanted) if spelled is _bare_key else None
            return msgspec.structs.replace(model, precision=said) if said else model
    short = {_last_part(model.name) for model in known}
    aliases = {_last_part(alias) for model in known for alias in model.aliases}
    mend = _near(_last_part(wanted), short, aliases)
    raise WireError(where, "there is no such model", value=name, mend=mend)


def with_prices(known: Iterable[Card], prices: Prices) -> tuple[Card, ...]:
    """The cards at one's own prices; others keep theirs. WireError: a price of no card, or two of one."""
    found = {card.name: card for card in known}
    named: dict[str, str] = {}
    for name, price in prices.per_card.items():
        card = find_card(name, found.values(), prices.place(name))
        if card.name in named:
            problem = f"{named[card.name]} and {name} are both {card.name}"
            raise WireError(prices.place(name), problem, mend="Keep one price")
        named[card.name] = name
        found[card.name] = msgspec.structs.replace(
            card, price=price, priced=prices.priced, price_source=prices.where
        )
    return tuple(found.values())


def accelerator_of(card: Card, count: int = 1) -> Accelerator:
    """A unit of so many cards: memory, bandwidth, price and watts are theirs together; H100 or H100x2.

    The watts are whole and an estimate, scaled from the TDP, but for idle watts that a card says itself.
    """
    decode = next(share for most, share in DECODE_SHARES if count <= most)
    power = PowerCurve(
        idle=(card.idle or _whole(IDLE_SHARE * card.tdp)) * count,
        full=card.tdp * count,
        mid_power=_whole(decode * card.tdp * count),
        mid_util=DECODE_UTIL,
    )
    return Accelerator(
        name=card.name if count == 1 else f"{card.name}x{count}",
        type=card.name,
        multiplicity=count,
        cost=card.price * count,
        memory_gb=card.memory_gb * count,
        bandwidth_gbs=card.bandwidth_gbs * count,
        power=power if card.tdp else None,
    )


def _whole(watts: float) -> float:
    return float(math.floor(watts + 0.5))


def _key(name: str) -> str:
    """A name without case and punctuation; the dot of a version stays."""
    return "".join(letter for letter in name.casefold() if letter.isalnum() or letter in "./")


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]


def _last_key(name: str) -> str:
    return _key(_last_part(name))


def _ends(name: str) -> tuple[list[str], list[str]]:
    """The words of the last part of a name: what it is, and the ends that say form and precision."""
    words = _last_part(name).casefold().replace("_", "-").replace("quantized.", "quantized-").split("-")
    kept = len(words)
    while kept > 1 and (words[kept - 1] in _FORMS or words[kept - 1] in _PRECISIONS):
        kept -= 1
    return words[:kept], words[kept:]


def _bare_key(name: str) -> str:
    return _key("-".join(_ends(name)[0]))


def _precision(name: str) -> Precision | None:
    return next((_PRECISIONS[word] for word in reversed(_ends(name)[1]) if word in _PRECISIONS), None)


def _spelled(known: Iterable[Model], wanted: str, spelled: Callable[[str], str]) -> Model | None:
    key = spelled(wanted)
    return next((m for m in known if key in map(spelled, (m.name, *m.aliases))), None)


def _near(word: str, names: set[str], more: set[str]) -> str:
    """Near matches among names and other spellings; where nothing comes near, names alone."""
    spellings = {name.casefold() for name in names | more}
    near = difflib.get_close_matches(word[:LONGEST_NAME].casefold(), spellings)
    return near_matches(word, names | more if near else names)


def _packaged(name: str) -> object:
    return text.decode(resources.files("flyball.profiles").joinpath(name).read_bytes(), name)
