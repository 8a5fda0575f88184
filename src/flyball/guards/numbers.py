"""Guards on one server's number of replicas on one accelerator. Each returns the number that it allows."""

from __future__ import annotations

import math

from flyball.units import RequestsPerSecond, Seconds

LEAST_UP = 4
LEAST_DOWN = 1
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


def reversed_too_soon(
    now: Seconds,
    grew_at: Seconds | None,
    grew_for: RequestsPerSecond,
    demand: RequestsPerSecond,
    reversal: Seconds,
    fallen: float,
) -> bool:
    """Whether it grew a short while ago, for a load that is still about as high."""
    return grew_at is not None and now - grew_at < reversal and demand > (1.0 - fallen) * grew_for


def step(have: int, want: int, up: float, down: float) -> int:
    """At most a share of what there is at once; up at least four, down at least one."""
    if want > have:
        return min(want, have + max(LEAST_UP, math.floor(up * have)))
    return max(want, have - max(LEAST_DOWN, math.floor(down * have)))
