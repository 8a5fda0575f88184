"""What a scrape shows of the plant: as coarse, as late and as noisy as the real one.

Counters are scraped at fixed times, as Prometheus does; a reading is over the difference between the newest
scrape and the one a window before. Percentiles are Prometheus' histogram_quantile of vLLM's buckets, so they
are as coarse as those. `itl` is of requests, as targets are: vLLM's request_time_per_output_token_seconds,
which has (finish - first token) / (output tokens - 1) of each finished request with several. A single gap
between tokens says something else, as it may hold others' prompts.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from flyball.simulate import histogram
from flyball.simulate.replicas import IntArray
from flyball.spec.scenario import Measuring
from flyball.spec.snapshot import Observation, Quantile, Reading, Scrape, Variant
from flyball.units import Seconds, Watts

if TYPE_CHECKING:
    from flyball.simulate.serving import Serving

PERIOD: Seconds = 15.0
"""Between two scrapes, or a quarter of the window where that is less."""
FEWEST = 10
"""Finished requests from which on their spread says something."""
_SHARES: tuple[tuple[Quantile, float], ...] = (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99))


class Shot(NamedTuple):
    """One server's metrics at one scrape; counters are since the start."""

    time: Seconds
    arrived: int
    prompt_tokens: int
    finished: int
    out_tokens: int
    queries: int
    hits: int
    ttft_sum: Seconds
    tpot_sum: Seconds
    ttft: IntArray
    tpot: IntArray
    """Cumulative counts by vLLM's bounds, and all."""
    running: int
    waiting: int
    kv_usage: float
    cold_start: Seconds | None
    served: int
    moments: tuple[float, float, float, float]
    """Of the finished: sums of input tokens, their squares, output tokens, their squares."""


