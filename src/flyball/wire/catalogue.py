"""Accelerators and profiles in Flyball's own form, and catalogues of them.

A fleet document holds both lists or names a catalogue, `kind: Catalogue`, which holds the same two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from flyball.spec.accelerator import Accelerator, PowerCurve
from flyball.spec.profile import (
    ChunkedTiming,
    FlatTiming,
    IterationTiming,
    PhaseTiming,
    Profile,
    Timing,
    Uncertainty,
)
from flyball.units import Seconds
from flyball.wire.errors import WireError, child
from flyball.wire.fields import Fields, given, parse_name, parse_text
from flyball.wire.quantities import format_duration, parse_count, parse_duration, parse_number, parse_share

API_VERSION = "flyball/v1"
SAMPLE, LIBRARY = "sample", "library"
"""Catalogues that documents may ask for."""
HARDWARE = ("apiVersion", "kind", "accelerators", "profiles")
MAX_BATCH = 65_536

_TIMINGS: dict[str, type[Timing]] = {
    "iteration": IterationTiming,
    "flat": FlatTiming,
    "phase": PhaseTiming,
    "chunked": ChunkedTiming,
}
_PARAMETERS = sorted({name for form in _TIMINGS.values() for name in form.__struct_fields__})
EXPERTS = {"experts": "experts", "experts_per_token": "expertsPerToken"}
"""Counts among the parameters of a timing, and what documents call them."""
_NAMES = [EXPERTS.get(name, name) for name in _PARAMETERS]
_PROFILE = (
    *("model", "accelerator", "units", "maxBatch", "atTokens", "kvTokens"),
    *("source", "uncertainty", "margin", "timing"),
)
MOST_UNCERTAIN = 10.0


class Catalogue(msgspec.Struct, frozen=True):
    """Accelerators and profiles that a fleet document may take by the catalogue's name."""

    name: str
    accelerators: tuple[Accelerator, ...] = ()
    profiles: tuple[Profile, ...] = ()
    priced: str = ""
    """When the prices were looked up: they are for planning, a document overrides them."""


def catalogue_from_own(doc: object, where: str) -> Catalogue:
    """Read a `kind: Catalogue` document: accelerators and profiles, as in a fleet. Or WireError."""
    fields = Fields(doc, where, "", (*HARDWARE, "name", "priced"))
    check_head(fields, "Catalogue")
    name, priced = fields.read("name", parse_text), fields.read("priced", parse_text, "")
    return Catalogue(name, *read_hardware(fields, Catalogue(name)), priced)


def check_head(fields: Fields, kind: str) -> None:
    """Refuse a document of another kind or version with WireError."""
    fields.read("kind", parse_name, known=(kind,), what="kind here")
    fields.read("apiVersion", parse_name, API_VERSION, known=(API_VERSION,), what="version")


def read_hardware(fields: Fields, base: Catalogue) -> tuple[tuple[Accelerator, ...], tuple[Profile, ...]]:
    """Read the lists `accelerators` and `profiles` over those of `base`. Or WireError."""
    accelerators = {a.name: a for a in base.accelerators}
    own_accelerators = fields.each("accelerators", _accelerator, lambda a: a.name, base=accelerators)
    accelerators |= {a.name: a for a in own_accelerators}
    profiles = {(p.model, p.accelerator): p for p in base.profiles}
    own = fields.each("profiles", _profile, lambda p: f"{p.model} on {p.accelerator}", known=accelerators)
    profiles |= {(p.model, p.accelerator): p for p in own}
    return tuple(accelerators.values()), tuple(profiles.values())


def _accelerator(value: object, where: str, path: str, *, base: Mapping[str, Accelerator]) -> Accelerator:
    fields = Fields(value, where, path, ("name", "type", "cards", "price", "memory", "bandwidth", "power"))
    name = fields.read("name", parse_text)
    default = base.get(name, Accelerator(name, type=name))
    return Accelerator(
        name=name,
        type=fields.read("type", parse_text, default.type),
        multiplicity=fields.read("cards", parse_count, default.multiplicity, low=1),
        cost=fields.read("price", parse_number, default.cost, what="dollars per hour of one unit"),
        memory_gb=fields.read("memory", parse_number, default.memory_gb, what="GB of one unit"),
        bandwidth_gbs=fields.read("bandwidth", parse_number, default.bandwidth_gbs, what="GB/s of one unit"),
        power=fields.read("power", _power, default.power),
    )


def _power(value: object, where: str, path: str) -> PowerCurve:
    fields = Fields(value, where, path, ("idle", "mid", "midAt", "full"))
    idle, mid, full = (
        fields.read(key, parse_number, what="watts of one unit") for key in ("idle", "mid", "full")
    )
    share = fields.read("midAt", parse_number, PowerCurve().mid_util, high=1.0, what="a utilization")
    return PowerCurve(idle=idle, full=full, mid_power=mid, mid_util=share)


