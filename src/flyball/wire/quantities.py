"""Quantities as people write them: `50ms`, `p95<1s`, `1200/min`, `8k`; and back.

Text is read as decimals, so what a `format_` function writes is read back to the very same number.
Every reader takes the value, where it stands (`where`, and the `path` in it), and ends as a number in
Flyball's units or as one `WireError`.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

from flyball.spec.service_class import MEAN, Metric, Target
from flyball.units import (
    MS_PER_SECOND,
    SECONDS_PER_HOUR,
    SECONDS_PER_MINUTE,
    RequestsPerSecond,
    Seconds,
    Tokens,
    TokensPerSecond,
)
from flyball.wire.errors import WireError

DEFAULT_QUANTILE = 0.95
"""Of a target that names no statistic."""
MAX_SECONDS = 1e6
MAX_RATE = 1e6
MAX_THROUGHPUT = 1e9
MAX_TOKENS = 1e7
MAX_COUNT = 10**9

_MS = Decimal(MS_PER_SECOND)
_SECONDS = {
    "h": Decimal(SECONDS_PER_HOUR),
    "min": Decimal(SECONDS_PER_MINUTE),
    "s": Decimal(1),
    "ms": 1 / _MS,
    "us": 1 / _MS**2,
    "µs": 1 / _MS**2,
    "ns": 1 / _MS**3,
}
_WRITTEN = ("s", "ms", "us", "ns")
_TIMES = {"": Decimal(1), "k": Decimal(10) ** 3, "m": Decimal(10) ** 6}

_DIGITS = r"[-+]?(?:[0-9]{1,25}(?:\.[0-9]{0,25})?|\.[0-9]{1,25})(?:e[-+]?[0-9]{1,3})?"
_QUANTITY = re.compile(rf"\s*({_DIGITS})\s*([a-zµ/]*)\s*")
_TARGET = re.compile(r"\s*(?:(mean|p([0-9]{1,2}(?:\.[0-9]{1,6})?))\s*(?:<=|<|≤)\s*)?([^<=>≤≥]*)")


def parse_duration(value: object, where: str, path: str = "", *, positive: bool = False) -> Seconds:
    """Read `1.5s`, `50ms`, `200us`, `2min`, `0`; seconds up to 1e6, over 0 where `positive`. Or WireError."""
    allowed = f"a time {'over 0' if positive else 'from 0'} to 1e6 s with its unit, such as 50ms or 1.5s"
    number, unit = _split(value, allowed, where, path)
    if unit not in _SECONDS and (unit or number):
        known = ", ".join(name for name in _SECONDS if name != "µs")
        problem = f"has {f'the unknown unit {unit}' if unit else 'no unit'}; allowed is {allowed}"
        raise WireError(where, problem, path=path, value=value, mend=f"Units: {known}")
    seconds = _bounded(number * _SECONDS.get(unit, Decimal(1)), 0, MAX_SECONDS, allowed, value, where, path)
    if positive and seconds == 0:
        raise WireError(where, f"allowed is {allowed}", path=path, value=value)
    return seconds


def parse_target(value: object, metric: Metric, where: str, path: str = "") -> Target:
    """Read `p95<1s`, `mean <= 40ms`, or a bare `50ms`, which means p95. Or WireError."""
    match = _TARGET.fullmatch(value.lower()) if isinstance(value, str) else None
    if match is None:
        raise WireError(
            where,
            "allowed is a statistic, < and a time, such as p95<1s or mean<50ms; a bare 50ms means p95",
            path=path,
            value=value,
            mend="Statistics: mean, p50, p95, p99, p99.9",
        )
    statistic, percent, limit = match.groups()
    quantile = DEFAULT_QUANTILE if statistic is None else MEAN
    if percent is not None:
        quantile = float(Decimal(percent) / 100)
        if quantile == 0:
            raise WireError(
                where, "percentiles lie above p0", path=path, value=value, mend="Write mean or p50"
            )
    try:
        seconds = parse_duration(limit, where, path, positive=True)
    except WireError as error:
        raise WireError(where, error.problem, path=path, value=value, mend="Write it like p95<1s") from None
    return Target(metric, seconds, quantile)


def parse_rate(value: object, where: str, path: str = "") -> RequestsPerSecond:
    """Read `20`, `20/s`, `1200/min`, `60/h` into requests per second, 0 to 1e6. Or WireError."""
    return _per_second(value, "requests", MAX_RATE, where, path)


def parse_throughput(value: object, where: str, path: str = "") -> TokensPerSecond:
    """Read `2000`, `2000/s`, `120000/min` into tokens per second, 0 to 1e9. Or WireError."""
    return _per_second(value, "tokens", MAX_THROUGHPUT, where, path)


def parse_tokens(value: object, where: str, path: str = "") -> Tokens:
    """Read a mean number of tokens, `1000` or `1.5k`, 0 to 1e7. Or WireError."""
    allowed = "a number of tokens from 0 to 1e7, such as 1000 or 1.5k"
    return _bounded(_times(value, allowed, where, path), 0, MAX_TOKENS, allowed, value, where, path)


def parse_count(value: object, where: str, path: str = "", *, low: int = 0, high: int = MAX_COUNT) -> int:
    """Read a whole number, `64` or `438k`, within bounds. Or WireError."""
    allowed = f"a whole number from {low} to {high:,}, such as {max(low, min(4, high))}"
    number = _times(value, allowed, where, path)
    bounded = _bounded(number, low, high, allowed, value, where, path)
    if bounded != int(bounded):
        raise WireError(where, f"allowed is {allowed}", path=path, value=value)
    return int(bounded)


def parse_number(
    value: object, where: str, path: str = "", *, low: float = 0.0, high: float = 1e9, what: str = "a number"
) -> float:
    """Read a number without unit, within bounds; `what` says in messages what it is. Or WireError."""
    allowed = f"{what} from {low:g} to {high:g}, without unit"
    number, unit = _split(value, allowed, where, path)
    if unit:
        raise WireError(where, f"allowed is {allowed}", path=path, value=value)
    return _bounded(number, low, high, allowed, value, where, path)


def parse_share(value: object, where: str, path: str = "", *, high: float = 1.0) -> float:
    """Read a share, `15%` or `0.15`, from 0 to `high`. Or WireError."""
    allowed = f"a share from 0 to {high:.0%}, such as 15% or 0.15"
    percent = isinstance(value, str) and value.rstrip().endswith("%")
    number, unit = _split(str(value).rstrip()[:-1] if percent else value, allowed, where, path)
    if unit:
        raise WireError(where, f"allowed is {allowed}", path=path, value=value)
    return _bounded(number / 100 if percent else number, 0, high, allowed, value, where, path)


def format_duration(value: Seconds) -> str:
    """Write seconds in the largest unit that leaves at least 1: `1.5s`, `50ms`, `0s`."""
    if value == 0:
        return "0s"
    exact = Decimal(repr(float(value)))
    for unit in _WRITTEN:
        scaled = exact / _SECONDS[unit]
        if abs(scaled) >= 1:
            return f"{_plain(scaled)}{unit}"
    return f"{scaled}ns".lower()


def format_target(target: Target) -> str:
    """Write a target without its metric: `p95<1s`, `mean<40ms`."""
    return f"{target.statistic}<{format_duration(target.limit)}"


def format_rate(value: RequestsPerSecond) -> str:
    """Write requests per second: `20/s`."""
    return f"{_plain(Decimal(repr(float(value))))}/s"


def _per_second(value: object, what: str, high: float, where: str, path: str) -> float:
    allowed = f"{what} per second from 0 to {high:g}, such as 20/s or 1200/min"
    number, unit = _split(value, allowed, where, path)
    per = {"": "s", "/s": "s", "/min": "min", "/h": "h"}.get(unit)
    if per is None:
        raise WireError(where, f"allowed is {allowed}", path=path, value=value, mend="Units: /s, /min, /h")
    return _bounded(number / _SECONDS[per], 0, high, allowed, value, where, path)


def _split(value: object, allowed: str, where: str, path: str) -> tuple[Decimal, str]:
    """Number and unit, in lower case, of a number or text."""
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value.lower())):
        return Decimal(match[1]), match[2]
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return Decimal(repr(float(value)) if isinstance(value, float) else value), ""
    raise WireError(where, f"allowed is {allowed}", path=path, value=value)


def _times(value: object, allowed: str, where: str, path: str) -> Decimal:
    number, unit = _split(value, allowed, where, path)
    if unit not in _TIMES:
        raise WireError(
            where, f"allowed is {allowed}", path=path, value=value, mend="k: thousand, M: million"
        )
    return number * _TIMES[unit]


def _bounded(
    number: Decimal, low: float, high: float, allowed: str, value: object, where: str, path: str
) -> float:
    result = float(number)
    if not low <= result <= high:
        raise WireError(where, f"allowed is {allowed}", path=path, value=value)
    return result


def _plain(number: Decimal) -> str:
    """Digits without exponent where that stays short."""
    number = number.normalize()
    return f"{number:f}" if -6 <= number.adjusted() <= 12 else str(number).lower()
