"""Guards on one server's number of replicas on one accelerator. Each returns the number that it allows."""

from __future__ import annotations

import math

from flyball.units import RequestsPerSecond, Seconds

LEAST_UP = 4
LEAST_DOWN = 1
SIGMAS, COUNTED = 2.0, 60.0
"""Seconds over which a sensor counts requests, and how far a Poisson count may be off by chance."""
MOST_FLAPS = 3
Wanted = tuple[tuple[Seconds, int], ...]


def remember(wanted: Wanted, now: Seconds, count: int, window: Seconds) -> Wanted:
    """What was wanted within the window, oldest first, with the present number."""
    return (*((t, n) for t, n in wanted if now - window <= t < now), (now, count))


def stabilised(wanted: Wanted, have: int) -> int:
    """No fewer than were wanted at any time within the window, as the HPA has it; no more than there are."""
    return min(have, max((n for _, n in wanted), default=have))


def covers(wanted: Wanted, now: Seconds, window: Seconds, period: Seconds) -> bool:
    """Whether what is remembered reaches back over the window, give or take a cycle."""
    return bool(wanted) and now - wanted[0][0] >= window - period - 1e-9


def has_fallen(demand: RequestsPerSecond, grew_for: RequestsPerSecond, fallen: float) -> bool:
    """Whether the load is lower by a share of what it was, and by more than chance in counting requests."""
    return demand <= (1.0 - fallen) * grew_for - SIGMAS * math.sqrt(max(grew_for, 0.0) / COUNTED)


def patience(reversal: Seconds, flaps: int) -> Seconds:
    """How long after growing it does not shrink: twice as long for each time that this was undone at once."""
    return reversal * 2.0 ** min(flaps, MOST_FLAPS)


def step(have: int, want: int, up: float, down: float) -> int:
    """At most a share of what there is at once; up at least four, down at least one."""
    if want > have:
        return min(want, have + max(LEAST_UP, math.floor(up * have)))
    return max(want, have - max(LEAST_DOWN, math.floor(down * have)))
