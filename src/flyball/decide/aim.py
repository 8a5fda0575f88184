"""What the loop asks of `plan`: the fleet with the load to provide for; and what its answer means."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import msgspec
import numpy as np
from msgspec.structs import replace

from flyball.decide.explain import FIELD
from flyball.decide.memory import Goal
from flyball.decide.plan import plan
from flyball.decide.priority import SHORT, by_priority
from flyball.solve.candidates import Candidates, candidates
from flyball.spec.decision import Step
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Plan, ServerPlan
from flyball.spec.server import Allocation, Load, Server
from flyball.spec.service_class import MEAN, Target
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


def plan_of(asked: Fleet, without_margins: Fleet) -> Planned:
    """Plan such a fleet, and say what it means for each server.

    Where cards are short, margins go first: those of profiles, then all.
    """
    sized = candidates(asked)
    made = plan(asked, sized)
    lean = _short(made)
    if lean and any(p.margin > 1.0 for p in asked.profiles):
        asked = likely(asked)
        sized = candidates(asked)
        made = plan(asked, sized)
        lean = _short(made)
    if lean:
        asked = without_margins
        sized = candidates(asked)
        made = by_priority(asked, plan(asked, sized))
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


def with_latency(step: Step, made: Planned, accelerator: str, replicas: int) -> Step:
    """The step with the promise that is nearest to its limit when this many replicas take the demand."""
    sized = made.sized
    try:
        s = sized.pairs.server_number(step.server)
    except StopIteration:
        return step
    promise = sized.pairs.promises[s]
    names = [a.name for a in made.fleet.accelerators]
    if (
        promise is None
        or not promise.targets
        or accelerator not in names
        or replicas <= 0
        or step.demand <= 0
    ):
        return step
    at = np.flatnonzero(
        (sized.pairs.server == s)
        & (sized.pairs.accelerator == names.index(accelerator))
        & (sized.excluded == 0)
    )
    if not at.size:
        return step
    count, share = np.array([float(replicas)]), np.ones(1)
    means, _ = sized.pairs.at_load(at, count, share)
    values: list[tuple[float, Target, float]] = []
    for target in promise.targets:
        if target.quantile == MEAN:
            value = float(getattr(means, FIELD[target.metric])[0])
        else:
            wanted = [(target.metric, target.quantile)]
            value = float(sized.pairs.quantiles_at_load(at, count, share, wanted)[0, 0])
        value = math.inf if math.isnan(value) else value
        values.append((value / target.limit, target, value))
    _, target, value = max(values, key=lambda v: v[0])
    return replace(step, metric=target.metric, statistic=target.statistic, limit=target.limit, value=value)
