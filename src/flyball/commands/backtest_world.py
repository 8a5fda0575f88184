"""From what was recorded of a fleet to a world in which it happens again; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from flyball.adapters.kubernetes.governed import Cluster, Governed
from flyball.adapters.prometheus.figures import Histogram
from flyball.adapters.prometheus.history import Past, together
from flyball.adapters.prometheus.quantiles import cov
from flyball.adapters.prometheus.queries import HISTOGRAMS
from flyball.laws.pool import decision
from flyball.spec.decision import Decision, Order, Step
from flyball.spec.fleet import Fleet
from flyball.spec.profile import ChunkedTiming, FlatTiming, IterationTiming, PhaseTiming, Profile
from flyball.spec.scenario import Duration, Engine, Lengths, Scenario, Stage, Stages, Stream, World
from flyball.spec.snapshot import Snapshot
from flyball.units import Seconds, Tokens

AS_IT_WAS = "as it was"
COLD_START: Seconds = 120.0
"""Where none was seen."""
IN_TOKENS, OUT_TOKENS = 1000.0, 300.0
"""Where they were not recorded."""
PLENTY = 100_000
"""Cards of a type, where their number is not known."""
STREAMS = 28
"""Parts of the period with lengths of their own, at most."""


class Recorded(msgspec.Struct, frozen=True):
    """One server over the period, a value for each step of so many seconds of the engines."""

    server: str
    offered: list[float]
    """Requests per second; 0 where nothing was recorded."""
    replicas: dict[str, list[int]]
    """By accelerator; where nothing was recorded as before."""
    in_tokens: list[float]
    out_tokens: list[float]
    """Tokens per second."""
    finished: list[float]
    cached_share: float = 0.0
    in_cov: float | None = None
    out_cov: float | None = None
    seen: float = 1.0
    """Share of the steps in which anything was recorded."""
    histograms: dict[str, Histogram] = {}

    @property
    def requests(self) -> float:
        """Per second, mean."""
        return sum(self.offered) / max(len(self.offered), 1)


def recorded(cluster: Cluster, pasts: Mapping[tuple[str, str], Past], speed: float) -> list[Recorded]:
    """Each server of which there is anything; `speed`: seconds of the engines in one of Prometheus'."""
    by_server: dict[str, list[Governed]] = {}
    for one in cluster.governed:
        if (one.namespace, one.name) in pasts:
            by_server.setdefault(one.server, []).append(one)
    found = []
    for server, workloads in sorted(by_server.items()):
        mine = [pasts[one.namespace, one.name] for one in workloads]
        pods = [p.pods for p in mine]
        there = [any(p[i] is not None for p in pods) for i in range(len(pods[0]))]
        if not any(there):
            continue
        replicas: dict[str, list[int]] = {}
        for one, past in zip(workloads, mine, strict=True):
            before = replicas.get(one.accelerator, [0] * len(there))
            replicas[one.accelerator] = [
                a + b for a, b in zip(before, _counts(past.pods, there), strict=True)
            ]
        sums = {name: [v / speed for v in _sum([p.rates[name] for p in mine])] for name in mine[0].rates}
        queries = sum(sums.get("cache_queries", ()))
        histograms = {
            name: whole
            for name in HISTOGRAMS
            if (whole := together([p.histograms[name] for p in mine if name in p.histograms])) is not None
        }
        found.append(
            Recorded(
                server,
                [v / speed for v in _sum([p.offered for p in mine])],
                replicas,
                sums.get("prompt_tokens", []),
                sums.get("generation_tokens", []),
                sums["finished"],
                min(sum(sums.get("cache_hits", ())) / queries, 1.0) if queries > 0 else 0.0,
                _spread(histograms.get("in_tokens")),
                _spread(histograms.get("out_tokens")),
                sum(there) / len(there),
                histograms,
            )
        )
    return found


def _counts(pods: Sequence[float | None], there: Sequence[bool]) -> list[int]:
    """Replicas; where the server itself was not seen as before, and at the beginning as soon as it was."""
    found: list[int] = []
    last = next((int(n or 0) for n, seen in zip(pods, there, strict=True) if seen), 0)
    for number, seen in zip(pods, there, strict=True):
        last = int(number or 0) if seen else last
        found.append(last)
    return found


def _sum(values: Sequence[Sequence[float | None]]) -> list[float]:
    return [sum(v or 0.0 for v in each) for each in zip(*values, strict=True)]


def _spread(histogram: Histogram | None) -> float | None:
    return None if histogram is None else cov(histogram)


def trimmed(pasts: Mapping[tuple[str, str], Past]) -> int:
    """How many steps at the beginning have nothing of any workload."""
    lengths = [
        next((at for at, value in enumerate(past.pods) if value is not None), len(past.pods))
        for past in pasts.values()
    ]
    return min(lengths, default=0)


