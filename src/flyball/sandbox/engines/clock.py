"""The engines' clock: simulated seconds, so many to a second of the wall's."""

from __future__ import annotations

import time

from flyball.units import Seconds


class EngineClock:
    """0 at the start; goes `speed` times as fast as the wall's clock."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._begin, self._wall = time.monotonic(), time.time()

    def now(self) -> Seconds:
        """Simulated seconds since the start."""
        return (time.monotonic() - self._begin) * self.speed

    def of(self, unix: float) -> Seconds:
        """The simulated time of a moment in Unix time; before the start it is negative."""
        return (unix - self._wall) * self.speed
