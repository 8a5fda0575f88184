"""Random fleets under caps that are cut, with sensors and levers that fail; and what is measured of each.

The truth is the plant's watts, 5 s means. What is measured says nothing of how the loop came to it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import numpy as np

from flyball.decide.law import Flyball
from flyball.decide.plan import plan
from flyball.loop.ports import Configured
from flyball.loop.record import Cycle
from flyball.loop.runner import Runner
from flyball.simulate.hall import STEP
from flyball.simulate.levers import LATEST, SYNC, Levers
from flyball.simulate.plant import Plant
from flyball.simulate.power_sensor import RACK, PowerSensor, leaving
from flyball.spec.accelerator import Accelerator, PowerCurve
from flyball.spec.fleet import Fleet, Settings
from flyball.spec.power import Domain, Policy
from flyball.spec.profile import IterationTiming, Profile
from flyball.spec.scenario import (
    Draw,
    Duration,
    Engine,
    Event,
    Hall,
    Host,
    Lengths,
    Node,
    Others,
    PowerFault,
    PowerMeasuring,
    Steady,
    Stream,
    World,
)
from flyball.spec.server import Load, Server
from flyball.spec.service_class import ModelTargets, ServiceClass, Target
from flyball.spec.steering import Steering
from flyball.units import Seconds, Watts

PERIOD: Seconds = 15.0
GRACE: Seconds = 30.0
SLACK: Seconds = 10.0
CUT: Seconds = 300.0
"""When the cap is cut."""
CROWD: tuple[Seconds, Seconds] = (600.0, 720.0)
"""From when to when a flash crowd is there."""
CALM: Seconds = 840.0
"""From when on the load is steady again."""
END: Seconds = 1440.0
PRIORITIES = (1, 10, 50, 100)


@dataclass(frozen=True)
class Made:
    """A world, and what the loop is told of it."""

    world: World
    believed: Fleet
    measuring: PowerMeasuring
    racks: tuple[str, ...]
    share: float
    """The cap after the cut over the mean draw of the minute before it."""
    rack_share: float | None
    refused: float
    late: float
    events: tuple[str, ...]


class Row(msgspec.Struct):
    """What came of one world."""

    seed: int
    nodes: int
    racks: int
    servers: int
    what: tuple[str, ...]
    feasible: bool | None
    """None: too near to say."""
    cap: Watts
    cap_share: float
    above: Seconds
    """The longest time above a cap without a break."""
    allowed: Seconds
    where: str
    began: Seconds
    turns: int
    """Of the server that changes direction most often within the ten minutes of steady load."""
    out_of_turn: tuple[str, ...]
    said: Seconds | None
    """When it was said that the cap cannot be held."""
    fresh: Seconds | None
    """The first cycle after the cut in which all readings were fresh."""
    errors: tuple[str, ...]
    load_kept: float
    """Output tokens after the cut over those that were asked for."""
    level: dict[str, int] = {}


def engine(rng: np.random.Generator, model: str, cards: int) -> Engine:
    """A large model on a few cards: few requests keep it busy, so that a world is cheap."""
    return Engine(
        model,
        "H100",
        alpha=float(rng.uniform(0.02, 0.04)),
        beta=float(rng.uniform(2e-4, 6e-4)),
        kappa=float(rng.uniform(1e-7, 4e-7)),
        delta=float(rng.uniform(3e-5, 1e-4)),
        kv_tokens=int(rng.integers(60_000, 200_000)),
        max_sequences=64,
        accelerator_count=cards,
    )


def made(seed: int) -> Made:
    """A random fleet that uses most of its cards."""
    rng = np.random.default_rng([seed, 77])
    count = int(np.exp(rng.uniform(np.log(2.0), np.log(41.0))))
    racks = tuple(f"r{i}" for i in range(int(rng.integers(1, min(8, count) + 1))))
    nodes = tuple(Node(f"n{i:02d}", "H100", 8, racks[i % len(racks)]) for i in range(count))
    names = [f"s{i}" for i in range(int(rng.integers(1, min(6, 2 * count) + 1)))]
    cards = 8 * count
    weights = rng.dirichlet(np.full(len(names), 2.0)) * cards * rng.uniform(0.5, 0.85)
    engines, profiles, servers, streams, start = [], [], [], [], {}
    classes = {}
    for name, weight in zip(names, weights.tolist(), strict=True):
        width = int(rng.choice([w for w in (1, 2, 4, 8) if w <= max(weight, 1) and cards / w <= 160] or [2]))
        true = engine(rng, f"m-{name}", width)
        engines.append(true)
        off = rng.uniform(0.92, 1.08, 4)
        timing = IterationTiming(*(np.array([true.alpha, true.beta, true.kappa, true.delta]) * off).tolist())
        profiles.append(
            Profile(true.model, "H100", timing, width, true.max_sequences, kv_tokens=true.kv_tokens)
        )
        priority = int(rng.choice(PRIORITIES))
        promised = ModelTargets("*", (Target("ttft", 3.0, 0.95), Target("itl", 0.08)))
        classes[priority] = ServiceClass(f"p{priority}", priority, (promised,))
        tokens_in, tokens_out = float(rng.uniform(300, 2500)), float(rng.uniform(80, 400))
        least = int(rng.choice([0, 1, 1, 2]))
        load = Load(1.0, tokens_in, tokens_out)
        servers.append(Server(name, true.model, f"p{priority}", load, min_replicas=least))
        replicas = max(int(weight / width), 1)
        start[name] = {"H100": replicas}
    idle, full = 70.0, 700.0
    resident = float(rng.uniform(90.0, 150.0))
    decode = float(rng.uniform(resident + 60.0, 420.0))
    token = float(rng.uniform(0.0, 0.6))
    busiest = max(
        e.max_sequences / (e.alpha + e.beta * e.max_sequences) / e.accelerator_count for e in engines
    )
    most = min(decode + token * busiest, full)
    curve = PowerCurve(resident, most * float(rng.uniform(0.9, 1.1)), decode, 0.05)
    accelerator = Accelerator("H100", "H100", 1, 3.0, power=curve)
    believed = Fleet(
        accelerators=(accelerator,),
        profiles=tuple(profiles),
        service_classes=tuple(classes[p] for p in sorted(classes)),
        servers=tuple(servers),
        capacity={"H100": cards},
        settings=Settings(cold_start=90.0),
    )
    servers = [rated(believed, s, start[s.name]["H100"]) for s in servers]
    believed = msgspec.structs.replace(believed, servers=tuple(servers))
    for server in servers:
        lengths = Lengths(server.load.in_tokens, 0.6), Lengths(server.load.out_tokens, 0.6)
        streams.append(Stream(server.name, Steady(server.load.arrival_rate), *lengths))
    what, events = [], []
    if rng.random() < 0.5:
        what.append("crowd")
        whom = str(rng.choice(["", *names]))
        events = [
            Event(CROWD[0], "load", whom, float(rng.uniform(1.5, 3.0))),
            Event(CROWD[1], "load", whom, 1.0),
        ]
    faults = _faults(rng, [n.name for n in nodes], what)
    refused = late = 0.0
    if rng.random() < 0.3:
        refused, late = float(rng.uniform(0.0, 0.3)), float(rng.uniform(0.0, 0.3))
        what.append("levers")
    others = Others(float(rng.uniform(0.0, 200.0)), 300.0, float(rng.choice([0.0, 2.0, 10.0])), 60.0)
    world = World(
        fleet=msgspec.structs.replace(believed, profiles=()),
        engines=tuple(engines),
        streams=tuple(streams),
        nodes=nodes,
        draws=(Draw("H100", idle, decode, full, resident, token),),
        hall=Hall((Host("H100", float(rng.uniform(300.0, 600.0)), 0.1),), others),
        cold_start=Duration(90.0, 0.2),
        grace=GRACE,
        events=tuple(events),
        start=start,
    )
    return Made(
        world=world,
        believed=believed,
        measuring=PowerMeasuring(
            error=0.05, delay=float(rng.choice([2.0, 5.0, 10.0])), model=0.15, faults=faults
        ),
        racks=racks,
        share=float(rng.choice([0.8, 0.8, 0.8, 0.7, 0.7, 0.9, 0.9, 1.0, 1.0, 0.35])),
        rack_share=float(rng.uniform(0.75, 1.0)) if len(racks) > 1 and rng.random() < 0.3 else None,
        refused=refused,
        late=late,
        events=tuple(what),
    )


def rated(fleet: Fleet, server: Server, replicas: int) -> Server:
    """With about the load for which a plan gives it so many replicas."""
    load, unlimited = server.load, msgspec.structs.replace(fleet.settings, unlimited=True)
    rate = 50.0
    tried = msgspec.structs.replace(server, load=msgspec.structs.replace(load, arrival_rate=rate))
    told = plan(msgspec.structs.replace(fleet, servers=(tried,), settings=unlimited)).servers[0]
    each = rate / told.allocation.replicas if told.allocation else 0.5
    kept = 0.9 * each * replicas
    return msgspec.structs.replace(server, load=msgspec.structs.replace(load, arrival_rate=kept))


def _faults(rng: np.random.Generator, nodes: list[str], what: list[str]) -> tuple[PowerFault, ...]:
    """What lies does so in one of the two sources of its node; what is silent may be silent everywhere."""
    if rng.random() < 0.4:
        return ()
    kind = str(rng.choice(["drop", "zero", "stale", "stuck", "half", "thrice"]))
    what.append(kind)
    start = float(rng.choice([0.0, CUT - 60.0, CUT + 30.0, CUT + 300.0]))
    length = float(rng.choice([30.0, 120.0, 2000.0]))
    whom = [str(n) for n in rng.choice(nodes, size=max(len(nodes) // 4, 1), replace=False)]
    if kind in ("drop", "zero", "stale"):
        return tuple(PowerFault(kind, start, length, n) for n in whom)  # type: ignore[arg-type]
    part = "card" if rng.random() < 0.5 else "whole"
    if kind == "stuck":
        return tuple(PowerFault("stuck", start, length, n, part) for n in whom)  # type: ignore[arg-type]
    value = 0.5 if kind == "half" else 3.0
    return tuple(PowerFault("wrong", start, length, n, part, value) for n in whom)  # type: ignore[arg-type]


# ---- one run -----------------------------------------------------------------------------------


@dataclass
class Caps:
    """Budgets by the plant's time: far off until the cut, then a share of what was drawn before it."""

    plant: Plant
    made: Made
    after: dict[str, Watts] = field(default_factory=dict)

    def __call__(self, now: Seconds) -> tuple[Domain, ...]:
        if now >= CUT and not self.after:
            self.after["hall"] = self.made.share * self._mean(None)
            if self.made.rack_share is not None:
                for rack in self.made.racks:
                    self.after[rack] = self.made.rack_share * self._mean(self.nodes(rack))
        most = {name: 8 * 700.0 * 2 * len(self.nodes(name)) for name in ("hall", *self.made.racks)}
        watts = {n: self.after.get(n) if now >= CUT else most[n] for n in ("hall", *self.made.racks)}
        racks = (Domain(r, "Rack", "hall", {RACK: r}, watts[r]) for r in self.made.racks)
        return (Domain("hall", "Site", watts=watts["hall"]), *racks)

    def nodes(self, name: str) -> list[str]:
        return [n.name for n in self.made.world.nodes if name in ("hall", n.rack)]

    def _mean(self, nodes: list[str] | None) -> Watts:
        return float(self.plant.watch.watts(nodes)[-12:].mean())


