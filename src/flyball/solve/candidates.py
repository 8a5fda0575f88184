"""From a fleet to candidates: pairs sized and priced.

For a pair: the largest rate that one replica takes within the targets (`queueing.sizing`), as many
replicas as the load needs, latencies at the load that each then gets, and the value that the solver
minimises. All pairs at once; one that is no candidate keeps the reason.

Value: Inferno's generations pay a transition penalty: nothing for staying as is, the difference in cost
for another number of replicas, and a tenth of both costs more for another accelerator (pkg/core,
AccelPenaltyFactor 0.1). Flyball's own form pays cost per hour plus the price of the switch spread over
`hold_hours`: while the new replicas start, the old ones are still paid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flyball.queueing.analysis import highest_rate, lowest_rate, metrics_of, store
from flyball.queueing.arrays import BoolArray, FloatArray, IntArray
from flyball.queueing.chain import Replicas, steady_state
from flyball.queueing.percentiles import quantiles
from flyball.queueing.sizing import STABILITY, Sizing, Targets, size
from flyball.solve.pairs import EXCLUSIONS, Pairs
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Binding
from flyball.spec.server import Server
from flyball.spec.service_class import ModelTargets
from flyball.units import SECONDS_PER_HOUR, Seconds

ACCELERATOR_PENALTY = 0.1
TANGENTS = 3
SAFE_SHARE = 0.9
"""Of the highest rate, where a throughput target sizes the server, and in Flyball's own form."""
CEIL_SLACK = 1e-9
SHORTEST: Seconds = 1e-9
"""That a request alone may take: a profile of less is not filled in."""
MOST_REPLICAS = 1e9
"""Of one server, as in the documents."""
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


@dataclass(frozen=True, eq=False)
class Candidates:
    """P pairs, in order of server name, then accelerator name. Columns are (P,) unless said otherwise."""

    pairs: Pairs
    servers: tuple[int, ...]
    """(S,) positions in fleet.servers, in order of name; pairs.server counts through them."""
    server_reason: tuple[str, ...]
    """(S,) "" or why the server has no pairs: bad_load, no_target, no_profile."""
    idle: BoolArray
    """(S,) no load and no replica asked for."""
    excluded: IntArray
    """Index into EXCLUSIONS; 0: a candidate."""
    replicas: FloatArray
    cost: FloatArray
    value: FloatArray
    itl: FloatArray
    ttft: FloatArray
    """Generation 1: the wait."""
    utilization: FloatArray
    max_rate: FloatArray
    """Of one replica, within the targets."""
    watts: FloatArray
    """nan where the accelerator has no power curve."""
    binding: IntArray
    """Index into BINDINGS."""
    worst: IntArray
    """Of those out of reach: the row of pairs.target_rows() that is missed the most."""
    best: FloatArray
    """What an almost idle replica reaches of it, seconds."""


def candidates(fleet: Fleet) -> Candidates:
    """Size and price every pair of the fleet."""
    order = tuple(sorted(range(len(fleet.servers)), key=lambda i: fleet.servers[i].name))
    servers = [fleet.servers[i] for i in order]
    promised = {(c.name, m.model): m for c in fleet.service_classes for m in c.models}
    by_model: dict[str, list[int]] = {}
    for i in sorted(range(len(fleet.profiles)), key=lambda i: fleet.profiles[i].accelerator):
        by_model.setdefault(fleet.profiles[i].model, []).append(i)

    promises = [
        promised.get((s.service_class, s.model)) or promised.get((s.service_class, "*")) for s in servers
    ]
    reasons = [_no_pairs(s, p, by_model) for s, p in zip(servers, promises, strict=True)]
    found = [[] if reason else by_model[s.model] for s, reason in zip(servers, reasons, strict=True)]
    idle = np.array(
        [
            not reason and s.min_replicas <= 0 and (s.load.arrival_rate == 0 or s.load.out_tokens == 0)
            for s, reason in zip(servers, reasons, strict=True)
        ],
        dtype=bool,
    )
    server = np.repeat(np.arange(len(servers)), np.array([len(part) for part in found], dtype=np.int64))
    profile = np.array([p for part in found for p in part], dtype=np.int64)
    return _Sized(Pairs(fleet, servers, promises, server, profile)).candidates(order, tuple(reasons), idle)


def _no_pairs(server: Server, promise: ModelTargets | None, by_model: dict[str, list[int]]) -> str:
    load = server.load
    if load.arrival_rate < 0 or load.in_tokens < 0 or load.out_tokens < 0:
        return "bad_load"
    if promise is None:
        return "no_target"
    return "" if server.model in by_model else "no_profile"


