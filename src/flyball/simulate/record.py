"""What came of it: every finished request, and what it cost. For judging; no sensor sees this."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np

from flyball.simulate.replicas import FloatArray, IntArray, Over
from flyball.units import Seconds


class Finished(NamedTuple):
    """Requests of one server that were served, (n,) each, in order of finish, then of arrival."""

    arrival: FloatArray
    finish: FloatArray
    ttft: FloatArray
    tpot: FloatArray
    """Seconds per output token after the first; 0 where there is one only."""
    in_tokens: IntArray
    out_tokens: IntArray


_REALS, _WHOLES = np.zeros(0), np.zeros(0, np.int64)
_NONE = Finished(_REALS, _REALS, _REALS, _REALS, _WHOLES, _WHOLES)


class Held(NamedTuple):
    """What a server has used since the start."""

    held: Seconds = 0.0
    """Replica-seconds: pending, ready and draining."""
    asked: Seconds = 0.0
    """Replica-seconds: pending and ready."""
    cards: Seconds = 0.0
    """Card-seconds, from the placing on."""
    dollars: float = 0.0
    joules: float = 0.0

    @property
    def gpu_hours(self) -> float:
        """Card-hours, from the placing on."""
        return self.cards / 3600.0


class Record:
    """The requests of one server that are over. With `keep`, only those of so many last seconds."""

    def __init__(self, keep: Seconds | None = None) -> None:
        self._keep = keep
        self._finished = _NONE
        # Taken since, with their time. Python's garbage collector passes over plain tuples of arrays, which
        # become many.
        self._parts: deque[tuple[Any, ...]] = deque()
        self._lost: deque[tuple[Seconds, FloatArray]] = deque()
        self.served = 0
        """Requests since the start."""
        self.lost = 0
        self.moments: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
        """Sums since the start: input tokens, their squares, output tokens, their squares."""

    def copy(self) -> Record:
        """Another that goes on apart from this one."""
        other = Record(self._keep)
        other._finished, other._parts, other._lost = self._finished, self._parts.copy(), self._lost.copy()
        other.served, other.lost, other.moments = self.served, self.lost, self.moments
        return other

    def add(self, over: Over, now: Seconds) -> None:
        """Take requests that are over; refused ones count as lost."""
        refused = over.first < 0
        if refused.any():
            self.lose(over.arrival[refused], now)
            over = over.take(~refused)
        if over.arrival.size:
            self._parts.append((now, *over))
            self.served += over.arrival.size
            tokens, made = over.in_tokens.astype(float), over.out_tokens.astype(float)
            sums = (tokens.sum(), tokens @ tokens, made.sum(), made @ made)
            a, aa, b, bb = (before + float(new) for before, new in zip(self.moments, sums, strict=True))
            self.moments = (a, aa, b, bb)
        if self._keep is not None:
            while self._parts and self._parts[0][0] < now - self._keep:
                self._parts.popleft()
            while self._lost and self._lost[0][0] < now - self._keep:
                self._lost.popleft()

    def lose(self, arrivals: FloatArray, now: Seconds) -> None:
        """Take the arrival times of requests that are lost."""
        if arrivals.size:
            self._lost.append((now, arrivals))
            self.lost += arrivals.size

    @property
    def finished(self) -> Finished:
        """All that are kept."""
        if self._parts:
            now = self._parts[-1][0]
            columns: list[Any] = [np.concatenate(c) for c in list(zip(*self._parts, strict=True))[1:]]
            new = Over(*columns)
            tpot = (new.finish - new.first) / np.maximum(new.out_tokens - 1, 1)
            more = Finished(
                new.arrival, new.finish, new.first - new.arrival, tpot, new.in_tokens, new.out_tokens
            )
            columns = [np.concatenate(c) for c in zip(self._finished, more, strict=True)]
            order = np.lexsort(columns[:2])
            if self._keep is not None:
                order = order[columns[1][order] >= now - self._keep]
            self._finished = Finished(*(c[order] for c in columns))
            self._parts.clear()
        return self._finished

    @property
    def lost_arrivals(self) -> FloatArray:
        """Arrival times of all lost requests that are kept."""
        return np.sort(np.concatenate([a for _, a in self._lost])) if self._lost else np.zeros(0)
