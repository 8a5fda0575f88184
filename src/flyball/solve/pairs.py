"""Pairs: every (server, accelerator) that has a profile, as columns that queueing understands.

What is known of a pair before it is sized: load, batch limit, price, power, the curve of its iteration, its
targets; and what it would do with a given number of replicas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from flyball.physics.power import busy, power
from flyball.queueing.analysis import Metrics, analyze, empty_metrics, lowest_rate, store
from flyball.queueing.arrays import BoolArray, FloatArray, IntArray
from flyball.queueing.curves import (
    DEFAULT_TOKENS_PER_ITERATION,
    ChunkedCurve,
    Curve,
    flat_curve,
    phase_curve,
)
from flyball.queueing.iteration import IterationCurve, batch_within, iteration_curve, occupancy, with_experts
from flyball.queueing.percentiles import Metric, QuantileTarget, quantile_rows
from flyball.queueing.sizing import MEAN_METRICS, Targets
from flyball.spec.accelerator import PowerCurve
from flyball.spec.fleet import Fleet
from flyball.spec.profile import ChunkedTiming, FlatTiming, IterationTiming, PhaseTiming, Profile
from flyball.spec.server import Server
from flyball.spec.service_class import MEAN, ModelTargets, Target

QUEUE_PER_BATCH = 10.0
"""Generations 1 and 2: requests that may wait, per request in the batch."""
WAIT_MARGIN = -math.log(1.0 - 0.95)
"""Generation 1: the mean wait stays below the limit over this, as if waits were exponential."""
LARGEST_BATCH = 65_536.0
EXCLUSIONS = (
    "",
    "out_of_reach",
    "not_current",
    "unknown_accelerator",
    "not_learned",
    "kv_too_small",
    "too_many",
    "not_allowed",
)
FORMS = (FlatTiming, PhaseTiming, ChunkedTiming, IterationTiming)
_NOTHING = IterationTiming(0.0, 0.0, 0.0, 0.0)


class Pairs:
    """P pairs of a fleet, in order of server name, then accelerator name. Columns are (P,)."""

    def __init__(
        self,
        fleet: Fleet,
        servers: Sequence[Server],
        promises: Sequence[ModelTargets | None],
        server: IntArray,
        profile: IntArray,
    ) -> None:
        """`server` and `profile` of each pair index `servers` (with their promises) and fleet.profiles."""
        self.fleet, self.servers, self.promises = fleet, servers, promises
        self.server, self.profile = server, profile
        number = {a.name: i for i, a in enumerate(fleet.accelerators)}
        known = np.array([number.get(p.accelerator, -1) for p in fleet.profiles], dtype=np.int64)
        self.accelerator: IntArray = known[profile]
        """Index into fleet.accelerators, -1 where not known."""
        self.rate = self._of_servers(lambda s: s.load.arrival_rate)
        self.in_tokens = self._of_servers(lambda s: s.load.in_tokens)
        self.out_tokens = self._of_servers(lambda s: s.load.out_tokens)
        self.in_cov = self._of_servers(lambda s: s.load.in_cov)
        self.out_cov = self._of_servers(lambda s: s.load.out_cov)
        self.min_replicas = self._of_servers(lambda s: s.min_replicas)
        self.no_load: BoolArray = (self.rate == 0) | (self.out_tokens == 0)
        self.units = self._of_profiles(lambda p: max(p.accelerator_count, 1))
        self.unit_cost: FloatArray = self.units * self._of_accelerators([a.cost for a in fleet.accelerators])
        self.form: IntArray = np.array([FORMS.index(type(p.timing)) for p in fleet.profiles], dtype=np.int64)[
            profile
        ]
        self.excluded = np.zeros(server.size, dtype=np.int64)
        """Index into EXCLUSIONS; 0: a candidate."""
        self.margin = self._of_profiles(lambda p: p.margin if isinstance(p.timing, IterationTiming) else 1.0)
        self.gamma = self._of_profiles(lambda p: _own(p).gamma)
        self.epsilon = self._of_profiles(lambda p: _own(p).epsilon)
        self.untouched = self._of_profiles(lambda p: _own(p).untouched)
        self.exclude("unknown_accelerator", self.accelerator < 0)
        self.exclude("not_learned", self._of_profiles(_unlearned) > 0)
        self.exclude("not_current", self._elsewhere())
        self.exclude("not_allowed", self._not_allowed())
        self.batch = self._batch()
        self.around = self.batch.copy()
        """The batch at which the time of experts is taken as a straight line."""

    def server_number(self, name: str) -> int:
        """What `server` calls the server of this name."""
        return next(i for i, server in enumerate(self.servers) if server.name == name)

    def exclude(self, reason: str, where: BoolArray) -> None:
        """Give a reason to those that have none yet."""
        self.excluded[where & (self.excluded == 0)] = EXCLUSIONS.index(reason)

    def _of_servers(self, value: Callable[[Server], float]) -> FloatArray:
        values = np.array([value(s) for s in self.servers], dtype=float)
        return values[self.server]

    def _of_profiles(self, value: Callable[[Profile], float]) -> FloatArray:
        values = np.array([value(p) for p in self.fleet.profiles], dtype=float)
        return values[self.profile]

    def _of_accelerators(self, values: list[float]) -> FloatArray:
        return np.array([*values, np.nan], dtype=float)[self.accelerator]

    def _elsewhere(self) -> BoolArray:
        """Pairs off the current accelerator of a server that must keep it."""
        kept = [s.current.accelerator if s.keep_accelerator else "" for s in self.servers]
        if not any(kept):
            return np.zeros(self.server.size, dtype=bool)
        names = [p.accelerator for p in self.fleet.profiles]
        at = zip(self.server.tolist(), self.profile.tolist(), strict=True)
        return np.array([bool(kept[s]) and names[p] != kept[s] for s, p in at], dtype=bool)

    def _not_allowed(self) -> BoolArray:
        """Pairs off the accelerators of a server that may have only some."""
        limited = np.array([bool(s.accelerators) for s in self.servers], dtype=bool)
        if not limited.any():
            return np.zeros(self.server.size, dtype=bool)
        number: dict[str, int] = {}
        of_profile = [number.setdefault(p.accelerator, len(number)) for p in self.fleet.profiles]
        allowed = [
            s * len(number) + number[name]
            for s, server in enumerate(self.servers)
            for name in server.accelerators
            if name in number
        ]
        pair = self.server * len(number) + np.array(of_profile, dtype=np.int64)[self.profile]
        return limited[self.server] & ~np.isin(pair, allowed)

    def _batch(self) -> FloatArray:
        """Batch limit: pinned by the server, or the profile's, scaled by output length and bounded by KV."""
        profiled = self._of_profiles(lambda p: p.max_batch_size)
        at_tokens = self._of_profiles(lambda p: p.at_tokens)
        scaled = np.floor(profiled * at_tokens / np.where(self.out_tokens > 0, self.out_tokens, 1.0))
        inferno = self.fleet.generation != "flyball"
        batch = np.where(((at_tokens > 0) | inferno) & ~self.no_load, np.maximum(scaled, 1.0), profiled)
        pinned = self._of_servers(lambda s: s.max_batch_size)
        batch = np.where(pinned > 0, pinned, batch)
        kv = self._of_profiles(lambda p: p.kv_tokens)
        fits = np.floor(kv / np.maximum(self.in_tokens + self.out_tokens, 1.0))
        self.exclude("kv_too_small", (kv > 0) & (fits < 1) & ~self.no_load)
        limited: FloatArray = np.clip(np.where(kv > 0, np.minimum(batch, fits), batch), 1.0, LARGEST_BATCH)
        return limited

    def timing(self, at: IntArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """alpha, beta, gamma or kappa, and delta of some pairs, seconds; 0 where the form has none."""
        timings = [p.timing for p in self.fleet.profiles]
        columns = []
        for name, other in (("alpha", ""), ("beta", ""), ("kappa", "gamma"), ("delta", "")):
            values = [getattr(t, name, getattr(t, other, 0.0)) for t in timings]
            columns.append(np.array(values, dtype=float)[self.profile[at]])
        return columns[0], columns[1], columns[2], columns[3]

    def curve(self, at: IntArray, *, margin: bool = False) -> Curve:
        """The iteration of pairs that share one form of timing; experts as at a batch of `around`.

        With the margin of its profile it is that by which replicas are counted, else the likely one.
        """
        a, b, c, d = self.timing(at)
        n, L, m = self.batch[at], self.in_tokens[at], self.out_tokens[at]
        form = FORMS[int(self.form[at[0]])]
        if form is FlatTiming:
            return flat_curve(a, b, m, n)
        if form is PhaseTiming:
            return phase_curve(a, b, c, d, L, m, n)
        if form is ChunkedTiming:
            return ChunkedCurve(n, a, b, c, L, m, np.full_like(n, DEFAULT_TOKENS_PER_ITERATION))
        return self._iteration(at, self.around[at], margin)

    def _iteration(self, at: IntArray, around: FloatArray, margin: bool) -> IterationCurve:
        a, b, c, d = self.timing(at)
        a, b = with_experts(a, b, self.epsilon[at], self.untouched[at], around)
        factor = self.margin[at] if margin else np.ones(at.size)
        return iteration_curve(
            *(a * factor, b * factor, c * factor, d * factor),
            *(self.in_tokens[at], self.out_tokens[at], self.batch[at]),
            in_cov=self.in_cov[at],
            out_cov=self.out_cov[at],
            gamma=self.gamma[at] * factor,
        )

    def settle_within(self, at: IntArray, itl: FloatArray) -> None:
        """Take experts as at the batch that this time between tokens allows; at most the batch limit."""
        self.around[at] = batch_within(lambda n: self._iteration(at, n, margin=True), itl, self.batch[at])

    def settle(self, at: IntArray, rate: FloatArray, *, margin: bool = False) -> None:
        """Take experts as at the batch that these arrival rates lead to; `at` are of Flyball's own form."""
        self.around[at] = occupancy(lambda n: self._iteration(at, n, margin), rate, self.batch[at])

    def analyzed(self, at: IntArray, rate: FloatArray) -> Metrics:
        """Metrics of pairs that share one form of timing, one replica each, at arrival rates."""
        self._settle_mixed(at, rate)
        return analyze(self.curve(at), self.queue_size(at), rate)

    def _settle_mixed(self, at: IntArray, rate: FloatArray) -> None:
        mixed = np.flatnonzero(self.epsilon[at] > 0)
        if mixed.size:
            self.settle(at[mixed], rate[mixed])

    def by_form(self, at: IntArray) -> list[IntArray]:
        """Positions in `at`, grouped by the form of the pairs' timing."""
        forms = self.form[at]
        return [np.flatnonzero(forms == form) for form in np.unique(forms)]

    def queue_size(self, at: IntArray) -> FloatArray:
        """Requests that may wait at one replica; inf: unbounded."""
        if self.fleet.generation in ("G1", "G2"):
            return QUEUE_PER_BATCH * self.batch[at]
        default = math.inf if self.fleet.generation == "flyball" else 0.0
        sizes = [default if s.max_queue_size is None else float(s.max_queue_size) for s in self.servers]
        return np.array(sizes)[self.server[at]]

    def _promised(self) -> tuple[list[tuple[Target, ...]], IntArray]:
        """What different promises there are, and which of them each server has."""
        number: dict[int, int] = {}
        of_server = np.array([number.setdefault(id(p), len(number)) for p in self.promises], dtype=np.int64)
        promises = [p.targets if p else () for p in {id(p): p for p in self.promises}.values()]
        if self.fleet.generation != "G1":
            return promises, of_server
        return [tuple(_exponential(t) for t in p) for p in promises], of_server

    def target_rows(self) -> tuple[tuple[Metric, float], ...]:
        """(metric, quantile) of the rows of `targets`: the means first, then the quantiles that occur."""
        kinds = sorted({(t.metric, t.quantile) for p in self._promised()[0] for t in p if t.quantile != MEAN})
        return (*((metric, MEAN) for metric in MEAN_METRICS), *kinds)

    def _tail(self, row: tuple[Metric, float]) -> FloatArray:
        """(S,) factors by which a latency turned out longer than foretold; 1 where that is not known."""
        if not any(s.tails for s in self.servers):
            return np.ones(len(self.servers))
        name = f"{row[0]} {Target(row[0], 0.0, row[1]).statistic}"
        return np.array([s.tails.get(name, 1.0) for s in self.servers])

    def targets(self, at: IntArray) -> Targets:
        """Limits of the pairs' classes; quantile targets become one row per (metric, quantile)."""
        promises, of_server = self._promised()
        rows = self.target_rows()
        limits = {row: np.full(len(promises), np.inf) for row in rows}
        for i, promise in enumerate(promises):
            for t in promise:
                limits[t.metric, t.quantile][i] = min(t.limit, limits[t.metric, t.quantile][i])
        mine = of_server[self.server[at]]
        columns = [limits[row][mine] / self._tail(row)[self.server[at]] for row in rows]
        quantile_targets = [
            QuantileTarget(metric, np.full(at.size, quantile), column)
            for (metric, quantile), column in zip(rows[4:], columns[4:], strict=True)
        ]
        return Targets(columns[0], columns[1], columns[2], columns[3], quantile_targets)

    def watts(self, at: IntArray, replicas: FloatArray, utilization: FloatArray) -> FloatArray:
        """Watts of all replicas; nan where the accelerator has no power curve."""
        return self.units[at] * replicas * power(*self._curves(at), utilization)

    def busy_watts(self, at: IntArray) -> FloatArray:
        """Watts of a replica that always computes, without its load; nan where there is no power curve."""
        return self.units[at] * busy(*self._curves(at))

    def _curves(self, at: IntArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Idle, full, mid_power and mid_util of pairs."""
        curves = [a.power or PowerCurve(math.nan, math.nan, math.nan) for a in self.fleet.accelerators]
        idle, full, mid_power, mid_util = (
            self._of_accelerators([float(getattr(c, name)) for c in curves])[at]
            for name in ("idle", "full", "mid_power", "mid_util")
        )
        return idle, full, mid_power, mid_util

    def at_load(self, at: IntArray, replicas: FloatArray, share: FloatArray) -> tuple[Metrics, FloatArray]:
        """Metrics and watts of pairs with given numbers of replicas, at a share of their server's load."""
        result = empty_metrics(at.size)
        for where in self.by_form(at):
            some = at[where]
            rate = self.rate[some] * share[where] / replicas[where]
            store(result, where, self.analyzed(some, rate))
        return result, self.watts(at, replicas, result.utilization)

    def quantiles_at_load(
        self, at: IntArray, replicas: FloatArray, share: FloatArray, wanted: Sequence[tuple[Metric, float]]
    ) -> FloatArray:
        """(W, P) quantiles of latencies [s] of pairs with given replicas, at a share of the load."""
        result = np.empty((len(wanted), at.size))
        for where in self.by_form(at):
            some = at[where]
            rate = self.rate[some] * share[where] / replicas[where]
            self._settle_mixed(some, rate)
            curve = self.curve(some)
            rate = np.maximum(rate, lowest_rate(curve))
            result[:, where] = quantile_rows(curve, self.queue_size(some), rate, wanted)
        return result


def _own(profile: Profile) -> IterationTiming:
    return profile.timing if isinstance(profile.timing, IterationTiming) else _NOTHING


def _unlearned(profile: Profile) -> float:
    t = profile.timing
    return float(isinstance(t, ChunkedTiming) and t.alpha == 0 and t.beta == 0 and t.gamma == 0)


def _exponential(target: Target) -> Target:
    if target.metric == "wait" and target.quantile != MEAN:
        return Target("wait", target.limit / WAIT_MARGIN)
    return target
