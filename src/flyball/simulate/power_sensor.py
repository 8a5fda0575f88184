"""What is seen of watts in the plant: as late, as wrong and as broken as real sensors are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from flyball.simulate.cluster import Machine, Replica
from flyball.simulate.hall import STEP, Drawn
from flyball.simulate.plant import Plant
from flyball.spec.fleet import Fleet
from flyball.spec.power import (
    Domain,
    Part,
    PlacedPod,
    PodPhase,
    Policy,
    PowerNode,
    PowerReading,
    PowerSeen,
    PowerWorkload,
    WorkloadRef,
)
from flyball.spec.power_plan import PowerPlan
from flyball.spec.scenario import Draw, Host, PowerFault, PowerMeasuring
from flyball.spec.snapshot import Scrape
from flyball.units import Seconds, Watts

RACK = "rack"
"""The label of a node."""
NAMESPACE = "default"
RECENT = 6
"""Steps over which the present load of a pod is taken."""
OVERLAP = 4
"""Bursts of others that meet on a node at most, as its upper bound has it."""
_PHASES: Mapping[str, PodPhase] = {"pending": "pending", "ready": "running", "draining": "terminating"}
Domains = Sequence[Domain] | Callable[[Seconds], Sequence[Domain]]


def leaving(plan: PowerPlan) -> list[int]:
    """Numbers of the replicas whose pods are to go first, in this order."""
    return [
        int(pod.removeprefix(f"{NAMESPACE}/{cap.workload}-").split("-")[0])
        for cap in plan.caps
        if cap.mode == "Enforce"
        for pod in cap.leave
    ]


class PowerSensor:
    """The port of this name in front of a plant with a hall."""

    def __init__(
        self,
        plant: Plant,
        believed: Fleet,
        domains: Domains,
        policies: Sequence[Policy] = (),
        measuring: PowerMeasuring = PowerMeasuring(),  # noqa: B008
        *,
        tau: Seconds,
        seed: int = 0,
        epoch: Seconds = 0.0,
        most: Mapping[str, int] | None = None,
    ) -> None:
        """`domains`: perhaps by the plant's time, which begins `epoch` after 1970; `most`: as users allow."""
        self._plant, self._believed, self._domains = plant, believed, domains
        self._policies, self._measuring, self._tau, self._epoch = tuple(policies), measuring, tau, epoch
        self._most = dict(most or {})
        self._draws: dict[str, Draw] = {d.type: d for d in plant.world.draws}
        hall = plant.world.hall
        self._hosts: dict[str, Host] = {h.type: h for h in hall.hosts} if hall else {}
        rng = np.random.default_rng(seed)
        self._gains = {
            name: 1.0 + measuring.error * rng.uniform(-1.0, 1.0, machine.node.cards + 2)
            for name, machine in plant.cluster.machines.items()
        }
        """Of each node: of its cards, the rest, the whole."""
        self._models = {s.name: 1.0 + measuring.model * rng.uniform(-1.0, 1.0) for s in believed.servers}

    def look(self, seen: Scrape) -> PowerSeen:
        """Domains, policies, readings and pods, as of a scrape."""
        machines = self._plant.cluster.machines
        domains = self._domains(seen.time) if callable(self._domains) else self._domains
        return PowerSeen(
            now=self._epoch + seen.time,
            tau=self._tau,
            domains=tuple(domains),
            policies=self._policies,
            nodes=tuple(self._node(m) for m in machines.values() if m.alive),
            readings=tuple(r for m in machines.values() if m.alive for r in self._read(m, seen.time)),
            pods=tuple(p for r in self._plant.cluster.replicas for p in self._pods(r)),
            workloads=tuple(self._workload(s.name, s.min_replicas) for s in self._believed.servers),
        )

    def _node(self, machine: Machine) -> PowerNode:
        node = machine.node
        draw = self._draws.get(node.type, Draw(node.type, 0.0, 0.0, 0.0))
        host = self._hosts.get(node.type, Host(node.type, 0.0))
        others = self._plant.world.hall.others if self._plant.world.hall else None
        base, burst = (others.watts, others.burst) if others else (0.0, 0.0)
        return PowerNode(
            name=node.name,
            labels={RACK: node.rack},
            cards=node.cards,
            cards_used=machine.used,
            host_idle=host.idle + host.share * draw.idle * node.cards,
            host_most=host.idle + host.share * draw.prefill * node.cards + base + OVERLAP * burst,
            card_idle=draw.idle,
            card_most=draw.prefill,
            card_type=node.type,
        )

    # ---- readings ------------------------------------------------------------------------------

    def _read(self, machine: Machine, now: Seconds) -> Iterator[PowerReading]:
        node, m = machine.node, self._measuring
        gains = self._gains.get(node.name)
        if gains is None:  # a node that was not there at the beginning
            return
        if m.parts != "whole":
            for i in range(node.cards):
                yield from self._reading("card", machine, now, float(gains[i]), i)
            yield from self._reading("cpu", machine, now, float(gains[-2]))
        if m.parts != "cards":
            yield from self._reading("whole", machine, now, float(gains[-1]))

    def _reading(
        self, part: Part, machine: Machine, now: Seconds, gain: float, card: int = 0
    ) -> Iterator[PowerReading]:
        name, m = machine.node.name, self._measuring
        fault = self._fault(name, part, now)
        seen_at = now - m.delay
        if fault is not None and fault.what in ("stale", "stuck"):
            seen_at = min(seen_at, fault.start - m.delay)
        row = self._plant.watch.at(seen_at)
        if row is None or (fault is not None and fault.what == "drop"):
            return
        watts = gain * self._true(part, machine, row, card)
        if fault is not None and fault.what in ("zero", "wrong"):
            watts *= fault.value if fault.what == "wrong" else 0.0
        age = now - row.time
        if fault is not None and fault.what == "stuck":
            age = min(age, m.delay + (now - m.delay) % STEP)
        if part == "card":
            yield PowerReading("dcgm", part, name, watts, age, m.error, "", f"{name}-{card}")
        elif part == "cpu":
            yield PowerReading("kepler", part, name, watts, age, m.error, "psys")
        else:
            yield PowerReading("redfish", part, name, watts, age, m.error)

    def _true(self, part: Part, machine: Machine, row: Drawn, card: int) -> Watts:
        name = machine.node.name
        if part == "whole":
            return row.node(name)
        if part == "cpu":
            return row.host.get(name, 0.0)
        whose = row.places.get(name, ())
        if card < len(whose):
            return row.card[whose[card]]
        used = sum(row.card[number] for number in whose)
        return max(row.cards.get(name, 0.0) - used, 0.0) / max(machine.node.cards - len(whose), 1)

    def _fault(self, node: str, part: Part, now: Seconds) -> PowerFault | None:
        for fault in self._measuring.faults:
            mine = fault.name in ("", node) and fault.part in ("", part)
            if mine and fault.start <= now < fault.start + fault.length:
                return fault
        return None

    # ---- pods and workloads --------------------------------------------------------------------

    def _pods(self, replica: Replica) -> Iterator[PlacedPod]:
        """A pod on each of its nodes.

        Idle is what goes with it when its requests go to others: all up to decode, as their batches only grow
        longer, of which an empty card still draws some. Load is the rest.
        """
        draw = self._draws.get(replica.type)
        places = replica.places or {"": replica.cards}
        idle = load = most = empty = 0.0
        if draw is not None:
            model = self._models.get(replica.server, 1.0)
            drawn = draw.decode if replica.state == "pending" else self._recent(replica.number)
            idle, load = model * min(drawn, draw.decode), model * max(drawn - draw.decode, 0.0)
            most = max(model * _full(draw, replica), idle + load)
            empty = draw.idle
        for node, cards in places.items():
            yield PlacedPod(
                name=f"{NAMESPACE}/{replica.server}-{replica.number}"
                + (f"-{node}" if len(places) > 1 else ""),
                server=replica.server,
                node=node,
                phase=_PHASES[replica.state],
                accelerator=replica.accelerator,
                idle=idle * cards,
                load=load * cards,
                most=most * cards,
                empty=empty * cards,
            )

    def _recent(self, number: int) -> Watts:
        rows = self._plant.watch.rows
        seen = [
            rows[-i].card[number] for i in range(1, min(RECENT, len(rows)) + 1) if number in rows[-i].card
        ]
        return sum(seen) / len(seen) if seen else 0.0

    def _workload(self, name: str, least: int) -> PowerWorkload:
        return PowerWorkload(
            name=name,
            namespace=NAMESPACE,
            labels={"server": name},
            scaled_by=(WorkloadRef("Deployment", name, "apps/v1"),),
            replicas=sum(self._plant.serving(name).wanted.values()),
            least=least,
            most=self._most.get(name),
        )


def _full(draw: Draw, replica: Replica) -> Watts:
    """Of one card of a replica whose batch is full."""
    engine = replica.engine
    tokens = engine.max_sequences / (engine.alpha + engine.beta * engine.max_sequences)
    return min(draw.decode + draw.token * tokens / replica.cards, draw.prefill)
