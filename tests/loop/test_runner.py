"""The runner: a part that fails, hangs or lies costs what it would have given, never the loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from flyball.loop.record import Cycle
from flyball.loop.runner import Runner
from flyball.power.view import View
from flyball.spec.decision import Decision, Order, Step
from flyball.spec.fleet import Fleet
from flyball.spec.power import Answer, Domain, Policy, PowerReading, PowerSeen
from flyball.spec.snapshot import Observation, Scrape, Snapshot


class Counting(msgspec.Struct, frozen=True):
    """A law that counts its cycles and orders one replica more each time."""

    name: str = "counting"
    period: float = 0.02

    def __call__(self, snapshot: Snapshot, memory: int | None) -> tuple[Decision, int]:
        count = (memory or 0) + 1
        if any(o.server == "poison" for o in snapshot.seen.servers):
            raise ValueError("poisoned")
        step = Step("s", (Order("s", "A", count),))
        return Decision("counting", snapshot.seen.time, (step,)), count


class World:
    """Ports whose every call may be replaced."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def fleet(self) -> Fleet:
        return Fleet()

    def observe(self) -> Scrape:
        return Scrape(self.time)

    def act(self, orders: Sequence[Order]) -> tuple[str, ...]:
        self.orders += orders
        return ()


class Book:
    def __init__(self) -> None:
        self.cycles: list[tuple[Cycle, Any]] = []

    def record(self, cycle: Cycle, before: Any, gap: bool = False) -> int:
        self.cycles.append((cycle, before))
        return len(self.cycles)


def runner_of(world: World, book: Book | None = None, limit: float | None = None) -> Runner:
    return Runner(Counting(), world, world, world, world, book, limit=limit, wall=lambda: 7.0)


def test_a_cycle_is_observed_decided_acted_and_recorded() -> None:
    world, book = World(), Book()
    runner = runner_of(world, book)
    first, second = runner.cycle(), runner.cycle()
    assert first is not None
    assert second is not None
    assert [o.replicas for o in world.orders] == [1, 2]
    assert [before for _, before in book.cycles] == [None, 1]
    assert first.time == 7.0
    assert not first.errors
    assert runner.last == (2, second)


def test_without_a_fleet_nothing_is_decided_and_the_last_one_is_kept() -> None:
    world = World()
    runner = runner_of(world)

    def broken() -> Fleet:
        raise OSError("gone")

    world.fleet = broken  # type: ignore[method-assign]
    assert runner.cycle() is None
    world.fleet = Fleet  # type: ignore[method-assign]
    assert runner.cycle() is not None
    world.fleet = broken  # type: ignore[method-assign]
    cycle = runner.cycle()
    assert cycle is not None
    assert cycle.decision is not None
    assert cycle.errors == ("fleet: OSError: gone",)


def test_a_sensor_that_fails_shows_nothing_and_says_so() -> None:
    world = World()

    def broken() -> Scrape:
        raise TimeoutError("no route")

    world.observe = broken  # type: ignore[method-assign]
    cycle = runner_of(world).cycle()
    assert cycle is not None
    assert cycle.snapshot.seen.servers == ()
    assert cycle.errors == ("sensor: TimeoutError: no route",)


def test_a_law_that_fails_orders_nothing_and_remembers_what_it_did() -> None:
    world, book = World(), Book()
    runner = runner_of(world, book)
    runner.cycle()
    world.observe = lambda: Scrape(1.0, (Observation("poison"),))  # type: ignore[method-assign]
    failed = runner.cycle()
    assert failed is not None
    assert failed.decision is None
    assert failed.errors == ("law counting: ValueError: poisoned",)
    assert len(world.orders) == 1
    assert runner.memory == 1


def test_an_actuator_or_ledger_that_fails_does_not_stop_the_loop() -> None:
    world = World()

    def broken(*_: object) -> Any:
        raise RuntimeError("refused")

    world.act = broken  # type: ignore[method-assign]
    book = Book()
    book.record = broken  # type: ignore[method-assign]
    runner = runner_of(world, book)
    assert runner.cycle() is not None
    cycle = runner.cycle()
    assert cycle is not None
    assert cycle.errors == ("actuator: RuntimeError: refused", "ledger: RuntimeError: refused")
    assert runner.memory == 2


def test_a_part_that_hangs_is_left_alone_until_it_answers() -> None:
    world = World()
    go = threading.Event()

    def slow() -> Scrape:
        go.wait(30.0)
        return Scrape(5.0)

    world.observe = slow  # type: ignore[method-assign]
    runner = runner_of(world, limit=0.05)
    first, second = runner.cycle(), runner.cycle()
    assert first is not None
    assert first.errors == ("sensor: no answer within 0.05 s",)
    assert second is not None
    assert second.errors == ("sensor: still busy with an earlier call",)
    go.set()
    for _ in range(200):
        cycle = runner.cycle()
        if cycle is not None and not cycle.errors:
            break
        time.sleep(0.01)
    assert cycle is not None
    assert not cycle.errors


