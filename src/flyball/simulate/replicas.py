"""The replicas of one server and its requests, in the flat containers that the kernel works on."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flyball.simulate import kernel
from flyball.simulate import layout as k
from flyball.simulate.compiled import load
from flyball.spec.scenario import Engine, Router
from flyball.units import Seconds

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

ROUTERS: dict[Router, int] = {
    "round_robin": k.ROUND_ROBIN,
    "least_loaded": k.LEAST_LOADED,
    "random": k.RANDOM,
}
PIECE = 8192
"""Arrivals handed to the kernel at once."""
ROWS = 4096
"""Finished requests handed back at once, at least."""
ENDLESS = 1 << 60
HAND_ON: Seconds = 5.0
"""Between two times at which the gateway hands on what waits there for places."""
HISTS = k.HISTOGRAMS * k.BUCKETS
"""Numbers in a replica's histograms."""
_REPLICA_INTS = (k.R_PREFILLING, k.R_FIRST, k.R_LAST, k.R_HEAD, k.R_TAIL)


class Over(NamedTuple):
    """Requests that are over, (n,) each. `first` < 0: it was refused, and `finish` is when."""

    arrival: FloatArray
    first: FloatArray
    finish: FloatArray
    in_tokens: IntArray
    out_tokens: IntArray
    replica: IntArray

    def take(self, which: IntArray | NDArray[np.bool_]) -> Over:
        """Some of them."""
        columns: list[Any] = [c[which] for c in self]
        return Over(*columns)


class Counters(NamedTuple):
    """What a replica, or several, have done since the start."""

    prompt_tokens: int
    tokens: int
    finished: int
    in_tokens: int
    """Of the finished."""
    out_tokens: int
    preemptions: int
    queries: int
    hits: int
    """Prompt tokens looked for, and found, in the prefix cache."""
    busy: Seconds
    prefill: Seconds
    ttft_sum: Seconds
    itl_sum: Seconds
    tpot_sum: Seconds
    ttft: IntArray
    """(BUCKETS,) requests by time to first token."""
    itl: IntArray
    """(BUCKETS,) tokens by time since the one before."""
    tpot: IntArray
    """(BUCKETS,) finished requests with several tokens by the mean time between them."""


class Gauges(NamedTuple):
    """What a replica has just now."""

    running: int
    waiting: int
    kv_usage: float


_FIRST_COUNTER, _FIRST_SECONDS = k.R_PROMPT_TOKENS, k.F_BUSY


