"""`flyball replay` as it is typed: the same again, what differs, and what is wrong."""

from __future__ import annotations

import re
import sqlite3
import zlib
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest

from flyball import cli
from flyball.adapters.ledger import Ledger
from flyball.decide.law import Flyball
from flyball.laws.hpa import Hpa
from flyball.laws.law import Law
from flyball.loop.runner import Runner
from tests.decide.worlds import fleet_of, server_of, world_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def recorded(path: Path, law: Law, cycles: int = 30) -> None:  # type: ignore[type-arg]
    fleet = fleet_of([server_of("chat"), server_of("batch", "Bronze")], {"A": 12, "B": 6})
    world = world_of(fleet, lambda _, t: 4.0 if t < 300 else 12.0, noise=0.05, error=0.1)
    ledger = Ledger(path, version("flyball"), checkpoint=7)
    runner = Runner(law, world, world, world, world, ledger, limit=None, wall=lambda: world.time)
    for _ in range(cycles):
        cycle = runner.cycle()
        assert cycle is not None
        assert not cycle.errors
        world.step(15.0)
    ledger.close()


def replay(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as done:
        cli.main(["replay", *map(str, arguments)])
    return int(done.value.code or 0)


@pytest.mark.parametrize("number", [1, 7, 21, 30])
def test_the_same_comes_out(path: Path, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(path, Flyball())
    assert replay(number, "--ledger", path) == 0
    shown = capsys.readouterr().out
    assert "the same to the bit" in shown
    assert f"Cycle {number}, law flyball, 1970-01-01" in shown
    assert ("Gold/chat:" in shown) == (number in (1, 21))  # it begins, and at 300 s the load grows


def test_one_server_or_all_are_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(path, Flyball(), 8)
    assert replay(8, "--ledger", path, "--server", "batch") == 0
    assert "Bronze/batch: stays at" in capsys.readouterr().out
    assert replay(8, "--ledger", path, "--all") == 0
    shown = capsys.readouterr().out
    assert "Gold/chat" in shown
    assert "Bronze/batch" in shown


def test_what_profiles_rest_on_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(path, Flyball())
    assert replay(25, "--ledger", path, "--server", "chat") == 0
    shown = capsys.readouterr().out
    assert re.search(r"Gold/chat: stays at \d x A", shown)
    assert re.search(r"on A, profile: as given, corrected by \d readings at 1 load; itl at 64 ", shown)
    assert "the same to the bit" in shown


def test_a_ledger_from_before_there_was_an_account_is_replayed(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its decisions and its memory have no such field."""
    recorded(path, Flyball(), 60)
    with sqlite3.connect(path) as db:
        for number, rest, memory in db.execute("SELECT id, rest, memory FROM cycles").fetchall():
            decision, *others = msgspec.msgpack.decode(zlib.decompress(rest))
            assert "known" in decision
            del decision["known"]
            was = msgspec.msgpack.decode(zlib.decompress(memory)) if memory else None
            for name in ("known",) if was else ():
                del was[name]
            db.execute(
                "UPDATE cycles SET rest = ?, memory = ? WHERE id = ?",
                (
                    zlib.compress(msgspec.msgpack.encode((decision, *others))),
                    zlib.compress(msgspec.msgpack.encode(was)) if memory else None,
                    number,
                ),
            )
    assert replay(60, "--ledger", path) == 0
    assert "the same to the bit" in capsys.readouterr().out


def test_a_rival_is_replayed_with_its_parameters(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(path, Hpa(8.0, name="hpa:target=8"), 12)
    assert replay(12, "--ledger", path) == 0
    assert "law hpa:target=8" in capsys.readouterr().out


def test_what_was_decided_otherwise_is_found(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(path, Flyball())
    with sqlite3.connect(path) as db:
        law = Flyball(msgspec.structs.replace(Flyball().steering, spare=3.0))
        db.execute("UPDATE cycles SET settings = ?, version = '0.0'", (msgspec.msgpack.encode(law),))
    assert replay(30, "--ledger", path) == 3
    shown = capsys.readouterr().out
    assert "NOT the same" in shown
    assert "It was decided by Flyball 0.0" in shown
    assert "chat: was" in shown


@pytest.mark.parametrize(
    ("number", "words"), [(31, "there is no cycle 31; it has 1 to 30"), (0, "there is no cycle 0")]
)
def test_what_is_wrong_is_said(
    path: Path, number: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(path, Flyball())
    assert replay(number, "--ledger", path) == 2
    assert words in capsys.readouterr().err
    assert replay(1, "--ledger", path.with_name("none")) == 2
    assert "there is no such ledger" in capsys.readouterr().err