def _profile(value: object, where: str, path: str, *, known: Mapping[str, Accelerator]) -> Profile:
    fields = Fields(value, where, path, (*_PROFILE, *_NAMES))
    timing = fields.read("timing", parse_name, "iteration", known=_TIMINGS, what="timing")
    form = _TIMINGS[timing]
    has = [EXPERTS.get(name, name) for name in form.__struct_fields__]
    for key in _NAMES:
        if key in fields.values and key not in has:
            problem = f"the {timing} timing has {', '.join(has)}"
            mend = f"Leave {key} out, or say timing: {' or '.join(_TIMINGS)}"
            raise WireError(where, problem, path=child(path, key), value=fields.values[key], mend=mend)
    return Profile(
        model=fields.read("model", parse_text),
        accelerator=fields.read("accelerator", parse_name, known=known, what="accelerator"),
        timing=_timing(fields, form),
        accelerator_count=fields.read("units", parse_count, 1, low=1),
        max_batch_size=fields.read("maxBatch", parse_count, 256, low=1, high=MAX_BATCH),
        at_tokens=fields.read("atTokens", parse_count, 0),
        kv_tokens=fields.read("kvTokens", parse_count, 0),
        source=fields.read("source", parse_text, ""),
        uncertainty=fields.read("uncertainty", _uncertainty, None),
        margin=fields.read("margin", parse_number, 1.0, low=1.0, high=MOST_UNCERTAIN, what="a factor"),
    )


def _timing(fields: Fields, form: type[Timing]) -> Timing:
    parameters: dict[str, Any] = {}
    for field in msgspec.structs.fields(form):
        key = EXPERTS.get(field.name, field.name)
        default = msgspec.UNSET if field.required else 0.0
        if field.name in EXPERTS:
            parameters[field.name] = fields.read(key, parse_count, 0)
        else:
            parameters[field.name] = fields.read(key, parse_duration, default, positive=key == "alpha")
    timing = form(**parameters)
    if isinstance(timing, IterationTiming):
        check_experts(timing.epsilon, timing.experts, timing.experts_per_token, fields)
    return timing


def check_experts(epsilon: Seconds, experts: int, per_token: int, fields: Fields) -> None:
    """Refuse, with WireError, experts that cannot be: more for a token than there are, time without any."""
    if experts and not 1 <= per_token <= experts:
        problem = f"a token goes to {per_token} of {experts} experts"
        mend = f"Say how many of them it goes to: 1 to {experts}"
        raise WireError(fields.where, problem, path=child(fields.path, "expertsPerToken"), mend=mend)
    if epsilon and not experts:
        mend = "Add experts and expertsPerToken, or leave epsilon out"
        problem = "epsilon is the time of experts, and there are none"
        raise WireError(fields.where, problem, path=child(fields.path, "epsilon"), mend=mend)


def _uncertainty(value: object, where: str, path: str) -> Uncertainty:
    fields = Fields(value, where, path, Uncertainty.__struct_fields__)
    return Uncertainty(
        **{
            key: fields.read(key, parse_share, 0.0, high=MOST_UNCERTAIN)
            for key in Uncertainty.__struct_fields__
        }
    )


def accelerator_document(accelerator: Accelerator) -> dict[str, object]:
    """Write one item of `accelerators`."""
    curve = accelerator.power
    watts = curve and {
        "idle": curve.idle,
        "mid": curve.mid_power,
        "midAt": curve.mid_util,
        "full": curve.full,
    }
    return given(
        {
            "name": accelerator.name,
            "type": accelerator.type,
            "cards": accelerator.multiplicity,
            "price": accelerator.cost,
            "memory": accelerator.memory_gb,
            "bandwidth": accelerator.bandwidth_gbs,
            "power": watts,
        }
    )


def profile_document(profile: Profile) -> dict[str, object]:
    """Write one item of `profiles`."""
    timing = next(name for name, form in _TIMINGS.items() if isinstance(profile.timing, form))
    return given(
        {
            "model": profile.model,
            "accelerator": profile.accelerator,
            "units": profile.accelerator_count,
            "timing": timing,
            **_timing_document(profile.timing),
            "maxBatch": profile.max_batch_size,
            "atTokens": profile.at_tokens,
            "kvTokens": profile.kv_tokens,
            "source": profile.source,
            "margin": profile.margin if profile.margin != 1.0 else 0,
            "uncertainty": profile.uncertainty and given(msgspec.structs.asdict(profile.uncertainty)),
        }
    )


def _timing_document(timing: Timing) -> dict[str, object]:
    document: dict[str, object] = {}
    for field in msgspec.structs.fields(type(timing)):
        value = getattr(timing, field.name)
        if field.required:
            document[field.name] = format_duration(value)
        elif value:
            name = EXPERTS.get(field.name)
            document[name or field.name] = value if name else format_duration(value)
    return document
