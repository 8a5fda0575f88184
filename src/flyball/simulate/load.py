"""The load: the requests of a stream, made as the plant's time goes on.

A request is a time, its input and output tokens, how many input tokens the prefix cache has, and a number
that chance in the plant may use up. They come in blocks with a generator each, so that they depend on the
stream and the seed, and not on how they are taken.

Arrivals are a renewal process of mean rate 1, bent in time: gamma gaps along the expected number of requests
(`load_days.Course`). A factor on the load bends it further, from the last taken time on.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flyball.simulate.load_days import Course, DayCourse, FloatArray, Steps, below, flat, generator
from flyball.spec.scenario import Days, Lengths, Stages, Steady, Stream, Trace
from flyball.units import Seconds

IntArray: TypeAlias = NDArray[np.int64]

BLOCK = 4096
"""Requests made at once."""
AHEAD: Seconds = 1800.0
"""So far ahead arrivals are put in time at once, as doing it at each taking took most of the taking."""
SLACK = 1e-9
"""By how much, as a share, rounding may move an arrival in the count of expected requests."""
ROUNDING: Seconds = 1e-6
"""More than rounding may move a recorded time."""
_BLOCKS, _DAYS, _COPIES, _SHIFTS = range(4)


class Arrived(NamedTuple):
    """Requests in order of time, (n,) each."""

    times: FloatArray
    in_tokens: IntArray
    out_tokens: IntArray
    cached_tokens: IntArray
    uniforms: FloatArray
    """From 0 up to 1, without 1."""

    def at(self, which: slice | IntArray) -> Arrived:
        """Some of them."""
        return Arrived(
            self.times[which],
            self.in_tokens[which],
            self.out_tokens[which],
            self.cached_tokens[which],
            self.uniforms[which],
        )


class Source(Protocol):
    """The requests of one stream, in time."""

    def take(self, until: Seconds) -> Arrived:
        """All requests before `until` that have not been taken."""
        ...

    def scale(self, factor: float) -> None:
        """From the last taken time on, the stream's own rate times `factor`."""
        ...

    def copy(self) -> Source:
        """Another that goes on in the same way, apart from this one."""
        ...


def source(stream: Stream, seed: np.random.SeedSequence) -> Source:
    """The requests of a stream; the same seed, the same requests."""
    arrivals = stream.arrivals
    match arrivals:
        case Trace():
            return _Replay(arrivals, stream.cached_share, seed)
        case Steady():
            return _Renewal(stream, flat(arrivals.rate), arrivals.cov, seed)
        case Days():
            course = DayCourse(arrivals, below(seed, _DAYS))
            return _Renewal(stream, course, arrivals.cov, seed)
        case Stages():
            durations = [s.duration for s in arrivals.stages]
            rates = [s.rate for s in arrivals.stages]
            if not arrivals.exact:
                return _Renewal(stream, Steps(durations, rates, rates[-1]), arrivals.cov, seed)
            counts = [round(s.rate * s.duration) for s in arrivals.stages]
            rates = [n / d if d > 0 else 0.0 for n, d in zip(counts, durations, strict=True)]
            return _Renewal(stream, Steps(durations, rates, rates[-1]), 1.0, seed, tuple(counts))


