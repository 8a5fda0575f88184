"""Accelerators and profiles in Flyball's own form, and catalogues of them.

A fleet document holds both lists or names a catalogue, `kind: Catalogue`, which holds the same two.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flyball.spec.accelerator import Accelerator, PowerCurve
from flyball.spec.profile import ChunkedTiming, FlatTiming, IterationTiming, PhaseTiming, Profile, Timing
from flyball.wire.errors import WireError, child
from flyball.wire.fields import Fields, given, parse_name, parse_text
from flyball.wire.quantities import format_duration, parse_count, parse_duration, parse_number

API_VERSION = "flyball/v1"
HARDWARE = ("apiVersion", "kind", "accelerators", "profiles")
MAX_BATCH = 65_536

_TIMINGS: dict[str, type[Timing]] = {
    "iteration": IterationTiming,
    "flat": FlatTiming,
    "phase": PhaseTiming,
    "chunked": ChunkedTiming,
}
_PARAMETERS = sorted({name for form in _TIMINGS.values() for name in form.__struct_fields__})


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
    common = ("model", "accelerator", "units", "maxBatch", "atTokens", "kvTokens", "source", "timing")
    fields = Fields(value, where, path, (*common, *_PARAMETERS))
    timing = fields.read("timing", parse_name, "iteration", known=_TIMINGS, what="timing")
    form = _TIMINGS[timing]
    parameters = {p: fields.read(p, parse_duration, positive=p == "alpha") for p in form.__struct_fields__}
    for key in _PARAMETERS:
        if key in fields.values and key not in parameters:
            problem = f"the {timing} timing has {', '.join(parameters)}"
            mend = f"Leave {key} out, or say timing: {' or '.join(_TIMINGS)}"
            raise WireError(where, problem, path=child(path, key), value=fields.values[key], mend=mend)
    return Profile(
        model=fields.read("model", parse_text),
        accelerator=fields.read("accelerator", parse_name, known=known, what="accelerator"),
        timing=form(**parameters),
        accelerator_count=fields.read("units", parse_count, 1, low=1),
        max_batch_size=fields.read("maxBatch", parse_count, 256, low=1, high=MAX_BATCH),
        at_tokens=fields.read("atTokens", parse_count, 0),
        kv_tokens=fields.read("kvTokens", parse_count, 0),
        source=fields.read("source", parse_text, ""),
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
            **{key: format_duration(value) for key, value in msgspec.structs.asdict(profile.timing).items()},
            "maxBatch": profile.max_batch_size,
            "atTokens": profile.at_tokens,
            "kvTokens": profile.kv_tokens,
            "source": profile.source,
        }
    )
