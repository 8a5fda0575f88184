"""The world of the power benchmark: 40 nodes, eight services, Azure's requests of 2023 at scale."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from benchmarks.forecast import traces
from flyball.adapters.traces import read_trace
from flyball.decide.plan import plan
from flyball.profiles.latency import entries
from flyball.spec.accelerator import Accelerator, PowerCurve
from flyball.spec.fleet import Fleet, Settings
from flyball.spec.profile import IterationTiming, Profile
from flyball.spec.scenario import (
    Draw,
    Duration,
    Engine,
    Hall,
    Host,
    Node,
    Others,
    PowerMeasuring,
    Stream,
    Trace,
    World,
)
from flyball.spec.server import Load, Server
from flyball.spec.service_class import ModelTargets, ServiceClass, Target
from flyball.units import SECONDS_PER_HOUR, RequestsPerSecond, Seconds

NODES, CARDS, RACKS = 40, 8, 5
CARD = "H100"
OFF = 0.08
"""By how much, as a share, the timings that the loop believes are off at most."""
JITTER: Seconds = 600.0
"""Copies of a trace are shifted by up to this: users of a large service do not press return together."""
GRACE: Seconds = 30.0
HALL = "hall"
FIRST, SECOND, LAST = 1, 10, 50
"""Priorities."""


class Service(NamedTuple):
    """One service of the fleet."""

    name: str
    model: str
    tp: int
    trace: str
    """conv or code."""
    priority: int
    cards: int
    """That its mean load needs, about."""
    ttft: Seconds
    itl: Seconds
    """Targets, each of 95 % of requests."""


SERVICES = (
    Service("chat-pro", "meta-llama/Llama-3.1-70B", 4, "conv", FIRST, 24, 1.0, 0.05),
    Service("agent", "meta-llama/Llama-3.1-70B", 8, "conv", FIRST, 24, 1.0, 0.05),
    Service("code-pro", "Qwen/Qwen3-32B", 2, "code", FIRST, 14, 1.0, 0.05),
    Service("chat", "meta-llama/Llama-3.1-70B", 2, "conv", SECOND, 24, 2.0, 0.08),
    Service("search", "Qwen/Qwen3-32B", 2, "conv", SECOND, 12, 2.0, 0.08),
    Service("code", "meta-llama/Llama-3.1-70B", 4, "code", SECOND, 20, 2.0, 0.08),
    Service("summary", "meta-llama/Llama-3.1-70B", 8, "conv", LAST, 24, 10.0, 0.12),
    Service("review", "meta-llama/Llama-3.1-70B", 2, "code", LAST, 14, 10.0, 0.12),
)


class Made(NamedTuple):
    """A world, and what the loop is told of it."""

    world: World
    believed: Fleet
    measuring: PowerMeasuring


def made(seed: int, nodes: int = NODES, share: float = 1.0) -> Made:
    """A fleet with the load that it was bought for; `share`: of that load."""
    rng = np.random.default_rng([seed, 40])
    racks = [f"r{i}" for i in range(RACKS)]
    there = tuple(Node(f"n{i:02d}", CARD, CARDS, racks[i % RACKS]) for i in range(nodes))
    resident, decode = float(rng.uniform(100.0, 130.0)), float(rng.uniform(350.0, 400.0))
    curve = PowerCurve(resident, 700.0, decode, 0.05)
    engines, profiles, servers, classes = [], [], [], []
    recordings = [_trace(one.trace) for one in SERVICES]
    for one, recorded in zip(SERVICES, recordings, strict=True):
        profile = _profile(one)
        off = 1.0 + rng.uniform(-OFF, OFF, 4)
        profiles.append(profile)
        engines.append(_engine(profile, off))
        promised = ModelTargets("*", (Target("ttft", one.ttft, 0.95), Target("itl", one.itl, 0.95)))
        classes.append(ServiceClass(one.name, one.priority, (promised,)))
        load = _lengths(recorded)
        servers.append(Server(one.name, profile.model, one.name, load, min_replicas=1))
    believed = Fleet(
        accelerators=(Accelerator(CARD, CARD, 1, 3.0, power=curve),),
        profiles=tuple(profiles),
        service_classes=tuple(classes),
        servers=tuple(servers),
        capacity={CARD: CARDS * nodes},
        settings=Settings(cold_start=90.0),
    )
    rates = [share * _rate(believed, s, one.cards / one.tp) for s, one in zip(servers, SERVICES, strict=True)]
    rates = [rate * float(rng.uniform(0.9, 1.1)) for rate in rates]
    believed = replace(
        believed,
        servers=tuple(
            replace(s, load=replace(s.load, arrival_rate=rate))
            for s, rate in zip(servers, rates, strict=True)
        ),
    )
    # Peaks are spread over the hour, so that services peak one after the other.
    phases = (rng.permutation(len(SERVICES)) + rng.uniform(0.0, 1.0)) / len(SERVICES)
    streams = [
        Stream(one.name, _copies(recorded, phase * SECONDS_PER_HOUR, rate, rng))
        for one, recorded, phase, rate in zip(SERVICES, recordings, phases.tolist(), rates, strict=True)
    ]
    world = World(
        fleet=replace(believed, profiles=()),
        engines=tuple(engines),
        streams=tuple(streams),
        nodes=there,
        draws=(Draw(CARD, 70.0, decode, 700.0, resident),),
        hall=Hall((Host(CARD, 400.0, 0.1),), Others(0.0, 150.0, 2.0, 60.0), keep=3 * SECONDS_PER_HOUR),
        cold_start=Duration(90.0, 0.2),
        grace=GRACE,
        start={one.name: {CARD: max(round(one.cards * 1.3 / one.tp), 1)} for one in SERVICES},
    )
    return Made(world, believed, PowerMeasuring(error=0.03, delay=5.0, model=0.1))


def _profile(one: Service) -> Profile:
    """As the catalogue has it, under a name of its own, as one model may be served in several ways."""
    entry = max(
        (e for e in entries() if (e.model, e.card, e.tp) == (one.model, CARD, one.tp)),
        key=lambda e: (e.tier == "measured", e.version),
    )
    t = entry.timing
    timing = IterationTiming(
        t.alpha, t.beta, t.kappa, t.delta, 0.0, t.epsilon, t.experts, t.experts_per_token
    )
    return Profile(f"{one.name}/{one.model}", CARD, timing, one.tp, 256, kv_tokens=entry.kv_tokens)


def _engine(profile: Profile, off: np.ndarray) -> Engine:
    t = profile.timing
    assert isinstance(t, IterationTiming)
    alpha, beta, kappa, delta = (np.array([t.alpha, t.beta, t.kappa, t.delta]) * off).tolist()
    return Engine(
        profile.model,
        CARD,
        alpha,
        beta,
        kappa,
        delta,
        profile.kv_tokens,
        profile.max_batch_size,
        accelerator_count=profile.accelerator_count,
        epsilon=t.epsilon,
        experts=t.experts,
        experts_per_token=t.experts_per_token,
    )


def _lengths(recorded: Trace) -> Load:
    into, out = np.array(recorded.in_tokens), np.array(recorded.out_tokens)
    return Load(
        1.0,
        float(into.mean()),
        float(out.mean()),
        in_cov=float(into.std() / into.mean()),
        out_cov=float(out.std() / out.mean()),
    )


def _rate(fleet: Fleet, server: Server, replicas: float) -> RequestsPerSecond:
    """What so many replicas take within their targets."""
    tried = replace(server, load=replace(server.load, arrival_rate=100.0))
    settings = replace(fleet.settings, unlimited=True)
    told = plan(replace(fleet, servers=(tried,), settings=settings)).servers[0].allocation
    if told is None:
        raise ValueError(f"'{server.name}' cannot hold its targets on {CARD}: ask for less")
    return 100.0 / told.replicas * replicas


@cache
def _trace(name: str) -> Trace:
    folder = traces()
    if folder is None:
        raise FileNotFoundError("there are no recorded traces beside this checkout; set FLYBALL_SHARED")
    return read_trace(Path(folder) / f"azure_llm_2023_{name}.csv")


def _copies(recorded: Trace, by: Seconds, rate: RequestsPerSecond, rng: np.random.Generator) -> Trace:
    """The hour over and over, begun in its midst, in so many copies that it has this mean rate.

    They are laid into one trace here, as the plant would do it at every step.
    """
    times = np.array(recorded.times)
    length = float(times[-1]) * times.size / (times.size - 1)
    copies = rate * length / times.size
    parts = []
    for k in range(math.ceil(copies)):
        some = np.flatnonzero(rng.random(times.size) < copies - k)
        parts.append(np.stack([(times[some] - by + rng.uniform(0.0, JITTER)) % length, some]))
    begun, which = np.concatenate(parts, axis=1)
    order = np.argsort(begun, kind="stable")
    begun, which = begun[order] - begun[order[0]], which[order].astype(int)
    into, out = np.array(recorded.in_tokens)[which], np.array(recorded.out_tokens)[which]
    return Trace(tuple(begun.tolist()), tuple(into.tolist()), tuple(out.tolist()), repeat=True)
