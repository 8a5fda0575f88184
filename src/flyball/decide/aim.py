"""What the loop asks of `plan`: the fleet with the load to provide for; and what its answer means."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from flyball.decide.explain import FIELD
from flyball.decide.memory import Goal
from flyball.decide.plan import plan
from flyball.decide.priority import SHORT, by_priority
from flyball.queueing.arrays import FloatArray
from flyball.solve.candidates import Candidates, candidates
from flyball.spec.decision import Step
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Plan, ServerPlan
from flyball.spec.power_plan import WattLimits
from flyball.spec.server import Allocation, Load, Server
from flyball.spec.service_class import MEAN, Metric
from flyball.units import RequestsPerSecond, Seconds, Tokens

BEST_EFFORT = "PriorityExhaustive"
"""A running fleet uses what is left, where its settings do not say how."""


class Aim(msgspec.Struct, frozen=True, gc=False):
    """What one server is planned with."""

    demand: RequestsPerSecond
    lasting: RequestsPerSecond
    """Of it without the backlog."""
    least_demand: RequestsPerSecond
    """The present load alone: no forecast, no reserve, no backlog."""
    in_tokens: Tokens
    out_tokens: Tokens
    in_cov: float
    out_cov: float
    accelerator: str
    """Where it is, or is moving to; "" nowhere."""
    replicas: int
    least: int
    keep: bool
    """It must stay as it is: nothing is known of it."""
    tails: dict[str, float] = {}
    """Of `Server.tails`."""


class Planned(msgspec.Struct, frozen=True):
    """A plan, what it was made from, and what it means."""

    plan: Plan
    fleet: Fleet
    sized: Candidates
    goals: dict[str, Goal | None]
    max_rate: dict[str, dict[str, RequestsPerSecond]]
    """Of one replica within the targets, by server and accelerator."""
    lean: bool
    """Made without margins, because cards are short."""


def fingerprint(fleet: Fleet, capacity: Mapping[str, int]) -> int:
    """A number that changes with the fleet's data."""
    return zlib.crc32(msgspec.msgpack.encode((fleet, sorted(capacity.items()))))


def asked_of_plan(
    fleet: Fleet,
    capacity: Mapping[str, int],
    aims: Mapping[str, Aim],
    cold_start: Seconds,
    spare: float,
) -> Fleet:
    """The fleet with the loads that the aims provide for, as `plan` is asked."""
    units = {(p.model, p.accelerator): max(p.accelerator_count, 1) for p in fleet.profiles}
    price = {a.name: a.cost for a in fleet.accelerators}
    settings = replace(fleet.settings, cold_start=cold_start, spare=spare)
    if settings.saturation_policy == "None":
        settings = replace(settings, saturation_policy=BEST_EFFORT)
    return replace(
        fleet,
        servers=tuple(_server(s, aims[s.name], units, price) for s in fleet.servers if s.name in aims),
        capacity=dict(capacity),
        settings=settings,
    )


def plan_of(asked: Fleet, without_margins: Fleet, watts: WattLimits | None = None) -> Planned:
    """Plan such a fleet, and say what it means for each server.

    Where cards or watts are short, margins go first: those of profiles, then all.
    """
    sized = candidates(asked)
    made = plan(asked, sized, watts=watts)
    lean = _short(made)
    if lean and any(p.margin > 1.0 for p in asked.profiles):
        asked = likely(asked)
        sized = candidates(asked)
        made = plan(asked, sized, watts=watts)
        lean = _short(made)
    if lean:
        asked = without_margins
        sized = candidates(asked)
        made = by_priority(asked, plan(asked, sized, watts=watts), watts)
    max_rate: dict[str, dict[str, float]] = {}
    names = [a.name for a in asked.accelerators]
    for pair in np.flatnonzero(sized.excluded == 0).tolist():
        server = sized.pairs.servers[int(sized.pairs.server[pair])].name
        rates = max_rate.setdefault(server, {})
        rates[names[int(sized.pairs.accelerator[pair])]] = float(sized.max_rate[pair])
    return Planned(made, asked, sized, {s.server: _goal(s) for s in made.servers}, max_rate, lean)


