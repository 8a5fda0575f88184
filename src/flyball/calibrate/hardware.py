"""Hardware for a model: units of cards that hold it, and what is believed of it there, unprofiled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from flyball.calibrate.belief import Belief
from flyball.calibrate.margin import CONFIDENCE, margin
from flyball.calibrate.prior import prior, profile_of
from flyball.physics.roofline import kv_tokens
from flyball.profiles.library import accelerator_of
from flyball.spec.accelerator import Accelerator
from flyball.spec.card import Card
from flyball.spec.fleet import Fleet, Settings
from flyball.spec.library import Entry
from flyball.spec.model import Model, Precision
from flyball.spec.profile import Profile
from flyball.spec.server import Load, Server
from flyball.spec.service_class import ModelTargets, ServiceClass, Target
from flyball.units import Tokens

ENGINE = "vllm"
CLASS = "Default"
COUNTS = (1, 2, 4, 8)
"""Cards that share a model: those of one machine, by tensor parallelism."""


class Unit(NamedTuple):
    """Cards of one kind that share a model, how fast they are believed to be, and the same as a profile."""

    accelerator: Accelerator
    belief: Belief
    profile: Profile


def units(
    model: Model,
    cards: Iterable[Card],
    entries: Sequence[Entry],
    *,
    engine: str = ENGINE,
    precision: Precision | None = None,
    in_tokens: Tokens = 1000.0,
    out_tokens: Tokens = 300.0,
    confidence: float = CONFIDENCE,
    counts: Iterable[int] = COUNTS,
) -> tuple[Unit, ...]:
    """Units that hold the weights and the KV cache of a request of so many tokens, in order of the cards.

    The margins of their profiles are for such requests, and this confidence. Cards without figures for
    bandwidth and operations are passed over.
    """
    weights = precision or model.precision
    found = []
    for card in cards:
        if card.bandwidth_gbs <= 0 or card.tflops <= 0:
            continue
        for count in counts:
            room = kv_tokens(model, card, count, weights)
            if room < max(in_tokens + out_tokens, 1.0):
                continue
            belief = prior(model, card, count, engine, precision, entries)
            accelerator = accelerator_of(card, count)
            profile = profile_of(belief, model.name, accelerator.name, kv_tokens=room)
            batch = min(profile.max_batch_size, int(room / max(in_tokens + out_tokens, 1.0)))
            wide = margin(belief, in_tokens, out_tokens, batch, confidence)
            found.append(Unit(accelerator, belief, msgspec.structs.replace(profile, margin=wide)))
    return tuple(found)


def fleet_of(
    model: Model, found: Iterable[Unit], load: Load, targets: Iterable[Target], spare: float = 0.0
) -> Fleet:
    """One server of a model, which may have as many of any of these units as it needs."""
    units_ = tuple(found)
    server = Server(model.name.rpartition("/")[2], model.name, CLASS, load, min_replicas=1)
    return Fleet(
        accelerators=tuple(unit.accelerator for unit in units_),
        profiles=tuple(unit.profile for unit in units_),
        service_classes=(ServiceClass(CLASS, 1, (ModelTargets("*", tuple(targets)),)),),
        servers=(server,),
        settings=Settings(unlimited=True, spare=spare),
    )
