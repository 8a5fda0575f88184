"""On what a ModelBooster without devices is to run: accelerator, replicas and batch, by the optimizer.

As `flyball plan --model`, on the cards for which its engine's image is; where it is not known which there
are, on those on which the model was measured. Without clock and chance: the same ask and the same cards give
the same choice. The choice is the caller's to keep.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from flyball.boosting.asked import CLASS, Asked, ask_complaints, asked_of
from flyball.boosting.config import SGLANG, VLLM
from flyball.boosting.errors import BoosterError
from flyball.boosting.sized import Choice
from flyball.calibrate.hardware import COUNTS
from flyball.decide.explain import options_of
from flyball.decide.one_model import Believed, believed
from flyball.decide.plan import plan
from flyball.profiles import library
from flyball.solve.candidates import Candidates, candidates
from flyball.spec.card import Card
from flyball.spec.model import Model
from flyball.spec.plan import Option, Plan
from flyball.spec.server import Load
from flyball.spec.service_class import ServiceClass, Target, promise_of
from flyball.units import per_month
from flyball.wire.errors import WireError
from flyball.wire.fields import near_matches
from flyball.wire.kthena_booster import ModelBooster
from flyball.wire.quantities import format_duration, format_rate, format_target

ENGINES = {VLLM: "vllm", SGLANG: "sglang"}
"""Types of backends, and what the library calls their engines."""
IMAGES = {VLLM: "vllm/vllm-openai:v0.10.1", SGLANG: "lmsysorg/sglang:v0.5.2"}
"""For boosters that name none; they run on NVIDIA's cards alone."""
ALONE = "NVIDIA"
SURE = 0.9
"""Of the tokens that are reckoned to fit: an engine does not start where its longest request would not."""
CONTEXT_STEP = 256
FAIR = 2.0
"""Times the cost of the best option that one may have which is chosen for cards that are free now."""
ON_THIS_CARD = ("exact", "version", "engine", "tp")
"""What a profile may rest on that was measured on the card itself."""
_UNIT = re.compile(r"(.+?)x(\d)", re.IGNORECASE)


class Vendor(NamedTuple):
    """How pods ask for a vendor's cards."""

    resource: str
    products: tuple[tuple[str, str], ...]
    """Keys of node labels, and the pattern of the values that are theirs."""


VENDORS = {
    "NVIDIA": Vendor(
        "nvidia.com/gpu",
        (("nvidia.com/gpu.product", ".*[A-Z].*"), ("cloud.google.com/gke-accelerator", "nvidia-[^A-Z]*")),
    ),
    "AMD": Vendor(
        "amd.com/gpu",
        (("amd.com/gpu.product-name", "(?![0-9a-f]{4}$).*"), ("amd.com/gpu.device-id", "[0-9a-f]{4}")),
    ),
    "Intel": Vendor("habana.ai/gaudi", (("habana.ai/gaudi.product", ".*"),)),
}
NAMED = "flyball.dev/accelerator"
"""The label for people to write on nodes."""


class Known(msgspec.Struct, frozen=True):
    """What is known of cards, models and classes."""

    cards: tuple[Card, ...] = msgspec.field(default_factory=library.cards)
    models: tuple[Model, ...] = msgspec.field(default_factory=library.models)
    classes: tuple[ServiceClass, ...] = msgspec.field(default_factory=library.classes)


class Looked(NamedTuple):
    """An ask, planned on every unit that it may have."""

    asked: Asked
    model: Model
    cards: dict[str, Card]
    made: Believed
    sized: Candidates
    plan: Plan


def choose(
    booster: ModelBooster, free: Mapping[str, int] | None = None, known: Known | None = None
) -> Choice:
    """On what a booster is to run that names targets and no devices. Or BoosterError, WireError.

    `free`: cards that it could have, by each type that there is; None where that is not known.
    """
    if complaint := next(iter(ask_complaints(booster)), None):
        raise BoosterError(complaint)
    return choice_of(look(asked_of(booster), free, known), free)


