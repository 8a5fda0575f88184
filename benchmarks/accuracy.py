"""How true the model of Flyball's own form is: predicted beside simulated latencies, engine by engine."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from flyball.queueing.analysis import analyze
from flyball.queueing.arrays import FloatArray
from flyball.queueing.iteration import IterationCurve, iteration_curve, occupancy, with_experts
from flyball.queueing.percentiles import Metric, quantile_rows
from flyball.simulate.compiled import available
from flyball.simulate.replicas import Replicas
from flyball.spec.scenario import Engine

ENGINES = (
    Engine("8B", "H100", 6.3947e-3, 11.84e-6, 40.846e-9, 20.173e-6, 437_550),
    Engine("70B", "H100x4", 15.1474e-3, 32.74e-6, 26.655e-9, 60.831e-6, 460_798),
    Engine("32B", "A100x2", 24.7665e-3, 79.47e-6, 87.495e-9, 135.74e-6, 307_392),
    Engine("8B", "L4", 50.0311e-3, 33.68e-6, 436.91e-9, 125.95e-6, 24_673),
)
MIXTURE = Engine(
    *("235B-A22B", "H100x8", 14.0e-3, 60e-6, 9e-9, 60e-6, 400_000),
    epsilon=30e-3,
    experts=128,
    experts_per_token=8,
)
"""About what a mixture of experts takes: 44 ms where all are awake."""
SHAPES = ((200, 500), (1000, 300), (1500, 250), (4000, 1000), (6000, 100))
LOADS = (0.2, 0.4, 0.6, 0.75, 0.9)
SPREADS = ((0.0, 0.0), (0.8, 0.0), (0.5, 0.8))
COLUMNS = ("ttft mean", "ttft p95", "ttft p99", "tpot mean", "tpot p95", "tpot p99")
WANTED: list[tuple[Metric, float]] = [("ttft", 0.95), ("ttft", 0.99), ("itl", 0.95), ("itl", 0.99)]
REQUESTS = 100_000


class Case(NamedTuple):
    """One replica under a load, Poisson arrivals, lognormal lengths."""

    engine: Engine
    in_tokens: int
    out_tokens: int
    load: float
    """Of its capacity mu(N)."""
    in_cov: float = 0.0
    out_cov: float = 0.0

    @property
    def batch(self) -> int:
        """Limit of the plan: so many whole requests fit into the KV cache."""
        whole = self.in_tokens + self.out_tokens
        return max(1, min(self.engine.max_sequences, self.engine.kv_tokens // whole))

    @property
    def curve(self) -> IterationCurve:
        """What the model makes of it."""
        return self._around(occupancy(self._around, np.array([self.rate]), np.array([float(self.batch)])))

    def _around(self, n: FloatArray) -> IterationCurve:
        e = self.engine
        untouched = 1.0 - e.experts_per_token / max(e.experts, 1)
        first, each, *waking = (np.array([v]) for v in (e.alpha, e.beta, e.epsilon, untouched))
        line = with_experts(first, each, *waking, n)
        values = (e.kappa, e.delta, self.in_tokens, self.out_tokens, self.batch)
        covs = np.array([self.in_cov]), np.array([self.out_cov])
        rest = (np.array([float(v)]) for v in values)
        return iteration_curve(*line, *rest, in_cov=covs[0], out_cov=covs[1])

    @property
    def rate(self) -> float:
        """Requests per second."""
        n = np.array([float(self.batch)])
        return self.load * float(n[0] / self._around(n).residence_time(n)[0])


def predicted(case: Case) -> FloatArray:
    """(6,) seconds by the model, in the order of COLUMNS."""
    curve, rate, queue = case.curve, np.array([case.rate]), np.array([np.inf])
    means = analyze(curve, queue, rate)
    tails = quantile_rows(curve, queue, rate, WANTED)[:, 0]
    return np.array([means.ttft[0], tails[0], tails[1], means.itl[0], tails[2], tails[3]])


def simulated(case: Case, requests: int = REQUESTS, seed: int = 3) -> FloatArray:
    """(6,) seconds in the plant, whose batch limit is the plan's; a warm-up and the end are left out."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1.0 / case.rate, requests))
    lengths = [
        _lengths(mean, cov, requests, rng)
        for mean, cov in ((case.in_tokens, case.in_cov), (case.out_tokens, case.out_cov))
    ]
    engine = msgspec.structs.replace(case.engine, max_sequences=case.batch)
    plant = Replicas((engine,), "round_robin")
    plant.route.append(plant.add(engine))
    over = list(
        plant.run(0.0, float(times[-1]), times, *lengths, np.zeros(requests, np.int64), rng.random(requests))
    )
    columns = [np.concatenate(c) for c in zip(*over, strict=True)]
    arrival, first, finish, _, tokens, _ = columns
    counts = (first >= 0) & (arrival > 0.1 * times[-1]) & (arrival < 0.95 * times[-1])
    ttft = (first - arrival)[counts]
    several = counts & (tokens > 1)
    tpot = ((finish - first) / np.maximum(tokens - 1, 1))[several]
    return np.array([f(v) for v in (ttft, tpot) for f in (np.mean, _p95, _p99)])


def _p95(values: FloatArray) -> float:
    return float(np.quantile(values, 0.95))


def _p99(values: FloatArray) -> float:
    return float(np.quantile(values, 0.99))


def _lengths(mean: int, cov: float, size: int, rng: np.random.Generator) -> np.ndarray:
    if cov == 0:
        return np.full(size, mean, np.int64)
    spread = np.log1p(cov * cov)
    drawn = np.exp(rng.normal(np.log(mean) - spread / 2, np.sqrt(spread), size))
    return np.maximum(np.rint(drawn), 1).astype(np.int64)


def errors(cases: list[Case], requests: int = REQUESTS) -> FloatArray:
    """(cases, 6) predicted over simulated, minus 1."""
    return np.stack([predicted(c) / simulated(c, requests) - 1.0 for c in cases])


def main(runs: int = 1) -> None:
    """Print the whole grid, and of each kind of load the median and the worst error."""
    if not available():
        print("accuracy: needs numba, the extra `fast`")
        return
    for in_cov, out_cov in SPREADS:
        kind = f"cov of input {in_cov:g}, of output {out_cov:g}" if in_cov or out_cov else "fixed lengths"
        print(f"accuracy, {kind}: seconds of the model, seconds of the plant, error; {REQUESTS:,} requests")
        print(f"{'engine':<11} {'in/out':>10} {'load':>5}" + "".join(f" | {c:^23}" for c in COLUMNS))
        found: dict[float, list[FloatArray]] = {load: [] for load in LOADS}
        for engine in (*ENGINES, MIXTURE):
            for shape in SHAPES:
                for load in LOADS:
                    case = Case(engine, *shape, load, in_cov, out_cov)
                    model, plant = predicted(case), simulated(case)
                    found[load].append(model / plant - 1.0)
                    cells = "".join(
                        f" | {m:>8.4g} {p:>8.4g} {e:>+5.0%}"
                        for m, p, e in zip(model, plant, found[load][-1], strict=True)
                    )
                    name = f"{engine.model} {engine.accelerator}"
                    print(f"{name:<11} {shape[0]:>5}/{shape[1]:<4} {load:>5.0%}{cells}", flush=True)
        for load in LOADS:
            worst = np.abs(np.array(found[load]))
            for word, values in (("median", np.median(worst, axis=0)), ("worst", worst.max(axis=0))):
                cells = "".join(f" | {v:>23.1%}" for v in values)
                print(f"{word:<22} {load:>5.0%}{cells}")
        print()


if __name__ == "__main__":
    main()