class _Renewal:
    """Gamma gaps along a course.

    With `counts`, blocks of just so many requests, whose exponential gaps are scaled so that the last one
    stands at the end of its stage; the last count stays.
    """

    def __init__(
        self,
        stream: Stream,
        course: Course,
        cov: float,
        seed: np.random.SeedSequence,
        counts: tuple[int, ...] | None = None,
    ) -> None:
        self._stream, self._course, self._cov, self._seed, self._counts = stream, course, cov, seed, counts
        self._factor = 1.0
        self._taken = 0.0
        self._since = (0.0, 0.0, 0.0)  # time, work and count of mean-1 arrivals where the factor began
        self._number = 0
        self._end = 0.0  # count at the end of the block
        self._block = _NOTHING  # its times: counts of mean-1 arrivals
        self._times = np.zeros(0)  # times of its first requests: all before the horizon
        self._horizon = 0.0
        self._next = 0  # its first request that is not taken

    def take(self, until: Seconds) -> Arrived:
        """All requests before `until` that have not been taken."""
        if until <= self._taken:
            return _NOTHING
        self._taken = until
        if self._factor <= 0:
            return _NOTHING
        parts: list[Arrived] = []
        while True:
            low = self._next
            high = low + int(self._times[low:].searchsorted(until))
            if high > low:
                taken = slice(low, high)
                parts.append(self._block.at(taken)._replace(times=self._times[taken]))
            self._next = high
            if high < self._times.size:
                return _joined(parts)
            if high < self._block.times.size:
                if until <= self._horizon:
                    return _joined(parts)
                self._bend(until + AHEAD)
            elif not self._make():
                return _joined(parts)

    def scale(self, factor: float) -> None:
        """From the last taken time on, the stream's own rate times `factor`."""
        if factor != self._factor:
            self._since = (self._taken, self._course.work(self._taken), self._count(self._taken))
            self._factor = factor
            self._set(self._block.at(slice(self._next, None)))

    def copy(self) -> _Renewal:
        """Another that goes on in the same way, apart from this one."""
        return copy.copy(self)  # blocks are never written to, and a course only ever grows

    def _count(self, time: Seconds) -> float:
        _, work, count = self._since
        return count + self._factor * (self._course.work(time) - work)

    def _bend(self, horizon: Seconds) -> None:
        """Put the block's next requests in time, those before the horizon at least."""
        reached = self._count(horizon)
        reached += SLACK * (1.0 + abs(reached))
        self._set(self._block.at(slice(self._next, None)))
        counts = self._block.times[: self._block.times.searchsorted(reached, side="right")]
        time, work, count = self._since
        # By rounding, the first after a change of factor could lie before it.
        self._times = np.maximum(self._course.times(work + (counts - count) / self._factor), time)
        self._horizon = horizon

    def _set(self, block: Arrived) -> None:
        """The requests that come next, none of them put in time."""
        self._block, self._times, self._horizon, self._next = block, _NOTHING.times, 0.0, 0

    def _make(self) -> bool:
        """The next block; whether there is one."""
        rng = generator(self._seed, _BLOCKS, self._number)
        size = BLOCK
        if self._counts is not None:
            size = self._counts[min(self._number, len(self._counts) - 1)]
            if not size and self._number >= len(self._counts):
                return False
        counts = self._end + (self._gaps(rng, size) if self._counts is None else _normalised(rng, size))
        lengths = _lengths(self._stream.in_tokens, rng, size)
        block = Arrived(
            counts,
            lengths,
            _lengths(self._stream.out_tokens, rng, size),
            _cached(self._stream.cached_share, lengths, rng),
            rng.random(size),
        )
        self._end = float(counts[-1]) if self._counts is None else self._end + size
        self._number += 1
        self._set(block)
        return True

    def _gaps(self, rng: np.random.Generator, size: int) -> FloatArray:
        """Sums of gaps of mean 1, (size,)."""
        if self._cov <= 0:
            gaps = np.ones(size)
        elif self._cov == 1:
            gaps = rng.standard_exponential(size)
        else:
            gaps = rng.standard_gamma(self._cov**-2, size) * self._cov**2
        if not self._number:
            # The process began long ago: the gap that is under way is one of those chosen by their length.
            under_way = rng.standard_gamma(self._cov**-2 + 1.0) * self._cov**2 if self._cov > 0 else 1.0
            gaps[0] = rng.random() * under_way
        return np.cumsum(gaps)