def look(asked: Asked, free: Mapping[str, int] | None = None, known: Known | None = None) -> Looked:
    """Plan what is asked on every unit that it may have. WireError: something is not known, or holds it."""
    known = known or Known()
    model = library.find_model(asked.model, known.models)
    targets = targets_of(asked, model, known.classes)
    offered, counts = _offered(asked, free, known.cards)
    load = Load(asked.rate, asked.in_tokens, asked.out_tokens)
    made = believed(model, offered, load, targets, engine=ENGINES[asked.engine], counts=counts)
    if made is not None and free is None and not asked.cards:
        made = _measured(made)
    if made is None:
        names = ", ".join(card.name for card in offered[:8])
        problem = f"no unit of {_among(counts)} of these cards holds its weights and one request: {names}"
        mend = "Allow larger cards, or take smaller weights"
        raise WireError("model", problem, value=asked.model, mend=mend)
    fleet = made.fleet
    if asked.batch:
        servers = tuple(msgspec.structs.replace(s, max_batch_size=asked.batch) for s in fleet.servers)
        made = made._replace(fleet=msgspec.structs.replace(fleet, servers=servers))
    sized = candidates(made.fleet)
    return Looked(asked, model, {card.name: card for card in offered}, made, sized, plan(made.fleet, sized))


def choice_of(looked: Looked, free: Mapping[str, int] | None = None) -> Choice:
    """The cheapest option of those that fit on free cards. WireError: the targets are out of reach."""
    found = looked.plan.servers[0]
    options = [option for option, _ in options_of(looked.made.fleet, looked.sized, found)]
    if not options:
        raise _out_of_reach(looked)
    units = {unit.name: unit for unit in looked.made.fleet.accelerators}

    def missing(option: Option, replicas: int) -> bool:
        unit = units[option.accelerator]
        return free is not None and replicas * unit.multiplicity > free.get(unit.type, 0)

    # Whole, else one replica at least unless that is dear, else what is best as soon as there are cards.
    fair = [one for one in options if one.value <= FAIR * options[0].value]
    best = next(
        (one for one in options if not missing(one, one.replicas)),
        next((one for one in fair if not missing(one, 1)), options[0]),
    )
    unit = units[best.accelerator]
    card = looked.cards[unit.type]
    second = next((one for one in options if units[one.accelerator].type != unit.type), None)
    profile = next(p for p in looked.made.fleet.profiles if p.accelerator == best.accelerator)
    reason = f"{_words(best)} costs least"
    if best is not options[0]:
        reason = f"{_words(best)} costs least of what fits on the cards that are free"
    if missing(best, best.replicas):
        there = (free or {}).get(unit.type, 0)
        reason += f"; that takes {best.replicas * unit.multiplicity} {unit.type}, of which {there} are free"
    return Choice(
        asked=looked.asked,
        accelerator=best.accelerator,
        card=card.name,
        cards=unit.multiplicity,
        resource=VENDORS[card.vendor].resource,
        products=products_of(card),
        replicas=best.replicas,
        batch=best.max_batch_size,
        cost=best.cost,
        context=_context(looked, profile.kv_tokens),
        image="" if looked.asked.vendor else IMAGES[looked.asked.engine],
        reason=f"{reason}: {_for(looked)}. Its profile is {profile.source}.",
        next_best="" if second is None else _words(second),
    )


def targets_of(asked: Asked, model: Model, classes: tuple[ServiceClass, ...]) -> tuple[Target, ...]:
    """What is promised: the class's targets, and instead of them those that are said. Or WireError."""
    promise = promise_of(classes, asked.service_class, model.name) if asked.service_class else None
    if asked.service_class and promise is None and not asked.targets:
        names = [one.name for one in classes]
        raise WireError(
            f"metadata.annotations[{CLASS}]",
            "there is no such class, and no target is said",
            value=asked.service_class,
            mend=near_matches(asked.service_class, names),
        )
    said = {target.metric for target in asked.targets}
    return (*asked.targets, *(t for t in (promise.targets if promise else ()) if t.metric not in said))


def products_of(card: Card) -> dict[str, tuple[str, ...]]:
    """Labels by which nodes say that they have a card, and the values that mean it."""
    found: dict[str, tuple[str, ...]] = {NAMED: (card.name,)}
    for key, pattern in VENDORS[card.vendor].products:
        if values := tuple(label for label in card.labels if re.fullmatch(pattern, label)):
            found[key] = values
    return found


