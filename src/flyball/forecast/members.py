"""The three forecasts that are combined: a damped trend, a slow level, and the time of day.

Damped trend (Holt 1957; Gardner and McKenzie 1985), for readings y at irregular times. With the damping
time T and D(x) = T (1 - exp(-x/T)), the worth of a trend after x seconds, a reading dt after the last gives

    forecast  l + b D(dt)
    level     l' = forecast + (1 - exp(-dt/level_time)) (y - forecast)
    trend     b' = e b + (1 - exp(-dt/trend_time)) ((l' - l) e / D(dt) - e b),    e = exp(-dt/T)

and h ahead l + b D(h). At regular spacing this is Holt's damped method with phi = e; its trend per step is
b D(dt) / e.

Slow level: an exponential mean over `slow_time`; the plain mean while the history is shorter.

Season (after Winters 1960, multiplicative): the rate of a day's quarters, linear between their middles, times
the present level in relation to it. Forgetting is by days for the former, by `season_time` for the latter.

The weights are the inverse squares of the mean squared errors at the horizon (after Bates and Granger 1969,
with a power since the errors of the three are alike).
"""

from __future__ import annotations

from math import exp, expm1

from flyball.forecast.history import DAY, QUARTER, QUARTERS, Day, ForecastSettings, History
from flyball.units import RequestsPerSecond, Seconds

EASE = 5.0 / QUARTER
"""Five requests a quarter, added on both sides of the ratio to a day: counts that small say nothing."""
LEAST_SQUARE = 1e-3


def advance(
    level: float, trend: float, rate: float, dt: Seconds, settings: ForecastSettings
) -> tuple[float, float]:
    """Level and trend after a reading `dt` seconds after the last one."""
    damping = settings.damping_time
    e = exp(-dt / damping)
    worth = -damping * expm1(-dt / damping)
    ahead = level + trend * worth
    new = ahead - expm1(-dt / settings.level_time) * (rate - ahead)
    damped = e * trend
    return new, damped - expm1(-dt / settings.trend_time) * ((new - level) * e / worth - damped)


def of_day(day: Day, time: Seconds) -> RequestsPerSecond:
    """The rate at this time of a complete day."""
    place = (time % DAY) / QUARTER - 0.5
    first = int(place // 1.0)
    share = place - first
    rates = day.rates
    return rates[first % QUARTERS] * (1.0 - share) + rates[(first + 1) % QUARTERS] * share


def members(history: History, ahead: Seconds, settings: ForecastSettings) -> tuple[float, ...]:
    """The forecasts `ahead` seconds after the last reading: two, or three where a day is known."""
    damping = settings.damping_time
    trend = history.level - history.trend * damping * expm1(-ahead / damping)
    if trend < 0.0:
        trend = 0.0
    if not history.day.complete:
        return trend, history.slow
    season = history.season * (of_day(history.day, history.seen + ahead) + EASE) - EASE
    return trend, history.slow, season if season > 0.0 else 0.0


def combined(values: tuple[float, ...], squares: tuple[float, ...]) -> RequestsPerSecond:
    """The weighted mean of the members."""
    total = weights = 0.0
    for value, square in zip(values, squares, strict=False):
        weight = 1.0 / (square + LEAST_SQUARE) ** 2
        total += weight * value
        weights += weight
    return total / weights
