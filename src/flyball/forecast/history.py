"""What is remembered of one series: a few numbers, a day in quarters of an hour, forecasts yet to be checked.

Plain floats and tuples only, so that a history goes through msgpack or JSON and continues to the bit. What
changes seldom (the day, a track) is a part of its own, which an observation hands on untouched.
"""

from __future__ import annotations

import msgspec

from flyball.units import SECONDS_PER_HOUR, RequestsPerSecond, Seconds, Tokens

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""The quantiles that are learned and whose coverage is measured."""
DAY = 24 * SECONDS_PER_HOUR
QUARTERS = 96
QUARTER = DAY / QUARTERS
UNSEEN = -1.0


class ForecastSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The constants of the forecast; times are those of forgetting (to 1/e) unless they say more."""

    window: Seconds = 60.0
    """What a rate means: the mean over so long. Measured rates, forecasts and their errors are all of it."""
    reading: Seconds = 15.0
    """How long one reading counts requests. At `window` or above, each reading stands alone."""
    horizons: tuple[Seconds, ...] = (60.0, 120.0, 300.0, 900.0, 3600.0)
    """At which errors are measured, ascending; between them they are interpolated."""
    level_time: Seconds = 30.0
    trend_time: Seconds = 600.0
    damping_time: Seconds = 600.0
    """A trend is worth at most so many seconds of itself, however far ahead."""
    slow_time: Seconds = 900.0
    season_time: Seconds = 3600.0
    """Of the level in relation to the same time on other days."""
    season_gain: float = 0.3
    """Share of the newest day in a day's profile."""
    tokens_time: Seconds = 1800.0
    spread: float = 0.1
    """Standard deviation of the relative error at a minute ahead, before any was measured."""
    burst_half_life: Seconds = 2700.0
    burst_least: float = 0.15
    """A rise by less than this share is no jump."""
    burst_share: float = 1.0
    """How much of a remembered jump is kept in reserve; 0: nothing."""
    burst_quantile: float = 0.9
    """From this quantile on."""

    def __post_init__(self) -> None:
        for name in ("window", "level_time", "trend_time", "damping_time", "slow_time", "season_time",
                     "tokens_time", "spread", "burst_half_life"):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name):g}; it must be above 0")
        if not self.horizons or self.horizons[0] <= 0 or list(self.horizons) != sorted(set(self.horizons)):
            raise ValueError(f"horizons are {self.horizons}; give at least one, above 0 and ascending")

    @property
    def counted(self) -> Seconds:
        """How long the requests behind a measured rate were counted."""
        return max(self.window, self.reading)


DEFAULTS = ForecastSettings()


class Pending(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A forecast whose time has not come."""

    due: Seconds
    members: tuple[float, ...]
    """Damped trend, slow level, season (`UNSEEN`: there is none yet)."""
    expected: RequestsPerSecond
    scale: RequestsPerSecond
    """What an error is measured in."""
    base: RequestsPerSecond
    """The larger of expected and measured when it was made: a rise above it is a jump."""
    quantiles: tuple[float, ...]
    """At `LEVELS`, above expected, in units of `scale`."""


class Track(msgspec.Struct, frozen=True, gc=False):
    """What was learned from the errors at one horizon."""

    horizon: Seconds
    made: Seconds
    """When the newest pending forecast was made."""
    pending: tuple[Pending, ...]
    quantiles: tuple[float, ...]
    """Of the error at `LEVELS`, in units of its spread."""
    spread: float = 1.0
    """The size of an error, in units of its scale."""
    squares: tuple[float, ...] = (1.0, 1.0, 1.0)
    """Mean squared error of each member, in units of its scale."""
    checks: int = 0
    below: tuple[float, ...] = LEVELS
    """How often the rate stayed at or below the forecast quantile, by `LEVELS`."""
    jump: RequestsPerSecond = 0.0
    jump_share: float = 0.0
    jump_time: Seconds = 0.0
    """The largest jumps, in requests/s and as share of what was expected, as they counted at `jump_time`."""
    season_checks: int = 0
    """Those in which the season took part."""


class Day(msgspec.Struct, frozen=True, gc=False):
    """Mean rates of the quarters of an hour of a day; `UNSEEN` where there was none yet."""

    rates: tuple[float, ...] = (UNSEEN,) * QUARTERS
    complete: bool = False
    """Each quarter was seen at least once."""


class History(msgspec.Struct, frozen=True, gc=False):
    """The state of one series. Times are seconds since midnight of some day, in the clock of the load."""

    time: Seconds
    """Of the last observation, also of one that saw nothing."""
    seen: Seconds
    """Of the last reading."""
    readings: int
    rate: RequestsPerSecond
    """Mean over the last `window`."""
    recent: tuple[tuple[float, float], ...]
    """Time and rate of the readings of that window."""
    level: RequestsPerSecond
    trend: float
    """Requests/s per second."""
    slow: RequestsPerSecond
    tracks: tuple[Track, ...]
    day: Day
    season: float = 1.0
    """Present level over that of the same time on other days."""
    quarter: int = -1
    """Which one, counted from time 0, is being summed up."""
    quarter_sum: float = 0.0
    quarter_time: Seconds = 0.0
    requests: float = 0.0
    in_sum: float = 0.0
    out_sum: float = 0.0
    """Requests, and their tokens, forgotten with `tokens_time`."""

    @property
    def age(self) -> Seconds:
        """How long ago the last reading was, at the last observation."""
        return self.time - self.seen


class TokensPerRequest(msgspec.Struct, frozen=True, gc=False):
    """Mean tokens per request."""

    in_tokens: Tokens
    out_tokens: Tokens


class Coverage(msgspec.Struct, frozen=True, gc=False):
    """How often the measured rate stayed at or below the forecast quantiles `LEVELS` of one horizon."""

    horizon: Seconds
    checks: int
    shares: tuple[float, ...]