def likely(fleet: Fleet) -> Fleet:
    """The fleet with replicas counted by what is likely, without the margins of profiles."""
    return replace(fleet, profiles=tuple(replace(p, margin=1.0) for p in fleet.profiles))


def _short(made: Plan) -> bool:
    return any(s.reason in SHORT for s in made.servers)


def _server(
    server: Server, aim: Aim, units: Mapping[tuple[str, str], int], price: Mapping[str, float]
) -> Server:
    count = units.get((server.model, aim.accelerator), 1)
    cost = price.get(aim.accelerator, 0.0) * count * aim.replicas
    return replace(
        server,
        load=Load(aim.demand, aim.in_tokens, aim.out_tokens, in_cov=aim.in_cov, out_cov=aim.out_cov),
        min_replicas=aim.least,
        keep_accelerator=bool(aim.accelerator) and (server.keep_accelerator or aim.keep),
        tails=aim.tails,
        current=Allocation(aim.accelerator, aim.replicas, cost=cost) if aim.accelerator else server.current,
    )


def _goal(server: ServerPlan) -> Goal | None:
    """None: the plan cannot say what it should have (no profile, no target, out of reach)."""
    option = server.allocation
    if option is None:
        return Goal("", 0, 0, 0.0, short=True) if server.reason == "no_capacity" else None
    return Goal(
        option.accelerator,
        option.replicas,
        option.max_batch_size,
        option.max_rate,
        short=server.status == "best_effort",
    )


class Change(NamedTuple):
    """A step, and the replicas on one accelerator that are to take its demand."""

    step: Step
    accelerator: str
    replicas: int


def with_latencies(changes: Sequence[Change], made: Planned) -> dict[str, Step]:
    """The steps by server, with the promise that is nearest to its limit when those replicas take the demand.

    All at once: one server's figures cost nearly as much as those of a fleet.
    """
    sized = made.sized
    pair_of = _pairs(made)
    promises = dict(zip((s.name for s in sized.pairs.servers), sized.pairs.promises, strict=True))
    found = {change.step.server: change.step for change in changes}
    looked = [
        (change, pair_of[change.step.server, change.accelerator], promise.targets)
        for change in changes
        if (change.step.server, change.accelerator) in pair_of
        and (promise := promises[change.step.server]) is not None
        and promise.targets
        and change.replicas > 0
        and change.step.demand > 0
    ]
    if not looked:
        return found
    at = np.array([pair for _, pair, _ in looked])
    count, share = np.array([float(change.replicas) for change, _, _ in looked]), np.ones(at.size)
    means, _ = sized.pairs.at_load(at, count, share)
    values: dict[tuple[Metric, float], FloatArray] = {}
    for metric, quantile in sorted({(t.metric, t.quantile) for *_, targets in looked for t in targets}):
        if quantile == MEAN:
            values[metric, quantile] = getattr(means, FIELD[metric])
            continue
        asked = [any((t.metric, t.quantile) == (metric, quantile) for t in targets) for *_, targets in looked]
        some = np.flatnonzero(asked)
        row = np.full(at.size, np.nan)
        row[some] = sized.pairs.quantiles_at_load(at[some], count[some], share[some], [(metric, quantile)])[0]
        values[metric, quantile] = row
    for place, (change, _, targets) in enumerate(looked):
        reached = [(t, float(values[t.metric, t.quantile][place])) for t in targets]
        reached = [(t, math.inf if math.isnan(value) else value) for t, value in reached]
        target, value = max(reached, key=lambda one: one[1] / one[0].limit)
        found[change.step.server] = replace(
            change.step, metric=target.metric, statistic=target.statistic, limit=target.limit, value=value
        )
    return found


def _pairs(made: Planned) -> dict[tuple[str, str], int]:
    """The pairs that can be had, by server and accelerator."""
    sized = made.sized
    servers = [s.name for s in sized.pairs.servers]
    names = [a.name for a in made.fleet.accelerators]
    fine = np.flatnonzero(sized.excluded == 0)
    numbers = zip(sized.pairs.server[fine].tolist(), sized.pairs.accelerator[fine].tolist(), strict=True)
    found: dict[tuple[str, str], int] = {}
    for pair, (s, a) in zip(fine.tolist(), numbers, strict=True):
        found.setdefault((servers[s], names[a]), pair)
    return found
