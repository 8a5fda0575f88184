"""Shapes of Inferno's documents to plain documents, in the words of one generation.

Names, order and units are those of the recorded answers; a whole number is written without a point, and
what is absent as Go's zero value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import msgspec

from flyball.spec.fleet import Generation
from flyball.wire.inferno_shapes import (
    AllocationShape,
    DecodeShape,
    LoadShape,
    PartShape,
    PerfShape,
    PowerShape,
    PrefillShape,
    ProfileShape,
    ServerShape,
    Shape,
    TargetShape,
)

Document = dict[str, object]

INPUT_DIGITS = 15
"""Enough to read back what was read, few enough to drop what the change of units added."""

EXACT = 1e8
"""Whole numbers below this have no more digits than any answer keeps."""

_FOREIGN: Mapping[Generation, Mapping[type[Shape], tuple[str, ...]]] = {
    "G1": {
        ProfileShape: ("decode_parms", "prefill_parms", "perf_parms"),
        TargetShape: ("ttft",),
        LoadShape: ("throughput", "avg_in_tokens", "avg_out_tokens"),
        PartShape: ("ttft_average",),
        ServerShape: ("max_queue_size",),
    },
    "G2": {
        ProfileShape: ("alpha", "beta", "perf_parms"),
        TargetShape: ("wait",),
        LoadShape: ("throughput", "avg_length", "arrival_cov", "service_cov"),
        PartShape: ("wait_average",),
        ServerShape: ("max_queue_size",),
    },
    "G3": {
        ProfileShape: ("alpha", "beta", "decode_parms", "prefill_parms"),
        TargetShape: ("wait",),
        LoadShape: ("avg_length", "arrival_cov", "service_cov"),
        PartShape: ("wait_average",),
    },
}
"""Fields that a generation does not have."""

_EMPTY: Mapping[str, Shape | float] = {
    "power": PowerShape(),
    "mid_power": 0.0,
    "mid_util": 0.0,
    "alpha": 0.0,
    "beta": 0.0,
    "decode_parms": DecodeShape(),
    "prefill_parms": PrefillShape(),
    "perf_parms": PerfShape(),
    "load": LoadShape(),
    "current_alloc": AllocationShape(),
    "desired_alloc": AllocationShape(),
}
"""What stands for None, by field."""


def document_of(shape: Shape, generation: Generation, digits: int = INPUT_DIGITS) -> Document:
    """The document of a shape; numbers are rounded to so many digits. What is not finite is null."""
    document: Document = {}
    for attribute, name in _fields(type(shape), generation):
        value = getattr(shape, attribute)
        if value is None:
            value = _EMPTY[attribute]
        elif attribute == "mix" and not value:
            continue
        document[name] = _plain(value, generation, digits)
    return document


@cache
def _fields(kind: type[Shape], generation: Generation) -> tuple[tuple[str, str], ...]:
    foreign = [
        name
        for base, names in _FOREIGN.get(generation, _FOREIGN["G3"]).items()
        if issubclass(kind, base)
        for name in names
    ]
    return tuple((f.name, f.encode_name) for f in msgspec.structs.fields(kind) if f.name not in foreign)


def _plain(value: object, generation: Generation, digits: int) -> object:
    if isinstance(value, float):
        return _number(value, digits)
    if isinstance(value, Shape):
        return document_of(value, generation, digits)
    if isinstance(value, tuple):
        return [document_of(below, generation, digits) for below in value]
    return value


def _number(value: float, digits: int) -> int | float | None:
    """Rounded to so many digits, whole ones as int; JSON knows no infinity, hence None."""
    if value.is_integer() and abs(value) < EXACT:
        return int(value)
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() else rounded
