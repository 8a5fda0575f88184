"""S(tau): how far the draw rises within the loop's own latency, and the threshold that follows.

    threshold = C (1 - e) - S(tau),    to shed at least  P + S(tau) - C (1 - e)

C the budget, e the sensors' error, tau = scrape + age + compute + actuate. S is an upper quantile of the
rises within tau seen in the last seven days, in logarithmic bins whose upper edges count (at most 5 % too
much). It is never below a share of the budget nor, for quantiles that are that rare, the largest of the last
hour. At the start it is not below a share that is known from conversation traffic; that share goes as an hour
is seen.

Source: POLCA, ASPLOS 2024, for the size of rises; the quantile is learned here, since bursts of other
traffic rise twice as far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from flyball.spec.power import DAY
from flyball.units import SECONDS_PER_HOUR, Seconds, Watts

DAYS = 7
STEP = 1.05
LEAST = 1.0
"""Watts; smaller rises are in the first bin."""
START = 0.12
"""Share of the budget that is kept free before anything was seen: POLCA's largest rise in 40 s, 11.8 %."""
LEARNED: Seconds = SECONDS_PER_HOUR
RECENT: Seconds = SECONDS_PER_HOUR
RARE = 0.995
"""From this quantile on the largest rise of the last hour counts, whatever is said of days."""


class Rises(msgspec.Struct, frozen=True):
    """Rises of one series within `tau`."""

    tau: Seconds
    seen: Seconds = 0.0
    """Time over which they were seen, gaps left out."""
    samples: tuple[tuple[Seconds, Watts], ...] = ()
    """Levels of the last tau that are lower than all after them, oldest first."""
    days: tuple[tuple[int, dict[int, int]], ...] = ()
    """By day: how many rises in which bin, oldest first."""
    largest: tuple[Seconds, Watts] | None = None
    """Of the last hour or longer ago."""
    time: Seconds | None = None


def learned(
    before: Rises, now: Seconds, watts: Watts | None, ours: Watts = 0.0, level: Watts | None = None
) -> Rises:
    """The rises after a reading: the draw now above its lowest level in the last tau. None teaches nothing.

    `ours`: of it what replicas that began lately may draw; they are counted where they are decided. `level`:
    the draw without its noise, which thresholds are held against; None: the reading itself.
    """
    if watts is None or (before.time is not None and now <= before.time):
        return before
    gap = now - before.time if before.time is not None else 0.0
    fresh = gap <= max(4.0 * before.tau, 120.0)
    # One reading more than tau: between two of them nothing was seen.
    recent = tuple(s for s in before.samples if s[0] > now - before.tau - gap) if fresh else ()
    recent = recent or before.samples[-1:] if fresh else ()
    rise = max(watts - min((w for _, w in recent), default=watts) - ours, 0.0)
    level = watts if level is None else level
    kept = tuple(s for s in recent if s[1] < level)
    largest = before.largest
    if rise > 0 and (largest is None or rise >= largest[1] or now - largest[0] > RECENT):
        largest = (now, rise)
    return Rises(
        tau=before.tau,
        seen=before.seen + (gap if fresh else 0.0),
        samples=(*kept, (now, level)),
        days=_counted(before.days, int(now // DAY), rise),
        largest=largest,
        time=now,
    )


def rise(rises: Rises, quantile: float, budget: Watts, floor: float = 0.03) -> Watts:
    """S(tau): the quantile as learned, and what it is never below. Watts."""
    least = floor * budget
    least = max(least, START * budget * (1.0 - rises.seen / LEARNED))
    if (
        quantile >= RARE
        and rises.largest
        and rises.time is not None
        and rises.time - rises.largest[0] <= RECENT
    ):
        least = max(least, rises.largest[1])
    return max(least, quantile_of(rises, quantile))


def quantile_of(rises: Rises, quantile: float) -> Watts:
    """An upper quantile of the rises, at the upper edge of its bin; 0 where none was seen."""
    total: dict[int, int] = {}
    for _, bins in rises.days:
        for place, count in bins.items():
            total[place] = total.get(place, 0) + count
    left = (1.0 - quantile) * sum(total.values())
    above = 0
    for place in sorted(total, reverse=True):
        above += total[place]
        if above > left:
            return _edge(place)
    return 0.0


def threshold(budget: Watts, error: float, rising: Watts) -> Watts:
    """The draw above which something must go: C (1 - e) - S(tau), never below 0."""
    return max(budget * (1.0 - error) - rising, 0.0)


def to_shed(watts: Watts, budget: Watts, error: float, rising: Watts) -> Watts:
    """What must go at least: P + S(tau) - C (1 - e), never below 0."""
    return max(watts + rising - budget * (1.0 - error), 0.0)


def _counted(
    days: tuple[tuple[int, dict[int, int]], ...], day: int, rising: Watts
) -> tuple[tuple[int, dict[int, int]], ...]:
    kept = tuple(d for d in days if day - DAYS < d[0] < day)
    today: Mapping[int, int] = days[-1][1] if days and days[-1][0] == day else {}
    place = _bin(rising)
    return (*kept, (day, {**today, place: today.get(place, 0) + 1}))


def _bin(rising: Watts) -> int:
    return 0 if rising <= 0.0 else 1 + max(math.ceil(math.log(rising / LEAST) / math.log(STEP) - 1e-9), 0)


def _edge(place: int) -> Watts:
    return 0.0 if place == 0 else LEAST * STEP ** (place - 1)
