"""Why each server got what it got: reason, binding constraint, next-best option, shortages, exclusions."""

from __future__ import annotations

import math

import numpy as np

from flyball.queueing.analysis import analyze
from flyball.queueing.percentiles import Metric, quantiles
from flyball.solve.candidates import BINDINGS, EXCLUSIONS, Candidates, at_load
from flyball.solve.problem import NONE, FloatArray, IntArray, Problem, Solution
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Exclusion, Option, Reason, ServerPlan, Shortage, Status
from flyball.spec.service_class import Target

MEANS: tuple[Metric, ...] = ("ttft", "itl", "wait", "e2e")
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
        self.fleet, self.sized, self.problem, self.pairs, self.solution = fleet, sized, problem, pairs, solution
        self.free = problem.limit - taken
        self._columns = {
            name: getattr(sized, name).tolist()
            for name in (
                "accelerator", "batch", "replicas", "unit_cost", "cost", "itl", "ttft", "utilization", "max_rate",
                "watts", "binding",
            )
        }  # fmt: skip
        self._value = problem.value.tolist()
        self._pair = pairs.tolist()
        self._excluded: dict[int, list[int]] = {}
        for pair in np.flatnonzero(sized.excluded > 0).tolist():
            self._excluded.setdefault(int(sized.server[pair]), []).append(pair)

    def servers(self) -> tuple[ServerPlan, ...]:
        """In order of name."""
        start = self.problem.start.tolist()
        option, replicas = self.solution.option.tolist(), self.solution.replicas.tolist()
        served = self.solution.served.tolist()
        partial = {
            s: (option[s], replicas[s]) for s in range(len(option)) if option[s] != NONE and not served[s]
        }
        parts = self._loaded(partial)
        return tuple(
            self._server(s, range(start[s], start[s + 1]), option[s], served[s], parts.get(s, ()))
            for s in range(len(option))
        )

    def _loaded(self, partial: dict[int, tuple[int, float]]) -> dict[int, tuple[Option, ...]]:
        """Options that are not taken at their own size, with the latencies that they will really have."""
        rows = [(s, o, n, 1.0) for s, (o, n) in partial.items()]
        for s, mix in self.solution.mix.items():
            total = sum(float(self.problem.option_rate[o]) * n for o, n in mix)
            rows += [(s, o, float(n), float(self.problem.option_rate[o]) * n / total if total else 1.0) for o, n in mix]
        if not rows:
            return {}
        at = np.array([self._pair[o] for _, o, _, _ in rows], dtype=np.int64)
        count = np.array([n for _, _, n, _ in rows])
        share = np.array([f for _, _, _, f in rows])
        itl, ttft, utilization, watts = at_load(self.sized, at, count, share)
        result: dict[int, tuple[Option, ...]] = {}
        for i, (s, o, n, _) in enumerate(rows):
            whole = float(self.problem.replicas[o]) or 1.0
            made = self._option(o)
            changed = Option(
                made.accelerator,
                int(n),
                made.max_batch_size,
                self._columns["unit_cost"][self._pair[o]] * n,
                made.value * n / whole,
                float(itl[i]),
                float(ttft[i]),
                float(utilization[i]),
                made.max_rate,
                None if math.isnan(watts[i]) else float(watts[i]),
                made.binding,
            )
            result[s] = (*result.get(s, ()), changed)
        return result

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

    def _server(
        self, s: int, options: range, option: int, served: bool, parts: tuple[Option, ...]
    ) -> ServerPlan:
        name, priority = self.problem.names[s], int(self.problem.priority[s])
        exclusions = tuple(self._exclusion(pair) for pair in self._excluded.get(s, ()))
        if option == NONE:
            reason: Reason = "no_capacity" if options else self._no_options(s)
            shortages = tuple(x for o in options for x in self._shortages(o))
            return ServerPlan(name, priority, "unserved", reason, None, (), None, shortages, exclusions)
        other = next((o for o in options if o != option), None)
        next_best = None if other is None else self._option(other)
        if self._pair[option] == NONE:
            return ServerPlan(name, priority, "idle", "no_load", REST, (), None, (), exclusions)
        mix = parts if len(parts) > 1 else ()
        allocation = max(parts, key=lambda p: p.max_rate * p.replicas) if parts else self._option(option)
        better = [o for o in options if o < option and self._value[option] - self._value[o] > SAME]
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
            mix,
            next_best,
            shortages,
            exclusions,
        )

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
        accelerator = self.fleet.profiles[int(self.sized.profile[pair])].accelerator
        if kind != "out_of_reach":
            return Exclusion(accelerator, kind)  # type: ignore[arg-type]
        target = self.sized.targets[int(self.sized.worst[pair])]
        limit = self._limit(int(self.sized.server[pair]), target)
        return Exclusion(
            accelerator, "out_of_reach", target.metric, target.statistic, limit, float(self.sized.best[pair])
        )

    def _limit(self, s: int, target: Target) -> float:
        promise = self.sized.promises[s]
        limits = [
            t.limit for t in (promise.targets if promise else ()) if t.metric == target.metric
        ]
        return min(limits, default=target.limit)

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
    s = [fleet.servers[i].name for i in sized.servers].index(server.server)
    mine = np.flatnonzero((sized.server == s) & (sized.excluded == 0)).tolist()
    names = [fleet.accelerators[int(sized.accelerator[p])].name for p in mine]
    parts = server.mix or ((server.allocation,) if server.allocation else ())
    chosen = {part.accelerator for part in parts}
    options = [
        Option(
            name,
            int(sized.replicas[p]),
            int(sized.batch[p]),
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
    """Mean, p50, p95 and p99 of the latencies of what a server gets; empty where it gets nothing or has no load."""
    found = next(s for s in fleet.servers if s.name == server.server)
    option = server.allocation
    if option is None or not option.replicas or server.mix or found.load.arrival_rate <= 0:
        return {}
    s = [fleet.servers[i].name for i in sized.servers].index(server.server)
    accelerators = [a.name for a in fleet.accelerators]
    wanted = accelerators.index(option.accelerator)
    at = np.flatnonzero((sized.server == s) & (sized.accelerator == wanted) & (sized.excluded == 0))
    curve, queue = sized.pairs.curve(at), sized.pairs.queue_size(at)
    rate = np.array([found.load.arrival_rate / option.replicas])
    means = analyze(curve, queue, rate)
    metrics: dict[Metric, float] = {
        "ttft": float(means.ttft[0]),
        "itl": float(means.itl[0]),
        "wait": float(means.wait_time[0]),
        "e2e": float(means.response_time[0]),
    }
    if fleet.generation == "G1":
        metrics.pop("ttft")
    return {
        metric: {"mean": mean}
        | {f"p{q * 100:g}": float(quantiles(curve, queue, rate, metric, q)[0]) for q in (0.5, 0.95, 0.99)}
        for metric, mean in metrics.items()
    }
