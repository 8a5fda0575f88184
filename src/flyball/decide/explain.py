"""Why each server got what it got: reason, binding constraint, next-best option, shortages, exclusions."""

from __future__ import annotations

import math

import numpy as np
from msgspec.structs import replace

from flyball.queueing.percentiles import Metric
from flyball.solve.candidates import BINDINGS, Candidates
from flyball.solve.pairs import EXCLUSIONS, WAIT_MARGIN
from flyball.solve.problem import NONE, FloatArray, IntArray, Problem, Solution
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
        self.unlimited = fleet.settings.unlimited or fleet.settings.solver == "unlimited"
        self._columns = {
            name: getattr(sized if hasattr(sized, name) else sized.pairs, name).tolist()
            for name in (
                "accelerator", "batch", "replicas", "unit_cost", "cost", "itl", "ttft", "utilization",
                "max_rate", "watts", "binding",
            )
        }  # fmt: skip
        self._rows = sized.pairs.target_rows()
        self._value = problem.value.tolist()
        self._merit = problem.cost.tolist() if solution.divisible else self._value
        self._pair = pairs.tolist()
        self._excluded: dict[int, list[int]] = {}
        for pair in np.flatnonzero(sized.excluded > 0).tolist():
            self._excluded.setdefault(int(sized.pairs.server[pair]), []).append(pair)

    def servers(self) -> tuple[ServerPlan, ...]:
        """In order of name."""
        start = self.problem.start.tolist()
        option, served = self.solution.option.tolist(), self.solution.served.tolist()
        self._weigh_up()
        return tuple(
            self._server(s, range(start[s], start[s + 1]), option[s], served[s]) for s in range(len(option))
        )

    def _weigh_up(self) -> None:
        """Promises of every part at its load, and the parts that do not have an option's own size."""
        self._parts: dict[int, tuple[Option, ...]] = {}
        self._promises: dict[int, tuple[Promise, ...]] = {}
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
        for i, (s, _, _, part_of_load) in enumerate(loaded):
            lost = part_of_load * float(metrics.blocking[i])
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
            for (i, target), value in zip(targets, values.tolist(), strict=True):
                self._keep(loaded[i][0], target, value)

    def _whole(self, s: int) -> bool:
        return bool(self.solution.served[s]) and s not in self.solution.mix

    def _resized(self, option: int, replicas: float) -> Option:
        made, whole = self._option(option), float(self.problem.replicas[option]) or 1.0
        cost = self._columns["unit_cost"][self._pair[option]] * replicas
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

    def _keep(self, s: int, target: Target, value: float) -> None:
        have = self._promises.get(s, ())
        same = [p for p in have if (p.metric, p.statistic) == (target.metric, target.statistic)]
        value = max([value, *(p.value for p in same)])
        made = Promise(
            target.metric, target.statistic, target.limit, value, value <= target.limit * (1 + MET)
        )
        self._promises[s] = (*(p for p in have if p not in same), made)

    def _option(self, option: int) -> Option:
        pair = self._pair[option]
        if pair == NONE:
            return REST
        c = self._columns
        watts = c["watts"][pair]
        return Option(
            self.fleet.accelerators[c["accelerator"][pair]].name,
            int(c["replicas"][pair]),
            int(c["batch"][pair]),
            c["cost"][pair],
            self._value[option],
            c["itl"][pair],
            c["ttft"][pair],
            c["utilization"][pair],
            c["max_rate"][pair],
            None if watts != watts else watts,
            BINDINGS[c["binding"][pair]],
        )

    def _server(self, s: int, options: range, option: int, served: bool) -> ServerPlan:
        name, priority = self.problem.names[s], int(self.problem.priority[s])
        exclusions = tuple(self._exclusion(pair) for pair in self._excluded.get(s, ()))
        if option == NONE:
            reason: Reason = "no_capacity" if options else self._no_options(s)
            shortages = tuple(x for o in options for x in self._shortages(o))
            return ServerPlan(name, priority, "unserved", reason, shortages=shortages, exclusions=exclusions)
        next_best = self._next_best(options, option)
        if self._pair[option] == NONE:
            return ServerPlan(name, priority, "idle", "no_load", REST, exclusions=exclusions)
        parts = self._parts.get(s, ())
        mix = parts if len(parts) > 1 else ()
        allocation = max(parts, key=lambda p: p.max_rate * p.replicas) if parts else self._option(option)
        better = [o for o in options if self._merit[option] - self._merit[o] > SAME]
        shortages = tuple(x for o in better for x in self._shortages(o))
        status: Status = "served" if served else "best_effort"
        if not served:
            shortages = tuple(x for o in options for x in self._shortages(o))
        return ServerPlan(
            name,
            priority,
            status,
            self._reason(s, option, served, bool(mix), bool(better), allocation),
            allocation,
            self._promises.get(s, ()),
            self._turned_away.get(s, 0.0),
            mix,
            next_best,
            shortages,
            exclusions,
        )

    def _next_best(self, options: range, option: int) -> Option | None:
        """The next option of no less value that would fit; where there is none, the next at all."""
        others = [o for o in options if o != option]
        dearer = [o for o in others if self._merit[o] >= self._merit[option]]
        other = next((o for o in dearer if self.unlimited or not self._shortages(o)), None)
        if other is None and others:
            other = (dearer or others)[0]
        return None if other is None else self._option(other)

    def _reason(
        self, s: int, option: int, served: bool, mixed: bool, better: bool, allocation: Option
    ) -> Reason:
        server = self.fleet.servers[self.sized.servers[s]]
        if not served:
            return "short"
        if mixed:
            return "mix"
        if better:
            return "capacity"
        if server.keep_accelerator and server.current.accelerator == allocation.accelerator:
            return "pinned"
        first, last = int(self.problem.start[s]), int(self.problem.start[s + 1])
        if allocation.cost > self.problem.cost[first:last].min() + SAME:
            return "kept"
        return "cheapest"

    def _no_options(self, s: int) -> Reason:
        given = self.sized.server_reason[s]
        if given:
            return given  # type: ignore[return-value]
        reasons = {EXCLUSIONS[int(self.sized.excluded[p])] for p in self._excluded.get(s, ())}
        if "out_of_reach" in reasons or "kv_too_small" in reasons:
            return "out_of_reach"
        return "pinned" if "not_current" in reasons else "no_profile"

    def _exclusion(self, pair: int) -> Exclusion:
        kind = EXCLUSIONS[int(self.sized.excluded[pair])]
        accelerator = self.fleet.profiles[int(self.sized.pairs.profile[pair])].accelerator
        if kind != "out_of_reach":
            return Exclusion(accelerator, kind)  # type: ignore[arg-type]
        metric, quantile = self._rows[int(self.sized.worst[pair])]
        promise = self.sized.pairs.promises[int(self.sized.pairs.server[pair])]
        limit = min(
            (t.limit for t in (promise.targets if promise else ()) if t.metric == metric), default=0.0
        )
        statistic = Target(metric, limit, quantile).statistic
        return Exclusion(accelerator, "out_of_reach", metric, statistic, limit, float(self.sized.best[pair]))

    def _shortages(self, option: int) -> list[Shortage]:
        """Rows in which an option needs more than is free beside what its server holds now."""
        pair = self._pair[option]
        if pair == NONE:
            return []
        s = int(self.problem.server[option])
        held = np.zeros(len(self.problem.rows))
        mine = int(self.solution.option[s])
        if mine != NONE:
            for o, n in self.solution.mix.get(s, [(mine, int(self.solution.replicas[s]))]):
                for row, amount in self.problem.per_replica(o):
                    held[row] += amount * n
        whole = float(self.problem.replicas[option])
        name = self.fleet.accelerators[self._columns["accelerator"][pair]].name
        return [
            Shortage(name, self.problem.rows[row], amount * whole, float(self.free[row] + held[row]))
            for row, amount in self.problem.per_replica(option)
            if amount * whole > self.free[row] + held[row] + SAME
        ]


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
