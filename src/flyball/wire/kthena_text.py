"""Quantities and durations as Kubernetes writes them back: `1000m` is `1`, `60s` is `1m0s`.

Kthena's objects went through Go's types, which write every value in one form; Flyball's must have it, too, or
comparisons with what the cluster has would find differences that are none.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil

from flyball.wire.errors import WireError

_QUANTITY = re.compile(
    r"([+-]?)([0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?"
)
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {-9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
_EXPONENTS = {suffix: exponent for exponent, suffix in _DECIMAL.items()}
_NANO = -9
_DURATION = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(ns|us|µs|μs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6,
    "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip


def quantity(value: object, where: str, path: str = "") -> Fraction:
    """The amount that `64Gi`, `500m`, `1e3` or a number means. Or WireError."""
    return _parsed(value, where, path)[0]


def canonical_quantity(value: object, where: str, path: str = "") -> str:
    """The quantity as Kubernetes writes it: `1000m` is `1`, `1.5Gi` is `1536Mi`. Or WireError."""
    amount, suffix = _parsed(value, where, path)
    if suffix in _BINARY[1:] and abs(amount) >= 1024:
        whole, power = ceil(amount), 0
        while whole % 1024 == 0 and power < len(_BINARY) - 1:
            whole, power = whole // 1024, power + 1
        return f"{whole}{_BINARY[power]}"
    mantissa, exponent = ceil(amount * 10**-_NANO), _NANO
    while mantissa and mantissa % 1000 == 0 and exponent < max(_DECIMAL):
        mantissa, exponent = mantissa // 1000, exponent + 3
    if not mantissa:
        return "0"
    if suffix[:1] in ("e", "E") and suffix[1:]:
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    return f"{mantissa}{_DECIMAL[exponent]}"


def canonical_duration(value: str, where: str, path: str = "") -> str:
    """The duration as Go writes it: `60s` is `1m0s`, `90m` is `1h30m0s`. Or WireError."""
    parts = _DURATION.findall(value)
    if value != "0" and (not parts or "".join(map("".join, parts)) != value):
        mend = "Write it like 30s, 5m or 1h30m"
        raise WireError(where, "is no duration from 0 with units", path=path, value=value, mend=mend)
    total = int(sum(Fraction(number) * _NANOSECONDS[unit] for number, unit in parts))
    if total < _NANOSECONDS["s"]:
        for unit in ("ms", "us", "ns"):
            if total >= _NANOSECONDS[unit]:
                return f"{_plain(Fraction(total, _NANOSECONDS[unit]))}{unit.replace('u', 'µ')}"
        return "0s"
    minutes, rest = divmod(total, _NANOSECONDS["m"])
    seconds = f"{_plain(Fraction(rest, _NANOSECONDS['s']))}s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _parsed(value: object, where: str, path: str) -> tuple[Fraction, str]:
    text = repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    match = _QUANTITY.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        mend = "Write it like 2, 500m or 64Gi"
        raise WireError(where, "is no quantity of Kubernetes", path=path, value=value, mend=mend)
    sign, digits, suffix = match[1], match[2], match[3] or ""
    amount = Fraction(f"{sign}{digits}")
    if suffix in _EXPONENTS:
        return amount * Fraction(10) ** _EXPONENTS[suffix], suffix
    if suffix in _BINARY:
        return amount * 1024 ** _BINARY.index(suffix), suffix
    return amount * Fraction(10) ** int(suffix[1:]), suffix


def _plain(value: Fraction) -> str:
    return f"{float(value):.9f}".rstrip("0").rstrip(".")
