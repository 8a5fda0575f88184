"""From a fleet to candidates: every (server, accelerator) that has a profile, sized and priced.

For a pair: the batch limit N; the largest rate one replica takes within the targets (`queueing.sizing`);
as many replicas as the load needs; latencies at the load that each then gets; the value that the solver
minimises. All pairs at once; a pair that is no candidate keeps the reason.

Value: Inferno's generations pay a transition penalty, nothing for staying as is, the difference in cost
for another number of replicas and a tenth of both costs more for another accelerator (pkg/core,
AccelPenaltyFactor 0.1). Flyball's own form pays cost per hour plus the price of the switch spread over
`hold_hours`: while the new replicas start, the old ones are still paid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from flyball.physics.power import power
from flyball.queueing.analysis import EPSILON, Metrics, analyze, empty_metrics, lowest_rate, metrics_of, store
from flyball.queueing.arrays import BoolArray, FloatArray, IntArray
from flyball.queueing.chain import Replicas, steady_state
from flyball.queueing.curves import (
    DEFAULT_TOKENS_PER_ITERATION,
    ChunkedCurve,
    Curve,
    flat_curve,
    iteration_curve,
    phase_curve,
)
from flyball.queueing.percentiles import Metric, QuantileTarget, quantiles
from flyball.queueing.sizing import MEAN_METRICS, STABILITY, Sizing, Targets, size
from flyball.spec.accelerator import PowerCurve
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Binding
from flyball.spec.profile import ChunkedTiming, FlatTiming, IterationTiming, PhaseTiming, Profile
from flyball.spec.service_class import MEAN, ModelTargets, Target
from flyball.units import SECONDS_PER_HOUR

ACCELERATOR_PENALTY = 0.1
QUEUE_PER_BATCH = 10.0
"""Generations 1 and 2: requests that may wait, per request in the batch."""
SAFE_SHARE = 0.9
"""Of the highest rate, where a throughput target sizes the server, and in Flyball's own form."""
WAIT_MARGIN = -math.log(1.0 - 0.95)
"""Generation 1: the mean wait stays below the limit over this, as if waits were exponential."""
LARGEST_BATCH = 65_536.0
CEIL_SLACK = 1e-9

BINDINGS: tuple[Binding, ...] = (
    "ttft",
    "itl",
    "wait",
    "e2e",
    "throughput",
    "stability",
    "min_replicas",
    "none",
)
EXCLUSIONS = ("", "out_of_reach", "not_current", "unknown_accelerator", "not_learned", "kv_too_small")


@dataclass(frozen=True, eq=False)
class Candidates:
    """P pairs, in order of server name, then accelerator name."""

    servers: tuple[int, ...]
    """(S,) positions in fleet.servers, in order of name."""
    server: IntArray
    """(P,) index into `servers`."""
    profile: IntArray
    """(P,) index into fleet.profiles."""
    accelerator: IntArray
    """(P,) index into fleet.accelerators, -1 where not known."""
    excluded: IntArray
    """(P,) index into EXCLUSIONS; 0: a candidate."""
    batch: FloatArray
    replicas: FloatArray
    unit_cost: FloatArray
    """(P,) of one replica."""
    cost: FloatArray
    value: FloatArray
    itl: FloatArray
    ttft: FloatArray
    utilization: FloatArray
    max_rate: FloatArray
    watts: FloatArray
    """(P,) nan where the accelerator has no power curve."""
    binding: IntArray
    """(P,) index into BINDINGS."""
    worst: IntArray
    """(P,) of those out of reach: which target of the class is missed the most."""
    best: FloatArray
    """(P,) what an almost idle replica reaches of it, seconds (of a quantile: the exceedance over 1 - q)."""
    idle: BoolArray
    """(S,) no load and no replica asked for."""
    server_reason: tuple[str, ...]
    """(S,) "" or why the server has no pairs: bad_load, no_target, no_profile."""
    promises: tuple[ModelTargets | None, ...]
    """(S,)"""
    targets: tuple[Target, ...]
    """What `worst` counts through; the limits in it mean nothing."""
    pairs: _Pairs


def targets_of(fleet: Fleet) -> dict[tuple[str, str], ModelTargets]:
    """(class, model) to what is promised; model `*` stands for the others."""
    return {(c.name, m.model): m for c in fleet.service_classes for m in c.models}


