"""Calibration in the loop: which windows count, and what becomes of profiles."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from flyball.calibrate.belief import predicted
from flyball.calibrate.design import design
from flyball.calibrate.learn import belief, distrust
from flyball.decide.aim import likely
from flyball.decide.calibration import (
    HEARD,
    LATE,
    LONG,
    WINDOW,
    Calibration,
    key,
    prior_of,
    reading,
    settled,
)
from flyball.decide.cycle import decide
from flyball.decide.memory import Goal, Memory, ServerMemory
from flyball.decide.seen import Seen
from flyball.profiles.sample import catalogue
from flyball.simulate.compiled import available
from flyball.simulate.plant import Plant
from flyball.spec.learned import Learned
from flyball.spec.profile import IterationTiming, Profile, Uncertainty
from flyball.spec.server import Server
from flyball.spec.snapshot import Snapshot
from flyball.spec.steering import Steering
from flyball.wire.scenario import Sources, scenario_from_own
from tests.decide.worlds import Run, fleet_of, server_of, world_of

SETTLED = WINDOW + LATE + LONG * 200 * 0.016
PROFILE = Profile("m", "A", IterationTiming(10e-3, 5e-5, 4e-8, 2e-5), kv_tokens=400_000)


def seen(**changes: Any) -> Seen:
    """A server in a steady state, about as its profile has it."""
    base = Seen(
        server=Server("s", "m"),
        ready={"A": 2},
        pending={},
        draining={},
        offered=8.0,
        in_tokens=1000.0,
        out_tokens=200.0,
        in_cov=0.5,
        out_cov=0.5,
        waiting=0.0,
        running=26.0,
        kv_usage=0.05,
        ttft=0.06,
        itl=0.016,
        cold_start=None,
    )
    return replace(base, **changes)


def after(state: Seen, first: Seen | None = None, seconds: float = SETTLED) -> ServerMemory:
    """What is remembered once that state has lasted."""
    return settled(settled(ServerMemory(), first or state, 0.0), state, seconds)


def test_a_steady_window_is_a_reading() -> None:
    shown = reading(seen(), after(seen()), SETTLED)
    assert shown is not None
    assert (shown.rate, shown.itl, shown.ttft) == (4.0, 0.016, 0.06)
    assert shown.running == pytest.approx(4.0 * 200 * 0.016)


@pytest.mark.parametrize(
    "change",
    [
        {"ready": {"A": 3}},
        {"ready": {"A": 2, "B": 1}},
        {"draining": {"A": 1}},
        {"waiting": 5.0},
        {"offered": 12.0},
        {"offered": 5.0},
        {"offered": None},
        {"blind": "demand is not known"},
    ],
)
def test_what_is_not_steady_begins_anew(change: dict[str, Any]) -> None:
    """The window still holds what was before."""
    other = seen(**change)
    assert reading(other, after(other, seen()), SETTLED) is None


def test_a_gap_in_the_readings_does_not_begin_anew() -> None:
    gap = settled(after(seen()), seen(blind="the queue is not known"), SETTLED - 15.0)
    assert reading(seen(), settled(gap, seen(), SETTLED), SETTLED) is not None
    assert reading(seen(blind="the queue is not known"), gap, SETTLED) is None


def test_a_full_batch_is_a_reading_by_its_gauge() -> None:
    """More arrive than can be served: the rate is what comes out, and the first token holds a wait."""
    full = seen(offered=100.0, waiting=300.0, running=512.0, places=512, itl=0.08, ttft=4.0)
    shown = reading(full, after(full, seconds=WINDOW + LATE + LONG * 16.0), WINDOW + LATE + LONG * 16.0)
    assert shown is not None
    assert (shown.running, shown.ttft) == (256.0, 0.0)
    assert shown.rate == pytest.approx(256.0 / (200 * 0.08))
    odd = replace(full, places=1024, kv_usage=0.3)  # why do they wait?
    assert after(odd, seconds=WINDOW + LATE + LONG * 16.0).settled is None


@pytest.mark.parametrize(
    "change", [{"itl": None}, {"out_tokens": 1.0}, {"in_tokens": None}, {"offered": 0.2}]
)
def test_what_says_nothing_is_no_reading(change: dict[str, Any]) -> None:
    assert reading(seen(**change), after(seen(**change)), SETTLED) is None


def calibrated(learned: dict[str, Learned], shown: Seen, now: float, **steering: Any) -> Calibration:
    fleet = replace(fleet_of([server_of("s")], {"A": 9}), profiles=(PROFILE,))
    memory = replace(after(shown), settled_since=now - 2 * SETTLED)
    return Calibration(fleet, learned, {"s": shown}, {"s": memory}, Steering(**steering), now)


def test_each_window_counts_once() -> None:
    first = calibrated({}, seen(), 1000.0).learned
    again = calibrated(first, seen(), 1015.0).learned
    later = calibrated(first, seen(), 1060.0).learned
    assert first[key("m", "A")].readings == again[key("m", "A")].readings == 1
    assert later[key("m", "A")].readings == 2


def test_the_kv_cache_is_as_large_as_its_usage_says() -> None:
    """26 running requests of 1000 + 200 (1 + 0.5^2) / 2 tokens, on two replicas, fill 15 %: 97,500 tokens."""
    learned: dict[str, Learned] = {}
    for i in range(30):
        learned = calibrated(learned, seen(kv_usage=0.15), 60.0 * i).learned
    profile = calibrated(learned, seen(kv_usage=0.15), 1800.0).fleet_as_known({}, {}).profiles[0]
    assert profile.kv_tokens == pytest.approx(97_500, rel=1e-6)
    for usage in (0.02, 0.99, None):  # too little to tell, full, not measured
        none = calibrated({}, seen(kv_usage=usage), 0.0).learned[key("m", "A")]
        assert none.kv_readings == 0


def test_what_happens_to_a_profile_is_said() -> None:
    learned: dict[str, Learned] = {}
    said: list[str] = []
    for i, factor in enumerate([1.0] * 12 + [4.0] * 5 + [1.0] * 40):
        known = calibrated(learned, seen(itl=0.016 * factor), 60.0 * i)
        learned, said = known.learned, [*said, *known.notes]
    assert [note.partition(": ")[2].partition(" ")[0] for note in said[:2]] == ["its", "readings"]
    assert any("is given up" in note for note in said)
    assert all(note.startswith("m on A: ") for note in said)
    assert len(said) < 12


def test_profiles_become_what_was_learned() -> None:
    slow = seen(itl=0.024, offered=2.0)
    learned: dict[str, Learned] = {}
    for i in range(20):
        learned = calibrated(learned, slow, 60.0 * i).learned
    known = calibrated(learned, slow, 1200.0)
    (profile,) = known.fleet_as_known({"s": Goal("A", 2, 64, 5.0)}, {"s": (1000.0, 200.0)}).profiles
    assert isinstance(profile.timing, IterationTiming)
    assert profile.timing.alpha > 1.15 * 10e-3
    assert profile.margin > 1.0  # one light load does not tell what a full batch takes
    assert (profile.kv_tokens, profile.max_batch_size) == (PROFILE.kv_tokens, PROFILE.max_batch_size)
    even = calibrated(learned, slow, 1200.0, confidence=0.5)
    (unsure,) = even.fleet_as_known({}, {"s": (1000.0, 200.0)}).profiles
    assert unsure.margin == pytest.approx(distrust(even.learned[key("m", "A")]))  # its first readings missed
    off = calibrated(learned, slow, 1200.0, calibrate=False)
    assert off.fleet_as_known({}, {}) is off.fleet
    assert likely(replace(off.fleet, profiles=(profile,))).profiles[0].margin == 1.0


def test_a_profile_says_how_sure_it_is() -> None:
    sure = replace(
        PROFILE, uncertainty=Uncertainty(alpha=0.01, beta=0.01, kappa=0.01, delta=0.01, residual=0.02)
    )
    assert prior_of(sure).sigmas == pytest.approx([0.01] * 4)
    assert prior_of(PROFILE).sigmas[0] > 0.1
    assert math.isfinite(prior_of(PROFILE).gamma)


def test_what_is_learned_survives_msgpack_and_goes_on_alike() -> None:
    fleet = fleet_of([server_of("s"), server_of("t", "Bronze")], {"A": 9, "B": 4})
    run = Run(world_of(fleet, lambda _server, _time: 6.0))
    run.until(1500.0)
    assert run.memory is not None
    assert any(one.readings >= 5 for one in run.memory.learned.values())
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(run.memory), type=Memory)
    assert read == run.memory
    snapshot = Snapshot(fleet, run.world.observe())
    assert decide(snapshot, read) == decide(snapshot, run.memory)


def _none(name: str) -> NoReturn:
    raise KeyError(name)


@pytest.mark.slow
@pytest.mark.skipif(not available(), reason="takes minutes without numba")
def test_in_the_plant_it_finds_how_the_engines_really_run() -> None:
    """Profiles up to 40 % off, noisy readings: after two hours the times between tokens are right to 8 %."""
    from tests.decide.test_in_the_plant import DOCUMENT

    document: dict[str, Any] = {**DOCUMENT, "duration": "2h", "truth": {"error": "40%", "seed": 3}}
    document["load"] = [
        {**one, "arrivals": {"stages": [[f"{f * rate}/s", "20min"] for f in (0.5, 1.0, 1.5, 0.8, 1.2, 0.6)]}}
        for one, rate in zip(document["load"], (8, 20, 6), strict=True)
    ]
    scenario = scenario_from_own(document, "plant", catalogue(), Sources(_none, _none))
    plant, memory = Plant(scenario.world, 1), None
    while plant.now() < scenario.duration:
        decision, memory = decide(Snapshot(scenario.believed, plant.observe()), memory)
        plant.act([order for step in decision.steps for order in step.orders])
        plant.run(plant.now() + 15.0)
    assert memory is not None
    engines = {key(e.model, e.accelerator): e for e in scenario.world.engines}
    before, now = [], []
    for profile in scenario.believed.profiles:
        pair = key(profile.model, profile.accelerator)
        learned = memory.learned.get(pair)
        if learned is None or learned.readings < 8:
            continue
        batches = [p.running for p in learned.points]
        columns = design(batches, 800, 200)
        e = engines[pair]
        true = columns @ np.array([e.alpha, e.beta, e.kappa, e.delta])
        prior = prior_of(profile)
        for known, errors in ((prior, before), (belief(prior, learned, plant.now()), now)):
            errors.append(float(np.median(np.abs(predicted(known, columns).time / true - 1.0))))
    assert len(now) >= 3
    assert np.median(before) > 0.09
    assert max(now) < 0.08


def test_of_many_servers_some_are_heard_in_each_window_and_all_in_time() -> None:
    names = [f"s{i:03}" for i in range(2 * HEARD + 7)]
    fleet = fleet_of([replace(server_of(name), name=name) for name in names], {"A": 1000})
    fleet = replace(fleet, profiles=(PROFILE,))
    shown = {name: seen(server=Server(name, "m")) for name in names}
    memories = {name: after(one) for name, one in shown.items()}
    learned: dict[str, Learned] = {}
    heard: set[str] = set()
    for window in range(3):
        now = SETTLED + window * WINDOW
        made = Calibration(fleet, learned, shown, memories, Steering(), now)
        assert list(made.shown) == names  # their percentiles count all the same
        heard |= set(made._heard(names))
        learned = made.learned
        assert learned["m on A"].readings == (window + 1) * HEARD
    assert heard == set(names)
    few = dict(list(shown.items())[:HEARD])
    assert Calibration(fleet, {}, few, memories, Steering(), SETTLED).learned["m on A"].readings == HEARD
