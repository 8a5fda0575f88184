"""Beyond replicas: batches are limited as deep as watts are missing, and come back where all fits again."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.power.filter import Steps, filtered
from flyball.power.patience import LONGEST, REGROW
from flyball.power.relief import HOLD, LASTS, LEAST, Limited, Reliefs, Scene, relieved
from flyball.power.view import Room, ServerView, View
from flyball.spec.power import Lever, Policy, Trim
from flyball.spec.power_plan import Relief

OWN = 256
AT_ONCE = Steps(1.0, 1_000_000)


def policy(*levers: Lever, mode: str = "Enforce") -> Policy:
    return Policy("p", "llm", mode=mode, levers=("hold", "replicas", *levers), trim=Trim(0.6))  # type: ignore[arg-type]


def server(name: str, replicas: int, load: float, **more: object) -> ServerView:
    """Of 200 to 600 W each, which cannot go."""
    found = ServerView(
        name, replicas, replicas, replicas, idle=200.0, full=600.0, load=load, places={"r": 1.0}
    )
    return replace(found, **more)


def scene(
    watts: float, *servers: ServerView, now: float = 100.0, batch: int = OWN, **levers: Policy
) -> Scene:
    view = View((Room("r", watts, 0.95 * watts),), servers)
    made = filtered(view, {}, AT_ONCE)
    return Scene(view, made, levers, {s.name: batch for s in servers}, now)


def lasting(made: Scene, before: Reliefs | None = None) -> tuple[tuple[Relief, ...], Reliefs]:
    """What is done once the room was short long enough."""
    _, since = relieved(before or Reliefs(), made)
    return relieved(replace(before or Reliefs(), short=since.short), replace(made, now=made.now + LASTS))


def test_a_batch_goes_as_deep_as_watts_are_missing() -> None:
    # 800 W idle and 1,600 of load in 2,000: 1,200 of 1,600 may stay, three quarters of the batch.
    one = scene(2000.0, server("a", 4, 1600.0), a=policy("concurrency"))
    assert relieved(Reliefs(), one)[0] == ()  # not for a moment
    found, memory = lasting(one)
    assert found == (Relief("a", "llm/p", "concurrency", "Enforce", "r", 192, OWN, watts=400.0),)
    assert memory.batches == {"a": Limited(OWN, 192, 100.0 + LASTS)}


def test_a_quarter_of_the_batch_stays() -> None:
    found, _ = lasting(scene(100.0, server("a", 4, 1600.0), a=policy("concurrency")))
    assert [one.batch for one in found] == [64]


@pytest.mark.parametrize(
    ("batch", "levers"), [(0, policy("concurrency")), (OWN, policy()), (OWN, policy("placement"))]
)
def test_nothing_is_done_where_there_is_no_place_for_it(batch: int, levers: Policy) -> None:
    assert lasting(scene(2000.0, server("a", 4, 1600.0), batch=batch, a=levers))[0] == ()


def test_replicas_go_first() -> None:
    free = server("a", 4, 1600.0, least=1)
    assert lasting(scene(2000.0, free, a=policy("concurrency")))[0] == ()


def test_the_least_important_go_first() -> None:
    gold, bulk = server("gold", 4, 1600.0, priority=1), server("bulk", 4, 1600.0)
    both = dict.fromkeys(("gold", "bulk"), policy("concurrency"))
    assert [(r.workload, r.batch) for r in lasting(scene(4000.0, gold, bulk, **both))[0]] == [("bulk", 128)]
    found = lasting(scene(3000.0, gold, bulk, **both))[0]
    assert [(r.workload, r.batch) for r in found] == [("bulk", 64), ("gold", 160)]


def test_it_comes_back_where_a_full_batch_fits_and_not_at_once() -> None:
    held = Reliefs(batches={"a": Limited(OWN, 128, 0.0)})
    half = server("a", 4, 800.0, full=400.0)  # as the engines have it now
    levers = policy("concurrency")
    for watts, now, stays in ((1600.0, HOLD, True), (2600.0, HOLD, False), (2600.0, HOLD - 1.0, True)):
        found, memory = relieved(held, scene(watts, half, now=now, batch=128, a=levers))
        assert [one.batch for one in found] == ([128] if stays else [])
        assert bool(memory.batches) == stays
    assert relieved(held, scene(9e9, half, now=9.0, a=policy()))[1].batches == {}


def test_a_rollout_under_way_is_not_ordered_deeper() -> None:
    one = scene(2000.0, server("a", 4, 1600.0), a=policy("concurrency"))
    _, memory = lasting(one)
    found, after = relieved(memory, replace(one, now=200.0))
    assert [r.batch for r in found] == [192]
    assert after.batches == memory.batches


def test_less_cpu_counts_for_nothing_and_waits_longer_each_time() -> None:
    tight = scene(2000.0, server("a", 4, 1600.0), a=policy("resources", "concurrency"))
    found, memory = lasting(tight)
    assert [(r.lever, r.watts) for r in found] == [("resources", 0.0), ("concurrency", 400.0)]
    assert found[0].trim == Trim(0.6)
    easy, now, waits = scene(9e9, server("a", 4, 1600.0), a=policy("resources")), memory.trims["a"].time, []
    for _ in range(6):
        last = memory.trims["a"]
        assert relieved(memory, replace(easy, now=now + last.wait - 1.0))[0] != ()
        back, memory = relieved(memory, replace(easy, now=now + last.wait))
        assert back == ()
        waits.append(last.wait)
        now += last.wait + 100.0
        memory = replace(memory, short={"r": now - LASTS})
        _, memory = relieved(memory, replace(tight, now=now))
    assert waits == [min(REGROW * 2**i, LONGEST) for i in range(6)]


@given(
    watts=st.floats(0.0, 6000.0),
    loads=st.lists(st.floats(0.0, 2000.0), min_size=1, max_size=4),
    batches=st.integers(1, 512),
)
def test_what_is_missing_is_saved_or_all_is_at_its_least(
    watts: float, loads: list[float], batches: int
) -> None:
    servers = [server(f"s{i}", 4, load, priority=1 + i) for i, load in enumerate(loads)]
    levers = {s.name: policy("concurrency") for s in servers}
    one = scene(watts, *servers, batch=batches, **levers)
    found, memory = lasting(one)
    least = math.ceil(LEAST * batches)
    assert all(least <= r.batch <= r.own == batches for r in found)
    saved = sum(r.watts for r in found)
    missing = one.given.short.get("r", 0.0)
    idle_ones = [s for s in servers if s.name not in memory.batches]
    if saved < missing - 1e-6:  # then nobody has more to give
        assert all(r.batch == least for r in found)
        assert all(min(s.load, 1600.0) <= 1600.0 * least / batches + 1e-6 for s in idle_ones)
    for r in found:
        load = min(next(s.load for s in servers if s.name == r.workload), 1600.0)
        assert r.watts == pytest.approx(load - min(load, 1600.0 * r.batch / batches))


def test_nothing_swings() -> None:
    """A hall whose budget falls and comes back; engines follow after two minutes."""
    levers, memory, engine, ordered = policy("concurrency"), Reliefs(), OWN, []
    started: tuple[float, int] | None = None
    for tick in range(480):
        now, budget = 15.0 * tick, 2000.0 if 40 <= tick < 200 else 3000.0
        share = engine / OWN
        there = server("a", 4, min(1600.0, 1600.0 * share), full=200.0 + 400.0 * share)
        found, memory = relieved(memory, scene(budget, there, now=now, batch=engine, a=levers))
        most = found[0].batch if found else OWN
        if most != engine and (started is None or started[1] != most):
            started = now, most
        if started is not None and now - started[0] >= 120.0:
            engine = started[1]
        if not ordered or ordered[-1] != most:
            ordered.append(most)
    assert ordered == [OWN, 192, OWN]
