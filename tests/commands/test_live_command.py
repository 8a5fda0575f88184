"""`flyball live` as a process: it says where the page is, and ends when it is told to."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from flyball.adapters.ledger import Ledger
from flyball.commands.live import listening, resumed
from flyball.decide.cycle import decide
from flyball.decide.law import Flyball
from flyball.decide.memory import models_of
from flyball.laws.hpa import Hpa
from flyball.laws.law import Law
from flyball.loop.runner import Runner
from flyball.spec.fleet import Fleet
from flyball.spec.snapshot import Snapshot
from tests.decide.worlds import fleet_of, server_of, world_of

LONG = 60.0


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves, and the address that it says."""
    command = [sys.executable, "-m", "flyball", "live", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line, process.communicate()
        yield process, next(word for word in line.split() if word.startswith("http"))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_while_somebody_listens(tmp_path: Path, how: signal.Signals) -> None:
    ledger = tmp_path / "here" / "ledger.sqlite"
    with serving("outage", "--port", "0", "--ledger", str(ledger)) as (process, url):
        heard, ended = threading.Event(), threading.Event()

        def listen() -> None:
            with urllib.request.urlopen(f"{url}events", timeout=LONG) as events:
                for line in events:
                    if line.startswith(b"event: cycle"):
                        heard.set()
            ended.set()

        threading.Thread(target=listen, daemon=True).start()
        assert heard.wait(LONG)
        with urllib.request.urlopen(url, timeout=LONG) as page:
            assert b"because" in page.read()
        process.send_signal(how)
        assert process.wait(LONG) == 0
        assert ended.wait(LONG)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert ledger.is_file()


FLEET = fleet_of([server_of("chat"), server_of("batch", "Bronze")], {"A": 12, "B": 6})


def ran(path: Path, law: Law, fleet: Fleet = FLEET, cycles: int = 65) -> Runner:  # type: ignore[type-arg]
    """A loop that has run with a ledger, and was killed: its last memory is not kept."""
    world = world_of(fleet, lambda _, __: 6.0, noise=0.05)
    ledger = Ledger(path, "0")
    runner = Runner(law, world, world, world, world, ledger, limit=None)
    for _ in range(cycles):
        runner.cycle()
        world.step(15.0)
    ledger.close()
    return runner


def test_it_goes_on_with_what_was_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ledger.sqlite"
    before = ran(path, Flyball()).memory
    with closing(Ledger(path, "0")) as ledger:
        assert ledger.start_of(65)[0] == 61
        memory = resumed(ledger, FLEET, 0.0)
    assert memory is not None
    assert memory.learned == models_of(before, 64 * 15.0, 0.0).learned
    assert any(one.readings > 5 for one in memory.learned.values())
    readings = sum(one.readings for one in memory.learned.values())
    assert f"goes on with {readings} readings of {len(memory.learned)} models" in capsys.readouterr().err
    world = world_of(FLEET, lambda _, __: 6.0)
    decision, _ = decide(Snapshot(FLEET, world.observe()), memory)
    assert sum(one.readings for one in decision.known) == readings
    assert all(one.at is not None and one.at <= 0.0 for one in decision.known)


def test_what_others_have_shown_is_not_taken_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(Ledger(tmp_path / "empty.sqlite", "0")) as ledger:
        assert resumed(ledger, FLEET, 0.0) is None
    ran(tmp_path / "rival.sqlite", Hpa(8.0), cycles=3)
    with closing(Ledger(tmp_path / "rival.sqlite", "0")) as ledger:
        assert resumed(ledger, FLEET, 0.0) is None
    assert capsys.readouterr().err == ""
    ran(tmp_path / "ours.sqlite", Flyball(), cycles=3)
    with closing(Ledger(tmp_path / "ours.sqlite", "0")) as ledger:
        assert resumed(ledger, FLEET, 0.0) is None  # too soon to have learned
        assert resumed(ledger, fleet_of([server_of("other")], {"A": 9}), 0.0) is None
    assert "of other servers" in capsys.readouterr().err


def test_a_memory_that_cannot_be_read_is_no_reason_to_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ledger.sqlite"
    ran(path, Flyball(), cycles=3)
    with sqlite3.connect(path) as db:
        other = zlib.compress(msgspec.msgpack.encode({"learned": "by another version"}))
        db.execute("UPDATE cycles SET memory = ?", (other,))
    with closing(Ledger(path, "0")) as ledger:
        assert resumed(ledger, FLEET, 0.0) is None
    assert "learned anew" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--speed", "-1"], "--speed is -1"),
        (["--port", "99999"], "--port is 99999"),
        (["--seed", "-3"], "--seed is -3"),
        (["dya"], "there is no such shipped scenario"),
        (["./nothing.yaml"], "there is no such scenario"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    from flyball.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["live", *arguments])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_port_that_is_taken_is_left_to_others(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with listening(port) as mine:
            assert mine.getsockname()[1] != port
    assert f"port {port} cannot be had" in capsys.readouterr().err
