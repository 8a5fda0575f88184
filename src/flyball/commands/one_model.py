"""One model without files: a fleet from the catalogue, and what is believed of the model on its units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from flyball.commands.profiles_asked import bytes_of, engine_of, precision_of
from flyball.spec.card import Card
from flyball.spec.model import Model
from flyball.spec.server import Load
from flyball.spec.service_class import Metric
from flyball.units import RequestsPerSecond, Seconds
from flyball.wire import quantities
from flyball.wire.errors import WireError

if TYPE_CHECKING:
    from flyball.decide.one_model import Believed

IN_TOKENS, OUT_TOKENS = "1000", "300"
WINDOW = "5min"
MOST_GROWTH, MOST_SPARE, MOST_SURE = 100.0, 1000.0, 0.99

Named = TypeVar("Named", Card, Model)


class Wanted(msgspec.Struct, frozen=True):
    """What the command line says of one model; None is not said."""

    model: str | None = None
    rate: str | None = None
    in_tokens: str | None = None
    out_tokens: str | None = None
    targets: Mapping[Metric, str | None] = {}
    trace: Path | None = None
    window: str | None = None
    growth: str | None = None
    spare: str | None = None
    cards: str | None = None
    prices: Path | None = None
    engine: str | None = None
    precision: str | None = None
    confidence: str | None = None
    add: tuple[Path, ...] = ()

    def given(self) -> list[str]:
        """Names of the options beside the model that are said."""
        options: dict[str, object] = {
            "rate": self.rate,
            "in": self.in_tokens,
            "out": self.out_tokens,
            **{str(metric): target for metric, target in self.targets.items()},
            "trace": self.trace,
            "window": self.window,
            "growth": self.growth,
            "spare": self.spare,
            "cards": self.cards,
            "prices": self.prices,
            "engine": self.engine,
            "precision": self.precision,
            "confidence": self.confidence,
            "add": self.add or None,
        }
        return [f"--{name}" for name, value in options.items() if value is not None]


def believed(wanted: Wanted) -> Believed:
    """Make the fleet. WireError: something is not known, or cannot be read."""
    from flyball.calibrate.hardware import ENGINE
    from flyball.decide.one_model import believed as of
    from flyball.profiles.library import cards, find_model, models

    own_cards, own_models = _added(wanted.add)
    model = find_model(wanted.model or "", _over(models(), own_models), "--model")
    precision = precision_of(wanted.precision)
    load = _load(wanted)
    engine = ENGINE if wanted.engine is None else engine_of(wanted.engine)
    offered = _offered(wanted.cards, _priced(_over(cards(), own_cards), wanted.prices))
    confidence = _confidence(wanted.confidence)
    targets = tuple(
        quantities.parse_target(text, metric, f"--{metric}")
        for metric, text in wanted.targets.items()
        if text is not None
    )
    found = of(
        model,
        offered,
        load,
        targets,
        engine=engine,
        precision=precision,
        confidence=confidence,
        spare=_spare(wanted.spare),
    )
    if found is None:
        names = ", ".join(card.name for card in offered[:8])
        problem = f"no unit of up to eight cards holds its weights and one request ({names})"
        mend = "Allow larger cards with --cards, or smaller weights with --precision fp8"
        raise WireError("--model", problem, value=model.name, mend=mend)
    return found


def _load(wanted: Wanted) -> Load:
    """The load to plan for, grown; of a trace that of its busiest window."""
    growth = 1.0
    if wanted.growth is not None:
        growth += quantities.parse_share(wanted.growth, "--growth", high=MOST_GROWTH)
    if wanted.trace is not None:
        load = trace_load(wanted.trace, quantities.parse_duration(wanted.window or WINDOW, "--window"))
    else:
        out_tokens = quantities.parse_tokens(wanted.out_tokens or OUT_TOKENS, "--out")
        if out_tokens == 0:
            problem = "requests that ask for no tokens are no load"
            raise WireError("--out", problem, value=0, mend="Such as --out 300")
        load = Load(
            quantities.parse_rate(wanted.rate, "--rate"),
            quantities.parse_tokens(wanted.in_tokens or IN_TOKENS, "--in"),
            out_tokens,
        )
    return msgspec.structs.replace(load, arrival_rate=load.arrival_rate * growth)


def trace_load(path: Path, window: Seconds) -> Load:
    """The load of a recorded trace: rate of its busiest window, mean tokens and spread. Or WireError."""
    from flyball.adapters.traces import read_trace

    if window <= 0:
        raise WireError("--window", "is nothing", value=window, mend=f"Such as --window {WINDOW}")
    trace = read_trace(path, f"--trace {path}")
    times = np.array(trace.times)
    tokens = [np.array(column, float) for column in (trace.in_tokens, trace.out_tokens)]
    tokens[1] = np.maximum(tokens[1], 1.0)
    (inputs, in_cov), (outputs, out_cov) = (
        (float(t.mean()), float(t.std() / t.mean()) if t.mean() > 0 else 0.0) for t in tokens
    )
    return Load(_busiest(times, window), inputs, outputs, in_cov=in_cov, out_cov=out_cov)


def _busiest(times: np.ndarray, window: Seconds) -> RequestsPerSecond:
    """Requests per second in the busiest window; times are sorted, the first is 0."""
    whole = float(times[-1])
    if whole <= 0:  # all at once
        return times.size / window
    if whole <= window:
        return times.size / whole
    count = np.searchsorted(times, times + window, side="left") - np.arange(times.size)
    return float(count.max()) / window


def _confidence(text: str | None) -> float:
    from flyball.calibrate.margin import CONFIDENCE

    return CONFIDENCE if text is None else quantities.parse_share(text, "--confidence", high=MOST_SURE)


def _spare(text: str | None) -> float:
    """`n+1`, or a number of replicas."""
    if text is None:
        return 0.0
    what = "replicas beside those that the load needs (n+1, or a number)"
    return quantities.parse_number(
        text.casefold().replace(" ", "").removeprefix("n+"), "--spare", high=MOST_SPARE, what=what
    )


def _offered(text: str | None, known: tuple[Card, ...]) -> tuple[Card, ...]:
    """The cards of a list, `H100,L40S`, or all that have a price."""
    from flyball.profiles.library import find_card

    if text is None:
        return tuple(card for card in known if card.price > 0)
    found = tuple(dict.fromkeys(find_card(name, known, "--cards") for name in text.split(",")))
    free = [card.name for card in found if card.price <= 0]
    if free:
        raise WireError("--cards", f"{', '.join(free)}: no price is known", mend="Give one with --prices")
    return found


def _priced(known: tuple[Card, ...], path: Path | None) -> tuple[Card, ...]:
    from flyball.profiles.library import with_prices
    from flyball.wire.cards import prices_from

    return (
        known
        if path is None
        else with_prices(known, prices_from(bytes_of(path, f"--prices {path}"), str(path)))
    )


def _added(paths: Iterable[Path]) -> tuple[tuple[Card, ...], tuple[Model, ...]]:
    """Cards and models of one's own files."""
    from flyball.profiles.library import cards
    from flyball.wire import text
    from flyball.wire.cards import cards_from_own
    from flyball.wire.models import models_from_own

    known = {card.name: card for card in cards()}
    own_cards: tuple[Card, ...] = ()
    own_models: tuple[Model, ...] = ()
    for path in paths:
        doc = text.decode(bytes_of(path, f"--add {path}"), str(path))
        kind = doc.get("kind") if isinstance(doc, dict) else None
        if kind == "Cards":
            own_cards = _over(own_cards, cards_from_own(doc, str(path), known))
        elif kind == "Models":
            own_models = _over(own_models, models_from_own(doc, str(path)))
        else:
            raise WireError(
                str(path), "has no cards or models", value=kind, mend="Say kind: Cards or kind: Models"
            )
    return own_cards, own_models


def _over(known: Iterable[Named], own: Iterable[Named]) -> tuple[Named, ...]:
    """What is known, and one's own beside it or instead."""
    return tuple(({one.name: one for one in known} | {one.name: one for one in own}).values())
