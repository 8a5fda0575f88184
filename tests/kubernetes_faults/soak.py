"""Disturbances at random, one after the other: what happened, how long recovery took, what was broken."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from lightkube.resources.core_v1 import Pod

from tests.campaigns import filled
from tests.clusters import found, pods
from tests.kubernetes_faults.proxy import Fault
from tests.kubernetes_faults.world import MOST, NAMESPACE, LoopProcess, World, blind, strangers

LIMIT = 90.0
"""Within which it must have recovered."""
LONGEST = 20.0
"""Of a pause; over the 15 s of a lease."""


class Row(msgspec.Struct, frozen=True):
    """One disturbance."""

    number: int
    what: str
    lasted: float
    recovery: float | None
    """Seconds from its end until a cycle without errors acted on a known load; None: it did not recover."""
    broken: tuple[str, ...] = ()
    """Invariants that did not hold."""


class Disturbance(NamedTuple):
    """What begins it, and what ends it."""

    begin: Callable[[], None]
    end: Callable[[], None]


class Soak:
    """Two loops over one cluster; `rows` are kept in a file, from which another run goes on."""

    def __init__(
        self,
        world: World,
        loops: tuple[LoopProcess, LoopProcess],
        seed: int,
        file: Path,
        longest: float = LONGEST,
    ) -> None:
        self.world, self.loops, self.seed, self.file, self.longest = world, loops, seed, file, longest
        self._read = dict.fromkeys(loops, 0)

    def run(self, count: int, until: float = float("inf")) -> list[Row]:
        """Disturb until there are so many rows, or until then by the monotonic clock."""
        return filled(self.file, Row, count, self._one, until)

    def _one(self, number: int) -> Row:
        chance = np.random.default_rng((self.seed, number))
        kinds = self._kinds(chance)
        what = str(chance.choice(sorted(kinds)))
        lasts = float(chance.uniform(0.5, self.longest))
        disturbance, broken = kinds[what], set[str]()
        self.world.load("chat", int(chance.choice([300, 1200, 2400])))
        began = time.monotonic()
        disturbance.begin()
        while time.monotonic() - began < lasts:
            broken |= self._bounds()
            time.sleep(0.25)
        disturbance.end()
        ended = time.monotonic()
        recovery = None
        before = {loop: loop.newest()[0] for loop in self.loops}
        while time.monotonic() - ended < LIMIT:
            broken |= self._bounds()
            if any(loop.is_well(before[loop]) for loop in self.loops):
                recovery = time.monotonic() - ended
                break
            time.sleep(0.25)
        broken |= {
            f"{write.loop} wrote {write.path} while {who!r} led" for write, who in strangers(self.loops)
        }
        for loop in self.loops:
            cycles = loop.cycles(self._read[loop])
            self._read[loop] += len(cycles)
            broken |= {f"{loop.name} shrank {server} blindly" for _, server in blind(cycles)}
            if not loop.process.alive:
                broken.add(f"{loop.name} has ended")
        return Row(number, what, round(lasts, 1), recovery and round(recovery, 1), tuple(sorted(broken)))

    def _bounds(self) -> set[str]:
        try:
            asked = self.world.replicas("chat")
        except Exception:  # the API server is away
            return set()
        return set() if 1 <= asked <= MOST else {f"chat has {asked} replicas"}

    def _delete_pod(self, chance: np.random.Generator) -> None:
        names = sorted(pod.metadata.name for pod in pods(self.world.client, NAMESPACE))
        if names:
            name = str(chance.choice(names))
            found(lambda: self.world.client.delete(Pod, name, namespace=NAMESPACE, grace_period=0))

    def _kinds(self, chance: np.random.Generator) -> dict[str, Disturbance]:
        """By name."""
        world, sandbox = self.world, self.world.sandbox
        kinds = {}
        leads, rests = sorted(self.loops, key=lambda loop: -loop.last_time)
        for role, loop in (("leader", leads), ("standby", rests)):
            kinds[f"{role} killed"] = Disturbance(loop.process.kill, loop.start)
            kinds[f"{role} paused"] = Disturbance(loop.pause, loop.resume)
            kinds[f"{role} ended"] = Disturbance(loop.process.stop, loop.start)
        for name in ("kube-apiserver", "etcd", "prometheus", "kube-controller-manager", "kwok"):
            kinds[f"{name} killed"] = Disturbance(
                lambda name=name: sandbox.kill(name), lambda name=name: sandbox.restart(name)
            )
            kinds[f"{name} paused"] = Disturbance(
                lambda name=name: sandbox.pause(name), lambda name=name: sandbox.resume(name)
            )
        kinds["engines paused"] = Disturbance(
            lambda: world.engines.send(signal.SIGSTOP), lambda: world.engines.send(signal.SIGCONT)
        )
        kinds["engines killed"] = Disturbance(world.engines.kill, world.start_engines)
        kinds["a pod deleted"] = Disturbance(lambda: self._delete_pod(chance), lambda: None)
        for node in ("h100-1", "h100-2"):
            kinds[f"node {node} lost"] = Disturbance(
                lambda node=node: sandbox.lose_node(node), lambda node=node: sandbox.return_node(node)
            )
        faults = (
            Fault(429, {"Retry-After": "1"}),
            Fault(409),
            Fault(500),
            Fault(cut=True),
            Fault(lost=True),
            Fault(delay=2.0),
        )
        chances = np.random.default_rng(int(chance.integers(2**32)))

        def some(method: str, path: str) -> Fault | None:
            return faults[int(chances.integers(len(faults)))] if chances.random() < 0.4 else None

        def disturb(plan: Callable[[str, str], Fault | None]) -> None:
            for loop in self.loops:
                loop.cluster.plan = plan

        kinds["API requests fail"] = Disturbance(
            lambda: disturb(some), lambda: disturb(lambda method, path: None)
        )
        return kinds


def table(rows: list[Row]) -> str:
    """What happened, by kind: how often, and how long recovery took."""
    lines = [f"{'what':34} {'times':>5} {'recovery: mean':>15} {'worst':>7}  broken"]
    for what in sorted({row.what for row in rows}):
        mine = [row for row in rows if row.what == what]
        took = [row.recovery for row in mine if row.recovery is not None]
        mean, worst = (sum(took) / len(took), max(took)) if took else (float("nan"),) * 2
        never = len(mine) - len(took)
        broken = [*(text for row in mine for text in row.broken), *["not recovered"] * never]
        lines.append(f"{what:34} {len(mine):5} {mean:13.1f} s {worst:5.1f} s  {'; '.join(broken) or '-'}")
    return "\n".join(lines)
