"""Servers whose requests may wait for watts, in one cycle: what is provided for now, remembered and told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from flyball.decide.aim import Aim
from flyball.decide.defer import Deferral, Waiter, counted, deferrals, may_wait, rest_of
from flyball.decide.memory import ServerMemory
from flyball.decide.proposal import Proposal, replicas_for
from flyball.decide.seen import Seen
from flyball.forecast.history import History
from flyball.guards import numbers
from flyball.power.govern import Power
from flyball.spec.decision import Hold
from flyball.spec.service_class import ModelTargets
from flyball.spec.steering import Steering
from flyball.units import RequestsPerSecond, Seconds

ROUNDED_UP = 0.5
"""Replicas, in the mean."""
OF_WAITING = ("ttft", "wait", "e2e")
"""Latencies that waiting is a part of."""


class Asked(NamedTuple):
    """A server of a deferrable class, as the cycle knows it."""

    seen: Seen
    memory: ServerMemory
    aim: Aim
    deadline: Seconds
    priority: int
    lead: Seconds
    """Until a replica that is asked for is ready."""
    rate: RequestsPerSecond
    """Of one replica within the targets; 0: not known."""
    cards: int
    """Replicas for which there are cards."""


class Waiting(msgspec.Struct, frozen=True):
    """What comes of it, by server."""

    aims: dict[str, Aim] = {}
    memories: dict[str, ServerMemory] = {}
    rest: dict[str, History] = {}
    """Of `Memory.rest`."""
    deferrals: dict[str, Deferral] = {}
    """Where something waits."""
    notes: tuple[str, ...] = ()


def without_waiting(promise: ModelTargets | None) -> ModelTargets | None:
    """What remains of a promise where requests wait by choice."""
    if promise is None:
        return None
    return replace(promise, targets=tuple(t for t in promise.targets if t.metric not in OF_WAITING))


def waiting(
    power: Power, asked: Mapping[str, Asked], before: Mapping[str, History], now: Seconds, spare: float
) -> Waiting:
    """Decide what waits; those that are not in the hands of an enforced policy are served at once.

    `spare`: replicas beside what a load needs.
    """
    waiters: dict[str, Waiter] = {}
    memories: dict[str, ServerMemory] = {}
    blind = [name for name, one in asked.items() if one.seen.blind and one.memory.patient]
    for name, one in asked.items():
        if one.seen.blind:  # it stays as it is
            continue
        within = may_wait(one.deadline, one.lead, one.aim.out_tokens * (one.seen.itl or 0.0))
        if name not in power.workloads or power.policy_of(name).mode != "Enforce" or not within:
            memories[name] = replace(one.memory, patient=False, arrived=())
            continue
        arrived = counted(one.memory.arrived, now, one.seen.offered or 0.0, one.deadline)
        memories[name] = replace(one.memory, patient=True, arrived=arrived)
        most = power.workloads[name].most
        waiters[name] = Waiter(
            one.seen,
            memories[name],
            one.priority,
            within,
            one.rate / one.memory.correction,
            one.cards if most is None else min(one.cards, most),
            spare + ROUNDED_UP,
        )
    rest, found = dict(before), dict[str, Deferral]()
    if waiters:
        servers = power.view(("Enforce",)).servers
        rest = rest_of(power, servers, [*waiters, *blind], before)
        found = deferrals(power, servers, waiters, rest, now)
    for name, memory in memories.items():
        if memory.deferred and not (name in found and found[name].domain):
            memories[name] = replace(memory, deferred=())
    return Waiting(
        {name: _aim(asked[name], one) for name, one in found.items()},
        memories,
        rest,
        {name: one for name, one in found.items() if one.domain},
        tuple(_note(power, name, one) for name, one in found.items() if one.domain),
    )


def _aim(asked: Asked, one: Deferral) -> Aim:
    """Served at once, no less than the load is provided for."""
    aim, demand = asked.aim, one.rate * asked.memory.correction
    if not one.domain:
        return replace(aim, demand=max(aim.lasting, demand))
    return replace(aim, demand=demand, lasting=demand, least_demand=demand)


def _note(power: Power, name: str, one: Deferral) -> str:
    state = power.watched[one.domain].state
    clock = datetime.fromtimestamp(power.seen.now + one.ends, UTC)
    return (
        f"{name}: {one.once - one.rate:.3g} of {one.once:.3g} requests/s wait until {clock:%H:%M} UTC: "
        f"{one.domain} is at {state.watts / state.budget if state.budget else 0.0:.0%} of its budget"
    )


def hold(
    proposal: Proposal,
    one: Deferral,
    rate: RequestsPerSecond,
    spare: float,
    now: Seconds,
    steering: Steering,
) -> None:
    """No more replicas than what is served now needs, once that has been enough for a while."""
    correction, least = proposal.memory.correction, proposal.seen.server.min_replicas
    wanted = replicas_for(one.once * correction, rate, spare)
    enough = replicas_for(one.rate * correction * (1.0 + steering.dead_band), rate, spare)
    enough = max(enough, least, 0 if steering.scale_to_zero else 1)
    deferred = numbers.remember(proposal.memory.deferred, now, enough, steering.stabilisation)
    if rate > 0 and numbers.covers(deferred, now, steering.stabilisation, steering.period):
        have = sum(proposal.was.values())
        most = max(count for _, count in deferred)
        most = max(most, numbers.step(have, most, steering.step_up, steering.step_down) if have > most else 0)
        if proposal.total > most:
            proposal.within(most, "deferral", now + one.ends)
        elif enough < wanted:
            proposal.holds.append(Hold("deferral", wanted, proposal.total, now + one.ends))
    proposal.memory = replace(proposal.memory, deferred=deferred)