def candidates(fleet: Fleet) -> Candidates:
    """Size and price every pair of the fleet."""
    order = tuple(sorted(range(len(fleet.servers)), key=lambda i: fleet.servers[i].name))
    servers = [fleet.servers[i] for i in order]
    promised = targets_of(fleet)
    accelerator_index = {a.name: i for i, a in enumerate(fleet.accelerators)}
    by_model: dict[str, list[int]] = {}
    for i in sorted(range(len(fleet.profiles)), key=lambda i: fleet.profiles[i].accelerator):
        by_model.setdefault(fleet.profiles[i].model, []).append(i)

    reasons, pair_profiles, counts = [], [], []
    promises: list[ModelTargets | None] = []
    idle = np.zeros(len(servers), dtype=bool)
    for s, server in enumerate(servers):
        load = server.load
        key = (server.service_class, server.model)
        promise = promised.get(key) or promised.get((server.service_class, "*"))
        promises.append(promise)
        reason = ""
        if load.arrival_rate < 0 or load.in_tokens < 0 or load.out_tokens < 0:
            reason = "bad_load"
        elif promise is None:
            reason = "no_target"
        elif server.model not in by_model:
            reason = "no_profile"
        profiles = [] if reason else by_model[server.model]
        idle[s] = not reason and server.min_replicas <= 0 and (load.arrival_rate == 0 or load.out_tokens == 0)
        reasons.append(reason)
        pair_profiles.append(profiles)
        counts.append(len(profiles))

    server_of = np.repeat(np.arange(len(servers)), counts)
    profile_of = np.array([p for part in pair_profiles for p in part], dtype=np.int64)
    profile_accelerator = np.array(
        [accelerator_index.get(p.accelerator, -1) for p in fleet.profiles], dtype=np.int64
    )
    pairs = _Pairs(fleet, servers, promises, server_of, profile_of, profile_accelerator[profile_of])
    return pairs.finish(order, idle, tuple(reasons))


