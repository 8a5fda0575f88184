"""KEDA with the triggers of llm-d's router: requests queued and requests running, a replica.

Source: llm-d, guides/workload-autoscaling/keda-epp, the ScaledObject of the optimized baseline with the queue
trigger: thresholds 1 and 16 of type AverageValue, polled each 15 s; it leaves its HorizontalPodAutoscaler 100
% each 15 s both ways, and a window of 300 s down.

Read otherwise here: the router's queue is all that waits for a place, whether it waits at the router or in an
engine's own queue. A metric that cannot be read changes nothing (KEDA would take an empty answer of
Prometheus for 0).
"""

from __future__ import annotations

import msgspec

from flyball.laws.behavior import Behavior, History, Policy, Side, settle
from flyball.laws.hpa import HpaMemory, average_value, check_bounds
from flyball.laws.pool import Bounds, decision, known, pools, step
from flyball.spec.decision import Decision, Hold
from flyball.spec.snapshot import Snapshot
from flyball.units import Seconds

BEHAVIOR = Behavior(
    Side(0.0, (Policy("percent", 100.0, 15.0),)),
    Side(300.0, (Policy("percent", 100.0, 15.0),)),
)


class Keda(msgspec.Struct, frozen=True):
    """desired = the larger of ceil(queued / queue) and ceil(running / running)."""

    running: float = 16.0
    """Requests in a batch, a replica."""
    queue: float = 1.0
    """Requests that wait, a replica."""
    min: int | None = None
    """None: the server's own, at least 1."""
    max: int | None = None
    """None: what all cards of the type hold."""
    period: Seconds = 15.0
    name: str = "keda"

    def __post_init__(self) -> None:
        check_bounds(self.min, self.max)
        for what, value in (("running", self.running), ("queue", self.queue)):
            if not value > 0:
                raise ValueError(f"{what} is {value:g}: it must be over 0")

    def __call__(self, snapshot: Snapshot, memory: HpaMemory | None) -> tuple[Decision, HpaMemory]:
        """Where one of the two is not known the other may grow a server, but nothing shrinks it."""
        histories = dict(memory.histories) if memory else {}
        steps = []
        for pool in pools(snapshot, Bounds(self.min, self.max)):
            name, current = pool.server.name, pool.replicas
            triggers = (
                ("waiting", known(pool.seen.waiting), self.queue),
                ("running", known(pool.seen.running), self.running),
            )
            wishes = [
                (average_value(total, target, current), metric, target, total / max(current, 1))
                for metric, total, target in triggers
                if total is not None
            ]
            wish, metric, target, value = max(wishes, default=(None, "", 0.0, 0.0))
            if wish is not None and wish < current and len(wishes) < len(triggers):
                wish = None
            replicas, held, histories[name] = settle(
                wish,
                current,
                pool.low,
                pool.high,
                BEHAVIOR,
                snapshot.seen.time,
                histories.get(name, History()),
            )
            hold = Hold(held, wish or 0, replicas) if held else None
            steps.append(step(pool, replicas, metric, target, value, hold))
        return decision(self.name, snapshot, steps), HpaMemory(histories)


def keda_tuned(
    running: float = 45.0, queue: float = 1.0, min: int | None = None, max: int | None = None
) -> Keda:
    """With the threshold on running requests that suits Qwen3-32B on two H100 in llm-d's own episode."""
    return Keda(running, queue, min, max, name="keda-tuned")
