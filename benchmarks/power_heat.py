"""Heat: the hottest inlet with and without knowing of racks, and how much load fits under the same one.

Two rows of four racks, two nodes of 8 cards each, behind a plant whose scheduler spreads replicas over nodes.
Air: T = T_supply + D P with D = (K - A' K)^-1 - K^-1 (Tang, Gupta, Varsamopoulos, "Energy-efficient
thermal-aware task scheduling for homogeneous high-performance computing data centers", IEEE TPDS 19(11),
2008). K is the heat that the air through a rack takes per kelvin, of 120 cubic feet a minute for each
kilowatt that the rack draws at its full load, a usual figure of designers: 14.6 K from front to back. A is
the share of a rack's inlet that is the exhaust of another. The shares are ours: 0.12 to 0.16 within rows and
0.26 at their ends, each off by up to a fifth by the seed, and half as much again before the weaker of two
coolers: of the kind of supply heat indices that halls are found to have (Sharma, Bash, Patel, AIAA
2002-3091). The loop is told coefficients that are off by up to 15 % each.

Both sides have the same requests, and the same scheduler. The blind side knows no temperatures. Its hottest
inlet at load 1 is L. Then come, of the side that knows of racks: load 1 under the limits L and L - 2, and
more and more load under L, as long as L is held and nothing that is asked for is lost. What is hottest is
true: of the plant's own watts. New replicas prefer the racks that the decision names, pods are marked to go
first where a cap stands, and there is no relocating.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from flyball.decide.law import Flyball
from flyball.decide.plan import plan
from flyball.loop.ports import Configured
from flyball.loop.runner import Runner
from flyball.simulate.levers import SYNC, Levers
from flyball.simulate.plant import Plant
from flyball.simulate.power_sensor import RACK, PowerSensor, leaving
from flyball.spec.accelerator import Accelerator, PowerCurve
from flyball.spec.fleet import Fleet, Settings
from flyball.spec.power import Domain, Policy, Thermal
from flyball.spec.profile import IterationTiming, Profile
from flyball.spec.scenario import (
    Air,
    Draw,
    Duration,
    Engine,
    Hall,
    Host,
    Lengths,
    Node,
    Others,
    PowerMeasuring,
    Stage,
    Stages,
    Stream,
    World,
)
from flyball.spec.server import Load, Server
from flyball.spec.service_class import ModelTargets, ServiceClass, Target
from flyball.spec.steering import Steering
from flyball.units import Seconds

ROWS, RACKS, NODES, CARDS = 2, 4, 2, 8
PERIOD: Seconds = 15.0
GRACE: Seconds = 30.0
SUPPLY = 18.0
WARM_UP: Seconds = 420.0
DAY = ((0.65, 420.0), (0.8, 240.0), (1.0, 600.0), (0.65, 480.0), (0.8, 240.0), (1.0, 720.0))
"""Shares of the peak, and for how long."""
END: Seconds = sum(length for _, length in DAY)
USED = 0.6
"""Of all cards, at the peak of load 1."""
LOADS = (1.1, 1.2)
KEPT = 0.99
"""Of the output tokens that the blind side has for each one asked for."""
COOLER = 2.0
"""Kelvin by which the limit is lowered."""
IDLE, RESIDENT, DECODE, FULL = 70.0, 120.0, 360.0, 700.0
HOST = Host("H100", 500.0, 0.1)
AIR_PER_KILOWATT = 120 * 0.3048**3 / 60
"""Cubic metres a second."""
HEAT_OF_AIR = 1.2 * 1005.0
"""Joules for each cubic metre and kelvin."""
WITHIN, END_OF_ROW, NEIGHBOUR, ACROSS, WEAK = 0.05, 0.19, 0.04, 0.03, 1.5


class Side(NamedTuple):
    """What came of one run."""

    hottest: float
    """Degrees, of any rack at any time after the first seven minutes."""
    usual: float
    """The median over time of the hottest rack."""
    tokens: float
    """Output tokens for each one that was asked for."""
    cards: float
    """Share of the cards in use at the peak."""


def rack(row: int, place: int) -> str:
    return f"r{row}{place}"


NAMES = tuple(rack(row, place) for row in range(ROWS) for place in range(RACKS))


def shares(rng: np.random.Generator) -> np.ndarray:
    """(R, R) of the inlet of each rack (columns) the share that is the exhaust of others (rows)."""
    found = np.zeros((len(NAMES), len(NAMES)))
    for i in range(len(NAMES)):
        for j in range(len(NAMES)):
            (row, place), (other, there) = divmod(i, RACKS), divmod(j, RACKS)
            if i == j:
                found[i, j] = END_OF_ROW if place in (0, RACKS - 1) else WITHIN
            elif row == other and abs(place - there) == 1:
                found[i, j] = NEIGHBOUR
            elif row != other and place == there:
                found[i, j] = ACROSS
    found *= rng.uniform(0.8, 1.2, found.shape)
    weak = int(rng.integers(2))  # it stands before the first racks of both rows, or before the last
    for j in range(len(NAMES)):
        if (j % RACKS >= RACKS // 2) == bool(weak):
            found[:, j] *= WEAK
    return found


def recirculation(exhaust: np.ndarray) -> np.ndarray:
    """(R, R) kelvin per watt: of the inlets (rows) by the racks that draw (columns)."""
    draw = FULL_LOAD / 1000.0 * AIR_PER_KILOWATT * HEAT_OF_AIR
    flow = np.eye(len(NAMES)) * draw
    warmer: np.ndarray = np.linalg.inv(flow - exhaust.T @ flow) - np.linalg.inv(flow)
    return warmer


FULL_LOAD = NODES * (HOST.idle + 1.1 * CARDS * (DECODE + 60.0))
"""Watts of a rack all of whose cards serve."""


def as_words(warmer: np.ndarray) -> dict[str, dict[str, float]]:
    return {to: dict(zip(NAMES, row.tolist(), strict=True)) for to, row in zip(NAMES, warmer, strict=True)}


class Made(NamedTuple):
    """A hall with its fleet at load 1."""

    world: World
    believed: Fleet
    told: dict[str, dict[str, float]]
    """Kelvin per watt, as the loop is told."""


def made(seed: int) -> Made:
    """A fleet of five servers; the same for both sides."""
    rng = np.random.default_rng([seed, 91])
    warmer = recirculation(shares(rng))
    told = warmer * rng.uniform(0.85, 1.15, warmer.shape)
    nodes = tuple(Node(f"n-{name}-{i}", "H100", CARDS, name) for i in range(NODES) for name in NAMES)
    cards = len(nodes) * CARDS
    names = [f"s{i}" for i in range(5)]
    weights = rng.dirichlet(np.full(len(names), 4.0)) * cards * USED
    engines, profiles, servers = [], [], []
    peaks = {}
    for name, weight in zip(names, weights.tolist(), strict=True):
        width = int(rng.choice([2, 4]))
        engine = Engine(
            f"m-{name}",
            "H100",
            alpha=float(rng.uniform(0.02, 0.04)),
            beta=float(rng.uniform(2e-4, 6e-4)),
            kappa=float(rng.uniform(1e-7, 4e-7)),
            delta=float(rng.uniform(3e-5, 1e-4)),
            kv_tokens=100_000,
            max_sequences=64,
            accelerator_count=width,
        )
        timing = IterationTiming(engine.alpha, engine.beta, engine.kappa, engine.delta)
        engines.append(engine)
        profiles.append(Profile(engine.model, "H100", timing, width, 64, kv_tokens=engine.kv_tokens))
        load = Load(1.0, float(rng.uniform(500, 2000)), float(rng.uniform(150, 400)))
        servers.append(Server(name, engine.model, "all", load, min_replicas=1))
        peaks[name] = max(round(weight / width), 2)
    token = float(rng.uniform(0.2, 0.5))
    curve = PowerCurve(RESIDENT, DECODE + 100.0, DECODE, 0.05)
    promise = ModelTargets("*", (Target("ttft", 3.0, 0.95), Target("itl", 0.08)))
    fleet = Fleet(
        accelerators=(Accelerator("H100", "H100", 1, 3.0, power=curve),),
        profiles=tuple(profiles),
        service_classes=(ServiceClass("all", 10, (promise,)),),
        servers=tuple(servers),
        capacity={"H100": cards},
        settings=Settings(cold_start=60.0),
    )
    rated = tuple(_rated(fleet, s, peaks[s.name]) for s in servers)
    fleet = replace(fleet, servers=rated)
    world = World(
        fleet=replace(fleet, profiles=()),
        engines=tuple(engines),
        streams=(),
        nodes=nodes,
        draws=(Draw("H100", IDLE, DECODE, FULL, RESIDENT, token),),
        hall=Hall((HOST,), Others(100.0), Air(SUPPLY, 120.0, as_words(warmer))),
        cold_start=Duration(60.0, 0.2),
        grace=GRACE,
        placing="spread",
        start={name: {"H100": max(round(DAY[0][0] * peak), 1)} for name, peak in peaks.items()},
    )
    return Made(world, fleet, as_words(told))


def _rated(fleet: Fleet, server: Server, replicas: int) -> Server:
    """With about the load that so many replicas are planned for."""
    free = replace(fleet.settings, unlimited=True)
    tried = replace(server, load=replace(server.load, arrival_rate=50.0))
    told = plan(replace(fleet, servers=(tried,), settings=free)).servers[0]
    each = 50.0 / told.allocation.replicas if told.allocation else 0.5
    return replace(server, load=replace(server.load, arrival_rate=0.8 * each * replicas))


def run(one: Made, seed: int, load: float, limit: float | None, end: Seconds = END) -> Side:
    """One side through the day; `limit`: of inlets, None: it is blind."""
    streams = tuple(
        Stream(
            s.name,
            Stages(tuple(Stage(load * share * s.load.arrival_rate, length) for share, length in DAY)),
            Lengths(s.load.in_tokens, 0.6),
            Lengths(s.load.out_tokens, 0.6),
        )
        for s in one.believed.servers
    )
    plant = Plant(replace(one.world, streams=streams), seed)
    levers = Levers(plant, np.random.default_rng(seed), phase=7.0)
    domains = [Domain("hall", "Site")]
    for name in NAMES:
        thermal = None if limit is None else Thermal(limit, SUPPLY, one.told[name])
        domains.append(Domain(name, "Rack", "hall", {RACK: name}, thermal=thermal))
    measuring = PowerMeasuring("whole", error=0.03, delay=5.0, model=0.1)
    tau = measuring.delay + PERIOD + SYNC + GRACE
    policy = Policy("all", mode="Enforce")
    sensor = PowerSensor(plant, one.believed, domains, (policy,), measuring, tau=tau, seed=seed, epoch=1.7e9)
    runner = Runner(
        Flyball(Steering(calibrate=False)),
        Configured(one.believed),
        plant,
        levers,
        plant,
        power=sensor,
        limit=None,
        wall=lambda: 0.0,
    )
    used = []
    for tick in range(int(end / PERIOD) + 1):
        levers.run(PERIOD * tick)
        cycle = runner.cycle()
        assert cycle is not None
        assert not cycle.errors, cycle.errors
        told = cycle.decision.power if cycle.decision else None
        if limit is not None and told is not None:
            plant.shun(told.hot if told.caps else (), leaving(told))  # pods are marked where a cap stands
            plant.prefer(told.cool)
        used.append(sum(m.used for m in plant.cluster.machines.values()))
    inlets = np.array([plant.watch.inlet(name) for name in NAMES])[:, plant.watch.times() > WARM_UP]
    asked = sum(
        load * s.load.arrival_rate * s.load.out_tokens * sum(share * length for share, length in DAY)
        for s in one.believed.servers
    )
    tokens = sum(float(plant.record(s.name).finished.out_tokens.sum()) for s in one.believed.servers)
    return Side(
        float(inlets.max()),
        float(np.median(inlets.max(axis=0))),
        tokens / asked,
        max(used) / (len(one.world.nodes) * CARDS),
    )


class Row(NamedTuple):
    """One seed."""

    blind: Side
    same: Side
    """Under the blind side's own hottest inlet."""
    cooler: Side
    """Under a limit that is lower."""
    load: float
    """The most that was tried under the same limit, and held."""


