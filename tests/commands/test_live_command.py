"""`flyball live` as a process: it says where the page is, and ends when it is told to."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flyball.commands.live import listening

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