@pytest.mark.parametrize("period", [0.01, 0.0])
def test_it_runs_by_its_period_or_on_demand_until_stopped(period: float) -> None:
    world = World()
    stop = threading.Event()
    runner = Runner(Counting(period=period), world, world, world, world, limit=None)
    thread = threading.Thread(target=runner.run, args=(stop,))
    thread.start()
    for _ in range(500):
        if len(world.orders) >= 3:
            break
        runner.trigger()
        time.sleep(0.01)
    stop.set()
    runner.trigger()
    thread.join(10.0)
    assert not thread.is_alive()
    assert len(world.orders) >= 3


@pytest.mark.parametrize("lie", [None, "a scrape", 7, Scrape(2**70)])  # type: ignore[arg-type]
def test_a_sensor_that_gives_something_else_shows_nothing(lie: Any) -> None:
    world = World()
    world.time = 60.0
    world.observe = lambda: lie  # type: ignore[method-assign]
    cycle = runner_of(world).cycle()
    assert cycle is not None
    assert cycle.snapshot.seen.servers == ()
    assert cycle.snapshot.seen.time == 60.0
    assert cycle.errors[0].startswith("sensor: ")


def test_a_source_that_gives_nothing_leaves_the_fleet_as_it_was() -> None:
    world = World()
    runner = runner_of(world)
    runner.cycle()
    world.fleet = lambda: None  # type: ignore[method-assign, assignment, return-value]
    cycle = runner.cycle()
    assert cycle is not None
    assert cycle.errors == ("fleet: TypeError: gave NoneType where Fleet is expected",)


def test_a_clock_that_fails_is_asked_only_in_need_and_then_stands_still() -> None:
    world = World()
    world.time = 30.0
    runner = runner_of(world)
    runner.cycle()

    def broken() -> Any:
        raise OSError("no time")

    world.now = broken  # type: ignore[method-assign]
    assert runner.cycle() is not None
    world.observe = broken  # type: ignore[method-assign]
    cycle = runner.cycle()
    assert cycle is not None
    assert cycle.snapshot.seen.time == 30.0
    assert cycle.errors == ("sensor: OSError: no time", "clock: OSError: no time")


class Wattmeter:
    """Power as it is told, or not."""

    def __init__(self) -> None:
        self.broken = False

    def look(self, seen: Scrape) -> PowerSeen:
        if self.broken:
            raise OSError("no meter")
        reading = PowerReading("agent", "whole", "n1", 500.0, 2.0)
        return PowerSeen(1000.0 + seen.time, 30.0, (Domain("site", watts=900.0),), readings=(reading,))


class Asked:
    """An algorithm that is asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.views = answer, list[View]()

    def ask(self, algorithm: str, parameters: Mapping[str, object], view: View) -> Answer:
        self.views.append(view)
        return self.answer


class Asks(msgspec.Struct, frozen=True):
    """A law that has its algorithm asked."""

    name: str = "asks"
    period: float = 15.0

    def asks(self, snapshot: Snapshot, memory: object) -> dict[str, tuple[Policy, View]]:
        return {"infer/all": (Policy("all", "infer", algorithm="mine"), View())}

    def __call__(self, snapshot: Snapshot, memory: object) -> tuple[Decision, int]:
        return Decision(self.name, snapshot.seen.time), 0


def test_where_no_meter_is_read_budgets_hold_on_and_readings_grow_old() -> None:
    world, meter = World(), Wattmeter()
    runner = Runner(Counting(), world, world, world, world, power=meter, limit=None)
    first = runner.cycle()
    meter.broken = True
    world.time += 15.0
    second = runner.cycle()
    assert first is not None
    assert second is not None
    before, after = first.snapshot.power, second.snapshot.power
    assert before is not None
    assert after is not None
    assert after.domains == before.domains
    assert after.now == before.now + 15.0
    assert after.readings[0].age == 17.0
    assert second.errors == ("power: OSError: no meter",)
    blind = Runner(Counting(), world, world, world, world, power=meter, limit=None).cycle()
    assert blind is not None
    assert blind.snapshot.power is None


def test_algorithms_are_asked_before_it_decides_and_the_answer_is_recorded() -> None:
    world, said = World(), Asked(Answer("mine", {"a": 2}))
    runner = Runner(Asks(), world, world, world, world, power=Wattmeter(), algorithms=said, limit=None)
    made = runner.cycle()
    assert made is not None
    assert made.snapshot.power is not None
    assert made.snapshot.power.answers == {"infer/all": Answer("mine", {"a": 2.0})}
    assert said.views == [View()]
    lying = Asked("no answer")  # type: ignore[arg-type]
    runner = Runner(Asks(), world, world, world, world, power=Wattmeter(), algorithms=lying, limit=None)
    made = runner.cycle()
    assert made is not None
    assert made.snapshot.power is not None
    assert made.snapshot.power.answers == {}
    assert made.errors == ("algorithms: TypeError: gave str where Answer is expected",)
