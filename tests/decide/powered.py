"""The fluid world with watts: replicas on nodes in racks, meters that may fail, budgets and policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from flyball.decide.power import asks
from flyball.power.algorithms.find import find_algorithm
from flyball.spec.power import (
    Answer,
    Domain,
    PlacedPod,
    Policy,
    PowerNode,
    PowerReading,
    PowerSeen,
    PowerWorkload,
    WorkloadRef,
)
from flyball.spec.snapshot import Snapshot
from flyball.testing.fluid import FluidWorld
from tests.decide.worlds import PERIOD, Run

IDLE, FULL = 200.0, 600.0
"""Watts of a replica without a request, and at its largest load."""
CARDS = 8
RACK = "rack"


def policy(mode: str = "Enforce", **more: Any) -> Policy:
    """One for all pods of the namespace."""
    return Policy("all", "infer", mode=mode, **more)  # type: ignore[arg-type]


def rack(name: str, watts: float | None, **more: Any) -> Domain:
    """A rack below the site."""
    return Domain(name, "Rack", parent="site", labels={RACK: name}, watts=watts, **more)


class PoweredRun(Run):
    """The loop in a world with so many nodes in each rack; each node has a meter of its whole."""

    def __init__(
        self,
        world: FluidWorld,
        domains: tuple[Domain, ...],
        policies: tuple[Policy, ...],
        racks: int = 2,
        nodes: int = 4,
        other: Callable[[str, float], float] = lambda node, time: 0.0,
    ) -> None:
        """`other`: watts of a node that nobody governs."""
        super().__init__(world)
        self.domains, self.policies, self.other = domains, policies, other
        self.least: dict[str, int] = {}
        self.labels: dict[str, dict[str, str]] = {}
        self.workloads: tuple[PowerWorkload, ...] = ()
        """Beside the servers."""
        self.dark: set[str] = set()
        """Nodes whose meters say nothing."""
        self.trains = 0
        """Pods of a training job."""
        self.hostile: object = None
        """An answer that is given in place of the algorithm's."""
        self.nodes = tuple(
            PowerNode(f"n{r}{n}", {RACK: f"r{r}"}, CARDS, None, 0.0, 400.0, 0.0, 0.0, FULL)
            for r in range(racks)
            for n in range(nodes)
        )
        self.watts: list[float] = []
        """Of the whole site in each cycle, true."""
        self.placed: dict[tuple[str, str], list[tuple[str, str]]] = {}
        """By server and accelerator: pods with their nodes, the oldest first."""
        self.made = 0

    def _place(self, server: str, accelerator: str, count: int) -> list[tuple[str, str]]:
        """So many pods of a server: new ones in turn on the nodes; those go first that are said to."""
        here = self.placed.setdefault((server, accelerator), [])
        while len(here) < count:
            self.made += 1
            node = self.nodes[(self.made * 7 + 2) % len(self.nodes)].name
            here.append((f"infer/{server}-{self.made}", node))
        plan = self.decisions[-1].power if self.decisions else None
        leave = [pod for cap in plan.caps if cap.workload == server for pod in cap.leave] if plan else []
        names = [name for name, _ in here]
        going = [name for name in leave if name in names] + [n for n in reversed(names) if n not in leave]
        gone = set(going[: len(here) - count])
        here[:] = [one for one in here if one[0] not in gone]
        return here

    def pods(self) -> tuple[PlacedPod, ...]:
        """Replicas on the nodes."""
        found = []
        for (server, accelerator), pool in sorted(self.world.pools.items()):
            takes = self.world.takes(server)
            use = min(self.world.rate(server, self.world.time) / takes, 1.0) if takes > 0 else 1.0
            placed = self._place(server, accelerator, pool.ready + len(pool.pending))
            for i, (name, node) in enumerate(placed):
                phase = "running" if i < pool.ready else "pending"
                load = (FULL - IDLE) * use if phase == "running" else 0.0
                found.append(
                    PlacedPod(
                        name,
                        server,
                        node,
                        phase,
                        accelerator,
                        IDLE,
                        load,
                        FULL,  # type: ignore[arg-type]
                    )
                )
        for i in range(self.trains):
            node = self.nodes[i % len(self.nodes)].name
            name = "infer/Deployment/train"
            found.append(PlacedPod(f"infer/train-{i}", name, node, "running", "A", IDLE, FULL - IDLE, FULL))
        return tuple(found)

    def draws(self, node: str, pods: tuple[PlacedPod, ...]) -> float:
        """Watts of a node, true."""
        mine = [p for p in pods if p.node == node and p.phase == "running"]
        return sum(p.idle + p.load for p in mine) + self.other(node, self.world.time)

    def draws_of(self, rack: str) -> float:
        """Watts of a rack, true."""
        pods = self.pods()
        return sum(self.draws(n.name, pods) for n in self.nodes if n.labels[RACK] == rack)

    def seen(self) -> PowerSeen:
        """What is known of power now."""
        pods = self.pods()
        watts = {node.name: self.draws(node.name, pods) for node in self.nodes}
        self.watts.append(sum(watts.values()))
        readings = tuple(
            PowerReading("agent", "whole", name, max(w, 1.0), 0.0, 0.01)
            for name, w in watts.items()
            if name not in self.dark
        )
        servers = tuple(
            PowerWorkload(
                s.name,
                "infer",
                {"app": s.name, **self.labels.get(s.name, {})},
                (WorkloadRef("Deployment", s.name),),
                self.world.asked(s.name),
                self.least.get(s.name, 1),
            )
            for s in self.world.configured.servers
        )
        return PowerSeen(
            self.world.time,
            2 * PERIOD,
            self.domains,
            self.policies,
            self.nodes,
            readings,
            pods,
            (*servers, *self.workloads),
        )

    def look(self) -> Snapshot:
        """With watts; algorithms are asked first."""
        power = self.seen()
        snapshot = Snapshot(self.world.configured, self.world.observe(), power=power)
        answers = {
            key: Answer(one.algorithm, dict(find_algorithm(one.algorithm)(view)))  # type: ignore[arg-type]
            if self.hostile is None
            else self.hostile
            for key, (one, view) in asks(snapshot, self.memory).items()
        }
        self.snapshot = replace(snapshot, power=replace(power, answers=answers))
        return self.snapshot