def _offered(
    asked: Asked, free: Mapping[str, int] | None, cards: tuple[Card, ...]
) -> tuple[tuple[Card, ...], tuple[int, ...]]:
    """The cards to choose from, and how many of them may share the model. Or WireError."""
    counts: tuple[int, ...] = COUNTS
    among = cards
    if asked.cards:
        units = [_unit(name, cards) for name in asked.cards]
        among = tuple(dict.fromkeys(card for card, _ in units))
        if said := {count for _, count in units if count}:
            counts = tuple(sorted(said))
    if asked.parallel:
        counts = (asked.parallel,)
    vendor = asked.vendor or ALONE
    fitting = [card for card in among if card.vendor == vendor and vendor in VENDORS]
    where = f"metadata.annotations[{NAMED}]" if asked.cards else "spec.backend.workers[0].image"
    if not fitting:
        problem = f"the image of its engine is for cards of {vendor}"
        if not asked.vendor:
            problem = f"no image is named, and the one to begin with is for cards of {vendor}"
        raise WireError(where, problem, value=", ".join(asked.cards), mend="Name an image for these cards")
    if free is not None:
        there = [card for card in fitting if card.name in free]
        if not there:
            have = ", ".join(sorted(free)) or "no cards"
            names = ", ".join(card.name for card in fitting[:8])
            raise WireError(where, f"the cluster has {have}, and what can be used is {names}")
        fitting = there
    # What has no price would always be cheapest.
    return tuple([card for card in fitting if card.price > 0] or fitting), counts


def _unit(name: str, cards: tuple[Card, ...]) -> tuple[Card, int]:
    """A card by its name, and how many: H100, H100x2; 0: any number. Or WireError."""
    where = f"metadata.annotations[{NAMED}]"
    try:
        return library.find_card(name, cards, where), 0
    except WireError:
        match = _UNIT.fullmatch(name)
        if match is None:
            raise
        return library.find_card(match[1], cards, where), int(match[2])


def _measured(made: Believed) -> Believed:
    """Only the units on whose card the model was measured, if there are any: the others are a guess."""
    names = {name for name, belief in made.beliefs.items() if belief.tier in ON_THIS_CARD}
    if not names:
        return made
    fleet = msgspec.structs.replace(
        made.fleet,
        accelerators=tuple(one for one in made.fleet.accelerators if one.name in names),
        profiles=tuple(one for one in made.fleet.profiles if one.accelerator in names),
    )
    return Believed(fleet, {name: made.beliefs[name] for name in names})


def _context(looked: Looked, room: int) -> int | None:
    """The longest request to allow, None where all of the model's own fit."""
    needed = int(looked.asked.in_tokens + looked.asked.out_tokens)
    sure = int(SURE * room) // CONTEXT_STEP * CONTEXT_STEP
    return None if not room or sure >= looked.model.context else max(sure, min(needed, room))


def _out_of_reach(looked: Looked) -> WireError:
    excluded = [one for one in looked.plan.servers[0].exclusions if one.reason == "out_of_reach"]
    if not excluded:
        return WireError("model", "no unit can serve it", value=looked.asked.model, mend="Name other cards")
    near = min(excluded, key=lambda one: (one.best / one.limit if one.limit else 0.0, one.accelerator))
    statistic = "" if near.statistic == "mean" else f" {near.statistic}"
    problem = f"no card reaches {near.metric}{statistic} < {format_duration(near.limit)}"
    mend = f"{near.accelerator} comes nearest, with {near.best * 1e3:.3g} ms; ask for more time than that"
    return WireError("targets", problem, value=looked.asked.model, mend=mend)


def _words(option: Option) -> str:
    month = f"${per_month(option.cost):,.0f}/month"
    return f"{option.replicas} x {option.accelerator}, batch {option.max_batch_size} at {month}"


def _for(looked: Looked) -> str:
    asked = looked.asked
    rate = format_rate(float(f"{asked.rate:.4g}"))
    how = "" if asked.rated else " (no rate is said)"
    promised = looked.made.fleet.service_classes[0].models[0].targets
    targets = ", ".join(f"{t.metric} {format_target(t)}" for t in promised)
    tokens = f"{asked.in_tokens:,.0f} input and {asked.out_tokens:,.0f} output tokens"
    return f"{rate}{how} of {tokens}, {targets}"


def _among(counts: tuple[int, ...]) -> str:
    return " or ".join(map(str, counts))
