"""The load of a scenario: who sends requests when, and how long they are.

A server without a stream gets Poisson arrivals at its rate in the fleet; a stream without a rate or lengths
has those of the fleet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args, get_type_hints

import msgspec

from flyball.spec.scenario import Arrivals, Days, Lengths, Stage, Stages, Steady, Stream, Trace
from flyball.spec.server import Server
from flyball.units import SECONDS_PER_HOUR, RequestsPerSecond, Seconds, Tokens
from flyball.wire.errors import WireError, child
from flyball.wire.fields import Fields, parse_flag, parse_list, parse_name, parse_text
from flyball.wire.quantities import (
    MAX_TOKENS,
    parse_duration,
    parse_number,
    parse_rate,
    parse_share,
    parse_tokens,
)

MAX_COV = 100.0
MAX_SCALE = 1e4
MAX_COPIES = 1000.0

_LAWS: tuple[str, ...] = get_args(get_type_hints(Lengths)["law"])
_FORMS: dict[str, tuple[str, ...]] = {
    "stages": ("stages", "exact", "cov"),
    "days": ("days",),
    "trace": ("trace", "scale", "jitter", "repeat"),
    "rate": ("rate", "cov"),
}
_DAY: Seconds = 24 * SECONDS_PER_HOUR


def read_streams(
    fields: Fields, servers: Mapping[str, Server], trace: Callable[[str], Trace]
) -> tuple[Stream, ...]:
    """Read the list `load`, with the servers' own load where it says nothing. Or WireError."""
    streams = fields.each("load", _stream, lambda s: s.server, servers=servers, trace=trace)
    stated = {stream.server for stream in streams}
    rest = [s for s in servers.values() if s.name not in stated and s.load.arrival_rate > 0]
    return *streams, *(
        Stream(
            server.name,
            Steady(server.load.arrival_rate, server.load.arrival_cov or 1.0),
            _fleet_lengths(server.load.in_tokens, "in_tokens"),
            _fleet_lengths(server.load.out_tokens, "out_tokens"),
        )
        for server in rest
    )


def _fleet_lengths(tokens: Tokens, of: str) -> Lengths:
    default: Lengths = getattr(Stream("", Steady(0.0)), of)
    return Lengths(tokens) if tokens else default


def _stream(
    value: object,
    where: str,
    path: str,
    *,
    servers: Mapping[str, Server],
    trace: Callable[[str], Trace],
) -> Stream:
    fields = Fields(value, where, path, ("server", "arrivals", "in", "out", "cached"))
    name = fields.read("server", parse_name, known=servers, what="server in the fleet")
    load = servers[name].load
    arrivals: Arrivals = Steady(load.arrival_rate, load.arrival_cov or 1.0)
    if "arrivals" in fields.values or not load.arrival_rate:
        arrivals = fields.read("arrivals", _arrivals, rate=load.arrival_rate, trace=trace)
    if isinstance(arrivals, Trace):
        for key in ("in", "out"):
            if key in fields.values:
                mend = f"Leave {key} out"
                raise WireError(where, "a trace brings its own lengths", path=child(path, key), mend=mend)
    return Stream(
        server=name,
        arrivals=arrivals,
        in_tokens=fields.read("in", _lengths, _fleet_lengths(load.in_tokens, "in_tokens")),
        out_tokens=fields.read("out", _lengths, _fleet_lengths(load.out_tokens, "out_tokens")),
        cached_share=fields.read("cached", parse_share, 0.0),
    )


def _arrivals(
    value: object, where: str, path: str, *, rate: RequestsPerSecond, trace: Callable[[str], Trace]
) -> Arrivals:
    if not isinstance(value, dict):
        return Steady(parse_rate(value, where, path))
    Fields(value, where, path, tuple(dict.fromkeys(key for form in _FORMS.values() for key in form)))
    form = next((form for form in _FORMS if form in value), "rate")
    fields = Fields(value, where, path, _FORMS[form])
    fallback = rate or msgspec.UNSET
    cov = fields.read("cov", parse_number, 1.0, high=MAX_COV)
    match form:
        case "stages":
            stages = tuple(
                _stage(item, where, child(child(path, "stages"), index))
                for index, item in enumerate(fields.read("stages", parse_list))
            )
            if not stages:
                mend = "Write [[2/s, 5min], [8/s, 5min]]"
                raise WireError(where, "has no stage", path=child(path, "stages"), mend=mend)
            exact = fields.read("exact", parse_flag, False)
            if exact and "cov" in value:
                problem = "exact stages have exponential gaps, scaled to the stage"
                raise WireError(where, problem, path=child(path, "cov"), mend="Leave cov or exact out")
            return Stages(stages, cov, exact)
        case "days":
            return fields.read("days", _days, rate=fallback)
        case "trace":
            recorded = trace(fields.read("trace", parse_text))
            return msgspec.structs.replace(
                recorded,
                scale=fields.read("scale", parse_number, 1.0, high=MAX_COPIES),
                jitter=fields.read("jitter", parse_duration, recorded.jitter),
                repeat=fields.read("repeat", parse_flag, False),
            )
    return Steady(fields.read("rate", parse_rate, fallback), cov)


def _stage(value: object, where: str, path: str) -> Stage:
    if not isinstance(value, list) or len(value) != 2:
        problem = "allowed is a rate and how long it lasts, such as [2/s, 5min]"
        raise WireError(where, problem, path=path, value=value)
    return Stage(
        parse_rate(value[0], where, child(path, 0)),
        parse_duration(value[1], where, child(path, 1), positive=True),
    )


def _days(value: object, where: str, path: str, *, rate: float | msgspec.UnsetType) -> Days:
    known = (
        "rate",
        "swing",
        "peak",
        "weekend",
        "noise",
        "bursts",
        "burstSize",
        "burstLength",
        "cov",
        "start",
    )
    fields = Fields(value, where, path, known)
    default = Days(0.0)
    peak = fields.read("peak", parse_duration, default.peak)
    if peak > _DAY:
        raise WireError(where, "a day has 24h", path=child(path, "peak"), mend="Write it like 14h")
    return Days(
        rate=fields.read("rate", parse_rate, rate),
        swing=fields.read("swing", parse_share, default.swing),
        peak=peak,
        weekend=fields.read("weekend", parse_share, default.weekend, high=10.0),
        noise=fields.read("noise", parse_share, default.noise, high=2.0),
        bursts=fields.read("bursts", parse_number, default.bursts, high=1000.0, what="bursts a day"),
        burst_size=fields.read("burstSize", parse_number, default.burst_size, low=1.0, high=100.0),
        burst_length=fields.read("burstLength", parse_duration, default.burst_length),
        cov=fields.read("cov", parse_number, default.cov, high=MAX_COV),
        start=fields.read("start", parse_duration, default.start),
    )


def _lengths(value: object, where: str, path: str) -> Lengths:
    if not isinstance(value, dict):
        return Lengths(parse_tokens(value, where, path))
    fields = Fields(value, where, path, ("mean", "cov", "law", "low", "high"))
    default = Lengths(0.0)
    law = fields.read("law", parse_name, default.law, known=_LAWS, what="law")
    low = fields.read("low", parse_tokens, default.low)
    high = fields.read("high", parse_tokens, min(default.high, MAX_TOKENS))
    if low > high:
        problem = f"low is over high, {high:g}"
        raise WireError(where, problem, path=child(path, "low"), value=low, mend="Swap them")
    return msgspec.structs.replace(
        default,
        mean=fields.read("mean", parse_tokens),
        cov=fields.read("cov", parse_number, 0.0, high=MAX_COV),
        law=law,
        low=low,
        high=high,
    )
