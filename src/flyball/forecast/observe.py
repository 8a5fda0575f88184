"""Learning: one reading of one series at a time, at whatever times they come.

The measured rate is the mean of the readings of the last `window` seconds. Nothing is learned from a gap, but
that the history has aged.
"""

from __future__ import annotations

from math import exp, expm1

from flyball.forecast.errors import follow, new_track
from flyball.forecast.history import (
    DEFAULTS,
    QUARTER,
    QUARTERS,
    UNSEEN,
    Coverage,
    Day,
    ForecastSettings,
    History,
    TokensPerRequest,
)
from flyball.forecast.members import EASE, advance, of_day
from flyball.units import RequestsPerSecond, Seconds, Tokens

LARGEST = 1e12
LONGEST_STEP = 120.0
"""One reading speaks for at most so many seconds of a quarter."""


def observe(
    history: History | None,
    time: Seconds,
    rate: RequestsPerSecond | None,
    in_tokens: Tokens | None = None,
    out_tokens: Tokens | None = None,
    settings: ForecastSettings = DEFAULTS,
) -> History | None:
    """The history after an observation; `rate` None: nothing was seen. None while nothing was ever seen.

    A time that is not past the last one teaches nothing. ValueError: a time that is not finite, a rate or
    tokens that are negative or not finite.
    """
    if not abs(time) <= LARGEST:
        raise ValueError(f"time is {time}; it must be finite, in seconds")
    for name, value in (("rate", rate), ("in_tokens", in_tokens), ("out_tokens", out_tokens)):
        if value is not None and not 0.0 <= value <= LARGEST:
            raise ValueError(f"{name} is {value}; it must be from 0 to {LARGEST:g}, or None where unknown")
    time = float(time)
    if history is None:
        return None if rate is None else _begin(time, float(rate), in_tokens, out_tokens, settings)
    if time <= history.time:
        return history
    if rate is None:
        return _aged(history, time)
    return _learn(history, time, float(rate), in_tokens, out_tokens, settings)


def _begin(
    time: Seconds,
    rate: float,
    in_tokens: Tokens | None,
    out_tokens: Tokens | None,
    settings: ForecastSettings,
) -> History:
    known = in_tokens is not None and out_tokens is not None
    weight = rate if known else 0.0
    history = History(
        time=time,
        seen=time,
        readings=1,
        rate=rate,
        recent=((time, rate),),
        level=rate,
        trend=0.0,
        slow=rate,
        tracks=tuple(new_track(h, time, settings) for h in settings.horizons),
        day=Day(),
        quarter=int(time // QUARTER),
        requests=weight,
        in_sum=weight * (in_tokens or 0.0),
        out_sum=weight * (out_tokens or 0.0),
    )
    return _with_tracks(history, settings)


def _aged(history: History, time: Seconds) -> History:
    h = history
    return History(
        time, h.seen, h.readings, h.rate, h.recent, h.level, h.trend, h.slow, h.tracks, h.day, h.season,
        h.quarter, h.quarter_sum, h.quarter_time, h.requests, h.in_sum, h.out_sum,
    )  # fmt: skip


def _with_tracks(history: History, settings: ForecastSettings) -> History:
    """The history with its tracks brought up to it."""
    h = history
    tracks = h.tracks
    if len(tracks) != len(settings.horizons) or any(
        t.horizon != wanted for t, wanted in zip(tracks, settings.horizons, strict=True)
    ):  # the settings changed: what fits is kept
        known = {t.horizon: t for t in tracks}
        tracks = tuple(
            known.get(wanted) or new_track(wanted, h.seen, settings) for wanted in settings.horizons
        )
    followed = tuple([follow(track, history, settings) for track in tracks])
    return History(
        h.time, h.seen, h.readings, h.rate, h.recent, h.level, h.trend, h.slow, followed, h.day, h.season,
        h.quarter, h.quarter_sum, h.quarter_time, h.requests, h.in_sum, h.out_sum,
    )  # fmt: skip


def _learn(
    history: History,
    time: Seconds,
    rate: float,
    in_tokens: Tokens | None,
    out_tokens: Tokens | None,
    settings: ForecastSettings,
) -> History:
    h = history
    dt = time - h.seen
    oldest = time - (settings.window - settings.reading) - 1e-6
    recent = (*[r for r in h.recent if r[0] >= oldest], (time, rate))
    level, trend = advance(h.level, h.trend, rate, dt, settings)
    gain = max(-expm1(-dt / settings.slow_time), 1.0 / (h.readings + 1.0))
    day, season = h.day, h.season
    quarter, quarter_sum, quarter_time = int(time // QUARTER), h.quarter_sum, h.quarter_time
    if quarter != h.quarter:
        if quarter_time >= QUARTER / 2.0:
            day = _with_quarter(day, h.quarter % QUARTERS, quarter_sum / quarter_time, settings)
        quarter_sum = quarter_time = 0.0
    span = min(dt, LONGEST_STEP)
    if day.complete:
        ratio = (rate + EASE) / (of_day(day, time) + EASE)
        season -= expm1(-dt / settings.season_time) * (ratio - season)
    requests, in_sum, out_sum = h.requests, h.in_sum, h.out_sum
    if in_tokens is not None and out_tokens is not None:
        kept, weight = exp(-dt / settings.tokens_time), rate * span
        requests = requests * kept + weight
        in_sum = in_sum * kept + weight * in_tokens
        out_sum = out_sum * kept + weight * out_tokens
    return _with_tracks(
        History(
            time,
            time,
            h.readings + 1,
            sum([r[1] for r in recent]) / len(recent),
            recent,
            level,
            trend,
            h.slow + gain * (rate - h.slow),
            h.tracks,
            day,
            season,
            quarter,
            quarter_sum + rate * span,
            quarter_time + span,
            requests,
            in_sum,
            out_sum,
        ),
        settings,
    )


def _with_quarter(day: Day, place: int, rate: RequestsPerSecond, settings: ForecastSettings) -> Day:
    known = day.rates[place]
    new = rate if known == UNSEEN else known + settings.season_gain * (rate - known)
    rates = (*day.rates[:place], new, *day.rates[place + 1 :])
    return Day(rates, day.complete or UNSEEN not in rates)


def tokens(history: History) -> TokensPerRequest | None:
    """Mean tokens per request, of recent requests; None where none was seen."""
    if not history.requests > 0.0:
        return None
    return TokensPerRequest(history.in_sum / history.requests, history.out_sum / history.requests)


def coverage(history: History) -> tuple[Coverage, ...]:
    """The measured coverage of the plain quantiles, by horizon."""
    return tuple(Coverage(t.horizon, t.checks, t.below) for t in history.tracks)
