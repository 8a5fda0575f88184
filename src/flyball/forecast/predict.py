"""Forecasts at any horizon, from one history.

`expected` is the combined forecast, for what is to be taken away. `plain` are its quantiles as the measured
errors give them, and these are what the coverage is of. `provision` is what to provide for: never below the
measured rate, nor below `expected`; and from `burst_quantile` on with a reserve of about one such jump as the
load has lately made within the horizon, of which the smaller of requests/s and share of the rate counts.

Whatever was learned at the horizons of the settings is interpolated in the logarithm of the horizon, and kept
beyond both ends. Quantiles above the highest learned one grow from the median as those of the normal
distribution.
Where nothing was seen for some time, the horizon is longer by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, log

import msgspec

from flyball.forecast.errors import NORMAL, NORMAL_LEVELS, above, fading, scale
from flyball.forecast.history import DEFAULTS, LEVELS, ForecastSettings, History, Track
from flyball.forecast.members import combined, members
from flyball.units import RequestsPerSecond, Seconds

HIGHEST = 0.999


class Forecast(msgspec.Struct, frozen=True, gc=False):
    """Arrival rates ahead; H horizons, Q quantiles."""

    time: Seconds
    age: Seconds
    """How long ago the last reading was."""
    rate: RequestsPerSecond
    """Measured."""
    horizons: tuple[Seconds, ...]
    quantiles: tuple[float, ...]
    expected: tuple[RequestsPerSecond, ...]
    """(H,)"""
    plain: tuple[tuple[RequestsPerSecond, ...], ...]
    """(H, Q), not floored."""
    provision: tuple[tuple[RequestsPerSecond, ...], ...]
    """(H, Q), never below the measured rate, with the reserve."""
    reserve: tuple[RequestsPerSecond, ...]
    """(H,), of one jump."""


def forecast(
    history: History,
    horizons: Sequence[Seconds],
    quantiles: Sequence[float],
    settings: ForecastSettings = DEFAULTS,
) -> Forecast:
    """Forecast from the time of the last observation on.

    ValueError: a horizon that is negative, a quantile below 0.5 or above 0.999.
    """
    for horizon in horizons:
        if not (horizon >= 0.0 and isfinite(horizon)):
            raise ValueError(f"horizon is {horizon}; it must be finite and not negative, in seconds")
    for p in quantiles:
        if not LEVELS[0] <= p <= HIGHEST:
            raise ValueError(f"quantile is {p}; it must be from {LEVELS[0]} to {HIGHEST}")
    places = [_place(p) for p in quantiles]
    rate, age = history.rate, history.age
    expected, plain, provision, reserves = [], [], [], []
    for horizon in horizons:
        ahead = horizon + age
        first, second, share = _between(history.tracks, ahead)
        mixed = combined(members(history, ahead, settings), _mixed(first.squares, second.squares, share))
        unit = scale(mixed, max(ahead, first.horizon), settings)
        spread = first.spread + share * (second.spread - first.spread)
        learned = above(_mixed(first.quantiles, second.quantiles, share), spread, mixed, unit, settings)
        reserve = _reserve(first, history, rate, settings)
        reserve += share * (_reserve(second, history, rate, settings) - reserve)
        values = [max(0.0, mixed + _at(learned, *place) * unit) for place in places]
        least = max(rate, mixed)
        kept = [reserve if p >= settings.burst_quantile else 0.0 for p in quantiles]
        expected.append(mixed)
        plain.append(tuple(values))
        provision.append(tuple([max(v, least + more) for v, more in zip(values, kept, strict=True)]))
        reserves.append(reserve)
    return Forecast(
        history.time,
        age,
        rate,
        tuple(horizons),
        tuple(quantiles),
        tuple(expected),
        tuple(plain),
        tuple(provision),
        tuple(reserves),
    )


def _between(tracks: tuple[Track, ...], ahead: Seconds) -> tuple[Track, Track, float]:
    """The two tracks around a horizon, and how far it is from the first to the second."""
    before = tracks[0]
    if ahead <= before.horizon:
        return before, before, 0.0
    for track in tracks:
        if track.horizon >= ahead:
            return before, track, log(ahead / before.horizon) / log(track.horizon / before.horizon)
        before = track
    return before, before, 0.0


def _mixed(first: tuple[float, ...], second: tuple[float, ...], share: float) -> tuple[float, ...]:
    return tuple([a + share * (b - a) for a, b in zip(first, second, strict=True)])


def _place(p: float) -> tuple[int, float]:
    """Between which learned levels a quantile lies, and how far, on the normal scale."""
    z = NORMAL.inv_cdf(p)
    for i in range(1, len(LEVELS)):
        if p <= LEVELS[i]:
            return i, (z - NORMAL_LEVELS[i - 1]) / (NORMAL_LEVELS[i] - NORMAL_LEVELS[i - 1])
    return len(LEVELS), z / NORMAL_LEVELS[-1]


def _at(learned: tuple[float, ...], i: int, share: float) -> float:
    if i == len(LEVELS):
        return learned[0] + share * (learned[-1] - learned[0])
    return learned[i - 1] + share * (learned[i] - learned[i - 1])


def _reserve(
    track: Track, history: History, rate: RequestsPerSecond, settings: ForecastSettings
) -> RequestsPerSecond:
    kept = settings.burst_share * fading(history.time - track.jump_time, settings)
    return kept * min(track.jump, track.jump_share * rate)
