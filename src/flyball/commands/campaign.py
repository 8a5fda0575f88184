"""Runs of laws against the plant: each a pure function of scenario, law and seed; many over processes."""

from __future__ import annotations

import math
import multiprocessing
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import msgspec
import numpy as np

from flyball.decide.law import Flyball
from flyball.decide.plan import plan
from flyball.laws.find import find_law
from flyball.laws.law import Law
from flyball.report.campaign import Figures, Requests, Trail, Used, judge
from flyball.simulate.plant import Plant
from flyball.simulate.record import Held
from flyball.spec.fleet import Fleet
from flyball.spec.scenario import Scenario
from flyball.spec.server import Allocation
from flyball.spec.snapshot import Scrape, Snapshot
from flyball.spec.steering import Steering
from flyball.units import JOULES_PER_KWH, SECONDS_PER_HOUR, Seconds

TAIL: Seconds = 300.0
"""So long a run goes on after the end, so that what has arrived can finish. It costs nothing."""


class Task(msgspec.Struct, frozen=True):
    """One run."""

    scenario: Scenario
    policy: str
    seed: int
    compiled: bool | None = None
    """None: as can be."""
    trails: bool = False
    """Keep replicas and load over time."""


def law_of(policy: str, scenario: Scenario) -> Law[Any]:
    """The law that is asked for by name and parameters; Flyball's own starts from the scenario's settings."""

    def flyball(**steering: str) -> Flyball:
        try:
            return Flyball(msgspec.convert({**scenario.loop, **steering}, Steering, strict=False))
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None

    return find_law(policy, {"flyball": flyball})


def placed(scenario: Scenario) -> Fleet:
    """The believed fleet; servers of which nothing says where they run are where a plan would have them.

    Laws that cannot choose an accelerator would all be on the cheapest one else, which nobody sets up.
    """
    fleet = scenario.believed
    free = {s.name for s in fleet.servers if not s.current.accelerator} - set(scenario.world.start)
    if not free:
        return fleet
    planned = {s.server: s.allocation for s in plan(fleet).servers if s.allocation and s.server in free}
    servers = []
    for server in fleet.servers:
        option = planned.get(server.name)
        if option and option.replicas:
            current = Allocation(option.accelerator, option.replicas, option.max_batch_size)
            server = msgspec.structs.replace(server, current=current)
        servers.append(server)
    return msgspec.structs.replace(fleet, servers=tuple(servers))


def begun(scenario: Scenario) -> Scenario:
    """The scenario with everything that has no place yet ready where a plan would have it."""
    there = {
        server.name: {server.current.accelerator: server.current.replicas}
        for server in placed(scenario).servers
        if server.current.replicas
    }
    world = msgspec.structs.replace(scenario.world, start=there | scenario.world.start)
    return msgspec.structs.replace(scenario, world=world)


class Ran(msgspec.Struct, frozen=True):
    """What came of one run: its figures, and by server its requests and what they cost."""

    figures: Figures
    requests: dict[str, Requests]
    dollars: dict[str, float]
    asked: dict[str, float]
    """Replicas, mean."""


def run_once(task: Task) -> Figures:
    """The figures of one run. Counted is what arrives and is held from `score_from` to the end."""
    return run_law(task, law_of(task.policy, task.scenario)).figures


def run_law(task: Task, law: Law[Any], tick: Callable[[Seconds], None] = lambda time: None) -> Ran:
    """The same with a law that is at hand; `tick` hears the time of each cycle."""
    scenario, seed = begun(task.scenario), task.seed
    plant = Plant(scenario.world, seed, task.compiled)
    told = scenario.believed if isinstance(law, Flyball) else placed(task.scenario)
    watch = _Watch(scenario)
    memory, cycle = None, 0
    while (now := cycle * law.period) < scenario.duration + TAIL:
        watch.run(plant, now)
        seen = plant.observe()
        decision, memory = law(Snapshot(told, seen), memory)
        orders = [order for step in decision.steps for order in step.orders]
        plant.act(orders)
        if now < scenario.duration:
            watch.note(seen, {s.server: [o.replicas for o in s.orders if o.replicas] for s in decision.steps})
        cycle += 1
        tick(now)
    watch.run(plant, scenario.duration + TAIL)
    requests = watch.requests(plant)
    figures = judge(
        task.policy,
        seed,
        scenario.believed,
        requests,
        watch.used(),
        watch.trails(),
        keep_trails=task.trails,
    )
    return Ran(figures, requests, watch.by_server("dollars"), watch.mean_by_server("asked"))