class Replicas:
    """The replicas of one server by number. Numbers are used again once a replica is gone."""

    def __init__(
        self,
        engines: tuple[Engine, ...],
        router: Router,
        compiled: bool | None = None,
        hold: int | None = None,
    ) -> None:
        """Room for replicas with any of these engines; `hold`: each takes so many requests at most."""
        self._kernel = load(compiled)
        self._flat = self._kernel is kernel
        widest = max((_width(e) for e in engines), default=1)
        self.route: list[int] = []
        """Those that take requests."""
        self.active: list[int] = []
        self._free: list[int] = []
        self._room = 0
        self._slots = 0
        self._over = 0
        self._gone = np.zeros(k.R_FIELDS - _FIRST_COUNTER, np.int64)
        self._gone_seconds = np.zeros(k.F_FIELDS - _FIRST_SECONDS)
        self._gone_hist = np.zeros(HISTS, np.int64)
        rows = max(ROWS, 2 * widest + 2)
        ints, reals = np.int64, np.float64
        self._g = self._new(k.G_FIELDS, ints)
        self._g[k.G_HEAP], self._g[k.G_COUNTS] = widest, max((e.block_size for e in engines), default=1)
        self._g[k.G_FREE] = self._g[k.G_HEAD] = self._g[k.G_TAIL] = -1
        self._g[k.G_ROOM], self._g[k.G_ROUTER] = rows, ROUTERS[router]
        self._g[k.G_HOLD], self._g[k.G_OPEN] = ENDLESS if hold is None else hold, 1
        self._ri, self._rf = self._new(0, ints), self._new(0, reals)
        self._si, self._sf = self._new(0, ints), self._new(0, reals)
        self._heap, self._counts, self._hist = self._new(0, ints), self._new(0, ints), self._new(0, ints)
        self._out_f, self._out_i = self._new(rows * k.O_REALS, reals), self._new(rows * k.O_WHOLES, ints)

    def _state(self) -> k.State:
        return k.State(
            self._ri,
            self._rf,
            self._si,
            self._sf,
            self._heap,
            self._counts,
            self._hist,
            self._out_f,
            self._out_i,
            self._g,
        )

    def _new(self, size: int, kind: type) -> Any:
        return [0 if kind is np.int64 else 0.0] * size if self._flat else np.zeros(size, kind)

    def _longer(self, old: Any, size: int) -> Any:
        if self._flat:
            old.extend([0.0 if old is self._rf or old is self._sf else 0] * (size - len(old)))
            return old
        grown = np.zeros(size, old.dtype)
        grown[: len(old)] = old
        return grown

    def copy(self) -> Replicas:
        """Another that goes on in the same way, apart from this one."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (list, np.ndarray)):
                setattr(other, name, value.copy())
        return other

    # ---- who is there --------------------------------------------------------------------------

    def add(self, engine: Engine, factor: float = 1.0) -> int:
        """The number of a new replica, which computes but takes no requests until it is in `route`."""
        if not self._free:
            old, self._room = self._room, max(4, 2 * self._room)
            g, n = self._g, self._room
            self._ri, self._rf = (
                self._longer(self._ri, n * k.R_FIELDS),
                self._longer(self._rf, n * k.F_FIELDS),
            )
            self._heap = self._longer(self._heap, n * int(g[k.G_HEAP]))
            self._counts = self._longer(self._counts, n * int(g[k.G_COUNTS]))
            self._hist = self._longer(self._hist, n * HISTS)
            self._free = list(range(n - 1, old - 1, -1))
        r = self._free.pop()
        p = r * k.R_FIELDS
        for field in range(k.R_FIELDS):
            self._ri[p + field] = -1 if field in _REPLICA_INTS else 0
        for field in range(k.F_FIELDS):
            self._rf[r * k.F_FIELDS + field] = 0.0
        for at in range(r * int(self._g[k.G_COUNTS]), (r + 1) * int(self._g[k.G_COUNTS])):
            self._counts[at] = 0
        self._rf[r * k.F_FIELDS + k.F_END] = np.inf
        self._ri[p + k.R_BLOCKS] = max(engine.kv_tokens // engine.block_size, 1) if engine.kv_tokens else 0
        self._ri[p + k.R_MAX] = _width(engine)
        self._ri[p + k.R_BUDGET] = engine.batched_tokens
        self._ri[p + k.R_BLOCK] = engine.block_size
        self._times(r, engine, factor)
        self.active.append(r)
        return r

    def slow(self, r: int, engine: Engine, factor: float, now: Seconds) -> None:
        """From the next iteration on, the engine's times are `factor` times as long."""
        self._kernel.cut(r, now, self._state())
        self._times(r, engine, factor)

    def _times(self, r: int, engine: Engine, factor: float) -> None:
        q = r * k.F_FIELDS
        self._rf[q + k.F_ALPHA], self._rf[q + k.F_BETA] = engine.alpha * factor, engine.beta * factor
        self._rf[q + k.F_KAPPA], self._rf[q + k.F_DELTA] = engine.kappa * factor, engine.delta * factor
        self._rf[q + k.F_EPSILON] = engine.epsilon * factor
        self._rf[q + k.F_UNTOUCHED] = 1.0 - engine.experts_per_token / max(engine.experts, 1)

    def remove(self, r: int, now: Seconds) -> FloatArray:
        """Take a replica away; the arrival times of its requests, which are lost, in order of admission."""
        p = r * k.R_FIELDS
        lost = []
        for head in (self._ri[p + k.R_FIRST], self._ri[p + k.R_HEAD]):
            s = int(head)
            while s >= 0:
                after = int(self._si[s * k.S_FIELDS + k.S_NEXT])
                lost.append(float(self._sf[s * k.T_FIELDS + k.T_ARRIVAL]))
                self._si[s * k.S_FIELDS + k.S_NEXT] = self._g[k.G_FREE]
                self._g[k.G_FREE] = s
                s = after
        self._over += len(lost)
        self._gone += self._ints(r)
        self._gone_seconds += self._seconds(r, now)
        hist = slice(r * HISTS, (r + 1) * HISTS)
        self._gone_hist += np.asarray(self._hist[hist], np.int64)
        self._hist[hist] = [0] * HISTS if self._flat else 0
        self.active.remove(r)
        if r in self.route:
            self.route.remove(r)
        self._free.append(r)
        return np.asarray(lost, np.float64)

    # ---- time ----------------------------------------------------------------------------------

    def run(
        self,
        begin: Seconds,
        end: Seconds,
        times: FloatArray,
        in_tokens: IntArray,
        out_tokens: IntArray,
        cached_tokens: IntArray,
        uniforms: FloatArray,
    ) -> list[Over]:
        """Run from `begin` to `end` with arrivals in between, (n,) each; the requests that are over."""
        over: list[Over] = []
        columns: tuple[Any, ...] = (times, in_tokens, out_tokens, cached_tokens, uniforms)
        if self._flat:
            columns = tuple(c.tolist() for c in columns)
            route, active = self.route, self.active
        else:
            route, active = np.asarray(self.route, np.int64), np.asarray(self.active, np.int64)  # type: ignore[assignment]
        arrivals = k.Arrivals(*columns)
        if begin % HAND_ON == 0.0:
            self._g[k.G_OPEN] = 1
        at = 0
        size = len(times)
        while True:
            upto = min(at + PIECE, size)
            self._make_room(upto - at)
            goal = end if upto == size else float(times[upto - 1])
            done = self._kernel.simulate(
                begin,
                goal,
                at,
                upto,
                arrivals,
                route,
                len(route),
                active,
                len(active),
                self._state(),
            )
            if self._g[k.G_OUT]:
                over.append(self._drain())
            if done >= 0:
                at = done
            elif upto == size:
                return over
            else:
                at = upto

    def _make_room(self, arrivals: int) -> None:
        free = self._slots - self.present
        if free >= arrivals:
            return
        old, self._slots = self._slots, max(2 * self._slots, self.present + arrivals, 64)
        if self._slots >= 1 << k.SLOT_BITS:
            raise OverflowError(
                f"{self._slots} requests are in one server; the plant holds {1 << k.SLOT_BITS}"
            )
        self._si = self._longer(self._si, self._slots * k.S_FIELDS)
        self._sf = self._longer(self._sf, self._slots * k.T_FIELDS)
        for s in range(self._slots - 1, old - 1, -1):
            self._si[s * k.S_FIELDS + k.S_NEXT] = self._g[k.G_FREE]
            self._g[k.G_FREE] = s

    def _drain(self) -> Over:
        rows = int(self._g[k.G_OUT])
        self._g[k.G_OUT] = 0
        self._over += rows
        reals = np.array(self._out_f[: rows * k.O_REALS]).reshape(rows, k.O_REALS)
        wholes = np.array(self._out_i[: rows * k.O_WHOLES], np.int64).reshape(rows, k.O_WHOLES)
        return Over(*reals.T, *wholes.T)

    # ---- what can be read ----------------------------------------------------------------------

    @property
    def arrived(self) -> int:
        """Requests since the start, also those that were refused or wait at the gateway."""
        return int(self._g[k.G_ARRIVED])

    @property
    def present(self) -> int:
        """Requests that are in the server now."""
        return self.arrived - self._over

    @property
    def queued(self) -> int:
        """Requests at the gateway, which no replica takes."""
        return int(self._g[k.G_QUEUED])

    def load(self, r: int) -> int:
        """Requests that a replica has, running and waiting."""
        return int(self._ri[r * k.R_FIELDS + k.R_RUNNING] + self._ri[r * k.R_FIELDS + k.R_WAITING])

    def gauges(self, r: int) -> Gauges:
        """What a replica has now, at the time to which it was run."""
        p = r * k.R_FIELDS
        f = self._part(self._ri, p, _FIRST_COUNTER)
        running, blocks, usage = f[k.R_RUNNING], f[k.R_BLOCKS], 0.0
        if blocks and running:
            size = f[k.R_BLOCK]
            counts = self._part(self._counts, r * int(self._g[k.G_COUNTS]), size)
            begun = f[k.R_DONE] + 1
            used = f[k.R_USED] + f[k.R_DECODING] * (begun // size)
            for i in range(begun % size):
                used += counts[(-f[k.R_ITERATION] - i) % size]
            usage = used / blocks
        return Gauges(running, f[k.R_WAITING], usage)

    def counters(self, r: int, now: Seconds) -> Counters:
        """What a replica has done until now, the time to which it was run."""
        hist = np.array(self._hist[r * HISTS : (r + 1) * HISTS], np.int64)
        return _counters(self._ints(r), self._seconds(r, now), hist)

    def totals(self, now: Seconds) -> Counters:
        """What all replicas have done, also those that are gone."""
        ints, seconds, hist = self._gone.copy(), self._gone_seconds.copy(), self._gone_hist.copy()
        for r in self.active:
            ints += self._ints(r)
            seconds += self._seconds(r, now)
            hist += self._hist[r * HISTS : (r + 1) * HISTS]
        return _counters(ints, seconds, hist)

    def busy(self, r: int, now: Seconds) -> tuple[Seconds, Seconds]:
        """Seconds in which a replica has computed until now, and those of them that prompts took."""
        seconds = self._seconds(r, now)
        return float(seconds[0]), float(seconds[1])

    def tokens(self, r: int) -> int:
        """Output tokens that a replica has given until now."""
        return int(self._ri[r * k.R_FIELDS + k.R_TOKENS])

    def _ints(self, r: int) -> IntArray:
        p = r * k.R_FIELDS
        return np.asarray(self._ri[p + _FIRST_COUNTER : p + k.R_FIELDS], np.int64)

    def _seconds(self, r: int, now: Seconds) -> FloatArray:
        p = r * k.R_FIELDS
        f = self._part(self._rf, r * k.F_FIELDS, k.F_FIELDS)
        if self._ri[p + k.R_RUNNING]:
            spent = max(now - f[k.F_START], 0.0)
            f[k.F_BUSY] += spent
            whole = f[k.F_END] - f[k.F_START]
            if whole > 0:
                f[k.F_PREFILL] += min(spent / whole, 1.0) * (f[k.F_DELTA] * int(self._ri[p + k.R_COMPUTED]))
        return np.array(f[_FIRST_SECONDS:])

    def _part(self, numbers: Any, begin: int, size: int) -> list[Any]:
        """Some of a container's numbers, as Python's own."""
        part = numbers[begin : begin + size]
        return part if self._flat else part.tolist()  # type: ignore[no-any-return]


def _width(engine: Engine) -> int:
    """Sequences that run at once: each needs a token of every iteration."""
    return max(min(engine.max_sequences, engine.batched_tokens), 1)


def _counters(ints: IntArray, seconds: FloatArray, hist: IntArray) -> Counters:
    figures: list[Any] = [*ints.tolist(), *seconds.tolist(), *hist.reshape(k.HISTOGRAMS, k.BUCKETS)]
    return Counters(*figures)