class _Replay:
    """A trace, in copies: copy k is there with the share clip(scale - k, 0, 1) of its requests.

    The first copy has the recorded times, the others come later by a random time each.
    """

    def __init__(self, trace: Trace, cached_share: float, seed: np.random.SeedSequence) -> None:
        self._trace, self._seed = trace, seed
        self._times = np.asarray(trace.times, dtype=np.float64)
        self._in = np.maximum(np.asarray(trace.in_tokens, dtype=np.int64), 1)
        self._out = np.maximum(np.asarray(trace.out_tokens, dtype=np.int64), 1)
        if trace.cached_tokens:
            self._cached = np.minimum(np.asarray(trace.cached_tokens, dtype=np.int64), self._in - 1)
        else:
            self._cached = _cached(cached_share, self._in, generator(seed, _SHIFTS, 0))
        n = self._times.size
        span = float(self._times[-1]) if n else 0.0
        self._period = span * n / (n - 1) if n > 1 and span > 0 else max(span, 1.0)
        self._factor = 1.0
        self._taken = 0.0
        self._shifts = [0.0]
        self._drawn: dict[tuple[int, int], FloatArray] = {}

    def take(self, until: Seconds) -> Arrived:
        """All requests before `until` that have not been taken."""
        since, self._taken = self._taken, max(self._taken, until)
        if until <= since or not self._times.size:
            return _NOTHING
        copies = self._trace.scale * self._factor
        parts: list[Arrived] = []
        drawn: dict[tuple[int, int], FloatArray] = {}
        for k in range(math.ceil(copies)):
            shift = self._shift(k)
            first = max(0, math.floor((since - shift) / self._period) - 1) if self._trace.repeat else 0
            last = math.floor((until - shift) / self._period) if self._trace.repeat else 0
            for turn in range(first, last + 1):
                begin = shift + turn * self._period
                near = (since - begin - ROUNDING, until - begin + ROUNDING)
                low, high = (int(i) for i in np.searchsorted(self._times, near))
                if low == high and (k, turn) not in self._drawn:
                    continue
                u = drawn[k, turn] = self._draw(k, turn)
                times = begin + self._times[low:high]
                kept = np.flatnonzero((times >= since) & (times < until) & (u[0, low:high] < copies - k))
                recorded = Arrived(self._times, self._in, self._out, self._cached, u[1])
                parts.append(recorded.at(low + kept)._replace(times=times[kept]))
        self._drawn = drawn
        return in_order(parts)

    def scale(self, factor: float) -> None:
        """From the last taken time on, the stream's own rate times `factor`."""
        self._factor = factor

    def copy(self) -> _Replay:
        """Another that goes on in the same way, apart from this one."""
        return copy.copy(self)

    def _shift(self, k: int) -> Seconds:
        while len(self._shifts) <= k:
            self._shifts.append(
                self._trace.jitter * generator(self._seed, _SHIFTS, len(self._shifts)).random()
            )
        return self._shifts[k]

    def _draw(self, k: int, turn: int) -> FloatArray:
        """(2, n) numbers of one copy's requests: which of them are there, and for the plant."""
        found = self._drawn.get((k, turn))
        if found is None:
            found = generator(self._seed, _COPIES, k, turn).random((2, self._times.size))
        return found


_EMPTY = np.zeros(0, dtype=np.int64)
_NOTHING = Arrived(np.zeros(0), _EMPTY, _EMPTY, _EMPTY, np.zeros(0))


def _joined(parts: list[Arrived]) -> Arrived:
    if len(parts) < 2:
        return parts[0] if parts else _NOTHING
    return Arrived(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def in_order(parts: list[Arrived]) -> Arrived:
    """Requests of several sources, each in order of time, as one."""
    joined = _joined(parts)
    return joined if len(parts) < 2 else joined.at(np.argsort(joined.times, kind="stable"))


def _normalised(rng: np.random.Generator, size: int) -> FloatArray:
    """Sums of exponential gaps, scaled so that the last is `size`, (size,)."""
    sums = np.cumsum(rng.standard_exponential(size))
    # A hair less, so that rounding does not move the last request into the next stage.
    return sums * (size * (1.0 - 1e-12) / sums[-1]) if size else sums


def _lengths(law: Lengths, rng: np.random.Generator, size: int) -> IntArray:
    """Tokens, (size,): rounded, and clipped to the law's bounds (not drawn anew)."""
    mean, cov = law.mean, law.cov
    kind = "fixed" if cov <= 0 and law.law != "geometric" else law.law
    match kind:
        case "fixed":
            tokens = np.full(size, mean)
        case "normal":
            tokens = mean * (1.0 + cov * rng.standard_normal(size))
        case "lognormal":
            variance = math.log1p(cov**2)
            tokens = mean * np.exp(math.sqrt(variance) * rng.standard_normal(size) - 0.5 * variance)
        case "gamma":
            tokens = mean * cov**2 * rng.standard_gamma(cov**-2, size)
        case "geometric":
            tokens = rng.geometric(1.0 / max(mean, 1.0), size).astype(np.float64)
    low = max(1.0, law.low)
    return _whole(np.clip(tokens, low, max(low, law.high)))


def _cached(share: float, in_tokens: IntArray, rng: np.random.Generator) -> IntArray:
    """Tokens found in the prefix cache: an even law around the mean share; at least one is computed."""
    width = min(share, 1.0 - share)
    shares = share + width * (2.0 * rng.random(in_tokens.size) - 1.0)
    return np.minimum(_whole(shares * in_tokens), in_tokens - 1)


def _whole(tokens: FloatArray) -> IntArray:
    return np.rint(tokens).astype(np.int64, copy=False)
