"""A request that is sent again where the API server is busy or away, as long as there is time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from flyball.adapters.kubernetes.errors import ApiError, Unreachable
from flyball.units import Seconds

FIRST_PAUSE: Seconds = 0.25

T = TypeVar("T")


def again(
    call: Callable[[], T],
    until: Seconds,
    now: Callable[[], Seconds] = time.monotonic,
    sleep: Callable[[Seconds], None] = time.sleep,
) -> T:
    """What a call gives; none is begun again after `until`. Pauses double, or are as the server asks."""
    pause = FIRST_PAUSE
    while True:
        try:
            return call()
        except (ApiError, Unreachable) as error:
            if not error.passing:
                raise
            if isinstance(error, ApiError):
                pause = error.retry_after or pause
            if now() + pause >= until:
                raise
        sleep(pause)
        pause *= 2
