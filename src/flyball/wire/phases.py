"""The phases of an emulated load: `phases: [{duration: 6m, ratio: 5.0}, {duration: 0s}]`."""

from __future__ import annotations

import re

from flyball.spec.phase import Phase
from flyball.units import SECONDS_PER_HOUR, SECONDS_PER_MINUTE, Seconds, from_ms
from flyball.wire import text
from flyball.wire.errors import WireError, child
from flyball.wire.fields import Fields, parse_list
from flyball.wire.quantities import MAX_SECONDS, parse_number

MAX_RATIO = 1000.0
MAX_PHASES = 1000

_UNITS = {
    "h": SECONDS_PER_HOUR,
    "min": SECONDS_PER_MINUTE,
    "m": SECONDS_PER_MINUTE,
    "s": 1.0,
    "ms": from_ms(1.0),
}
_PART = r"([0-9]{1,9}(?:\.[0-9]{0,9})?)(h|min|ms|m|s)"
_DURATION = re.compile(rf"(?:{_PART})+")


def read_phases(data: bytes, where: str) -> tuple[Phase, ...]:
    """Read a document, YAML or JSON. Or WireError."""
    fields = Fields(text.decode(data, where), where, "", ("phases",))
    items = fields.read("phases", parse_list)
    if not 0 < len(items) <= MAX_PHASES:
        raise WireError(
            where,
            f"has {len(items)} phases; allowed are 1 to {MAX_PHASES}",
            path="phases",
            mend="Write them like {duration: 6m, ratio: 5.0}",
        )
    found = tuple(_phase(item, where, child("phases", index)) for index, item in enumerate(items))
    for index, phase in enumerate(found[:-1]):
        if not phase.duration:
            raise WireError(
                where,
                "only the last phase may last 0s, which holds what is reached",
                path=child(child("phases", index), "duration"),
                mend="Give it a time, or take out what follows",
            )
    return found


def _phase(value: object, where: str, path: str) -> Phase:
    fields = Fields(value, where, path, ("duration", "ratio"))
    duration = fields.read("duration", _duration)
    ratio = fields.read("ratio", parse_number, 1.0, high=MAX_RATIO, what="a ratio")
    if not ratio:
        problem = f"allowed is a ratio over 0, up to {MAX_RATIO:g}"
        raise WireError(
            where, problem, path=child(path, "ratio"), value=ratio, mend="A small one is as good as 0"
        )
    return Phase(duration, ratio)


def _duration(value: object, where: str, path: str) -> Seconds:
    """As Go writes it: `6m`, `1h30m`, `0s`; and with `min`."""
    if value == 0 and not isinstance(value, bool):
        return 0.0
    if not isinstance(value, str) or not _DURATION.fullmatch(value.strip()):
        allowed = "allowed is a time with its unit, such as 6m, 90s or 1h30m"
        raise WireError(where, allowed, path=path, value=value, mend="Units: h, m, s, ms")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, value))
    if seconds > MAX_SECONDS:
        raise WireError(where, f"allowed is a time up to {MAX_SECONDS:g} s", path=path, value=value)
    return seconds
