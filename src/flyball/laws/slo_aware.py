"""llm-d's SLO-aware law: percentiles of latency over their targets, smoothed, against a band.

Source: llm-d, guides/workload-autoscaling, "SLO-Aware Autoscaling with KEDA and Predicted Latency" (2026).
With n replicas provisioned, r ready, and c = r/n while some start (else 1):

    s_raw = max(P90 TTFT / target, P90 TPOT / target)          s = mean over 45 s of min(s_raw, 2)
    d = n + ceil(n (s c / 0.55 - 1))     where s > 0.55
        n - floor(n (1 - s / 0.40))      where s < 0.40
        n                                between

d goes to a HorizontalPodAutoscaler as an average value of 1: up by the larger of 100 % and 4 in 60 s with a
window of 30 s, down by 1 in 120 s with a window of 180 s.

Read otherwise here: the latencies are those measured (the guide prefers the router's prediction and falls
back on them); the targets are the limits of the server's class, whatever their statistic; the branch that
grows never shrinks (its credit could take d below n, which the guide's text rules out); no traffic counts as
0, as there, but a server with load whose latencies cannot be read keeps its last samples instead.
"""

from __future__ import annotations

import math

import msgspec

from flyball.laws.behavior import Behavior, History, Policy, Side, settle
from flyball.laws.hpa import average_value, check_bounds
from flyball.laws.pool import Bounds, Pool, decision, known, pools, step
from flyball.spec.decision import Decision, Hold
from flyball.spec.fleet import Fleet
from flyball.spec.server import Server
from flyball.spec.service_class import promise_of
from flyball.spec.snapshot import Snapshot
from flyball.units import Seconds

BEHAVIOR = Behavior(
    Side(30.0, (Policy("percent", 100.0, 60.0), Policy("pods", 4.0, 60.0))),
    Side(180.0, (Policy("pods", 1.0, 120.0),)),
)
CLAMP = 2.0
SMOOTHING: Seconds = 45.0


class Sample(msgspec.Struct, frozen=True, gc=False):
    """The signal at a time, clamped."""

    time: Seconds
    value: float


class SloAwareMemory(msgspec.Struct, frozen=True):
    """By server: wishes and changes, and the samples of the smoothing window."""

    histories: dict[str, History] = {}
    samples: dict[str, tuple[Sample, ...]] = {}


class SloAware(msgspec.Struct, frozen=True):
    """Grow above `up`, shrink below `down`, hold between."""

    up: float = 0.55
    down: float = 0.40
    min: int | None = None
    """None: the server's own, at least 1."""
    max: int | None = None
    """None: what all cards of the type hold."""
    period: Seconds = 15.0
    name: str = "slo-aware"

    def __post_init__(self) -> None:
        check_bounds(self.min, self.max)
        if not 0.0 < self.down <= self.up < CLAMP:
            raise ValueError(
                f"down is {self.down:g} and up is {self.up:g}: they must be over 0 and below {CLAMP:g}, "
                "and down not above up"
            )

    def __call__(self, snapshot: Snapshot, memory: SloAwareMemory | None) -> tuple[Decision, SloAwareMemory]:
        """Servers whose class has no target of the time to first token or between tokens are left alone."""
        now = snapshot.seen.time
        histories = dict(memory.histories) if memory else {}
        samples = dict(memory.samples) if memory else {}
        steps = []
        for pool in pools(snapshot, Bounds(self.min, self.max)):
            name, targets = pool.server.name, limits_of(snapshot.fleet, pool.server)
            if not targets:
                continue
            kept = tuple(e for e in samples.get(name, ()) if e.time > now - SMOOTHING)
            raw = _signal(pool, targets)
            samples[name] = kept if raw is None else (*kept, Sample(now, min(raw, CLAMP)))
            signal = _mean(samples[name])
            wish = None
            if signal is not None and pool.replicas:
                asked = wished(signal, pool.replicas, pool.ready, self.up, self.down)
                wish = average_value(float(asked), 1.0, pool.replicas)
            replicas, held, histories[name] = settle(
                wish, pool.replicas, pool.low, pool.high, BEHAVIOR, now, histories.get(name, History())
            )
            hold = Hold(held, wish or 0, replicas) if held else None
            steps.append(step(pool, replicas, "latency / target", self.up, signal or 0.0, hold))
        return decision(self.name, snapshot, steps), SloAwareMemory(histories, samples)


def wished(signal: float, provisioned: int, ready: int, up: float, down: float) -> int:
    """d of the published formula, from a smoothed signal."""
    n = provisioned
    if signal > up:
        credit = ready / n if 0 < ready < n else 1.0
        return n + max(math.ceil(n * (signal * credit / up - 1.0)), 0)
    if signal < down:
        return n - math.floor(n * (1.0 - signal / down))
    return n


def limits_of(fleet: Fleet, server: Server) -> dict[str, Seconds]:
    """What the server's class promises for its model: limits of ttft and itl."""
    promise = promise_of(fleet.service_classes, server.service_class, server.model)
    promised = promise.targets if promise else ()
    targets = [t for t in promised if t.metric in ("ttft", "itl") and t.limit > 0]
    return {t.metric: min(o.limit for o in targets if o.metric == t.metric) for t in targets}


def _signal(pool: Pool, limits: dict[str, Seconds]) -> float | None:
    """The worst ninetieth percentile over its target; None: there is load, and nothing is known."""
    measured = {"ttft": known(pool.seen.ttft.get("p90")), "itl": known(pool.seen.itl.get("p90"))}
    shares = [value / limits[m] for m, value in measured.items() if value is not None and m in limits]
    if shares:
        return max(shares)
    return 0.0 if known(pool.seen.arrival_rate) == 0.0 else None


def _mean(samples: tuple[Sample, ...]) -> float | None:
    return sum(e.value for e in samples) / len(samples) if samples else None