class _Watch:
    """What is read off the plant during a run, for judging."""

    def __init__(self, scenario: Scenario) -> None:
        self._begin, self._end = scenario.score_from, scenario.duration
        self._marks = [self._begin, self._end]
        self._held: list[dict[str, Held]] = []
        self._arrived: list[dict[str, int]] = []
        self._metered = bool(scenario.world.draws)
        self._names = [s.name for s in scenario.world.fleet.servers]
        self._asked: dict[str, int] = {}
        self._moving: dict[str, bool] = {}
        self._notes: dict[str, list[tuple[Seconds, int, int, float | None, bool]]] = {
            n: [] for n in self._names
        }

    def run(self, plant: Plant, until: Seconds) -> None:
        """Run the plant, stopping to read what it has used where counting begins and ends."""
        while self._marks and self._marks[0] <= until:
            plant.run(self._marks.pop(0))
            self._held.append({name: plant.held(name) for name in self._names})
            self._arrived.append({name: plant.serving(name).replicas.arrived for name in self._names})
        plant.run(until)

    def note(self, seen: Scrape, ordered: Mapping[str, Sequence[int]]) -> None:
        """Remember what was asked for in a cycle, and what was there."""
        there = {o.server: o for o in seen.servers}
        for name in self._names:
            one = there.get(name)
            ready = sum(v.ready for v in one.variants) if one else 0
            if name in ordered:
                self._asked[name] = sum(ordered[name])
                self._moving[name] = len(ordered[name]) > 1
            elif name not in self._asked and one:
                self._asked[name] = sum(v.ready + v.pending for v in one.variants)
            rate = one.arrival_rate.value if one and one.arrival_rate else None
            asked, moving = self._asked.get(name, 0), self._moving.get(name, False)
            self._notes[name].append((seen.time, asked, ready, rate, moving))

    def trails(self) -> list[Trail]:
        """A trail for each server."""
        made = []
        for name, notes in self._notes.items():
            time, asked, ready, rate, moving = zip(*notes, strict=True) if notes else ((), (), (), (), ())
            made.append(Trail(name, time, asked, ready, rate, moving))
        return made

    def requests(self, plant: Plant) -> dict[str, Requests]:
        """The requests of each server that arrived while it counts."""
        made = {}
        for name in self._names:
            done = plant.record(name).finished
            mine = (done.arrival >= self._begin) & (done.arrival < self._end)
            tpot = np.where(done.out_tokens > 1, done.tpot, math.nan)[mine]
            offered = self._arrived[1][name] - self._arrived[0][name]
            made[name] = Requests(done.ttft[mine], tpot, max(offered, int(mine.sum())))
        return made

    def by_server(self, field: str) -> dict[str, float]:
        """What each has used between the two marks."""
        before, after = self._held
        return {name: getattr(after[name], field) - getattr(before[name], field) for name in self._names}

    def mean_by_server(self, field: str) -> dict[str, float]:
        """The same for each second."""
        seconds = max(self._end - self._begin, 1e-9)
        return {name: value / seconds for name, value in self.by_server(field).items()}

    def used(self) -> Used:
        """Between the two marks."""
        seconds = max(self._end - self._begin, 1e-9)

        def between(field: str) -> float:
            return math.fsum(self.by_server(field).values())

        return Used(
            asked=between("asked") / seconds,
            held=between("held") / seconds,
            gpu_hours=between("cards") / SECONDS_PER_HOUR,
            dollars=between("dollars"),
            kwh=between("joules") / JOULES_PER_KWH if self._metered else math.nan,
        )


# ---- many --------------------------------------------------------------------------------------


def run_all(
    tasks: Sequence[Task], jobs: int, one: Callable[[Task], Figures] = run_once
) -> Generator[Figures, None, None]:
    """The figures of all runs, as they are done; over so many processes, or here where there is one only."""
    if jobs <= 1 or len(tasks) <= 1:
        yield from map(one, tasks)
        return
    ours = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(jobs, len(tasks)), multiprocessing.get_context("spawn"), _die_when_interrupted
    )
    try:
        for done in as_completed([pool.submit(one, task) for task in tasks]):
            yield done.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - ours:
            process.terminate()
        raise
    finally:
        pool.shutdown()


def _die_when_interrupted() -> None:
    """In a worker: Ctrl-C reaches it too, and it has nothing to say about it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