def run(seed: int, enforce: bool = True, end: Seconds = END) -> tuple[Row, list[Cycle], Plant, Caps]:
    """One world from its beginning to its end."""
    one = made(seed)
    plant = Plant(one.world, seed)
    rng = np.random.default_rng([seed, 78])
    levers = Levers(plant, rng, refused=one.refused, late=one.late, phase=float(rng.uniform(0.1, SYNC - 0.1)))
    caps = Caps(plant, one)
    policy = Policy("all", mode="Enforce" if enforce else "Observe")
    tau = one.measuring.delay + PERIOD + SYNC + GRACE
    sensor = PowerSensor(plant, one.believed, caps, (policy,), one.measuring, tau=tau, seed=seed, epoch=1.7e9)
    runner = Runner(
        Flyball(Steering(calibrate=False)),  # it takes half of the time, and is of no matter here
        Configured(one.believed),
        plant,
        levers,
        plant,
        power=sensor,
        limit=None,
        wall=lambda: 0.0,
    )
    cycles: list[Cycle] = []
    for tick in range(int(end / PERIOD) + 1):
        levers.run(PERIOD * tick)
        cycle = runner.cycle()
        assert cycle is not None
        if enforce and cycle.decision is not None and cycle.decision.power is not None:
            told = cycle.decision.power
            plant.shun(told.hot, leaving(told))
        cycles.append(cycle)
    return measured(seed, one, plant, caps, cycles), cycles, plant, caps