class _Pairs:
    """Columns over pairs, filled step by step."""

    def __init__(
        self,
        fleet: Fleet,
        servers: list,  # type: ignore[type-arg]
        promises: list[ModelTargets | None],
        server: IntArray,
        profile: IntArray,
        accelerator: IntArray,
    ) -> None:
        self.fleet, self.servers, self.promises = fleet, servers, promises
        self.server, self.profile, self.accelerator = server, profile, accelerator
        count = server.size

        def of_servers(values: list[float]) -> FloatArray:
            return np.array(values, dtype=float)[server] if values else np.zeros(count)

        def of_profiles(values: list[float]) -> FloatArray:
            return np.array(values, dtype=float)[profile] if values else np.zeros(count)

        def of_accelerators(values: list[float]) -> FloatArray:
            return np.array([*values, np.nan], dtype=float)[accelerator]

        self.rate = of_servers([s.load.arrival_rate for s in servers])
        self.in_tokens = of_servers([s.load.in_tokens for s in servers])
        self.out_tokens = of_servers([s.load.out_tokens for s in servers])
        self.min_replicas = of_servers([s.min_replicas for s in servers])
        self.no_load = (self.rate == 0) | (self.out_tokens == 0)
        units = of_profiles([max(p.accelerator_count, 1) for p in fleet.profiles])
        self.units = units
        self.unit_cost = units * of_accelerators([a.cost for a in fleet.accelerators])
        curves = [a.power or PowerCurve(math.nan, math.nan, math.nan) for a in fleet.accelerators]
        self.power = [
            of_accelerators([getattr(c, name) for c in curves])
            for name in ("idle", "full", "mid_power", "mid_util")
        ]
        self.excluded = np.zeros(count, dtype=np.int64)
        self.exclude("unknown_accelerator", accelerator < 0)
        self.exclude("not_learned", np.array([_unlearned(p) for p in fleet.profiles], dtype=bool)[profile])
        self.exclude("not_current", self._elsewhere())
        self.batch = self._batch(servers, of_servers, of_profiles)

    def exclude(self, reason: str, where: BoolArray) -> None:
        self.excluded[where & (self.excluded == 0)] = EXCLUSIONS.index(reason)

    def _elsewhere(self) -> BoolArray:
        """Pairs off the current accelerator of a server that must keep it."""
        kept = [s.current.accelerator if s.keep_accelerator else "" for s in self.servers]
        if not any(kept):
            return np.zeros(self.server.size, dtype=bool)
        names = [p.accelerator for p in self.fleet.profiles]
        return np.array(
            [
                bool(kept[s]) and names[p] != kept[s]
                for s, p in zip(self.server.tolist(), self.profile.tolist())
            ],
            dtype=bool,
        )

    def _batch(self, servers, of_servers, of_profiles) -> FloatArray:  # type: ignore[no-untyped-def]
        """Batch limit: pinned by the server, or the profile's, scaled by output length and bounded by KV."""
        profiles = self.fleet.profiles
        profiled = of_profiles([p.max_batch_size for p in profiles])
        at_tokens = of_profiles([p.at_tokens for p in profiles])
        scaled = np.floor(profiled * at_tokens / np.where(self.out_tokens > 0, self.out_tokens, 1.0))
        batch = np.where((at_tokens > 0) & ~self.no_load, np.maximum(scaled, 1.0), profiled)
        if self.fleet.generation != "flyball":
            batch = np.where((at_tokens <= 0) & ~self.no_load, 1.0, batch)
        pinned = of_servers([s.max_batch_size for s in servers])
        batch = np.where(pinned > 0, pinned, batch)
        kv = of_profiles([p.kv_tokens for p in profiles])
        fits = np.floor(kv / np.maximum(self.in_tokens + self.out_tokens, 1.0))
        batch = np.where(kv > 0, np.minimum(batch, fits), batch)
        self.exclude("kv_too_small", (kv > 0) & (fits < 1) & ~self.no_load)
        return np.clip(batch, 1.0, LARGEST_BATCH)

    def finish(self, order: tuple[int, ...], idle: BoolArray, reasons: tuple[str, ...]) -> Candidates:
        count = self.server.size
        nan = np.full(count, np.nan)
        self.replicas, self.max_rate = np.zeros(count), np.zeros(count)
        self.itl, self.ttft, self.utilization = nan.copy(), nan.copy(), np.zeros(count)
        self.binding = np.full(count, BINDINGS.index("none"))
        self.worst, self.best = np.zeros(count, dtype=np.int64), nan.copy()
        live = self.excluded == 0
        self._without_load(np.flatnonzero(live & self.no_load))
        self._with_load(np.flatnonzero(live & ~self.no_load))
        cost = self.unit_cost * self.replicas
        watts = self.units * self.replicas * power(*self.power, self.utilization)
        return Candidates(
            order,
            self.server,
            self.profile,
            self.accelerator,
            self.excluded,
            self.batch,
            self.replicas,
            self.unit_cost,
            cost,
            self._value(cost),
            self.itl,
            self.ttft,
            self.utilization,
            self.max_rate,
            watts,
            self.binding,
            self.worst,
            self.best,
            idle,
            reasons,
            tuple(self.promises),
            self._target_rows(),
            self,
        )

    def _without_load(self, at: IntArray) -> None:
        """No load: the replicas that are asked for, with the latencies of a batch of one."""
        if not at.size:
            return
        a, b, c, d = self._timing(at)
        batch = self.batch[at]
        generation = self.fleet.generation
        if generation == "G2":
            prefill, full = c + d, c + d + a + b * batch
        elif generation == "G3":
            prefill = a + b + c * batch
            full = prefill + a + b * batch
        elif generation == "G1":
            prefill, full = np.zeros_like(a), a + b * batch
        else:
            prefill, full = a + b, 2 * a + b * (batch + 1)
        self.replicas[at] = self.min_replicas[at]
        self.itl[at], self.ttft[at] = a + b, prefill
        self.max_rate[at] = np.where(full > 0, batch / np.where(full > 0, full, 1.0), 0.0)
        self.binding[at] = BINDINGS.index("min_replicas")

    def _timing(self, at: IntArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        timings = [p.timing for p in self.fleet.profiles]
        columns = ("alpha", "beta", ("gamma", "kappa"), "delta")

        def column(names: str | tuple[str, ...]) -> FloatArray:
            names = (names,) if isinstance(names, str) else names
            values = [next((getattr(t, n) for n in names if hasattr(t, n)), 0.0) for t in timings]
            return np.array(values, dtype=float)[self.profile[at]]

        a, b, c, d = (column(names) for names in columns)
        return a, b, c, d

    def curve(self, at: IntArray) -> Curve:
        """The iteration of pairs that share one form of timing."""
        a, b, c, d = self._timing(at)
        n, L, m = self.batch[at], self.in_tokens[at], self.out_tokens[at]
        kind = type(self.fleet.profiles[int(self.profile[at[0]])].timing)
        if kind is FlatTiming:
            return flat_curve(a, b, m, n)
        if kind is PhaseTiming:
            return phase_curve(a, b, c, d, L, m, n)
        if kind is ChunkedTiming:
            return ChunkedCurve(n, a, b, c, L, m, np.full_like(n, DEFAULT_TOKENS_PER_ITERATION))
        return iteration_curve(a, b, c, d, L, m, n)

    def queue_size(self, at: IntArray) -> FloatArray:
        """Requests that may wait at one replica of pairs."""
        if self.fleet.generation in ("G1", "G2"):
            return QUEUE_PER_BATCH * self.batch[at]
        default = math.inf if self.fleet.generation == "flyball" else 0.0
        sizes = [default if s.max_queue_size is None else float(s.max_queue_size) for s in self.servers]
        return np.array(sizes)[self.server[at]]

    def _with_load(self, everyone: IntArray) -> None:
        for where in self._by_form(everyone):
            self._sized(everyone[where])

    def _sized(self, at: IntArray) -> None:
        curve, queue, generation = self.curve(at), self.queue_size(at), self.fleet.generation
        n = curve.max_batch_size
        provided = np.array([p.throughput if p else 0.0 for p in self.promises])[self.server[at]]
        highest = n / curve.residence_time(n) * (1.0 - EPSILON)
        highest = np.where((provided > 0) | (generation == "flyball"), SAFE_SHARE * highest, highest)
        targets = self.targets(at)
        offered = np.where(provided > 0, provided / self.out_tokens[at], self.rate[at])

        def then(lanes: IntArray, replicas: Replicas, sizing: Sizing) -> None:
            good = np.flatnonzero(sizing.feasible[lanes])
            if not good.size:
                return
            chosen = lanes[good]
            capacity = (sizing.rate if generation == "G1" else sizing.throughput)[chosen]
            needed = np.ceil(offered[chosen] / capacity * (1.0 - CEIL_SLACK))
            where = at[chosen]
            count = np.maximum(np.maximum(needed, self.min_replicas[where]), 1.0)
            some = replicas.take(good)
            metrics = metrics_of(some, steady_state(some, offered[chosen] / count))
            self.itl[where], self.utilization[where] = metrics.itl, metrics.utilization
            self.ttft[where] = metrics.wait_time if generation == "G1" else metrics.ttft
            self.replicas[where], self.max_rate[where] = count, capacity
            binding = self._binding(targets, sizing.binding[chosen], provided[chosen])
            self.binding[where] = np.where(count > needed, BINDINGS.index("min_replicas"), binding)

        sizing = size(curve, queue, targets, highest, then)
        miss = np.flatnonzero(~sizing.feasible)
        self.excluded[at[miss]] = EXCLUSIONS.index("out_of_reach")
        if miss.size:
            self._record_misses(at[miss], targets, sizing.light[:, miss], miss)

    def _binding(self, targets: Targets, binding: IntArray, provided: FloatArray) -> IntArray:
        names = [*targets.names, "stability"]
        code = np.array([BINDINGS.index(name) for name in names])  # type: ignore[arg-type]
        code = code[np.where(binding == STABILITY, len(names) - 1, binding)]
        by_class = (provided > 0) & (code == BINDINGS.index("stability"))
        return np.where(by_class, BINDINGS.index("throughput"), code)

    def targets(self, at: IntArray) -> Targets:
        """Limits of the pairs' classes; quantile targets become one row per (metric, quantile)."""
        promises = [p.targets if p else () for p in self.promises]
        if self.fleet.generation == "G1":
            promises = [tuple(_exponential(t) for t in p) for p in promises]
        kinds = self._kinds(promises)
        limits = {kind: np.full(len(promises), np.inf) for kind in kinds}
        for s, promise in enumerate(promises):
            for t in promise:
                limits[t.metric, t.quantile][s] = min(t.limit, limits[t.metric, t.quantile][s])
        none = np.full(at.size, np.inf)

        def mean(metric: Metric) -> FloatArray:
            return limits[metric, MEAN][self.server[at]] if (metric, MEAN) in limits else none

        return Targets(
            mean("ttft"),
            mean("itl"),
            mean("wait"),
            mean("e2e"),
            [
                QuantileTarget(metric, np.full(at.size, quantile), limits[metric, quantile][self.server[at]])
                for metric, quantile in kinds
                if quantile != MEAN
            ],
        )

    def _kinds(self, promises: list[tuple[Target, ...]]) -> list[tuple[Metric, float]]:
        return sorted({(t.metric, t.quantile) for p in promises for t in p})

    def _target_rows(self) -> tuple[Target, ...]:
        """The rows of `queueing.sizing.Targets.names`, as targets."""
        promises = [p.targets if p else () for p in self.promises]
        if self.fleet.generation == "G1":
            return tuple(Target(metric, 0.0) for metric in MEAN_METRICS)
        quantiles = [Target(metric, 0.0, q) for metric, q in self._kinds(promises) if q != MEAN]
        return (*(Target(metric, 0.0) for metric in MEAN_METRICS), *quantiles)

    def at_load(self, at: IntArray, replicas: FloatArray, share: FloatArray) -> tuple[Metrics, FloatArray]:
        """Metrics and watts of pairs with given numbers of replicas, at a share of their server's load."""
        result = empty_metrics(at.size)
        for where in self._by_form(at):
            rate = self.rate[at[where]] * share[where] / replicas[where]
            store(result, where, analyze(self.curve(at[where]), self.queue_size(at[where]), rate))
        watts = self.units[at] * replicas * power(*(c[at] for c in self.power), result.utilization)
        return result, watts

    def quantile_at_load(
        self, at: IntArray, replicas: FloatArray, share: FloatArray, metric: Metric, quantile: float
    ) -> FloatArray:
        """A quantile of a latency of pairs with given numbers of replicas, at a share of the load, seconds."""
        result = np.empty(at.size)
        for where in self._by_form(at):
            rate = self.rate[at[where]] * share[where] / replicas[where]
            curve = self.curve(at[where])
            little = np.maximum(rate, lowest_rate(curve))
            result[where] = quantiles(curve, self.queue_size(at[where]), little, metric, quantile)
        return result

    def _by_form(self, at: IntArray) -> list[IntArray]:
        kinds = np.array([_KINDS.index(type(p.timing)) for p in self.fleet.profiles], dtype=np.int64)[
            self.profile[at]
        ]
        return [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]

    def _record_misses(self, at: IntArray, targets: Targets, light: FloatArray, lanes: IntArray) -> None:
        row = light.argmax(axis=0)
        limits = np.stack(
            [targets.ttft, targets.itl, targets.wait, targets.e2e, *(t.limit for t in targets.quantiles)]
        )[:, lanes]
        across = np.arange(row.size)
        self.worst[at] = row
        self.best[at] = np.where(row < 4, light[row, across] * limits[row, across], light[row, across])

    def _value(self, cost: FloatArray) -> FloatArray:
        current = [s.current for s in self.servers]
        names = [p.accelerator for p in self.fleet.profiles]
        ids: dict[str, int] = {"": -2}
        codes = np.array([ids.setdefault(n, len(ids)) for n in names], dtype=np.int64)[self.profile]
        held = np.array([ids.get(c.accelerator, -3) for c in current], dtype=np.int64)[self.server]
        paid = np.array([c.cost for c in current])[self.server]
        have = np.array([float(c.replicas) for c in current])[self.server]
        same = codes == held
        if self.fleet.generation == "flyball":
            settings = self.fleet.settings
            overlap = settings.cold_start / SECONDS_PER_HOUR
            running = np.where(paid > 0, paid, 0.0)
            return cost + np.where(same, 0.0, running * overlap / settings.hold_hours)
        moved = ACCELERATOR_PENALTY * (paid + cost) + (cost - paid)
        return np.where(same, np.where(have == self.replicas, 0.0, cost - paid), moved)


def idle_value(fleet: Fleet, server: int) -> float:
    """Value of scaling a server to nothing."""
    current = fleet.servers[server].current
    if fleet.generation == "flyball" or not current.accelerator:
        return 0.0 if fleet.generation == "flyball" or current.replicas == 0 else -current.cost
    return ACCELERATOR_PENALTY * current.cost - current.cost


def _unlearned(profile: Profile) -> bool:
    t = profile.timing
    return isinstance(t, ChunkedTiming) and t.alpha == 0 and t.beta == 0 and t.gamma == 0


def _exponential(target: Target) -> Target:
    if target.metric == "wait" and target.quantile != MEAN:
        return Target("wait", target.limit / WAIT_MARGIN)
    return target


_KINDS = (FlatTiming, PhaseTiming, ChunkedTiming, IterationTiming)
