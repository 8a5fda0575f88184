"""The cycle in a world: what it must never do, and what it must achieve."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.decide.cycle import decide
from flyball.decide.imagine import imagine
from flyball.decide.memory import Memory
from flyball.decide.seen import see
from flyball.spec.snapshot import Observation, Reading, Scrape, Snapshot, Variant
from flyball.spec.steering import Steering
from flyball.testing.fluid import FluidWorld, Pool
from tests.decide.worlds import Run, believed_rates, fleet_of, reversals, server_of, world_of

AMPLE = {"A": 60, "B": 60}


def steady(level: float):  # type: ignore[no-untyped-def]
    return lambda name, time: level


def test_it_starts_from_nothing_with_what_the_load_needs() -> None:
    fleet = fleet_of([server_of("s")], AMPLE)
    run = Run(world_of(fleet, steady(5.0)))
    first = run.cycle()
    assert first.steps[0].cause == "start"
    assert first.steps[0].changed
    run.until(600.0)
    assert run.world.takes("s") >= 5.0
    assert not run.decisions[-1].steps[0].changed


def test_a_step_of_the_load_is_followed_both_ways() -> None:
    fleet = fleet_of([server_of("s")], AMPLE)
    run = Run(world_of(fleet, lambda _, t: 5.0 if t < 1200 or t > 2400 else 30.0))
    run.until(1200.0)
    low = run.asked["s"][-1]
    run.until(1500.0)
    assert run.world.takes("s") >= 30.0
    up = next(d.steps[0] for d in run.decisions if d.time >= 1200 and d.steps[0].changed)
    assert up.cause == "demand"
    assert up.value > up.limit
    run.until(6000.0)
    assert run.asked["s"][-1] <= low + 1


def test_pending_replicas_count_as_coming_and_nothing_runs_away() -> None:
    fleet = fleet_of([server_of("s")], {"A": 500, "B": 500})
    run = Run(world_of(fleet, lambda _, t: 5.0 if t < 900 else 20.0, cold_start=600.0))
    run.until(900.0)
    before = run.asked["s"][-1]
    run.until(1500.0)
    assert max(run.asked["s"]) <= 4 * 2 * before + 4


def test_a_move_keeps_the_old_replicas_until_the_new_ones_are_ready() -> None:
    fleet = fleet_of([server_of("s", rate=20.0)], AMPLE)
    world = world_of(fleet, steady(20.0))
    run = Run(world)
    run.until(300.0)
    away = "A" if run.decisions[-1].steps[0].orders[0].accelerator == "B" else "B"
    cheap = replace(
        fleet,
        accelerators=tuple(replace(a, cost=0.01 if a.name == away else a.cost) for a in fleet.accelerators),
    )
    world.configured = cheap
    need = world.takes("s")
    lowest = math.inf
    for _ in range(80):
        run.cycle()
        lowest = min(lowest, world.takes("s"))
    assert lowest >= min(need, 20.0)
    assert {o.accelerator for o in run.decisions[-1].steps[0].orders if o.replicas} == {away}
    assert any(h.guard == "hand_over" for d in run.decisions for h in d.steps[0].holds)


def test_the_higher_priority_gets_the_cards_when_they_run_short() -> None:
    fleet = fleet_of([server_of("gold", "Gold"), server_of("iron", "Bronze")], {"A": 8, "B": 0})
    takes = believed_rates(fleet)["m", "A"]
    run = Run(world_of(fleet, lambda name, t: takes * (2.5 if name == "iron" or t < 900 else 5.5)))
    run.until(900.0)
    run.until(2400.0)
    assert run.world.takes("gold") >= 5.5 * takes
    assert run.world.cards()["A"] <= 8
    causes = {s.cause for d in run.decisions for s in d.steps if s.server == "iron" and s.changed}
    assert "capacity" in causes


def test_lost_cards_are_shed_and_never_exceeded_by_new_orders() -> None:
    fleet = fleet_of([server_of("gold", "Gold"), server_of("iron", "Bronze")], {"A": 12, "B": 0})
    takes = believed_rates(fleet)["m", "A"]
    world = world_of(fleet, steady(3.4 * takes))
    run = Run(world)
    run.until(900.0)
    world.capacity = {"A": 6, "B": 0}
    run.until(1200.0)
    assert world.cards()["A"] <= 6
    assert world.takes("gold") >= 3.4 * takes


@pytest.mark.parametrize("what", ["absent", "stale", "contradictory", "no latency", "not seen"])
def test_what_is_not_known_shrinks_nothing(what: str) -> None:
    fleet = fleet_of([server_of("s")], AMPLE)
    world = world_of(fleet, steady(30.0))
    run = Run(world)
    run.until(900.0)
    had = run.asked["s"][-1]
    world.rate = steady(0.5)
    seen = world.observe().servers[0]
    for _ in range(60):
        world.step(15.0)
        scrape = world.observe()
        found: Observation = scrape.servers[0]
        if what == "absent":
            found = replace(found, arrival_rate=None)
        elif what == "stale":
            found = replace(found, arrival_rate=Reading(0.5, 1000.0))
        elif what == "contradictory":
            found = replace(found, arrival_rate=Reading(0.0), running=Reading(3.0))
        elif what == "no latency":
            found = replace(found, ttft={}, itl={})
        servers = () if what == "not seen" else (found,)
        decision, run.memory = decide(Snapshot(fleet, Scrape(world.time, servers)), run.memory)
        for step in decision.steps:
            world.act(step.orders)
        assert world.asked("s") >= had
    assert seen.server == "s"
    run.until(world.time + 3600.0)
    assert world.asked("s") < had


def _read_again(snapshot: Snapshot) -> Snapshot:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot), type=Snapshot)


def test_memory_survives_msgpack_and_the_same_input_gives_the_same_bits() -> None:
    fleet = fleet_of([server_of("s"), server_of("t", "Bronze")], {"A": 9, "B": 4})
    run = Run(world_of(fleet, lambda _, t: 6.0 + 3.0 * math.sin(t / 300.0), noise=0.05, gaps=0.05))
    for _ in range(80):
        snapshot = _read_again(Snapshot(fleet, run.world.observe()))
        again = run.memory and msgspec.msgpack.decode(msgspec.msgpack.encode(run.memory), type=Memory)
        assert msgspec.msgpack.encode(decide(snapshot, run.memory)) == msgspec.msgpack.encode(
            decide(_read_again(snapshot), again)
        )
        run.cycle()


def test_a_bare_scrape_decides_something_safe() -> None:
    fleet = fleet_of([server_of("s")], AMPLE)
    decision, memory = decide(Snapshot(fleet, Scrape(0.0)))
    assert decision.steps == ()
    assert decision.notes == ("not to be seen: s",)
    decision, _ = decide(Snapshot(fleet, Scrape(15.0, (Observation("s"),))), memory)
    assert decision.steps[0].cause == "start"


def test_what_if_on_a_running_fleet_uses_what_is_seen() -> None:
    fleet = fleet_of([server_of("s", rate=0.0)], AMPLE)
    run = Run(world_of(fleet, steady(10.0)))
    run.until(600.0)
    snapshot = Snapshot(fleet, run.world.observe())
    made = imagine(snapshot, run.memory, Steering(), "load*3")
    before, after = made.before.plan.servers[0].allocation, made.after.plan.servers[0].allocation
    assert before is not None
    assert after is not None
    assert after.replicas > before.replicas >= 1


# ---- properties over random worlds --------------------------------------------------------------


@st.composite
def worlds(draw: st.DrawFn, short: bool = False) -> FluidWorld:
    names = [f"s{i}" for i in range(draw(st.integers(1, 4)))]
    servers = [server_of(n, draw(st.sampled_from(["Gold", "Bronze"]))) for n in names]
    high = draw(st.integers(3, 20)) if short else 200
    fleet = fleet_of(servers, {"A": high, "B": draw(st.sampled_from([0, high]))})
    base = {n: draw(st.floats(0.5, 40.0)) for n in names}
    kind = draw(st.sampled_from(["steady", "wave", "steps"])) if short else "steady"
    length = draw(st.floats(600.0, 3000.0))

    def rate(name: str, time: float) -> float:
        if kind == "wave":
            return base[name] * (1.0 + 0.9 * math.sin(2 * math.pi * time / length))
        if kind == "steps":
            return base[name] * (1.0, 2.0, 0.3, 1.5)[int(time / length) % 4]
        return base[name]

    return world_of(
        fleet,
        rate,
        seed=draw(st.integers(0, 2**20)),
        error=0.15,
        noise=draw(st.sampled_from([0.0, 0.05])),
        gaps=draw(st.sampled_from([0.0, 0.02, 0.1])),
        delay=draw(st.sampled_from([0.0, 15.0, 45.0])),
        cold_start=draw(st.sampled_from([30.0, 100.0, 200.0])),
    )


@pytest.mark.slow
@settings(max_examples=8)
@given(worlds())
def test_at_steady_load_it_serves_all_and_turns_at_most_once_in_ten_minutes(world: FluidWorld) -> None:
    run = Run(world)
    run.until(5400.0)
    for server in world.configured.servers:
        assert reversals(run.decisions, server.name, after=1800.0) <= 1
        assert world.takes(server.name) >= world.rate(server.name, world.time)


@pytest.mark.slow
@settings(max_examples=10)
@given(worlds(short=True), st.sets(st.integers(0, 119)), st.data())
def test_capacity_is_kept_and_blindness_shrinks_nothing(
    world: FluidWorld, blind_at: set[int], data: st.DataObject
) -> None:
    run = Run(world)
    for i in range(120):
        names = [s.name for s in world.configured.servers]
        world.blind = set(data.draw(st.lists(st.sampled_from(names)))) if i in blind_at else set()
        before = {n: world.asked(n) for n in names}
        run.cycle()
        for type_, used in world.cards().items():
            assert used <= world.configured.capacity[type_]
        for name in run.blind:
            assert world.asked(name) >= before[name]


def test_the_fluid_world_is_what_it_says() -> None:
    fleet = fleet_of([server_of("s")], AMPLE)
    world = FluidWorld(fleet, steady(3.0), {("m", "A"): 2.0}, rng=None)  # type: ignore[arg-type]
    world.pools["s", "A"] = Pool(ready=1)
    world.step(10.0)
    assert world.waiting["s"] == 10.0
    assert world.cards() == {"A": 1}


# ---- shortage, and what is read of latencies -------------------------------------------------------


def test_where_cards_are_short_margins_go_first() -> None:
    fleet = fleet_of([server_of("gold", "Gold"), server_of("iron", "Bronze")], {"A": 9, "B": 0})
    takes = believed_rates(fleet)["m", "A"]
    generous = Steering(spare=2.0)
    run = Run(world_of(fleet, steady(3.9 * takes)), generous)
    run.until(900.0)
    assert run.world.takes("gold") >= 3.9 * takes
    assert run.world.takes("iron") >= 3.9 * takes  # 4 and 4 of 9; with its margin gold alone would have 6
    assert run.memory is not None
    assert run.memory.lean
    assert any("without margins" in note for note in run.decisions[-1].notes)
    rich = replace(fleet, capacity={"A": 30, "B": 0})
    run = Run(world_of(rich, steady(3.9 * takes)), generous)
    run.until(900.0)
    assert not run.decisions[-1].notes
    assert min(run.asked["gold"][-1], run.asked["iron"][-1]) >= 6


def test_a_backlog_is_provided_for_and_then_forgotten() -> None:
    fleet = fleet_of([server_of("s")], {"A": 60, "B": 0})
    takes = believed_rates(fleet)["m", "A"]
    world = world_of(fleet, steady(3.0 * takes))
    run = Run(world, Steering(calibrate=False))  # this world's latencies are not those of the profile
    run.until(1200.0)
    had = run.asked["s"][-1]
    world.waiting["s"] = 400.0 * takes
    run.until(1500.0)
    assert had < max(run.asked["s"]) <= math.ceil(1.5 * 3.0 + 1.0)
    run.until(4000.0)
    assert run.asked["s"][-1] == had


@pytest.mark.parametrize(
    ("reading", "missed"),
    [
        (Reading(0.09), False),
        (Reading(0.11), True),
        (Reading(0.11, least=0.075), False),  # the bucket begins below the limit: it may be within
        (Reading(0.11, least=0.1), True),
        (Reading(0.2, age=1000.0), False),
    ],
)
def test_a_miss_is_one_that_buckets_cannot_make_up(reading: Reading, missed: bool) -> None:
    fleet = fleet_of([server_of("s")], AMPLE)
    found = Observation("s", arrival_rate=Reading(1.0), running=Reading(1.0), itl={"p95": reading})
    seen = see(fleet.servers[0], found, fleet.service_classes[0].models[0], Steering())
    assert seen is not None
    assert (seen.miss is not None) == missed


def test_a_mean_over_the_limit_is_a_miss_whatever_the_bucket() -> None:
    fleet = fleet_of([server_of("s")], AMPLE)
    readings = {"p95": Reading(0.14, least=0.075), "mean": Reading(0.12)}
    found = Observation("s", arrival_rate=Reading(1.0), running=Reading(1.0), itl=readings)  # type: ignore[arg-type]
    seen = see(fleet.servers[0], found, fleet.service_classes[0].models[0], Steering())
    assert seen is not None
    assert seen.miss is not None


# ---- what lies ------------------------------------------------------------------------------------


def running(replicas: int = 4, **capacity: int) -> tuple[Run, Snapshot]:
    """A server that runs steadily, and what would be seen of it next."""
    fleet = fleet_of([server_of("s")], {"A": 20, "B": 0} | capacity)
    takes = believed_rates(fleet)["m", "A"]
    run = Run(world_of(fleet, steady((replicas - 0.5) * takes)))
    run.until(1200.0)
    return run, Snapshot(fleet, run.world.observe())


def asked_for(snapshot: Snapshot, run: Run, name: str = "s") -> int | None:
    decision, _ = decide(snapshot, run.memory)
    return next((sum(o.replicas for o in s.orders) for s in decision.steps if s.server == name), None)


@pytest.mark.parametrize("capacity", [{}, {"A": 0}, {"B": 20}, {"A": 1, "B": 0}])
def test_a_glitch_of_the_cards_takes_nothing_away(capacity: dict[str, int]) -> None:
    run, snapshot = running()
    had = run.asked["s"][-1]
    assert asked_for(replace(snapshot, seen=replace(snapshot.seen, capacity=capacity)), run) == had


def test_fewer_cards_are_believed_once_they_last() -> None:
    run, _ = running()
    run.world.capacity = {"A": 2, "B": 0}
    run.until(run.world.time + 150.0)
    assert run.world.cards()["A"] <= 2


def test_cards_of_who_is_not_seen_or_not_known_are_not_free() -> None:
    fleet = fleet_of([server_of("a"), server_of("b")], {"A": 8, "B": 0})
    takes = believed_rates(fleet)["m", "A"]
    run = Run(world_of(fleet, lambda name, t: takes * (4.5 if name == "b" else 0.5)))
    run.until(900.0)
    held = run.world.asked("b")
    run.world.rate = steady(10.0 * takes)
    run.world.step(60.0)
    scrape = run.world.observe()
    only_a = replace(scrape, servers=tuple(o for o in scrape.servers if o.server == "a"))
    assert asked_for(Snapshot(fleet, only_a), run, "a") == 8 - held
    stranger = replace(scrape.servers[1], server="stranger")
    alone = fleet_of([server_of("a")], {"A": 8, "B": 0})
    seen = replace(scrape, servers=(scrape.servers[0], stranger))
    assert asked_for(Snapshot(alone, seen), Run(run.world), "a") == 8 - held


@pytest.mark.parametrize(
    "changes",
    [
        {"arrival_rate": Reading(-1.0)},
        {"arrival_rate": Reading(math.inf)},
        {"arrival_rate": Reading(1e13)},
        {"in_tokens": Reading(math.inf)},
        {"out_tokens": Reading(-1.0)},
        {"cold_start": Reading(math.inf)},
        {"cold_start": Reading(-100.0)},
        {"in_cov": Reading(math.inf)},
        {"out_cov": Reading(1e100)},
        {"waiting": Reading(math.inf)},
        {"waiting": None},
        {"ttft": {}},
        {"itl": {}},
        {"variants": (Variant("A", 1), Variant("A", 3))},
    ],
)
def test_readings_that_cannot_be_shrink_nothing_and_spoil_nothing(changes: dict[str, object]) -> None:
    run, snapshot = running()
    had = run.asked["s"][-1]
    seen = replace(snapshot.seen, servers=(replace(snapshot.seen.servers[0], **changes),))
    decision, run.memory = decide(replace(snapshot, seen=seen), run.memory)
    assert sum(o.replicas for o in decision.steps[0].orders) >= had
    run.world.rate = steady(2.0 * run.world.takes("s"))
    run.until(run.world.time + 600.0)
    assert run.world.takes("s") >= run.world.rate("s", 0.0)


def test_a_server_that_is_seen_twice_is_left_alone() -> None:
    run, snapshot = running()
    one = snapshot.seen.servers[0]
    twice = (one, replace(one, variants=(Variant("A", 1),)))
    assert asked_for(replace(snapshot, seen=replace(snapshot.seen, servers=twice)), run) is None


def test_to_zero_only_where_it_is_allowed() -> None:
    fleet = fleet_of([server_of("s")], {"A": 20, "B": 0})
    for allowed, left in ((False, 1), (True, 0)):
        run = Run(world_of(fleet, lambda _, t: 20.0 if t < 600 else 0.0), Steering(scale_to_zero=allowed))
        run.until(4000.0)
        assert run.asked["s"][-1] == left


@pytest.mark.parametrize("scarce", ["A", "B"])
def test_a_move_that_begins_in_a_spike_grows_in_bounded_steps(scarce: str) -> None:
    """Where it is there is no room for the load, elsewhere for all of it."""
    other = "B" if scarce == "A" else "A"
    fleet = fleet_of([replace(server_of("s"), accelerators=(scarce,))], {scarce: 2, other: 300})
    world = world_of(fleet, lambda _, t: 1.0 if t < 600 else 300.0)
    run = Run(world)
    run.until(600.0)
    assert run.asked["s"][-1] <= 2
    world.configured = replace(
        fleet, servers=tuple(replace(s, accelerators=(scarce, other)) for s in fleet.servers)
    )
    run.until(1500.0)
    asked = run.asked["s"]
    # As many new ones as may be asked for at once, beside those that they are to relieve.
    assert all(after <= 2 * before + 4 for before, after in pairwise(asked)), asked
    assert max(asked) > 20