class Sensor:
    """The scrapes of a plant, and what is read from them."""

    def __init__(self, measuring: Measuring, rng: np.random.Generator) -> None:
        self._measuring = measuring
        self._rng = rng
        self._period = min(PERIOD, measuring.window / 4.0)
        self._scrapes: deque[dict[str, Shot]] = deque()
        self._count = 0
        self._troubles: list[tuple[str, str, Seconds, Seconds]] = []

    def copy(self) -> Sensor:
        """Another that goes on in the same way, apart from this one."""
        other = copy.copy(self)
        other._rng = copy.deepcopy(self._rng)
        other._scrapes, other._troubles = self._scrapes.copy(), list(self._troubles)
        return other

    @property
    def due(self) -> Seconds:
        """When the next scrape is."""
        return self._count * self._period

    def scrape(self, now: Seconds, servers: Mapping[str, Serving]) -> None:
        """Take the scrape that is due."""
        self._scrapes.append(self.shots(now, servers))
        self._count += 1
        stale = max((now - since for _, _, since, until in self._troubles if now < until), default=0.0)
        oldest = now - self._measuring.window - self._measuring.delay - stale - 2 * self._period
        while len(self._scrapes) > 1 and _time(self._scrapes[1]) <= oldest:
            self._scrapes.popleft()

    def trouble(self, what: Literal["blind", "stale"], name: str, now: Seconds, length: Seconds) -> None:
        """A server (all: "") is blind or stale for so long from now on."""
        self._troubles = [t for t in self._troubles if t[3] > now]
        self._troubles.append((what, name, now, now + length))

    def shots(self, now: Seconds, servers: Mapping[str, Serving]) -> dict[str, Shot]:
        """All metrics at this instant."""
        if self._scrapes and _time(self._scrapes[-1]) == now:
            return self._scrapes[-1]
        return {name: _shot(now, serving) for name, serving in servers.items()}

    def observe(
        self,
        now: Seconds,
        latest: dict[str, Shot],
        variants: Mapping[str, tuple[Variant, ...]],
        capacity: dict[str, int],
        watts: Watts | None,
    ) -> Scrape:
        """The scrape that is shown now. Which replicas there are and the cards are known at once."""
        m = self._measuring
        notes = []
        servers = []
        for name in sorted(latest):
            seen_at = now - m.delay
            blind = False
            for what, whom, since, until in self._troubles:
                if whom in ("", name) and since <= now < until:
                    blind = blind or what == "blind"
                    seen_at = min(seen_at, since) if what == "stale" else seen_at
            history = [s[name] for s in self._scrapes if s[name].time <= seen_at]
            if seen_at >= now:
                history.append(latest[name])
            if blind or not history:
                notes.append(f"no metrics of '{name}' could be read")
                servers.append(Observation(name, variants[name]))
                continue
            last = history[-1]
            before = [s for s in history[:-1] if s.time <= last.time - m.window + 1e-9]
            first = before[-1] if before else history[0]
            servers.append(self._read(name, variants[name], first, last, now - last.time))
        drawn = None if watts is None else self._reading(watts, 0.0)
        return Scrape(now, tuple(servers), capacity, drawn, tuple(notes))

    def _read(self, name: str, variants: tuple[Variant, ...], a: Shot, b: Shot, age: Seconds) -> Observation:
        def reading(value: float | None, bias: float = 1.0, most: float = math.inf) -> Reading | None:
            return None if value is None else self._reading(value * bias, age, most)

        biases = self._measuring.bias
        gone = b.time - a.time
        firsts, rests = b.ttft - a.ttft, b.tpot - a.tpot
        return Observation(
            name,
            variants,
            reading(_over(b.arrived - a.arrived, gone), biases.get("arrival_rate", 1.0)),
            reading(_over(b.prompt_tokens - a.prompt_tokens, firsts[-1])),
            reading(_over(b.out_tokens - a.out_tokens, b.finished - a.finished)),
            reading(_over(b.hits - a.hits, b.queries - a.queries), 1.0, 1.0),
            self._latency(
                b.ttft_sum - a.ttft_sum, firsts, histogram.TTFT_BOUNDS, biases.get("ttft", 1.0), age
            ),
            self._latency(
                b.tpot_sum - a.tpot_sum, rests, histogram.TOKEN_BOUNDS, biases.get("itl", 1.0), age
            ),
            reading(b.running),
            reading(b.waiting),
            reading(b.kv_usage, 1.0, 1.0),
            reading(b.cold_start),
            reading(_cov(b.served - a.served, b.moments[0] - a.moments[0], b.moments[1] - a.moments[1])),
            reading(_cov(b.served - a.served, b.moments[2] - a.moments[2], b.moments[3] - a.moments[3])),
        )

    def _latency(
        self, total: float, difference: IntArray, bounds: tuple[float, ...], bias: float, age: Seconds
    ) -> dict[Quantile, Reading]:
        counts = difference.tolist()
        if counts[-1] <= 0:
            return {}
        found: dict[Quantile, float | None] = {"mean": max(total, 0.0) / counts[-1]}
        for key, q in _SHARES:
            found[key] = histogram.quantile(q, counts, bounds)
        readings: dict[Quantile, Reading] = {}
        for key, value in found.items():
            if value is not None and (reading := self._reading(value * bias, age)):
                if key != "mean" and value > 0:
                    begins = bounds[i - 1] if (i := bisect_left(bounds, value)) else 0.0
                    reading = Reading(reading.value, age, begins / value * reading.value)
                readings[key] = reading
        return readings

    def _reading(self, value: float, age: Seconds, most: float = math.inf) -> Reading | None:
        m = self._measuring
        if m.gaps == m.noise == 0:
            return Reading(min(float(value), most), age)
        if m.gaps > 0 and self._rng.random() < m.gaps:
            return None
        if m.noise > 0:
            spread = math.log1p(m.noise * m.noise)
            value *= math.exp(self._rng.normal(-0.5 * spread, math.sqrt(spread)))
        return Reading(float(min(value, most)), age)


def _over(value: float, by: float) -> float | None:
    return float(value) / float(by) if by > 0 else None


def _cov(count: int, total: float, squares: float) -> float | None:
    if count < FEWEST or total <= 0:
        return None
    mean = total / count
    return math.sqrt(max(squares / count - mean * mean, 0.0)) / mean


def _time(scrape: dict[str, Shot]) -> Seconds:
    return next(iter(scrape.values())).time if scrape else -math.inf


def _shot(now: Seconds, serving: Serving) -> Shot:
    replicas = serving.replicas
    total = replicas.totals(now)
    gauges = [replicas.gauges(r) for r in replicas.active]
    return Shot(
        now,
        replicas.arrived,
        total.prompt_tokens,
        total.finished,
        total.out_tokens,
        total.queries,
        total.hits,
        total.ttft_sum,
        total.tpot_sum,
        histogram.cumulative(total.ttft, histogram.TTFT_BOUNDS),
        histogram.cumulative(total.tpot, histogram.TOKEN_BOUNDS),
        sum(g.running for g in gauges),
        sum(g.waiting for g in gauges) + replicas.queued,
        sum(g.kv_usage for g in gauges) / len(gauges) if gauges else 0.0,
        sum(serving.starts) / len(serving.starts) if serving.starts else None,
        serving.record.served,
        serving.record.moments,
    )
