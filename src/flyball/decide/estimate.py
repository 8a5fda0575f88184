"""Estimates: what each option of a server costs and reaches, as far as its profile is known.

Profiles are drawn from the beliefs, each option is sized anew with every draw, and what was chosen with the
likely profile is looked at under it. So the bars say two things: what would have to be paid if the profile
were off, and what would become of the promises if nothing were done about it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np

from flyball.calibrate.belief import Belief
from flyball.queueing.arrays import FloatArray, IntArray
from flyball.queueing.percentiles import Metric
from flyball.solve.candidates import BINDINGS, Candidates, candidates
from flyball.spec.fleet import Fleet
from flyball.spec.plan import Estimate, Latency, Option
from flyball.spec.profile import IterationTiming, Profile
from flyball.spec.server import Server
from flyball.spec.service_class import MEAN, ModelTargets, Target
from flyball.units import SECONDS_PER_HOUR

DRAWS = 100
LOW, HIGH = 0.1, 0.9
"""Quantiles of the draws that the bars show."""
MILLION = 1e6
MET = 1e-6


def estimates(
    fleet: Fleet,
    sized: Candidates,
    server: str,
    beliefs: Mapping[str, Belief],
    draws: int = DRAWS,
    seed: int = 1,
) -> tuple[Estimate, ...]:
    """Every option of one server that has load, cheapest first; beliefs are by accelerator.

    The same fleet and seed give the same bars.
    """
    here = sized.pairs.server == sized.pairs.server_number(server)
    names = [p.accelerator for p in fleet.profiles]
    at = np.array(
        [i for i in np.flatnonzero(here & (sized.excluded == 0)) if names[sized.pairs.profile[i]] in beliefs],
        dtype=np.int64,
    )
    if not at.size or sized.pairs.no_load[at].any():
        return ()
    chosen = [fleet.profiles[p] for p in sized.pairs.profile[at].tolist()]
    units = [fleet.accelerators[a] for a in sized.pairs.accelerator[at].tolist()]
    mine = fleet.servers[sized.servers[sized.pairs.server[at[0]]]]
    promise = sized.pairs.promises[sized.pairs.server[at[0]]]
    drawn = _drawn(fleet, mine, promise, chosen, beliefs, draws, seed)
    again = candidates(drawn)
    place = _places(drawn, again, [p.accelerator for p in chosen], draws)
    cost = np.full((draws, at.size), np.inf)
    replicas = np.full((draws, at.size), np.inf)
    fine = again.excluded == 0
    for values, found in ((cost, again.cost), (replicas, again.replicas)):
        values.flat[place[fine]] = found[fine]
    shown = _shown(promise)
    value, likely, kept = _latencies(sized, again, at, place, shown, draws)
    order = sorted(range(at.size), key=lambda o: (float(sized.cost[at[o]]), chosen[o].accelerator))
    return tuple(
        Estimate(
            server=server,
            option=_option(fleet, sized, int(at[o])),
            card=units[o].type,
            cards=units[o].multiplicity * max(chosen[o].accelerator_count, 1),
            cost_low=_quantile(cost[:, o], LOW),
            cost_high=_quantile(cost[:, o], HIGH),
            replicas_low=_quantile(replicas[:, o], LOW),
            replicas_high=_quantile(replicas[:, o], HIGH),
            per_million=_per_million(float(sized.cost[at[o]]), mine),
            latencies=tuple(
                Latency(
                    t.metric,
                    t.statistic,
                    float(likely[r, o]),
                    _quantile(value[r, :, o], LOW),
                    _quantile(value[r, :, o], HIGH),
                )
                for r, t in enumerate(shown)
            ),
            within=float(kept[:, o].mean()),
            basis=beliefs[chosen[o].accelerator].tier,
            source=chosen[o].source,
        )
        for o in order
    )


def sampled(belief: Belief, draws: int, rng: np.random.Generator) -> list[IterationTiming]:
    """Timings drawn from a belief; what the form does not say is a factor on all of an iteration."""
    logs = rng.multivariate_normal(belief.mean, belief.covariance, draws, method="eigh")
    logs += belief.residual * rng.standard_normal((draws, 1))
    gamma = np.exp(belief.gamma + belief.gamma_sigma * rng.standard_normal(draws))
    rows = np.exp(logs).tolist()
    return [
        IterationTiming(
            *(row[0], row[1], row[2], row[3]),
            float(g),
            row[4] if len(row) > 4 else 0.0,
            belief.experts,
            belief.experts_per_token,
        )
        for row, g in zip(rows, gamma, strict=True)
    ]


def _drawn(
    fleet: Fleet,
    server: Server,
    promise: ModelTargets | None,
    chosen: list[Profile],
    beliefs: Mapping[str, Belief],
    draws: int,
    seed: int,
) -> Fleet:
    """The fleet of one server, once for each draw, on the options' drawn profiles."""
    rng = np.random.default_rng(seed)
    profiles = [
        msgspec.structs.replace(profile, model=str(i), timing=timing, margin=1.0)
        for profile in chosen
        for i, timing in enumerate(sampled(beliefs[profile.accelerator], draws, rng))
    ]
    names = [str(i) for i in range(draws)]
    servers = [msgspec.structs.replace(server, name=name, model=name) for name in names]
    everyone = msgspec.structs.replace(promise, model="*") if promise else ModelTargets("*")
    of_class = next(c for c in fleet.service_classes if c.name == server.service_class)
    return msgspec.structs.replace(
        fleet,
        profiles=tuple(profiles),
        servers=tuple(servers),
        service_classes=(msgspec.structs.replace(of_class, models=(everyone,)),),
    )