def row(seed: int) -> Row:
    """Both sides of one hall."""
    one = made(seed)
    blind = run(one, seed, 1.0, None)

    def holds(side: Side) -> bool:
        return side.hottest <= blind.hottest and side.tokens >= KEPT * blind.tokens

    same = run(one, seed, 1.0, blind.hottest)
    cooler = run(one, seed, 1.0, blind.hottest - COOLER)
    most = 1.0 if holds(same) else 0.0
    for load in LOADS if most else ():
        if not holds(run(one, seed, load, blind.hottest)):
            break
        most = load
    return Row(blind, same, cooler, most)


def interval(values: Sequence[float], rng: np.random.Generator) -> str:
    """The median with what 95 % of medians of resampled seeds are within."""
    drawn = np.median(rng.choice(np.array(values), (2000, len(values))), axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{np.median(values):7.2f} [{low:.2f}, {high:.2f}]"


def bench_power_heat(runs: int, first: int = 1) -> None:
    """Hottest inlets and loads, seed by seed, and their medians."""
    print("heat: hottest inlet in degrees Celsius, supply 18; tokens of those asked for")
    form = "{:>5} {:>7} {:>7} {:>7} {:>7} {:>8} {:>8} {:>8} {:>6}"
    print(form.format("seed", "cards", "blind", "aware", "at L-2", "tokens", "aware", "at L-2", "load"))
    rows = []
    for seed in range(first, first + runs):
        one = row(seed)
        rows.append(one)
        print(
            form.format(
                seed,
                f"{one.blind.cards:.0%}",
                *(f"{side.hottest:.2f}" for side in one[:3]),
                *(f"{side.tokens:.2%}" for side in one[:3]),
                f"{one.load:.1f}",
            ),
            flush=True,
        )
    rng = np.random.default_rng(0)
    for words, values in (
        ("kelvin cooler under L", [one.blind.hottest - one.same.hottest for one in rows]),
        ("kelvin cooler under L - 2", [one.blind.hottest - one.cooler.hottest for one in rows]),
        ("tokens kept under L - 2, %", [100 * one.cooler.tokens / one.blind.tokens for one in rows]),
        ("load under L", [one.load for one in rows]),
    ):
        print(f"{words:<27} {interval(values, rng)}")
