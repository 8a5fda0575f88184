"""The requests that are sent for one workload, as what its labels say changes."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from flyball.sandbox.engines.pods import Workload
from flyball.simulate.load import Arrived, Source, source
from flyball.simulate.load_days import below
from flyball.spec.scenario import Days, Steady, Stream
from flyball.units import Seconds


class Offer:
    """The requests of one workload. The same seed and the same changes, the same requests."""

    def __init__(self, seed: np.random.SeedSequence) -> None:
        self._seed = seed
        self._begun = 0
        self._stream: Stream | None = None
        self._source: Source | None = None
        self._begin: Seconds = 0.0

    def follow(self, workload: Workload, now: Seconds) -> None:
        """From now on send what a workload asks for.

        A change of rate alone goes on with the same requests. What else is new begins now, but for the hours
        of a day, which are those of the engines' clock.
        """
        asked = workload.offered()
        stream, factor = (None, 0.0) if asked is None else _of_rate_1(asked)
        if stream is not self._stream and stream != self._stream:  # a trace takes long to compare
            self._stream, self._source = stream, None
            if stream is not None:
                self._source = source(stream, below(self._seed, self._begun))
                self._begun += 1
                self._begin = now
                if isinstance(stream.arrivals, Days):
                    self._begin = 0.0
                    self._source.scale(0.0)
                    self._source.take(now)
        if self._source is not None:
            self._source.scale(factor)

    def take(self, until: Seconds) -> Arrived | None:
        """All requests before `until` that have not been taken; None: there are none."""
        if self._source is None:
            return None
        arrived = self._source.take(until - self._begin)
        return arrived._replace(times=arrived.times + self._begin) if arrived.times.size else None


def _of_rate_1(stream: Stream) -> tuple[Stream, float]:
    """A stream without its rate, and the rate, where it has one."""
    arrivals = stream.arrivals
    if not isinstance(arrivals, Steady | Days):
        return stream, 1.0
    return replace(stream, arrivals=replace(arrivals, rate=1.0)), arrivals.rate
