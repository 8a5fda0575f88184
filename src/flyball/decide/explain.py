"""Why each server got what it got: reason, binding constraint, next-best option, shortages, exclusions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from msgspec.structs import replace

from flyball.queueing.percentiles import Metric
from flyball.solve.candidates import BINDINGS, Candidates
from flyball.solve.pairs import EXCLUSIONS, WAIT_MARGIN
from flyball.solve.problem import NONE, FloatArray, IntArray, Problem, Solution, takings
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Exclusion, Option, Promise, Reason, ServerPlan, Shortage, Status
from flyball.spec.service_class import MEAN, Target

FIELD: dict[Metric, str] = {"ttft": "ttft", "itl": "itl", "wait": "wait_time", "e2e": "response_time"}
MET = 1e-6
PERCENTILES = (0.5, 0.95, 0.99)
REST = Option("", 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, "none")
SAME = 1e-9


class Explainer:
    """Everything about one solved fleet, turned into one `ServerPlan` for each server."""

    def __init__(
        self,
        fleet: Fleet,
        sized: Candidates,
        problem: Problem,
        pairs: IntArray,
        solution: Solution,
        taken: FloatArray,
    ) -> None:
        self.fleet, self.sized, self.problem, self.pairs, self.solution = (
            fleet,
            sized,
            problem,
            pairs,
            solution,
        )
        self.free = problem.limit - taken
        self._rows = [
            (metric, quantile, Target(metric, 0.0, quantile).statistic)
            for metric, quantile in sized.pairs.target_rows()
        ]
        self._merit = (problem.cost if solution.divisible else problem.value).tolist()
        self._pair = pairs.tolist()
        self._excluded: dict[int, list[Exclusion]] = {}
        self._limits: dict[tuple[int, Metric], float] = {}
        self._exclude()
        self._look_for_room()

    def servers(self) -> tuple[ServerPlan, ...]:
        """In order of name."""
        start = self.problem.start.tolist()
        option, served = self.solution.option.tolist(), self.solution.served.tolist()
        options = [range(first, last) for first, last in pairwise(start)]
        others = [self._next_best(range_, o) for range_, o in zip(options, option, strict=True)]
        mixed = [o for mix in self.solution.mix.values() for o, _ in mix]
        self._options = self._made(sorted({*option, *others, *mixed} - {NONE}))
        self._options[NONE] = None
        has = np.diff(self.problem.start) > 0
        least = np.full(len(options), np.inf)
        if has.any():
            least[has] = np.minimum.reduceat(self.problem.cost, self.problem.start[:-1][has])
        self._least_cost = least.tolist()
        self._weigh_up()
        return tuple(
            self._server(s, *of_server)
            for s, of_server in enumerate(zip(options, option, others, served, strict=True))
        )

    def _exclude(self) -> None:
        """Exclusions of every server, in order of accelerator name."""
        sized = self.sized
        at = np.flatnonzero(sized.excluded > 0)
        columns = (sized.pairs.server, sized.pairs.profile, sized.excluded, sized.worst, sized.best)
        for s, profile, kind, worst, best in zip(*(c[at].tolist() for c in columns), strict=True):
            made = self._exclusion(s, self.fleet.profiles[profile].accelerator, EXCLUSIONS[kind], worst, best)
            self._excluded.setdefault(s, []).append(made)

    def _look_for_room(self) -> None:
        """Which uses of rows by options need more than is free beside what the option's server holds now."""
        problem = self.problem
        server, use, amount = takings(problem, self.solution)
        held = np.zeros((len(problem.names), len(problem.rows)))
        np.add.at(held, (server, problem.use_row[use]), amount)
        option = np.repeat(np.arange(problem.server.size), np.diff(problem.use_start))
        self._needed = problem.each * problem.replicas[option]
        self._room = self.free[problem.use_row] + held[problem.server[option], problem.use_row]
        self._lacks = (self._needed > self._room + SAME) & (self.pairs[option] != NONE)
        short = np.zeros(problem.server.size, dtype=bool)
        short[option[self._lacks]] = True
        self._short = short.tolist()

    def _weigh_up(self) -> None:
        """Promises of every part at its load, and the parts that do not have an option's own size."""
        self._parts: dict[int, tuple[Option, ...]] = {}
        self._promises: dict[int, dict[tuple[Metric, str], Promise]] = {}
        self._turned_away: dict[int, float] = {}
        loaded: list[tuple[int, int, float, float]] = []  # server, option, replicas, share of the load
        for s in np.flatnonzero(self.solution.option != NONE).tolist():
            mix = self.solution.mix.get(s, [(int(self.solution.option[s]), float(self.solution.replicas[s]))])
            total = sum(float(self.problem.option_rate[o]) * n for o, n in mix)
            for o, n in mix:
                if n <= 0 or self._pair[o] == NONE:
                    continue
                if self.problem.rate[s] > 0:
                    share = float(self.problem.option_rate[o]) * n / total if len(mix) > 1 else 1.0
                    loaded.append((s, o, float(n), share))
                elif not self._whole(s):
                    self._parts[s] = (*self._parts.get(s, ()), self._resized(o, n))
        if not loaded:
            return
        at = np.array([self._pair[o] for _, o, _, _ in loaded], dtype=np.int64)
        count, shares = np.array([p[2] for p in loaded]), np.array([p[3] for p in loaded])
        metrics, watts = self.sized.pairs.at_load(at, count, shares)
        first = metrics.wait_time if self.fleet.generation == "G1" else metrics.ttft
        blocking = metrics.blocking.tolist()
        for i, (s, _, _, part_of_load) in enumerate(loaded):
            lost = part_of_load * blocking[i]
            self._turned_away[s] = self._turned_away.get(s, 0.0) + lost
        for i, (s, o, n, _) in enumerate(loaded):
            if not self._whole(s):
                part = replace(
                    self._resized(o, n),
                    itl=float(metrics.itl[i]),
                    ttft=float(first[i]),
                    utilization=float(metrics.utilization[i]),
                    watts=None if math.isnan(watts[i]) else float(watts[i]),
                )
                self._parts[s] = (*self._parts.get(s, ()), part)
        for (metric, quantile), targets in self._targets_of(loaded).items():
            rows = np.array([i for i, _ in targets])
            if quantile != MEAN and self.fleet.generation != "G1":
                values = self.sized.pairs.quantiles_at_load(
                    at[rows], count[rows], shares[rows], [(metric, quantile)]
                )[0]
            else:
                values = getattr(metrics, FIELD[metric])[rows]
                values = values * (WAIT_MARGIN if quantile != MEAN else 1.0)
            statistic = targets[0][1].statistic
            for (i, target), value in zip(targets, values.tolist(), strict=True):
                kept = self._promises.setdefault(loaded[i][0], {})
                same = kept.pop((metric, statistic), None)  # of another part of a mix: the slower one counts
                value = value if same is None else max(value, same.value)
                met = value <= target.limit * (1 + MET)
                kept[metric, statistic] = Promise(metric, statistic, target.limit, value, met)

    def _whole(self, s: int) -> bool:
        return bool(self.solution.served[s]) and s not in self.solution.mix

    def _resized(self, option: int, replicas: float) -> Option:
        made, whole = self._options[option] or REST, float(self.problem.replicas[option]) or 1.0
        cost = float(self.sized.pairs.unit_cost[self._pair[option]]) * replicas
        watts = None if made.watts is None else made.watts * replicas / whole
        return replace(
            made, replicas=int(replicas), cost=cost, value=made.value * replicas / whole, watts=watts
        )

    def _targets_of(
        self, parts: list[tuple[int, int, float, float]]
    ) -> dict[tuple[Metric, float], list[tuple[int, Target]]]:
        kinds: dict[tuple[Metric, float], list[tuple[int, Target]]] = {}
        for i, (s, _, _, _) in enumerate(parts):
            promise = self.sized.pairs.promises[s]
            for target in promise.targets if promise else ():
                kinds.setdefault((target.metric, target.quantile), []).append((i, target))
        return kinds

    def _made(self, options: list[int]) -> dict[int, Option | None]:
        """Options of the problem as `Option`, each at its server's whole load."""
        pair, sized = self.pairs[options], self.sized
        real = pair != NONE
        at, accelerators = pair[real], self.fleet.accelerators
        figures = (
            sized.replicas[at].astype(np.int64),
            sized.pairs.batch[at].astype(np.int64),
            sized.cost[at],
            self.problem.value[options][real],
            sized.itl[at],
            sized.ttft[at],
            sized.utilization[at],
            sized.max_rate[at],
        )
        columns: list[list[Any]] = [
            [accelerators[a].name for a in sized.pairs.accelerator[at].tolist()],
            *(column.tolist() for column in figures),
            [None if math.isnan(watts) else watts for watts in sized.watts[at].tolist()],
            [BINDINGS[binding] for binding in sized.binding[at].tolist()],
        ]
        made = (Option(*row) for row in zip(*columns, strict=True))
        return {o: next(made) if is_real else REST for o, is_real in zip(options, real.tolist(), strict=True)}

    def _server(self, s: int, options: range, option: int, other: int, served: bool) -> ServerPlan:
        name, priority = self.problem.names[s], int(self.problem.priority[s])
        exclusions = tuple(self._excluded.get(s, ()))
        if option == NONE:
            reason: Reason = "no_capacity" if options else self._no_options(s, exclusions)
            shortages = self._shortages(options)
            return ServerPlan(name, priority, "unserved", reason, shortages=shortages, exclusions=exclusions)
        if self._pair[option] == NONE:
            return ServerPlan(name, priority, "idle", "no_load", REST, exclusions=exclusions)
        parts = self._parts.get(s, ())
        mix = parts if len(parts) > 1 else ()
        allocation = max(parts, key=lambda p: p.max_rate * p.replicas) if parts else self._options[option]
        assert allocation is not None
        mine = self._merit[option]
        better = [o for o in options if mine - self._merit[o] > SAME]
        status: Status = "served" if served else "best_effort"
        return ServerPlan(
            name,
            priority,
            status,
            self._reason(s, served, bool(mix), bool(better), allocation),
            allocation,
            tuple(self._promises.get(s, {}).values()),
            self._turned_away.get(s, 0.0),
            mix,
            self._options[other],
            self._shortages(better if served else options),
            exclusions,
        )

    def _next_best(self, options: range, option: int) -> int:
        """The next option of no less value that would fit; where there is none, the next at all, or NONE."""
        if option == NONE:
            return NONE
        mine = self._merit[option]
        dearer = [o for o in options if o != option and self._merit[o] >= mine]
        for o in dearer:
            if not self._short[o]:
                return o
        return dearer[0] if dearer else next((o for o in options if o != option), NONE)

    def _reason(self, s: int, served: bool, mixed: bool, better: bool, allocation: Option) -> Reason:
        server = self.fleet.servers[self.sized.servers[s]]
        if not served:
            return "short"
        if mixed:
            return "mix"
        if better:
            return "capacity"
        kept = (server.current.accelerator,) if server.keep_accelerator else server.accelerators
        if kept == (allocation.accelerator,):
            return "pinned"
        if allocation.cost > self._least_cost[s] + SAME:
            return "kept"
        return "cheapest"

    def _no_options(self, s: int, exclusions: tuple[Exclusion, ...]) -> Reason:
        given = self.sized.server_reason[s]
        if given:
            return given  # type: ignore[return-value]
        reasons = {e.reason for e in exclusions}
        if not reasons.isdisjoint(("out_of_reach", "kv_too_small", "too_many")):
            return "out_of_reach"
        return "no_profile" if reasons.isdisjoint(("not_current", "not_allowed")) else "pinned"

    def _exclusion(self, s: int, accelerator: str, kind: str, worst: int, best: float) -> Exclusion:
        if kind != "out_of_reach":
            return Exclusion(accelerator, kind)  # type: ignore[arg-type]
        metric, _, statistic = self._rows[worst]
        promise = self.sized.pairs.promises[s]
        known = (id(promise), metric)  # servers of a class share their promise
        if known not in self._limits:
            targets = promise.targets if promise else ()
            self._limits[known] = min((t.limit for t in targets if t.metric == metric), default=0.0)
        return Exclusion(accelerator, "out_of_reach", metric, statistic, self._limits[known], best)

    def _shortages(self, options: Iterable[int]) -> tuple[Shortage, ...]:
        """Rows in which options need more than is free beside what their server holds now."""
        start, row = self.problem.use_start, self.problem.use_row
        return tuple(
            Shortage(
                self._accelerator(o), self.problem.rows[row[u]], float(self._needed[u]), float(self._room[u])
            )
            for o in options
            if self._short[o]
            for u in range(start[o], start[o + 1])
            if self._lacks[u]
        )

    def _accelerator(self, option: int) -> str:
        return self.fleet.accelerators[int(self.sized.pairs.accelerator[self._pair[option]])].name