class _Sized:
    """What sizing adds to the columns of the pairs."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs, count = pairs, pairs.server.size
        self.excluded = pairs.excluded.copy()
        self.replicas, self.max_rate, self.utilization = np.zeros(count), np.zeros(count), np.zeros(count)
        self.itl, self.ttft, self.best = (np.full(count, np.nan) for _ in range(3))
        self.binding = np.full(count, BINDINGS.index("none"))
        self.worst = np.zeros(count, dtype=np.int64)

    def candidates(self, order: tuple[int, ...], reasons: tuple[str, ...], idle: BoolArray) -> Candidates:
        pairs = self.pairs
        live = self.excluded == 0
        self._without_load(np.flatnonzero(live & pairs.no_load))
        loaded = np.flatnonzero(live & ~pairs.no_load)
        for where in pairs.by_form(loaded):
            self._with_load(loaded[where])
        cost = pairs.unit_cost * self.replicas
        return Candidates(
            pairs=pairs,
            servers=order,
            server_reason=reasons,
            idle=idle,
            excluded=self.excluded,
            replicas=self.replicas,
            cost=cost,
            value=_value(pairs, self.replicas, cost),
            itl=self.itl,
            ttft=self.ttft,
            utilization=self.utilization,
            max_rate=self.max_rate,
            watts=pairs.watts(np.arange(pairs.server.size), self.replicas, self.utilization),
            binding=self.binding,
            worst=self.worst,
            best=self.best,
        )

    def _without_load(self, at: IntArray) -> None:
        """No load: the replicas that are asked for, with the latencies of a batch of one."""
        if not at.size:
            return
        a, b, c, d = self.pairs.timing(at)
        batch, generation = self.pairs.batch[at], self.pairs.fleet.generation
        if generation == "G2":
            prefill, full = c + d, c + d + a + b * batch
        elif generation == "G3":
            prefill = a + b + c * batch
            full = prefill + a + b * batch
        elif generation == "G1":
            prefill, full = np.zeros_like(a), a + b * batch
        else:
            prefill, full = a + b, 2.0 * a + b * (batch + 1.0)
        self.replicas[at] = self.pairs.min_replicas[at]
        self.itl[at], self.ttft[at] = a + b, prefill
        self.max_rate[at] = np.where(full > 0, batch / np.where(full > 0, full, 1.0), 0.0)
        self.binding[at] = BINDINGS.index("min_replicas")

    def _with_load(self, at: IntArray) -> None:
        """Size pairs of one form, and see what each replica does at its share of the load."""
        pairs, generation = self.pairs, self.pairs.fleet.generation
        curve = pairs.curve(at)
        instant = curve.residence_time(np.ones(at.size)) < SHORTEST
        if instant.any():
            self.excluded[at[instant]] = EXCLUSIONS.index("not_learned")
            at = at[~instant]
            if not at.size:
                return
        targets = pairs.targets(at)
        provided = np.array([p.throughput if p else 0.0 for p in pairs.promises])[pairs.server[at]]
        share = np.where((provided > 0) | (generation == "flyball"), SAFE_SHARE, 1.0)
        self._settle(at, targets, share)
        curve = pairs.curve(at, margin=True)
        highest = share * highest_rate(curve)
        by_class = np.where(provided > 0, provided / pairs.out_tokens[at], 0.0)
        # Inferno sizes for what the class provides and does not look at the load; its own form serves both
        offered = np.where(by_class > 0, by_class, pairs.rate[at])
        if generation == "flyball":
            offered = np.maximum(by_class, pairs.rate[at])

        def then(lanes: IntArray, replicas: Replicas, sizing: Sizing) -> None:
            good = np.flatnonzero(sizing.feasible[lanes])
            if not good.size:
                return
            chosen = lanes[good]
            where = at[chosen]
            capacity = (sizing.rate if generation == "G1" else sizing.throughput)[chosen]
            spare = pairs.fleet.settings.spare if generation == "flyball" else 0.0
            needed = np.ceil(offered[chosen] / capacity * (1.0 - CEIL_SLACK) + spare)
            count = np.maximum(np.maximum(needed, pairs.min_replicas[where]), 1.0)
            too_many = count > MOST_REPLICAS
            self.excluded[where[too_many]] = EXCLUSIONS.index("too_many")
            some = replicas.take(good)
            rate = np.where(too_many, capacity, offered[chosen] / count)  # too many may be inf
            metrics = metrics_of(some, steady_state(some, rate))
            again = np.flatnonzero((pairs.epsilon[where] > 0) | (pairs.margin[where] != 1.0))
            if again.size:  # below its capacity it wakes fewer experts; and it is likely faster than counted
                store(metrics, again, pairs.analyzed(where[again], rate[again]))
            self.itl[where], self.utilization[where] = metrics.itl, metrics.utilization
            self.ttft[where] = metrics.wait_time if generation == "G1" else metrics.ttft
            self.replicas[where], self.max_rate[where] = count, capacity
            binding = _binding(targets, sizing.binding[chosen], by_class[chosen] >= offered[chosen])
            self.binding[where] = np.where(count > needed, BINDINGS.index("min_replicas"), binding)

        sizing = size(curve, pairs.queue_size(at), targets, highest, then)
        self._record_misses(at, targets, sizing)

    def _settle(self, at: IntArray, targets: Targets, share: FloatArray) -> None:
        """Take the experts of mixtures as at the batch of the largest rate within the targets.

        What is sized by one tangent is within the targets by the next, so that rates only grow.
        """
        pairs = self.pairs
        mixed = np.flatnonzero(pairs.epsilon[at] > 0)
        if not mixed.size:
            return
        some, mine = at[mixed], targets.take(mixed)
        tightest = [mine.itl, *(t.limit for t in mine.quantiles if t.metric == "itl")]
        pairs.settle_within(some, np.min(tightest, axis=0))
        for _ in range(TANGENTS):
            curve = pairs.curve(some, margin=True)
            sizing = size(curve, pairs.queue_size(some), mine, share[mixed] * highest_rate(curve))
            pairs.settle(some, sizing.rate, margin=True)

    def _record_misses(self, at: IntArray, targets: Targets, sizing: Sizing) -> None:
        """Of pairs out of reach: which target is missed the most, and what an almost idle replica reaches."""
        miss = np.flatnonzero(~sizing.feasible)
        if not miss.size:
            return
        light, where = sizing.light[:, miss], at[miss]
        row, across = light.argmax(axis=0), np.arange(miss.size)
        limits = np.stack([targets.ttft, targets.itl, targets.wait, targets.e2e])[:, miss]
        mean = row < len(limits)
        self.worst[where] = row
        self.best[where] = light[row, across] * limits[np.where(mean, row, 0), across]
        for r in np.unique(row[~mean]).tolist():
            metric, quantile = self.pairs.target_rows()[r]
            some = where[row == r]
            curve = self.pairs.curve(some, margin=True)
            idle = lowest_rate(curve)
            self.best[some] = quantiles(curve, self.pairs.queue_size(some), idle, metric, quantile)
        self.excluded[where] = EXCLUSIONS.index("out_of_reach")


def _binding(targets: Targets, binding: IntArray, provided: BoolArray) -> IntArray:
    names: list[Binding] = [*targets.names, "stability"]
    code = np.array([BINDINGS.index(name) for name in names])
    code = code[np.where(binding == STABILITY, len(names) - 1, binding)]
    return np.where(provided & (code == BINDINGS.index("stability")), BINDINGS.index("throughput"), code)


def _value(pairs: Pairs, replicas: FloatArray, cost: FloatArray) -> FloatArray:
    """(P,) what the solver minimises, dollars per hour; see the module's text."""
    current = [s.current for s in pairs.servers]
    number: dict[str, int] = {}
    names = np.array(
        [number.setdefault(p.accelerator, len(number)) for p in pairs.fleet.profiles], dtype=np.int64
    )
    held = np.array([number.get(c.accelerator, -1) for c in current], dtype=np.int64)[pairs.server]
    paid = np.array([c.cost for c in current], dtype=float)[pairs.server]
    have = np.array([c.replicas for c in current], dtype=float)[pairs.server]
    same = names[pairs.profile] == held
    settings = pairs.fleet.settings
    if pairs.fleet.generation == "flyball":
        switch = paid * settings.cold_start / SECONDS_PER_HOUR
        return cost + np.where(same, 0.0, switch / settings.hold_hours)
    moved = ACCELERATOR_PENALTY * (paid + cost) + (cost - paid)
    return np.where(same, np.where(have == replicas, 0.0, cost - paid), moved)


def idle_value(fleet: Fleet, server: int) -> float:
    """Value of scaling a server to nothing."""
    current = fleet.servers[server].current
    if fleet.generation == "flyball" or not current.replicas:
        return 0.0
    return ACCELERATOR_PENALTY * current.cost - current.cost