def measured(seed: int, one: Made, plant: Plant, caps: Caps, cycles: list[Cycle]) -> Row:
    """What came of a run."""
    times = plant.watch.times()
    after = times > CUT
    above, where, began = 0.0, "", 0.0
    for name, cap in caps.after.items():
        long, since = longest(plant.watch.watts(caps.nodes(name))[after] > cap)
        if long * STEP > above:
            above, where, began = long * STEP, name, float(times[after][since]) - STEP
    said = [
        c.snapshot.seen.time
        for c in cycles
        if c.decision and c.decision.power and c.decision.power.infeasible
    ]
    since_cut = [c for c in cycles if c.snapshot.seen.time >= CUT]
    fresh = next((c.snapshot.seen.time for c in since_cut if complete(c)), None)
    levels: dict[str, int] = {}
    for cycle in since_cut:
        for state in cycle.decision.power.domains if cycle.decision and cycle.decision.power else ():
            if state.domain == "hall":
                levels[state.level] = levels.get(state.level, 0) + 1
    asked = float(times[-1] - CUT) * sum(
        s.load.arrival_rate * s.load.out_tokens for s in one.believed.servers
    )
    tokens = 0.0
    for server in one.believed.servers:
        done = plant.record(server.name).finished
        tokens += float(done.out_tokens[done.finish > CUT].sum())
    return Row(
        seed=seed,
        nodes=len(one.world.nodes),
        racks=len(one.racks),
        servers=len(one.believed.servers),
        what=one.events,
        feasible=feasible(one, caps),
        cap=round(caps.after["hall"]),
        cap_share=one.share,
        above=above,
        allowed=allowed(one),
        where=where,
        began=began,
        turns=max((turns(cycles, s.name) for s in one.believed.servers), default=0),
        out_of_turn=tuple(out_of_turn(one, cycles)),
        said=min(said, default=None),
        fresh=fresh,
        errors=tuple(sorted({e for c in cycles for e in c.errors})),
        load_kept=round(tokens / asked, 3),
        level=levels,
    )


