"""The benchmark of caps: rivals keep their rules, who only observes changes nothing, rows stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.forecast import traces
from benchmarks.power_plant import (
    LOOP,
    OURS,
    SHARES,
    Policed,
    Row,
    Warm,
    kept,
    law,
    left,
    longest,
    measured,
    ran,
    steer,
    warmed,
    without,
)
from benchmarks.power_plant_bound import Most, most
from benchmarks.power_plant_report import Paired, middle, tables
from benchmarks.power_plant_rivals import (
    LEAST,
    PRIORITY,
    WIDTH,
    Climatik,
    Meter,
    StaticCap,
    Thresholds,
    bare,
    nameplate,
)
from benchmarks.power_plant_world import CARDS, NODES
from flyball.loop.record import Cycle
from flyball.units import Seconds, Watts

pytestmark = pytest.mark.skipif(traces() is None, reason="there are no recorded traces beside this checkout")


@dataclass
class Told:
    """A meter that reads what it is told."""

    watts: Watts
    each: dict[str, Watts] = field(default_factory=dict)

    def whole(self) -> Watts:
        return self.watts

    def services(self, window: Seconds) -> dict[str, Watts]:
        return self.each


@pytest.fixture(scope="module")
def warm() -> Warm:
    return warmed(1, 150.0)


@pytest.mark.slow
def test_a_static_cap_holds_by_nameplate_and_takes_the_last_priority_first(warm: Warm) -> None:
    needed = dict.fromkeys(WIDTH, 8)
    whole = bare(warm.made) + sum(8 * nameplate(warm.made, name) for name in WIDTH)
    for share in (0.9, 0.7, 0.5):
        most = StaticCap(warm.made, share * whole, needed).most(0.0, {})
        assert bare(warm.made) + sum(n * nameplate(warm.made, s) for s, n in most.items()) <= share * whole
        cut = {PRIORITY[n] for n in WIDTH if most[n] < needed[n]}
        whole_ones = {PRIORITY[n] for n in WIDTH if most[n] == needed[n]}
        assert cut
        assert min(cut) >= max(whole_ones, default=0)


@pytest.mark.slow
def test_climatik_gives_each_the_whole_cap_over_its_own_watts(warm: Warm) -> None:
    told = Told(0.0, {"chat": 4000.0, "agent": 2500.0, "code": 20_000.0})
    rule = Climatik(warm.made, bare(warm.made) + 10_000.0, told)  # type: ignore[arg-type]
    assert rule.most(0.0, {}) == {"chat": 2, "agent": 4, "code": LEAST}
    silent = Climatik(warm.made, bare(warm.made) + 10_000.0, Told(0.0, {"chat": 0.0}))  # type: ignore[arg-type]
    assert silent.most(0.0, {}) == {"chat": LEAST}


def test_thresholds_cut_the_less_important_first_and_give_back() -> None:
    wanted = dict.fromkeys(WIDTH, 8)
    first = {name for name, priority in PRIORITY.items() if priority == 1}
    rule = Thresholds(100.0, Told(85.0))  # type: ignore[arg-type]
    assert set(rule.most(0.0, wanted)) == set(WIDTH) - first
    rule._meter = Told(95.0)  # type: ignore[assignment]
    assert set(rule.most(45.0, wanted)) == set(WIDTH)
    rule._meter = Told(50.0)  # type: ignore[assignment]
    for k in range(8):
        given = rule.most(90.0 + 45.0 * k, wanted)
    assert given == {}


def test_the_longest_run_of_steps() -> None:
    assert longest(np.array([True, False, True, True, False])) == 2
    assert longest(np.zeros(3, bool)) == 0


def orders(cycles: list[Cycle]) -> list[list[tuple[str, int]]]:
    decisions = [cycle.decision for cycle in cycles if cycle.decision is not None]
    return [[(o.server, o.replicas) for s in d.steps for o in s.orders] for d in decisions]


@pytest.mark.slow
def test_who_observes_orders_what_the_loop_orders_that_sees_no_watts(warm: Warm) -> None:
    observed = ran(warm, LOOP, 0.0, 1, 90.0).cycles
    plant = warm.plant.copy()
    note = Meter(plant).note
    blind, _ = steer(warm.made, plant, note, Policed(law()), warm.memory, None, 1, plant.now() + 90.0)
    assert len(observed) == len(blind) == 6
    assert orders(observed) == orders(blind)


@pytest.mark.slow
def test_a_cap_takes_watts_and_what_is_measured_is_the_plants(warm: Warm, tmp_path: Path) -> None:
    rows = []
    for name in (LOOP, OURS):
        peak = rows[0].peak if rows else 0.0
        run = ran(warm, name, SHARES[-1] * peak, 1, 150.0)
        rows.append(measured(1, name, SHARES[-1], peak, warm, run))
        if name == LOOP:
            whole = [made for s in SHARES if (made := measured(1, name, s, 0.0, warm, run).most)]
    loop, ours = rows
    assert loop.cap == ours.cap == pytest.approx(SHARES[-1] * loop.peak)
    assert loop.before == ours.before
    assert loop.energy == pytest.approx(150.0 * loop.watts)
    assert 0 < loop.tokens <= loop.asked
    assert ours.watts < loop.watts
    assert ours.above < loop.above
    assert loop.joules == pytest.approx(5.0 * sum(np.clip(_watts(warm, loop) - loop.cap, 0.0, None)))
    assert not ours.most
    assert len(whole) == len(SHARES)
    assert loop.most == whole[-1]
    assert whole == sorted(whole, reverse=True)
    assert all(0.0 <= one.in_order <= one.in_any <= 1.0 for one in whole)
    text = tables(rows)
    assert "R2 cap 60%" in text
    assert f"{whole[-1].in_order:.1%} are in whole services that fit" in text


@pytest.mark.slow
def test_what_goes_with_services_is_all_that_is_above_empty_nodes(warm: Warm) -> None:
    plant, _, draws = ran(warm, LOOP, 0.0, 1, 60.0)
    watch, drawn = plant.watch, draws.watts().sum(axis=1)
    now = watch.times() > warm.plant.now()
    assert drawn.shape == (12,)
    hall = warm.made.world.hall
    assert hall is not None
    host, cards = hall.hosts[0], NODES * CARDS * warm.made.world.draws[0].idle
    empty = NODES * host.idle + (1.0 + host.share) * cards
    others = watch.watts()[now] - drawn - empty
    assert np.all((others > -1.0) & (others < 0.2 * NODES * hall.others.burst))


def test_the_bound_takes_whole_services_in_their_order_or_in_any() -> None:
    drawn = np.array([[4.0, 4, 4, 4, 4, 4, 4, 4], [9.0, 1, 1, 1, 1, 1, 2, 2]])
    whole, tokens = drawn.sum(axis=1) + 10.0, [1, 1, 1, 1, 1, 1, 7, 7]
    assert most(drawn, whole, tokens, 42.0) == Most(1.0, 1.0)
    assert most(drawn, whole, tokens, 34.0) == Most(0.3, 0.9)  # 8 of the first step: both of the last
    assert most(drawn, whole, tokens, 18.0) == Most(0.1, 0.7)  # six of eight, and the first of them
    assert most(drawn, whole, tokens, 9.0) == Most(0.0, 0.0)


def _watts(warm: Warm, row: Row) -> np.ndarray:
    plant, _, _ = ran(warm, row.policy, row.cap, row.seed, 150.0)
    return plant.watch.watts()[plant.watch.times() > warm.plant.now()]


def row(seed: int, policy: str, share: float, tokens: int) -> Row:
    p99 = dict.fromkeys(WIDTH, 1.0)
    return Row(
        seed=seed, policy=policy, share=share, cap=90.0, peak=100.0, watts=80.0, asked=100, tokens=tokens,
        by_service={}, requests=10, before=80.0, above=0.0, longest=0.0, late=0.0, joules=0.0, energy=1.0,
        ttft=p99, itl=p99,
    )  # fmt: skip


def test_a_campaign_goes_on_where_it_ended(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    done = [row(1, LOOP, 0.9, 100), row(1, OURS, 0.9, 90)]
    file.write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in done))
    assert left(file, 2, (OURS,), (0.9,)) == [(2, LOOP, 0.9), (2, OURS, 0.9)]
    without(file, (OURS,))
    assert kept(file) == done[:1]


def test_figures_are_paired_by_seed() -> None:
    rows = [row(1, LOOP, 0.9, 100), row(1, OURS, 0.9, 90), row(2, OURS, 0.9, 5), row(3, LOOP, 0.9, 50)]
    assert Paired(rows).values(OURS, 0.9, lambda r, b: r.tokens / b.tokens) == [0.9]
    assert middle([3.0, 1.0, 2.0])[0] == 2.0
    low, high = middle([1.0, 2.0, 3.0, 4.0, 5.0])[1:]
    assert 1.0 <= low < 3.0 < high <= 5.0
