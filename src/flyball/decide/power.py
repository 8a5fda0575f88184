"""What the loop tells of its servers where watts are decided, and what it asks of algorithms beforehand."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from flyball.decide.memory import Memory
from flyball.physics.power import busy_of
from flyball.power.govern import Need, Power, PowerMemory
from flyball.power.view import FIT, View
from flyball.spec.fleet import Fleet
from flyball.spec.power import Policy
from flyball.spec.server import Server
from flyball.spec.snapshot import Snapshot
from flyball.units import Watts

LAST = 100
"""Priority of a class that is not known."""


class Ask(NamedTuple):
    """What an algorithm is asked."""

    policy: Policy
    view: View


def asks(snapshot: Snapshot, memory: Memory | None) -> dict[str, Ask]:
    """By policy what its algorithm is asked before this cycle; where all that is wanted fits, nothing."""
    if snapshot.power is None or not snapshot.power.policies:
        return {}
    power = Power(snapshot.power, power_memory(memory), needs_before(snapshot, memory))
    view = power.view()
    drawn = view.drawn({s.name: s.ceiling for s in view.servers})
    if all(drawn[room.name] <= min(room.watts, room.grow) + FIT for room in view.rooms):
        return {}
    return {
        key: Ask(policy, view)
        for key, policy in power.policies.items()
        if policy.mode != "Observe" and policy in power.governing.values()
    }


def power_memory(memory: Memory | None) -> PowerMemory:
    """What is remembered of power; at the start nothing."""
    return PowerMemory() if memory is None or memory.power is None else memory.power


def with_batches(fleet: Fleet, memory: Memory | None) -> Fleet:
    """The fleet with the batches that some have to hold to for watts."""
    held = power_memory(memory).limited
    if not held:
        return fleet
    servers = [
        replace(s, max_batch_size=min(s.max_batch_size or limited.most, limited.most))
        if (limited := held.get(s.name)) is not None
        else s
        for s in fleet.servers
    ]
    return replace(fleet, servers=tuple(servers))


def needs_before(snapshot: Snapshot, memory: Memory | None) -> dict[str, Need]:
    """What servers have, and wanted when they were decided last."""
    before = power_memory(memory).wanted
    drawn = Draws(snapshot.fleet)
    seen = {o.server: o for o in snapshot.seen.servers}
    priority = {c.name: c.priority for c in snapshot.fleet.service_classes}
    found = {}
    for server in snapshot.fleet.servers:
        one = seen.get(server.name)
        if one is None:
            continue
        replicas = sum(v.ready + v.pending for v in one.variants)
        main = max(one.variants, key=lambda v: v.ready + v.pending, default=None)
        idle, full = drawn.of(server, main.accelerator if main else "")
        rate, tokens = one.arrival_rate, one.out_tokens
        found[server.name] = Need(
            replicas,
            before.get(server.name, replicas),
            priority.get(server.service_class, LAST),
            server.min_replicas,
            rate.value * tokens.value if rate is not None and tokens is not None else 0.0,
            idle,
            full,
        )
    return found


class Draws:
    """Watts of replicas by the curves of their accelerators, idle as of those that compute all the time."""

    def __init__(self, fleet: Fleet) -> None:
        self._curves = {a.name: a.power for a in fleet.accelerators}
        self._units = {(p.model, p.accelerator): max(p.accelerator_count, 1) for p in fleet.profiles}

    def of(self, server: Server, accelerator: str) -> tuple[Watts, Watts]:
        """Of one replica, idle and full; 0 where it is not known."""
        curve = self._curves.get(accelerator)
        units = self._units.get((server.model, accelerator), 1)
        if curve is None:
            return 0.0, 0.0
        return units * busy_of(curve), units * max(curve.full, curve.mid_power)
