"""The ledger: what is put in comes out, old cycles go, and every cycle can be decided again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from flyball.adapters.ledger import Ledger, LedgerError
from flyball.decide.law import Flyball
from flyball.loop.record import Cycle
from flyball.loop.replay import memory_type, replayed, same
from flyball.loop.runner import Runner
from flyball.spec.snapshot import Scrape
from flyball.testing.fluid import FluidWorld
from tests.decide.worlds import fleet_of, server_of, world_of


def run(ledger: Ledger, cycles: int) -> tuple[Runner, list[Cycle]]:
    fleet = fleet_of([server_of("s"), server_of("t", "Bronze")], {"A": 12, "B": 6})
    world: FluidWorld = world_of(fleet, lambda _, t: 4.0 if t < 300 else 12.0, noise=0.05, error=0.1)
    runner = Runner(Flyball(), world, world, world, world, ledger, limit=None, wall=lambda: world.time)
    made = []
    for _ in range(cycles):
        cycle = runner.cycle()
        assert cycle is not None
        assert not cycle.errors
        made.append(cycle)
        world.step(15.0)
    return runner, made


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db", "1.0", checkpoint=7)


def test_what_is_put_in_comes_out(ledger: Ledger) -> None:
    _, made = run(ledger, 12)
    for number, cycle in enumerate(made, 1):
        assert ledger.cycle(number) == cycle
    newest = ledger.newest(3)
    assert [n for n, _ in newest] == [12, 11, 10]
    changed = ledger.newest(100, changed=True)
    assert 1 <= len(changed) < 12
    assert all(any(s.changed for s in c.decision.steps) for _, c in changed if c.decision)


def test_every_cycle_is_decided_again_to_the_bit(ledger: Ledger) -> None:
    _, made = run(ledger, 30)
    law = Flyball()
    for number in (1, 2, 7, 8, 20, 30):
        first, before, version = ledger.start_of(number)
        assert version == "1.0"
        assert number - first < 7
        cycles = [ledger.cycle(n) for n in ledger.numbers(first, number)]
        assert same(replayed(law, before, cycles), made[number - 1].decision)


def test_a_replay_with_other_settings_is_not_the_same(ledger: Ledger) -> None:
    _, made = run(ledger, 30)
    first, before, _ = ledger.start_of(30)
    cycles = [ledger.cycle(n) for n in ledger.numbers(first, 30)]
    other = Flyball(msgspec.structs.replace(Flyball().steering, spare=3.0))
    assert not same(replayed(other, before, cycles), made[-1].decision)


def test_old_cycles_go_and_the_rest_can_still_be_replayed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db", "1.0", keep=20, checkpoint=5)
    run(ledger, 60)
    there = ledger.numbers(0, 1000)
    assert 20 <= len(there) <= 20 + 5 + 5
    assert there[-1] == 60
    first, _, _ = ledger.start_of(there[0])
    assert first == there[0]
    with pytest.raises(LedgerError, match="there is no cycle 1; it has"):
        ledger.cycle(1)


def test_a_ledger_goes_on_after_a_restart_with_a_checkpoint_first(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    first = Ledger(path, "1.0")
    run(first, 3)
    first.close()
    second = Ledger(path, "1.1")
    run(second, 3)
    assert second.numbers(0, 10) == [1, 2, 3, 4, 5, 6]
    assert second.start_of(5)[0] == 4


def test_what_is_no_ledger_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "no.db"
    path.write_bytes(b"this is not a database, but it is long enough to be looked at as one" * 20)
    with pytest.raises(LedgerError, match=r"no\.db: cannot be used as a ledger"):
        Ledger(path, "1.0")


def test_the_type_of_a_memory_is_read_from_the_law() -> None:
    from flyball.decide.memory import Memory

    assert memory_type(Flyball()) == Memory | None


def test_after_a_cycle_that_could_not_be_kept_the_next_has_its_memory(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db", "1.0", checkpoint=50)
    kept = ledger.record
    lost = iter([False] * 5 + [True] + [False] * 20)

    def record(cycle: Cycle, before: object, gap: bool = False) -> int:
        if next(lost):
            raise OSError("disk full")
        return kept(cycle, before, gap)

    ledger.record = record  # type: ignore[method-assign]
    fleet = fleet_of([server_of("s")], {"A": 12, "B": 0})
    world = world_of(fleet, lambda _, t: 5.0 + t / 100.0, noise=0.05)
    runner = Runner(Flyball(), world, world, world, world, ledger, limit=None)
    made = []
    for _ in range(12):
        cycle = runner.cycle()
        assert cycle is not None
        made.append(cycle)
        world.step(15.0)
    assert "disk full" in made[5].errors[0]
    for number, cycle in ((5, made[4]), (6, made[6]), (11, made[11])):
        first, before, _ = ledger.start_of(number)
        cycles = [ledger.cycle(n) for n in ledger.numbers(first, number)]
        assert same(replayed(Flyball(), before, cycles), cycle.decision)
    assert ledger.start_of(11)[0] == 6


def test_a_cycle_without_any_scrape_is_replayed_to_the_bit(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db", "1.0")
    fleet = fleet_of([server_of("s")], {"A": 12, "B": 0})
    world = world_of(fleet, lambda _, t: 5.0)
    world.observe = lambda: Scrape(0.0)  # type: ignore[method-assign]
    cycle = Runner(Flyball(), world, world, world, world, ledger, limit=None).cycle()
    assert cycle is not None
    first, before, _ = ledger.start_of(1)
    assert first == 1
    assert same(replayed(Flyball(), before, [ledger.cycle(1)]), cycle.decision)


def test_what_is_damaged_is_said(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db", "1.0")
    run(ledger, 3)
    with sqlite3.connect(tmp_path / "l.db") as db:
        db.execute("UPDATE cycles SET rest = x'00' WHERE id = 2")
    with pytest.raises(LedgerError, match="damaged"):
        ledger.cycle(2)
    with pytest.raises(LedgerError):
        ledger.cycle(10**20)
    assert ledger.cycle(3).decision is not None
