"""The Reach of power: what is kept under a cap, beside rivals, on the project's own plant.

An hour without a cap is shared by all policies of a seed; then the plant is copied, the cap holds from there
on, and all meet the same requests. What is counted is the plant's truth: tokens of requests within their
targets, watts as means over 5 s, and what was foretold of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import groupby, product
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from benchmarks.power_plant_bound import Draws, Most, most
from benchmarks.power_plant_rivals import (
    WIDTH,
    Climatik,
    CostThenCap,
    Cut,
    Meter,
    Rule,
    StaticCap,
    Thresholds,
)
from benchmarks.power_plant_world import GRACE, HALL, SERVICES, Made, made
from flyball.decide.law import Flyball
from flyball.decide.memory import Memory
from flyball.laws.law import Law
from flyball.laws.static import Static
from flyball.loop.ports import Configured
from flyball.loop.record import Cycle
from flyball.loop.runner import Runner
from flyball.power.watch import FIVE_MINUTES
from flyball.simulate.hall import STEP
from flyball.simulate.levers import SYNC, Levers
from flyball.simulate.plant import Plant
from flyball.simulate.power_sensor import PowerSensor, leaving
from flyball.spec.power import Domain, Mode, Policy
from flyball.spec.steering import Steering
from flyball.units import Seconds, Watts

WARM: Seconds = 3900.0
"""When the cap begins: an hour is learned from by then."""
LENGTH: Seconds = 1200.0
TAIL: Seconds = 60.0
"""Requests that come later than this before the end are not counted."""
MINUTE: Seconds = 60.0
SETTLE: Seconds = 900.0
"""Before it what the fleet had at its start still counts."""
SHARES = (0.9, 0.8, 0.7, 0.6)
LOOP, OURS, TOLERANT = "slo-loop", "flyball", "flyball-90"
"""The last is for feeds that bear a minute above: its guard band is the 90 % quantile, 1 % at least."""
FREE = (LOOP, "none")
"""Those that know of no cap."""
POLICIES = (*FREE, "static-cap", "climatik", "thresholds", "cost-then-cap", OURS, TOLERANT)
FILE = Path("build") / "power-plant.jsonl"


class Row(msgspec.Struct):
    """What came of one policy under one cap."""

    seed: int
    policy: str
    share: float
    """The cap over the peak of the loop without one."""
    cap: Watts
    peak: Watts
    watts: Watts
    """In the mean."""
    asked: int
    """Output tokens."""
    tokens: int
    """Of requests within their targets."""
    by_service: dict[str, int]
    """The same, service by service."""
    requests: int
    """Within their targets."""
    before: Watts
    """Mean of the ten minutes before the cap: of one seed the same for all policies."""
    above: Seconds
    """The cap, all together."""
    longest: Seconds
    late: Seconds
    """Above it later than the slowest lever takes from the cut."""
    joules: float
    """Above the cap."""
    energy: float
    """Joules of the whole hall."""
    ttft: dict[str, Seconds]
    """p99 by service."""
    itl: dict[str, Seconds]
    foretold: int = 0
    """Forecasts of five minutes that could be checked."""
    error: float = 0.0
    """Mean absolute share by which their medians were off."""
    cover: tuple[float, float] = (0.0, 0.0)
    """Share of what came at or below their 90 and 99 % quantiles."""
    most: Most | None = None
    """Of the loop, which knows of no cap: what is in whole services that fit."""


class Warm(NamedTuple):
    """A fleet after an hour without a cap."""

    made: Made
    plant: Plant
    memory: Memory
    meter: Meter
    needed: dict[str, int]
    """Replicas at the peak, by service."""


class Ran(NamedTuple):
    """What a run left."""

    plant: Plant
    cycles: list[Cycle]
    draws: Draws


class Policed(NamedTuple):
    """What a policy is made of."""

    law: Law[Any]
    mode: Mode | None = None
    """Of our own; None: nobody looks at power."""
    rule: Rule | None = None
    guard: Mapping[str, float] = MappingProxyType({})
    """Of the domain, where it is not as it is by itself."""


def law() -> Flyball:
    """The loop; calibration takes half of its time and is the same for all."""
    return Flyball(Steering(calibrate=False))


def steer(
    one: Made,
    plant: Plant,
    note: Callable[[], None],
    policed: Policed,
    memory: Memory | None,
    cap: Watts | None,
    seed: int,
    end: Seconds,
) -> tuple[list[Cycle], Memory]:
    """Let a policy steer until then; `note` is called at every step."""
    rng = np.random.default_rng([seed, 41])
    levers = Levers(plant, rng, phase=float(rng.uniform(0.1, SYNC - 0.1)))
    cut = Cut(levers, policed.rule) if policed.rule is not None else None
    sensor = None
    if policed.mode is not None:
        tau = one.measuring.delay + policed.law.period + SYNC + GRACE
        sensor = PowerSensor(
            plant,
            one.believed,
            (replace(Domain(HALL, "Site", watts=cap), **policed.guard),),
            (Policy("all", mode=policed.mode),),
            one.measuring,
            tau=tau,
            seed=seed,
            epoch=1.7e9,
        )
    runner = Runner(
        policed.law,
        Configured(one.believed),
        plant,
        cut or levers,
        plant,
        power=sensor,
        limit=None,
        wall=lambda: 0.0,
    )
    runner.memory = memory
    cycles = []
    while (now := plant.now()) < end:
        note()
        if now % policed.law.period == 0.0:
            cycle = runner.cycle()
            assert cycle is not None
            if cycle.errors:
                raise RuntimeError(f"seed {seed} at {now:g} s: {'; '.join(cycle.errors)}")
            power = cycle.decision.power if cycle.decision is not None else None
            if policed.mode == "Enforce" and power is not None:
                plant.shun(power.hot, leaving(power))
            cycles.append(cycle)
        if cut is not None:
            cut.tick(now)
        levers.run(now + STEP)
    return cycles, runner.memory


def warmed(seed: int, until: Seconds = WARM) -> Warm:
    """An hour of the loop that only observes power."""
    one = made(seed)
    plant = Plant(one.world, seed)
    meter = Meter(plant)
    cycles, memory = steer(one, plant, meter.note, Policed(law(), "Observe"), None, None, seed, until)
    needed = {name: 1 for name in WIDTH}
    for cycle in cycles:
        if cycle.snapshot.seen.time >= min(SETTLE, until / 2) and cycle.decision is not None:
            for order in (o for step in cycle.decision.steps for o in step.orders):
                needed[order.server] = max(needed[order.server], order.replicas)
    return Warm(one, plant, memory, meter, needed)


def policed(name: str, warm: Warm, plant: Plant, meter: Meter, cap: Watts) -> Policed:
    """A policy by its name. KeyError where there is none."""
    rules: dict[str, Callable[[], Rule]] = {
        "static-cap": lambda: StaticCap(warm.made, cap, warm.needed),
        "climatik": lambda: Climatik(warm.made, cap, meter),
        "thresholds": lambda: Thresholds(cap, meter),
        "cost-then-cap": lambda: CostThenCap(plant, cap, meter),
    }
    if name == "none":
        return Policed(Static(None, warm.needed))
    if name in (LOOP, OURS):
        return Policed(law(), "Observe" if name == LOOP else "Enforce")
    if name == TOLERANT:
        return Policed(law(), "Enforce", guard={"quantile": 0.9, "floor": 0.01})
    return Policed(law(), None, rules[name]())


def ran(warm: Warm, name: str, cap: Watts, seed: int, length: Seconds = LENGTH) -> Ran:
    """A policy from the warm fleet on."""
    plant = warm.plant.copy()
    meter, draws = warm.meter.copy(plant), Draws(warm.made, plant)

    def note() -> None:
        meter.note()
        draws.note()

    one = policed(name, warm, plant, meter, cap)
    memory = None if name == "none" else warm.memory
    budget = cap if name in (OURS, TOLERANT) else None
    cycles, _ = steer(warm.made, plant, note, one, memory, budget, seed, warm.plant.now() + length)
    draws.note()
    return Ran(plant, cycles, draws)


# ---- what came of it -----------------------------------------------------------------------------


def measured(seed: int, name: str, share: float, peak: Watts, warm: Warm, run: Ran) -> Row:
    """The figures of a run."""
    plant = run.plant
    began, end = warm.plant.now(), plant.now()
    times, watts = plant.watch.times(), plant.watch.watts()
    after = times > began
    times, watts, whole = times[after], watts[after], (times, watts)
    peak = peak or float(watts.max())
    cap = share * peak
    over = watts > cap
    lever = law().period + SYNC + GRACE + warm.made.measuring.delay + STEP
    asked, requests, tokens, ttft, itl = 0, 0, {}, {}, {}
    for one in SERVICES:
        done = plant.record(one.name).finished
        mine = (done.arrival >= began) & (done.arrival < end - TAIL)
        met = mine & (done.ttft <= one.ttft) & (done.tpot <= one.itl)
        tokens[one.name] = int(done.out_tokens[met].sum())
        asked += int(done.out_tokens[mine].sum())
        requests += int(met.sum())
        ttft[one.name], itl[one.name] = (
            float(np.quantile(v[mine], 0.99)) if mine.any() else 0.0 for v in (done.ttft, done.tpot)
        )
    errors, covered = checked(run.cycles, *whole)
    return Row(
        seed=seed,
        policy=name,
        share=share,
        cap=cap,
        peak=peak,
        watts=float(watts.mean()),
        asked=asked,
        tokens=sum(tokens.values()),
        by_service=tokens,
        requests=requests,
        before=float(whole[1][(whole[0] > began - 600.0) & ~after].mean()),
        above=STEP * int(over.sum()),
        longest=STEP * longest(over),
        late=STEP * int(over[times > began + lever].sum()),
        joules=STEP * float((watts - cap)[over].sum()),
        energy=STEP * float(watts.sum()),
        ttft=ttft,
        itl=itl,
        foretold=len(errors),
        error=float(np.mean(errors)) if errors else 0.0,
        most=most(run.draws.watts(), watts, list(tokens.values()), cap) if name == LOOP else None,
        cover=(float(np.mean(covered, axis=0)[0]), float(np.mean(covered, axis=0)[1])) if errors else (0, 0),
    )


def checked(
    cycles: Sequence[Cycle], times: np.ndarray, watts: np.ndarray
) -> tuple[list[float], list[tuple[bool, bool]]]:
    """Of forecasts of five minutes: shares by which medians were off, and whether the quantiles held."""
    errors, covered = [], []
    for cycle in cycles:
        power = cycle.decision.power if cycle.decision is not None else None
        state = next((d for d in power.domains if d.domain == HALL), None) if power is not None else None
        ahead = next((a for a in state.ahead if a.horizon == FIVE_MINUTES), None) if state else None
        at = cycle.snapshot.seen.time + FIVE_MINUTES
        if ahead is None or at > times[-1]:
            continue
        came = float(watts[(times > at - MINUTE) & (times <= at)].mean())
        errors.append(abs(ahead.watts[0] - came) / came)
        covered.append((came <= ahead.watts[1], came <= ahead.watts[2]))
    return errors, covered


def longest(over: np.ndarray) -> int:
    """The longest run of true values."""
    best = run = 0
    for one in over.tolist():
        run = run + 1 if one else 0
        best = max(best, run)
    return best


# ---- the campaign --------------------------------------------------------------------------------


def kept(file: Path) -> list[Row]:
    """Rows of earlier runs."""
    lines = file.read_bytes().splitlines() if file.exists() else []
    return [msgspec.json.decode(line, type=Row) for line in lines]


def left(
    file: Path, seeds: int, only: Sequence[str], shares: Sequence[float]
) -> list[tuple[int, str, float]]:
    """What is not there yet, seed by seed; without the loop nothing has a cap."""
    there = {(r.seed, r.policy, r.share) for r in kept(file)}
    names = [LOOP, *(name for name in only if name != LOOP)]
    return [one for one in product(range(1, seeds + 1), names, shares) if one not in there]


def campaign(file: Path, asked: Sequence[tuple[int, str, float]]) -> Iterator[Row]:
    """Rows of what is asked for, in its order, each kept as soon as it is there."""
    peaks = {r.seed: r.peak for r in kept(file) if r.policy == LOOP}
    file.parent.mkdir(parents=True, exist_ok=True)
    for seed, of_seed in groupby(asked, lambda one: one[0]):
        warm = warmed(seed)
        for name, of_name in groupby(of_seed, lambda one: one[1]):
            free: Ran | None = None
            for _, _, share in of_name:
                peak = peaks.get(seed, 0.0)
                done = free or ran(warm, name, share * peak, seed)
                free = done if name in FREE else None
                row = measured(seed, name, share, peak, warm, done)
                peaks[seed] = row.peak
                with file.open("ab") as rows:
                    rows.write(msgspec.json.encode(row) + b"\n")
                yield row


def without(file: Path, names: Collection[str]) -> None:
    """Forget the rows of these policies, as after a change of them."""
    rows = [row for row in kept(file) if row.policy not in names]
    file.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def bench_power_plant(seeds: int, only: Sequence[str], again: bool = False, file: Path = FILE) -> None:
    """Fill the campaign up and print what came of it."""
    from benchmarks.power_plant_report import progress, tables

    unknown = sorted(set(only) - set(POLICIES))
    if unknown:
        raise SystemExit(f"benchmarks: there is no policy {unknown[0]}; there are {', '.join(POLICIES)}")
    if again and file.exists():
        without(file, only or POLICIES)
    asked = left(file, seeds, only or POLICIES, SHARES)
    print(f"power-plant: {seeds} paired seeds, {LENGTH / 60:.0f} minutes under a cap each; medians [95 %]")
    try:
        with progress(len(asked)) as tick:
            for row in campaign(file, asked):
                tick(row)
    except KeyboardInterrupt:
        print(f"interrupted; rows are kept in {file}")
    print(tables(kept(file)))
