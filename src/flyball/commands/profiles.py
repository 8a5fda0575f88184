"""`flyball profiles list`, `show` and `compare`: the library, and what is believed of pairs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flyball.commands.profiles_asked import (
    ENGINES,
    chosen,
    deliver,
    known_entries,
    plotted,
    precision_of,
    printed,
    tokens_of,
    told,
)
from flyball.spec.card import Card
from flyball.spec.library import Entry
from flyball.spec.model import Model
from flyball.wire.errors import WireError
from flyball.wire.fields import near_matches

if TYPE_CHECKING:
    from rich.console import Console

    from flyball.calibrate.pair import Pair

MOST_CARDS = 5
"""Shown where none is named."""
MOST_COMPARED = 8
MOST_CARDS_OF_A_UNIT = 64
_COUNTED = re.compile(r"(.+?)[x*](\d{1,4})", re.IGNORECASE)


class Listed(msgspec.Struct, frozen=True):
    """Which entries are asked for."""

    model: str | None = None
    card: str | None = None
    engine: str | None = None
    tier: str | None = None
    add: tuple[Path, ...] = ()

    def entries(self) -> tuple[list[Entry], int]:
        """These, and of how many. Or WireError."""
        every = known_entries(self.add)
        return chosen(every, self.model, self.card, self.engine, self.tier), len(every)


class Asked(msgspec.Struct, frozen=True):
    """Of which model on which cards it is asked what is believed."""

    model: str
    card: str | None = None
    tp: int | None = None
    engine: str = ENGINES[0]
    precision: str | None = None
    in_tokens: str = "1000"
    out_tokens: str = "300"
    add: tuple[Path, ...] = ()


# ---- list --------------------------------------------------------------------------------------


def list_entries(listed: Listed, format: str, output: Path | None) -> int:
    """Show the entries asked for; returns the exit code."""

    def work() -> None:
        from flyball.report import profiles as report

        found, known = listed.entries()
        if format == "csv":
            text = report.entries_csv(found)
        elif format == "json":
            text = msgspec.json.format(msgspec.json.encode(report.entries_document(found)), indent=2).decode()
            text += "\n"
        else:
            text = printed(output, lambda console: _print_entries(console, listed, found, known))
        deliver(text, output, machine=format != "table")

    return told(work)


def _print_entries(console: Console, listed: Listed, found: list[Entry], known: int) -> None:
    from flyball.report import profiles as report

    if found:
        console.print(report.entries_table(found))
    for line in report.entries_summary(found, known, listed.model):
        console.print(line, soft_wrap=True)


# ---- show --------------------------------------------------------------------------------------


def show_pairs(asked: Asked, *, plot: bool, output: Path | None) -> int:
    """Show what is believed of the pairs asked for; returns the exit code."""

    def work() -> None:
        pairs = _pairs(asked)
        text = printed(output, lambda console: _print_pairs(console, pairs, plot))
        deliver(text, output, machine=False)

    return told(work)


def _pairs(asked: Asked) -> list[Pair]:
    from flyball.calibrate.pair import cards_measured, pair_of
    from flyball.profiles.library import cards, find_card, find_model

    entries = known_entries(asked.add)
    model = find_model(asked.model, where="MODEL")
    precision = precision_of(asked.precision)
    sizes = tokens_of(asked.in_tokens, asked.out_tokens)
    _check_count(asked.tp, "--tp")
    measured = cards_measured(model, entries)
    if asked.card is not None:
        names = dict.fromkeys(find_card(name, where="--card") for name in asked.card.split(","))
        offered = [_usable(card, "--card") for card in names]
    else:
        every = cards()
        usable = [card for card in every if card.price > 0 and card.bandwidth_gbs > 0 < card.tflops]
        known = {card.name: card for card in every if card.bandwidth_gbs > 0 < card.tflops}
        offered = [known[name] for name in measured if name in known][:MOST_CARDS] or usable
    pairs = [
        pair_of(
            model,
            card,
            entries,
            engine=asked.engine,
            count=asked.tp,
            precision=precision,
            in_tokens=sizes[0],
            out_tokens=sizes[1],
        )
        for card in offered
    ]
    if len(pairs) > MOST_CARDS and asked.card is None:
        pairs.sort(key=lambda pair: (not pair.batch, pair.accelerator.cost))
        pairs = pairs[:MOST_CARDS]
    return pairs


def _usable(card: Card, where: str) -> Card:
    if card.bandwidth_gbs <= 0 or card.tflops <= 0:
        problem = "its bandwidth or operations are not known, so nothing can be reckoned"
        raise WireError(where, problem, value=card.name, mend="Name another card")
    return card


def _check_count(count: int | None, where: str) -> None:
    if count is not None and not 1 <= count <= MOST_CARDS_OF_A_UNIT:
        problem = f"allowed are 1 to {MOST_CARDS_OF_A_UNIT} cards"
        raise WireError(where, problem, value=count, mend="Such as 1, 2, 4 or 8")


def _print_pairs(console: Console, pairs: list[Pair], plot: bool) -> None:
    from flyball.report import profiles as report

    first = pairs[0]
    console.print(report.headline(first), soft_wrap=True)
    console.print(report.units_table(pairs))
    console.print(report.parameters_table(pairs))
    console.print(report.itl_table(pairs))
    for line in report.sources(pairs):
        console.print(line, soft_wrap=True)
    if plot:
        console.print("")
        plotted(console, [report.itl_chart(pair) for pair in pairs if pair.batch])


# ---- compare -----------------------------------------------------------------------------------


def compare_pairs(
    names: Sequence[str],
    in_tokens: str,
    out_tokens: str,
    engine: str,
    add: tuple[Path, ...],
    output: Path | None,
) -> int:
    """Show pairs side by side; returns the exit code."""

    def work() -> None:
        if not 2 <= len(names) <= MOST_COMPARED:
            mend = "Such as Llama-3.1-8B@H100 Llama-3.1-8B@L40S"
            raise WireError("compare", f"takes 2 to {MOST_COMPARED} pairs, {len(names)} given", mend=mend)
        sizes = tokens_of(in_tokens, out_tokens)
        entries = known_entries(add)
        pairs = [_pair_named(name, entries, engine, sizes) for name in names]
        text = printed(output, lambda console: _print_comparison(console, pairs))
        deliver(text, output, machine=False)

    return told(work)


def _pair_named(name: str, entries: Sequence[Entry], engine: str, sizes: tuple[float, float]) -> Pair:
    """`Llama-3.1-8B@H100x2:trtllm`."""
    from flyball.calibrate.pair import pair_of

    model_name, at, place = name.rpartition("@")
    if not at or not model_name or not place:
        mend = "Write MODEL@CARD, MODEL@CARDx2 or MODEL@CARD:ENGINE"
        raise WireError("compare", "is no pair of a model and a card", value=name, mend=mend)
    card_name, _, said = place.partition(":")
    if said and said.casefold() not in ENGINES:
        mend = near_matches(said, ENGINES)
        raise WireError("compare", "there is no such engine", path=name, value=said, mend=mend)
    model = _model_named(model_name)
    card, count = _card_named(card_name)
    _check_count(count, name)
    return pair_of(
        model,
        _usable(card, name),
        entries,
        engine=said.casefold() or engine,
        count=count,
        in_tokens=sizes[0],
        out_tokens=sizes[1],
    )


def _model_named(name: str) -> Model:
    from flyball.profiles.library import find_model

    return find_model(name, where="compare")


def _card_named(name: str) -> tuple[Card, int | None]:
    """A card, and how many where it is said: a name may end in x and digits by itself."""
    from flyball.profiles.library import find_card

    counted = _COUNTED.fullmatch(name.strip())
    try:
        return find_card(name, where="compare"), None
    except WireError:
        if counted is None:
            raise
    return find_card(counted[1], where="compare"), int(counted[2])


def _print_comparison(console: Console, pairs: list[Pair]) -> None:
    from flyball.report import profiles as report

    console.print(report.comparison_table(pairs))
    for line in report.comparison(pairs):
        console.print(line, soft_wrap=True)