def options_of(fleet: Fleet, sized: Candidates, server: ServerPlan) -> list[tuple[Option, bool]]:
    """Every candidate of a server in order of value, and whether it is (part of) what the server gets."""
    s = sized.pairs.server_number(server.server)
    mine = np.flatnonzero((sized.pairs.server == s) & (sized.excluded == 0)).tolist()
    names = [fleet.accelerators[int(sized.pairs.accelerator[p])].name for p in mine]
    parts = server.mix or ((server.allocation,) if server.allocation else ())
    chosen = {part.accelerator for part in parts}
    options = [
        Option(
            name,
            int(sized.replicas[p]),
            int(sized.pairs.batch[p]),
            float(sized.cost[p]),
            float(sized.value[p]),
            float(sized.itl[p]),
            float(sized.ttft[p]),
            float(sized.utilization[p]),
            float(sized.max_rate[p]),
            None if math.isnan(sized.watts[p]) else float(sized.watts[p]),
            BINDINGS[int(sized.binding[p])],
        )
        for p, name in zip(mine, names, strict=True)
    ]
    options.sort(key=lambda o: (round(o.value, 9), o.accelerator))
    return [(option, option.accelerator in chosen) for option in options]


def percentiles_of(fleet: Fleet, sized: Candidates, server: ServerPlan) -> dict[str, dict[str, float]]:
    """Mean, p50, p95 and p99 of a server's latencies; empty where it gets nothing or has no load."""
    found = next(s for s in fleet.servers if s.name == server.server)
    option = server.allocation
    if option is None or not option.replicas or server.mix or found.load.arrival_rate <= 0:
        return {}
    s = sized.pairs.server_number(server.server)
    accelerators = [a.name for a in fleet.accelerators]
    wanted = accelerators.index(option.accelerator)
    at = np.flatnonzero(
        (sized.pairs.server == s) & (sized.pairs.accelerator == wanted) & (sized.excluded == 0)
    )
    count, share = np.array([float(option.replicas)]), np.ones(1)
    means, _ = sized.pairs.at_load(at, count, share)
    metrics = [m for m in FIELD if not (m == "ttft" and fleet.generation == "G1")]
    rows = [(metric, q) for metric in metrics for q in PERCENTILES]
    values = dict(
        zip(rows, sized.pairs.quantiles_at_load(at, count, share, rows)[:, 0].tolist(), strict=True)
    )
    return {
        metric: {"mean": float(getattr(means, FIELD[metric])[0])}
        | {f"p{q * 100:g}": values[metric, q] for q in PERCENTILES}
        for metric in metrics
    }