def scenario_of(
    cluster: Cluster,
    servers: Sequence[Recorded],
    step: Seconds,
    name: str,
    period: Seconds,
    speed: float = 1.0,
) -> Scenario:
    """The recorded load on the fleet as it is now, on engines as their profiles say. ValueError: none can.

    `step` is in seconds of the engines, of which `speed` pass in one of the cluster's.
    """
    fleet = cluster.fleet
    names = {one.server for one in servers}
    kept = [server for server in fleet.servers if server.name in names]
    model = {server.name: server.model for server in kept}
    batch = {
        (model[one.server], one.accelerator): one.max_batch_size
        for one in cluster.governed
        if one.server in model
    }
    engines = tuple(
        engine_of(profile, batch.get((profile.model, profile.accelerator), profile.max_batch_size))
        for profile in fleet.profiles
        if profile.model in model.values()
    )
    runs = {(e.model, e.accelerator) for e in engines}
    start = {
        one.server: {a: n[0] for a, n in one.replicas.items() if (model[one.server], a) in runs}
        for one in servers
    }
    lacking = sorted(server for server, at in start.items() if not at)
    if lacking:
        raise ValueError(f"no profile says how fast {', '.join(lacking)} runs: see flyball doctor")
    believed = replace(fleet, servers=tuple(kept))
    starts = [one.cold_start * speed for one in cluster.governed if one.cold_start]
    steps = max(len(one.offered) for one in servers)
    world = World(
        fleet=_with_cards(believed),
        engines=engines,
        streams=tuple(stream for one in servers for stream in streams_of(one, step)),
        cold_start=Duration(sum(starts) / len(starts) if starts else COLD_START, 0.1),
        start=start,
    )
    return Scenario(
        name=name,
        duration=steps * step,
        world=world,
        believed=believed,
        about="The load that Prometheus recorded, on engines that run as their profiles say.",
        loop={"period": period, "plan_period": min(60.0, period)},
    )


def _with_cards(fleet: Fleet) -> Fleet:
    if not fleet.settings.unlimited and fleet.capacity:
        return fleet
    plenty = {a.type: PLENTY for a in fleet.accelerators}
    settings = replace(fleet.settings, unlimited=True)
    return replace(fleet, capacity=plenty, settings=settings)


def engine_of(profile: Profile, max_sequences: int) -> Engine:
    """An engine that runs as a profile says; what a timing does not tell apart takes no time of its own."""
    timing = profile.timing
    engine = Engine(
        profile.model,
        profile.accelerator,
        timing.alpha,
        timing.beta,
        0.0,
        0.0,
        kv_tokens=profile.kv_tokens,
        max_sequences=max(max_sequences, 1),
        accelerator_count=profile.accelerator_count,
    )
    match timing:
        case IterationTiming():
            return replace(
                engine,
                kappa=timing.kappa,
                delta=timing.delta,
                epsilon=timing.epsilon,
                experts=timing.experts,
                experts_per_token=timing.experts_per_token,
            )
        case ChunkedTiming():
            return replace(engine, kappa=timing.gamma, delta=timing.beta)
        case PhaseTiming():
            return replace(engine, delta=timing.delta)
        case FlatTiming():
            return engine


def streams_of(one: Recorded, step: Seconds) -> list[Stream]:
    """The requests of a server, in parts with mean lengths of their own; all of them begin at time 0."""
    steps = len(one.offered)
    each = max(-(-steps // STREAMS), 1)
    made = []
    last = IN_TOKENS, OUT_TOKENS
    for first in range(0, steps, each):
        end = min(first + each, steps)
        last = _lengths(one, first, end, last)
        rates = one.offered[first:end]
        if not any(rates):
            continue
        stages = [Stage(0.0, first * step)] if first else []
        stages += [Stage(rate, step) for rate in rates]
        stages.append(Stage(0.0, step))
        made.append(
            Stream(
                one.server,
                Stages(tuple(stages)),
                _law(last[0], one.in_cov),
                _law(last[1], one.out_cov),
                one.cached_share,
            )
        )
    return made


def _lengths(one: Recorded, first: int, end: int, last: tuple[Tokens, Tokens]) -> tuple[Tokens, Tokens]:
    finished = sum(one.finished[first:end])
    if not finished > 0:
        return last
    tokens = sum(one.in_tokens[first:end]) / finished, sum(one.out_tokens[first:end]) / finished
    return tokens[0] if tokens[0] >= 1 else last[0], tokens[1] if tokens[1] >= 1 else last[1]


def _law(mean: Tokens, spread: float | None) -> Lengths:
    return Lengths(mean, 0.0 if spread is None else min(spread, 3.0))


class AsItWas(msgspec.Struct, frozen=True):
    """A law that asks for the replicas that there were, so early that they are ready when they were."""

    servers: tuple[Recorded, ...]
    step: Seconds
    ahead: Seconds
    period: Seconds = 60.0
    name: str = AS_IT_WAS

    def __call__(self, snapshot: Snapshot, memory: None) -> tuple[Decision, None]:
        """The replicas at the time of the snapshot, or those after a cold start where these are more."""
        now = snapshot.seen.time
        steps = []
        for one in self.servers:
            orders = tuple(
                Order(one.server, accelerator, max(self._at(n, now), self._at(n, now + self.ahead)))
                for accelerator, n in sorted(one.replicas.items())
            )
            steps.append(Step(one.server, orders))
        return decision(self.name, snapshot, steps), None

    def _at(self, replicas: Sequence[int], time: Seconds) -> int:
        return replicas[min(int(time // self.step), len(replicas) - 1)] if replicas else 0