def allowed(one: Made) -> Seconds:
    """What the slowest lever takes from a reading on, and a little; orders may be late, or refused twice."""
    sick = (LATEST * SYNC if one.late else 0.0) + (2 * PERIOD if one.refused else 0.0)
    return PERIOD + SYNC + GRACE + one.measuring.delay + STEP + SLACK + sick


def longest(where: np.ndarray) -> tuple[int, int]:
    """The longest run of true values, and where it begins."""
    best, begins, run = 0, 0, 0
    for i, on in enumerate(where.tolist()):
        run = run + 1 if on else 0
        if run > best:
            best, begins = run, i - run + 1
    return best, begins


def complete(cycle: Cycle) -> bool:
    """Whether watts of all domains were known."""
    power = cycle.decision.power if cycle.decision else None
    return power is not None and all(state.complete for state in power.domains)


def ordered(cycle: Cycle, server: str) -> int:
    """Replicas that were asked for."""
    steps = cycle.decision.steps if cycle.decision else ()
    return sum(o.replicas for s in steps if s.server == server for o in s.orders)


def turns(cycles: list[Cycle], server: str) -> int:
    """Changes of direction within the ten minutes of steady load."""
    counts = [ordered(c, server) for c in cycles if c.snapshot.seen.time >= CALM]
    ways = [b > a for a, b in pairwise(counts) if a != b]
    return sum(a != b for a, b in pairwise(ways))


