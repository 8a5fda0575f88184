"""The truth of a scenario: how the engines really run.

Each profile of the fleet with the iteration timing gives an engine that is off by chance; engines that are
stated stand beside those or replace them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec

from flyball.spec.fleet import Fleet
from flyball.spec.profile import IterationTiming, Profile
from flyball.spec.scenario import Engine
from flyball.wire.catalogue import MAX_BATCH, check_experts
from flyball.wire.errors import WireError
from flyball.wire.fields import Fields, parse_name
from flyball.wire.quantities import parse_count, parse_duration, parse_share

_TIMING = ("alpha", "beta", "kappa", "delta", "epsilon")
_EXPERTS = ("experts", "expertsPerToken")


class Truth(Fields):
    """The field `truth`."""

    def __init__(self, value: object, where: str, path: str) -> None:
        engine = ("maxSequences", "batchedTokens", "blockSize")
        super().__init__(value, where, path, ("error", "seed", "engines", "coldStart", "grace", *engine))


def true_engines(truth: Truth, fleet: Fleet) -> dict[tuple[str, str], Engine]:
    """By model and accelerator, for each profile of a model that is served and as stated. Or WireError."""
    error = truth.read("error", parse_share, 0.0, high=0.9)
    seed = truth.read("seed", parse_count, 1)
    base = _limits(truth, Engine("", "", 0.0, 0.0, 0.0, 0.0))
    served = {server.model for server in fleet.servers}
    profiles = [p for p in fleet.profiles if p.model in served]
    drawn = {
        (p.model, p.accelerator): drawn_engine(p, p.timing, base, error, seed)
        for p in profiles
        if isinstance(p.timing, IterationTiming)
    }
    known = {"models": served, "accelerators": {a.name for a in fleet.accelerators}}
    stated = truth.each(
        "engines", _engine, lambda e: f"{e.model} on {e.accelerator}", drawn=drawn, base=base, **known
    )
    engines = drawn | {(e.model, e.accelerator): e for e in stated}
    for profile in profiles:
        if (profile.model, profile.accelerator) not in engines:
            problem = f"{profile.model} on {profile.accelerator} has a profile of another form than iteration"
            mend = "Say how it really runs under truth.engines, or give it timing: iteration"
            raise WireError(truth.where, problem, path="fleet", mend=mend)
    return engines


def _limits(fields: Fields, base: Engine) -> Engine:
    return msgspec.structs.replace(
        base,
        max_sequences=fields.read("maxSequences", parse_count, base.max_sequences, low=1, high=MAX_BATCH),
        batched_tokens=fields.read("batchedTokens", parse_count, base.batched_tokens, low=1),
        block_size=fields.read("blockSize", parse_count, base.block_size, low=1, high=4096),
    )


def drawn_engine(profile: Profile, timing: IterationTiming, base: Engine, error: float, seed: int) -> Engine:
    """A profile with each parameter off by up to `error`; does not depend on the other profiles."""
    rng = random.Random(f"{seed}/{profile.model}/{profile.accelerator}")
    off = {key: getattr(timing, key) * (1.0 + rng.uniform(-error, error)) for key in _TIMING}
    return msgspec.structs.replace(
        base,
        model=profile.model,
        accelerator=profile.accelerator,
        kv_tokens=profile.kv_tokens,
        accelerator_count=profile.accelerator_count,
        experts=timing.experts,
        experts_per_token=timing.experts_per_token,
        **off,
    )


def _engine(
    value: object,
    where: str,
    path: str,
    *,
    drawn: Mapping[tuple[str, str], Engine],
    base: Engine,
    models: set[str],
    accelerators: set[str],
) -> Engine:
    """What is left out is as drawn; without a profile the four times are needed."""
    names = ("model", "accelerator", "units", "kvTokens", "maxSequences", "batchedTokens", "blockSize")
    fields = Fields(value, where, path, (*names, *_TIMING, *_EXPERTS))
    model = fields.read("model", parse_name, known=models, what="model of a server")
    accelerator = fields.read("accelerator", parse_name, known=accelerators, what="accelerator")
    default = drawn.get((model, accelerator))
    needed = default is None
    default = default or base
    times = {
        key: fields.read(
            key,
            parse_duration,
            msgspec.UNSET if needed and key != "epsilon" else getattr(default, key),
            positive=key == "alpha",
        )
        for key in _TIMING
    }
    experts = fields.read("experts", parse_count, default.experts)
    per_token = fields.read("expertsPerToken", parse_count, default.experts_per_token)
    check_experts(times["epsilon"], experts, per_token, fields)
    return msgspec.structs.replace(
        _limits(fields, default),
        model=model,
        accelerator=accelerator,
        accelerator_count=fields.read("units", parse_count, default.accelerator_count, low=1),
        kv_tokens=fields.read("kvTokens", parse_count, default.kv_tokens),
        experts=experts,
        experts_per_token=per_token,
        **times,
    )


def cards_of(fleet: Fleet) -> dict[str, tuple[str, int]]:
    """Type and cards of one unit, by accelerator."""
    return {a.name: (a.type, a.multiplicity) for a in fleet.accelerators}


def check_hardware(engines: Mapping[tuple[str, str], Engine], fleet: Fleet, where: str) -> None:
    """Refuse, with WireError, a fleet in which a server can have no replica at all."""
    cards = cards_of(fleet)
    for server in fleet.servers:
        for (model, accelerator), engine in engines.items():
            kind, number = cards[accelerator]
            if model == server.model and number * engine.accelerator_count <= fleet.capacity.get(kind, 0):
                break
        else:
            problem = f"there are no cards for a replica of {server.name}, {server.model}"
            mend = "Say under capacity how many cards there are of a type on which the model runs"
            raise WireError(where, problem, path="fleet.capacity", mend=mend)
