"""What a domain draws, divided: what governed pods draw of it, and the rest, without the readings' noise.

    watts = gain x governed + rest

`governed` are the pods by their models. Models are off by a share, which would be taken for others' watts and
stay where pods go; so from one steady state to the next, where what is governed changed by much, the gain is
learned from what the draw did. The rest is the median of what was lately left over.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

import msgspec

from flyball.units import Seconds, Watts

LATELY: Seconds = 120.0
"""Readings are never so old; what was read is remembered for so long."""
LEVEL: Seconds = 60.0
"""Over which the draw is taken together, to be without its noise."""
BURSTS: Seconds = 600.0
"""What nobody governs comes back: nothing grows into watts that it drew within this time."""
STEADY = 0.05
"""Share of its draw by which what is governed may move, to tell the rest from it."""
APART = 0.15
"""Share by which it has to be another, to learn from."""
FORGET: Seconds = 1800.0
"""A steady state that is older teaches nothing: others have changed, too."""
TRUST = 0.7
"""Of one such change."""
LEAST, MOST = 0.7, 1.5
"""Of the gain."""


class Read(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A reading beside what was governed when it was taken."""

    time: Seconds
    watts: Watts
    governed: Watts

    def rest(self, gain: float) -> Watts:
        """What is not governed."""
        return self.watts - gain * self.governed


class Balance(msgspec.Struct, frozen=True):
    """What is remembered of one domain."""

    gain: float = 1.0
    lately: tuple[Read, ...] = ()
    """Oldest first."""
    others: tuple[Read, ...] = ()
    """Where the rest was more than ever since, oldest first."""
    steady: Read | None = None
    """The last steady state."""

    @property
    def level(self) -> Watts | None:
        """The draw without its noise; None: it was not read lately."""
        if not self.lately:
            return None
        return fmean(one.watts for one in self.lately if one.time > self.lately[-1].time - LEVEL)

    @property
    def rest(self) -> Watts:
        """What is not governed, without its noise."""
        return median(one.rest(self.gain) for one in self.lately) if self.lately else 0.0

    @property
    def latest(self) -> Watts:
        """The same of the last three readings."""
        return median(one.rest(self.gain) for one in self.lately[-3:]) if self.lately else 0.0

    @property
    def most(self) -> Watts:
        """The same at its highest within BURSTS, as far as that could be told."""
        return max((one.rest(self.gain) for one in self.others), default=0.0)

    @property
    def last(self) -> Watts | None:
        """The same as it was last known; None: that was too long ago."""
        return self.latest if self.lately else self.most if self.others else None


def balanced(before: Balance, now: Seconds, watts: Watts | None, governed: Watts) -> Balance:
    """After a reading, and what was governed by the models when it was taken. None: it is not known."""
    lately = tuple(one for one in before.lately if now - LATELY < one.time < now)
    others = tuple(one for one in before.others if now - BURSTS < one.time < now)
    if watts is None:
        return Balance(before.gain, lately, others, before.steady)
    lately = (*lately, Read(now, watts, governed))
    steady, gain = before.steady, before.gain
    if _is_steady(lately):
        here = Read(now, fmean(r.watts for r in lately), fmean(r.governed for r in lately))
        if lately[-1].time - lately[0].time >= LEVEL:
            steady, gain = _learned(steady, here, gain)
        rest = median(one.rest(gain) for one in lately)
        others = (
            *(one for one in others if one.rest(gain) > rest),
            Read(now, rest + gain * governed, governed),
        )
    return Balance(gain, lately, others, steady)


def _is_steady(lately: Sequence[Read]) -> bool:
    """While replicas come and go, what is read of them is of another instant than what is known of them."""
    drew = [one.governed for one in lately]
    return max(drew) - min(drew) <= STEADY * max(drew)


def _learned(before: Read | None, here: Read, gain: float) -> tuple[Read, float]:
    if before is None or here.time - before.time > FORGET:
        return here, gain
    change = here.governed - before.governed
    if abs(change) <= APART * max(here.governed, before.governed):
        return before, gain
    seen = min(max((here.watts - before.watts) / change, LEAST), MOST)
    return here, gain + TRUST * (seen - gain)
