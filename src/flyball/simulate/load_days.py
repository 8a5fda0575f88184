"""Expected arrivals over time: what turns the even arrivals of a renewal process into those of a real day.

A `Course` counts the requests that are expected up to a time (its `work`), and says when a number of them
is reached. Arrivals of mean rate 1 in that count are arrivals at the course's rate in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flyball.spec.scenario import Days
from flyball.units import SECONDS_PER_HOUR, RequestsPerSecond, Seconds

FloatArray = NDArray[np.float64]

DAY = 24 * SECONDS_PER_HOUR
CELL = 15.0
"""The rate of a day is constant over so many seconds."""
CELLS = round(DAY / CELL)
NOISE_MEMORY = SECONDS_PER_HOUR
"""In which the correlation of the slow noise falls to 1/e."""
WEEK, WORKDAYS = 7, 5


class Course(Protocol):
    """The expected number of requests over time."""

    def work(self, time: Seconds) -> float:
        """Requests expected up to a time."""
        ...

    def times(self, work: FloatArray) -> FloatArray:
        """When these (n,) numbers of requests are expected, ascending; inf: never."""
        ...


class Steps:
    """A rate that changes in steps: (k,) durations and rates, then `last` for ever."""

    def __init__(
        self, durations: Sequence[Seconds] | FloatArray, rates: Sequence[float] | FloatArray, last: float
    ) -> None:
        self._starts = np.concatenate([[0.0], np.cumsum(np.asarray(durations, dtype=np.float64))])
        self._rates = np.append(np.asarray(rates, dtype=np.float64), last)
        self._done = np.concatenate([[0.0], np.cumsum(np.diff(self._starts) * self._rates[:-1])])

    @property
    def end(self) -> Seconds:
        """Where the last rate begins."""
        return float(self._starts[-1])

    @property
    def total(self) -> float:
        """Requests expected up to the end."""
        return float(self._done[-1])

    def work(self, time: Seconds) -> float:
        """Requests expected up to a time."""
        at = int(np.searchsorted(self._starts, time, side="right")) - 1
        return float(self._done[at] + (time - self._starts[at]) * self._rates[at])

    def times(self, work: FloatArray) -> FloatArray:
        """When these (n,) numbers of requests are expected, ascending; inf: never."""
        # From the left: what is reached at the end of a step belongs to it, also before steps of rate 0.
        at = np.maximum(np.searchsorted(self._done, work, side="left") - 1, 0)
        rates = self._rates[at]
        with np.errstate(divide="ignore", invalid="ignore"):
            times = self._starts[at] + np.where(work > self._done[at], (work - self._done[at]) / rates, 0.0)
        bounded: FloatArray = np.minimum(times, np.append(self._starts[1:], np.inf)[at])
        return bounded


class DayCourse:
    """The course of `Days`, made day by day as far as it is asked for; the same seed, the same days.

    rate(t) = mean x daily cosine x weekend x noise x bursts. The noise is a first-order autoregression on the
    logarithm of the rate; bursts begin as a Poisson process, and the rate without them is so much lower that
    the mean of a working day holds. A burst may reach into the next day, not further.
    """

    def __init__(self, days: Days, seed: np.random.SeedSequence) -> None:
        self._days, self._seed = days, seed
        self._steps: list[tuple[float, float, Steps]] = []  # start, work at the start, the day
        self._noise = 0.0
        self._bursts: tuple[FloatArray, FloatArray, FloatArray] | None = None
        self._first = int(days.start // DAY)

    def work(self, time: Seconds) -> float:
        """Requests expected up to a time."""
        while not self._steps or time >= self._steps[-1][0] + DAY:
            self._extend()
        at = min(int((time - self._steps[0][0]) // DAY), len(self._steps) - 1)
        start, done, day = self._steps[at]
        return done + day.work(max(0.0, time - start))

    def times(self, work: FloatArray) -> FloatArray:
        """When these (n,) numbers of requests are expected, ascending; inf: never."""
        if self._days.rate <= 0:
            return np.full(work.size, np.inf)
        while work.size and (not self._steps or work[-1] > self._steps[-1][1] + self._steps[-1][2].total):
            self._extend()
        times = np.empty(work.size)
        low = 0
        for start, done, day in self._steps:
            if low == work.size:
                break
            high = int(np.searchsorted(work, done + day.total, side="right"))
            times[low:high] = start + day.times(np.minimum(work[low:high] - done, day.total))
            low = max(low, high)
        return times

    def _extend(self) -> None:
        """One more day."""
        count = len(self._steps)
        number = self._first + count
        rng = generator(self._seed, count)
        rates = self._rates(number, rng)
        if not count:  # the run begins in the middle of the first day
            offset = self._days.start - self._first * DAY
            whole = Steps(np.full(CELLS, CELL), rates, 0.0)
            self._steps.append((-offset, -whole.work(offset), whole))
            return
        start, done, day = self._steps[-1]
        self._steps.append((start + DAY, done + day.total, Steps(np.full(CELLS, CELL), rates, 0.0)))

    def _rates(self, number: int, rng: np.random.Generator) -> FloatArray:
        days = self._days
        middle = (np.arange(CELLS) + 0.5) * CELL
        level = days.rate / (1.0 + days.bursts * days.burst_length * (days.burst_size - 1.0) / DAY)
        curve = 1.0 + days.swing * np.cos(2.0 * np.pi * (middle - days.peak) / DAY)
        week = days.weekend if number % WEEK >= WORKDAYS else 1.0
        regular: FloatArray = level * week * np.maximum(curve, 0.0)
        return regular * self._noise_factors(rng) * self._burst_factors(rng)

    def _noise_factors(self, rng: np.random.Generator) -> FloatArray:
        """Lognormal of mean 1, (5760,); goes on from the day before."""
        variance = np.log1p(self._days.noise**2)
        first = not self._steps
        z = rng.standard_normal(CELLS + 1)
        keep = np.exp(-CELL / NOISE_MEMORY)
        start = z[0] if first else self._noise
        # x[i] = keep x[i-1] + sqrt(1 - keep^2) z[i], as one weighted sum: keep^-5760 is about 1e10.
        powers = keep ** np.arange(1.0, CELLS + 1.0)
        x = powers * (start + np.cumsum(np.sqrt(1.0 - keep**2) * z[1:] / powers))
        self._noise = float(x[-1])
        return np.asarray(np.exp(np.sqrt(variance) * x - 0.5 * variance))

    def _burst_factors(self, rng: np.random.Generator) -> FloatArray:
        """1, and more in bursts, (5760,): the mean over each cell."""
        days = self._days
        count = int(rng.poisson(days.bursts))
        starts = rng.uniform(0.0, DAY, count)
        lengths = np.minimum(rng.standard_exponential(count) * days.burst_length, DAY)
        extra = rng.standard_exponential(count) * (days.burst_size - 1.0)
        edges = np.arange(CELLS + 1.0) * CELL
        factors = np.ones(CELLS)
        before = self._bursts
        self._bursts = (starts - DAY, lengths, extra)
        for start, length, more in [
            *zip(*(before or ()), strict=True),
            *zip(starts, lengths, extra, strict=True),
        ]:
            factors += more * np.diff(np.clip(edges, start, start + length)) / CELL
        return factors


def flat(rate: RequestsPerSecond) -> Steps:
    """The same rate for ever."""
    return Steps((), (), rate)


def below(seed: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """A seed of its own for each key; leaves `seed` as it is."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key), pool_size=seed.pool_size)


def generator(seed: np.random.SeedSequence, *key: int) -> np.random.Generator:
    """A generator of its own for each key; leaves `seed` as it is."""
    return np.random.default_rng(below(seed, *key))