def out_of_turn(one: Made, cycles: list[Cycle]) -> list[str]:
    """Who was made smaller for watts while a less important one was above its least where it is, too."""
    found = []
    priority = {c.name: c.priority for c in one.believed.service_classes}
    for cycle in cycles:
        plan_of = cycle.decision.power if cycle.decision else None
        if cycle.decision is None or plan_of is None or cycle.snapshot.power is None:
            continue
        frozen = {s.domain for s in plan_of.domains if s.level in ("shed", "emergency")}
        rack = {n.name: n.labels.get(RACK, "") for n in cycle.snapshot.power.nodes}
        here: dict[str, Counter[str]] = {}
        for pod in cycle.snapshot.power.pods:
            if pod.node and pod.phase != "terminating":
                here.setdefault(pod.server, Counter()).update({"hall", rack.get(pod.node, "")} & frozen)
        steps = {s.server: s for s in cycle.decision.steps}
        for server in one.believed.servers:
            step = steps.get(server.name)
            if step is None or not any(h.guard == "power" for h in step.holds):
                continue
            before = sum(o.replicas for o in step.was)
            if ordered(cycle, server.name) >= before:
                continue
            for other in one.believed.servers:
                less = priority[other.service_class] > priority[server.service_class]
                # Where some of it stays for certain in all the rooms that this one sheds for.
                rooms = set(here.get(server.name, ()))
                rooms = rooms - {"hall"} or rooms
                gone = sum(o.replicas for o in steps[other.name].was) - ordered(cycle, other.name)
                stays = {room for room, n in here.get(other.name, Counter()).items() if n > gone}
                more = ordered(cycle, other.name) > max(other.min_replicas, 1)
                if less and rooms and rooms <= stays and more:
                    time = cycle.snapshot.seen.time
                    found.append(f"{time:.0f}: {server.name} before {other.name}")
    return found


def feasible(one: Made, caps: Caps) -> bool | None:
    """Whether floors fit, by nameplate: certainly, certainly not, or None."""
    world = one.world
    draw, hall = world.draws[0], world.hall
    assert hall is not None
    host = hall.hosts[0]
    width = {e.model: e.accelerator_count for e in world.engines}
    answers = []
    for name, cap in caps.after.items():
        inside = caps.nodes(name)
        bare = len(inside) * (host.idle + hall.others.watts + 8 * draw.idle * (1 + host.share))
        floors = [max(s.min_replicas, 1) * width[s.model] for s in one.believed.servers]
        cards = min(sum(floors), 8 * len(inside))
        least = bare + sum(floors) * (draw.resident - draw.idle) * (1 + host.share) * (name == "hall")
        most = bare + cards * (draw.prefill - draw.idle) * (1 + host.share) + hall.others.burst * 2
        answers.append(True if most < 0.82 * cap else False if least > 1.1 * cap else None)
    if all(answers):
        return True
    return False if False in answers else None
