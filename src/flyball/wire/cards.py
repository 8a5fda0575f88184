"""Cards and their prices in Flyball's own form: `kind: Cards`, `kind: Prices`, and prices in brief or as CSV.

    H100: 2.10            kind: Prices                        accelerator,price_per_hour
    L40S: 0.99            priced: 2026-11                     H100,2.10
                          prices: {H100: 2.10, L40S: 0.99}    L40S,0.99

Prices are dollars per hour of one card. Which card a name means is for whoever has the cards.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping

import msgspec

from flyball.spec.card import Card
from flyball.wire import text
from flyball.wire.catalogue import check_head
from flyball.wire.errors import WireError, child
from flyball.wire.fields import Fields, given, parse_list, parse_name, parse_text
from flyball.wire.quantities import parse_count, parse_number

MAX_PRICE = 1e5

_COLUMNS = ["accelerator", "price_per_hour"]
_CURRENCY = "currency"

_DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?")
_FIGURES: dict[str, tuple[str, str]] = {
    "memory": ("memory_gb", "GB of one card"),
    "bandwidth": ("bandwidth_gbs", "GB/s of the card's memory"),
    "tflops": ("tflops", "dense TFLOPS at bf16"),
    "tflopsFp8": ("tflops_fp8", "dense TFLOPS at fp8"),
    "tflopsFp4": ("tflops_fp4", "dense TFLOPS at fp4"),
    "link": ("link_gbs", "GB/s between cards, both directions together"),
    "tdp": ("tdp", "watts of one card"),
    "idle": ("idle", "watts of one card with a model resident"),
}
_TEXTS = {"vendor": "vendor", "generation": "generation", "priceSource": "price_source", "source": "source"}
_LISTS = ("unverified", "labels", "aliases")
_KEYS = ("name", "memoryMib", *_TEXTS, *_FIGURES, "price", "priced", *_LISTS)


class Prices(msgspec.Struct, frozen=True):
    """Dollars per hour of one card, by whatever name the file gives it."""

    per_card: dict[str, float]
    where: str = "prices"
    """The file, as errors name it."""
    priced: str = ""
    lines: dict[str, int] = {}
    """Where in a file of rows a name stands."""

    def place(self, name: str) -> str:
        """The file and, where there is one, the line that has this price."""
        return f"{self.where}: line {self.lines[name]}" if name in self.lines else self.where


def cards_from_own(doc: object, where: str, base: Mapping[str, Card] | None = None) -> tuple[Card, ...]:
    """Read a `kind: Cards` document; what a card leaves out it has from `base`, by name. Or WireError.

    `priced` and `priceSource` of the document hold for all its prices that do not say otherwise.
    """
    fields = Fields(doc, where, "", ("apiVersion", "kind", "priced", "priceSource", "cards"))
    check_head(fields, "Cards")
    priced = fields.read("priced", parse_date, "")
    source = fields.read("priceSource", parse_text, "")
    return fields.each("cards", _card, lambda c: c.name, base=base or {}, priced=priced, price_source=source)


def _card(
    value: object, where: str, path: str, *, base: Mapping[str, Card], priced: str, price_source: str
) -> Card:
    fields = Fields(value, where, path, _KEYS)
    name = fields.read("name", parse_text)
    default = base.get(name, Card(name))
    read: dict[str, object] = {}
    for key, (field, what) in _FIGURES.items():
        read[field] = fields.read(key, parse_number, getattr(default, field), what=what)
    read["memory_mib"] = fields.read("memoryMib", parse_count, default.memory_mib)
    if "memory" in fields.values and "memoryMib" not in fields.values:
        read["memory_mib"] = 0  # what the driver shows belongs to the old size
    for key, field in _TEXTS.items():
        read[field] = fields.read(key, parse_text, getattr(default, field))
    read["price"] = fields.read("price", parse_price, default.price)
    read["priced"] = fields.read("priced", parse_date, default.priced)
    if "price" in fields.values:
        # A new price has the date and the source of its own document, or none: not those of the old one.
        read["priced"] = fields.read("priced", parse_date, priced)
        read["price_source"] = fields.read("priceSource", parse_text, price_source)
    unverified = fields.read("unverified", _names, default.unverified)
    for index, key in enumerate(unverified):
        parse_name(key, where, child(child(path, "unverified"), index), known=_KEYS, what="field")
    return msgspec.structs.replace(
        default,
        **read,
        unverified=unverified,
        labels=fields.read("labels", _names, default.labels),
        aliases=fields.read("aliases", _names, default.aliases),
    )


def card_document(card: Card) -> dict[str, object]:
    """Write one item of `cards`."""
    document: dict[str, object] = {"name": card.name}
    document |= {key: getattr(card, field) for key, field in _TEXTS.items()}
    document |= {key: getattr(card, field) for key, (field, _) in _FIGURES.items()}
    document |= {"memoryMib": card.memory_mib, "price": card.price, "priced": card.priced}
    return given(document | {key: list(getattr(card, key)) for key in _LISTS})


def prices_from(data: bytes, where: str) -> Prices:
    """Read a file of prices: `kind: Prices`, names with prices, or rows of card and price. Or WireError."""
    if _is_csv(data):
        return _from_rows(data, where)
    return prices_from_own(text.decode(data, where), where)


def prices_from_own(doc: object, where: str) -> Prices:
    """Read a `kind: Prices` document, or an object of nothing but names and prices. Or WireError."""
    if isinstance(doc, dict) and "kind" in doc:
        fields = Fields(doc, where, "", ("apiVersion", "kind", "priced", "prices"))
        check_head(fields, "Prices")
        prices: dict[str, float] = fields.read("prices", _prices)
        return Prices(prices, where, fields.read("priced", parse_date, ""))
    return Prices(_prices(doc, where, ""), where)


def parse_date(value: object, where: str, path: str = "") -> str:
    """Read a month or a day, `2026-11` or `2026-11-21`. Or WireError."""
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise WireError(
            where, "allowed is a month or a day, such as 2026-11 or 2026-11-21", path=path, value=value
        )
    return value


def parse_price(value: object, where: str, path: str = "") -> float:
    """Read dollars per hour of one card, over 0. Or WireError."""
    what = "dollars per hour of one card"
    price = parse_number(value, where, path, high=MAX_PRICE, what=what)
    if price == 0:
        mend = "Leave the price out where there is none; for your own cards write what an hour costs you"
        raise WireError(where, f"allowed are {what}, over 0", path=path, value=value, mend=mend)
    return price


def _names(value: object, where: str, path: str) -> tuple[str, ...]:
    return tuple(
        parse_text(item, where, child(path, i)) for i, item in enumerate(parse_list(value, where, path))
    )


def _prices(value: object, where: str, path: str) -> dict[str, float]:
    if not isinstance(value, dict) or not value:
        problem = "allowed is an object of cards with dollars per hour, such as {H100: 2.10}"
        raise WireError(where, problem, path=path, value=value)
    return {name: parse_price(price, where, child(path, name)) for name, price in value.items()}


def _lines(data: bytes) -> list[tuple[int, str]]:
    """Lines with their numbers, without comments and empty ones."""
    lines = enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1)
    return [(number, line) for number, line in lines if line.strip() and not line.lstrip().startswith("#")]


def _is_csv(data: bytes) -> bool:
    """Whether the first line is one of values between commas, and not YAML or JSON."""
    first = next((line for _, line in _lines(data[:4096])), "")
    return "," in first and not any(mark in first for mark in ":{[")


def _from_rows(data: bytes, where: str) -> Prices:
    """Rows below the heading accelerator,price_per_hour, and a currency where someone writes one: USD."""
    (first, heading), *rows = _lines(data)
    columns = [name.casefold() for name in _cells(heading)]
    if columns not in (_COLUMNS, [*_COLUMNS, _CURRENCY]):
        problem = f"allowed is the heading {','.join(_COLUMNS)} or {','.join((*_COLUMNS, _CURRENCY))}"
        raise WireError(where, problem, path=f"line {first}", value=heading.strip())
    prices: dict[str, float] = {}
    lines: dict[str, int] = {}
    for number, line in rows:
        path, cells = f"line {number}", _cells(line)
        if len(cells) != len(columns) or not cells[0]:
            problem = f"allowed is {','.join(columns)}, such as H100,2.10"
            raise WireError(where, problem, path=path, value=line.strip())
        name, price, *currency = cells
        if name in prices:
            raise WireError(
                where, f"{name} is there already, in line {lines[name]}", path=path, mend="Keep one"
            )
        if currency and currency[0].upper() != "USD":
            mend = "Convert the price to dollars"
            raise WireError(where, "allowed is the currency USD", path=path, value=currency[0], mend=mend)
        prices[name], lines[name] = parse_price(price, where, path), number
    if not prices:
        raise WireError(where, "holds no prices", mend="Write rows such as H100,2.10 below the heading")
    return Prices(prices, where, lines=lines)


def _cells(line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line]))]
    except csv.Error:  # a cell of more than 128 KiB
        return []