def _places(drawn: Fleet, again: Candidates, accelerators: list[str], draws: int) -> IntArray:
    """Where each pair of the drawn fleet stands in a (draws, options) table, flattened."""
    number = {name: o for o, name in enumerate(accelerators)}
    draw = np.array([int(drawn.servers[s].name) for s in again.servers])[again.pairs.server]
    option = np.array([number[p.accelerator] for p in drawn.profiles])[again.pairs.profile]
    assert draws * len(accelerators) == draw.size
    places: IntArray = draw * len(accelerators) + option
    return places


def _shown(promise: ModelTargets | None) -> list[Target]:
    """One statistic each of ttft and itl, and what else is promised: the target's, else the mean."""
    promised = list(promise.targets) if promise else []
    both: tuple[Metric, Metric] = ("ttft", "itl")
    return promised + [
        Target(metric, math.inf) for metric in both if all(t.metric != metric for t in promised)
    ]


def _latencies(
    sized: Candidates,
    again: Candidates,
    at: IntArray,
    place: IntArray,
    shown: list[Target],
    draws: int,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(rows, draws, options) and (rows, options) seconds of the options as sized; (draws, options) kept."""
    count = sized.replicas[at]
    value = np.empty((len(shown), draws, at.size))
    likely = np.empty((len(shown), at.size))
    every = np.arange(place.size)
    tables = (
        (sized, at, count, likely),
        (again, every, np.tile(count, draws)[place], value),
    )
    for found, pairs, replicas, into in tables:
        share = np.ones(pairs.size)
        metrics, _ = found.pairs.at_load(pairs, replicas, share)
        for r, target in enumerate(shown):
            if target.quantile == MEAN:
                row = getattr(
                    metrics, {"wait": "wait_time", "e2e": "response_time"}.get(target.metric, target.metric)
                )
            else:
                wanted = [(target.metric, target.quantile)]
                row = found.pairs.quantiles_at_load(pairs, replicas, share, wanted)[0]
            if into is likely:
                likely[r] = row
            else:
                value[r].flat[place] = row
    limits = np.array([t.limit for t in shown])[:, None, None]
    return value, likely, np.where((value <= limits * (1 + MET)).all(axis=0), 1.0, 0.0)


def _option(fleet: Fleet, sized: Candidates, i: int) -> Option:
    watts = float(sized.watts[i])
    return Option(
        fleet.profiles[sized.pairs.profile[i]].accelerator,
        int(sized.replicas[i]),
        int(sized.pairs.batch[i]),
        float(sized.cost[i]),
        float(sized.value[i]),
        float(sized.itl[i]),
        float(sized.ttft[i]),
        float(sized.utilization[i]),
        float(sized.max_rate[i]),
        None if math.isnan(watts) else watts,
        BINDINGS[sized.binding[i]],
    )


def _per_million(cost: float, server: Server) -> float:
    load = server.load
    tokens = load.arrival_rate * (load.in_tokens + load.out_tokens) * SECONDS_PER_HOUR
    return cost / tokens * MILLION if tokens else math.inf


def _quantile(values: FloatArray, q: float) -> float:
    """Of draws, some of which may be inf: one of the values, not between two."""
    return float(np.quantile(values, q, method="inverted_cdf"))
