"""How long who has given something for watts waits for it: twice as long each time that it was too early."""

from __future__ import annotations

import msgspec

from flyball.units import Seconds

REGROW: Seconds = 200.0
"""From what had to go to what may come back."""
LONGEST: Seconds = 2400.0
"""The same at most."""


class Shed(msgspec.Struct, frozen=True, gc=False):
    """That a workload gave something for watts."""

    time: Seconds
    """Last, since 1970."""
    wait: Seconds
    """Until it may come back."""

    def waits(self, now: Seconds) -> bool:
        """Whether it is too early for it."""
        return now - self.time < self.wait

    def counts(self, now: Seconds) -> bool:
        """Whether who gives again now came back too early."""
        return now - self.time < self.wait + LONGEST


def after(last: Shed | None, gives: bool, now: Seconds) -> Shed | None:
    """What is remembered of who `gives` now, or not; it waits longer where it had come back since."""
    if not gives:
        return last if last is not None and last.counts(now) else None
    if last is None:
        return Shed(now, REGROW)
    return Shed(now, last.wait if last.waits(now) else min(2.0 * last.wait, LONGEST))
