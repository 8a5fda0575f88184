"""A service as a process: where it says it is, how it ends, and what it will not start with."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flyball.server.service import connection
from flyball.server.service.run import Options, is_loopback, listening, serve, warning_of
from tests.server.service.conftest import LONG, running, serving
from tests.server.service.sample import sample
from tests.server.service.test_limits import until

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys, time
from pathlib import Path
from flyball.server.service.run import Options, serve
from tests.server.service.sample import Gate, sample

class Files(Gate):
    def pass_through(self):
        Path(sys.argv[1], "entered").touch()
        while not Path(sys.argv[1], "open").exists():
            time.sleep(0.01)
        return "through"

sys.exit(serve(sample(Files()), Options(port=0, log="json", drain=float(sys.argv[2]))))
"""


@contextlib.contextmanager
def process(folder: Path, drain: float = 0.0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-c", PROGRAM, str(folder), str(drain)]
    made = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert made.stdout is not None
        line = made.stdout.readline()
        assert line.startswith("The sample is at http://127.0.0.1:"), made.communicate()
        yield made, line.split()[4].rstrip("/")
    finally:
        made.kill()
        made.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_what_is_under_way_is_finished(tmp_path: Path, how: signal.Signals) -> None:
    with process(tmp_path) as (made, url), ThreadPoolExecutor() as pool:
        asked = pool.submit(httpx2.get, f"{url}/wait", timeout=LONG)
        until((tmp_path / "entered").exists)
        made.send_signal(how)

        def closed() -> bool:
            try:
                httpx2.get(f"{url}/healthz")
            except httpx2.TransportError:
                return True
            return False

        until(closed)
        (tmp_path / "open").touch()
        assert asked.result().json() == {"message": "through"}
        assert made.wait(LONG) == 0
        assert made.stderr is not None
        lines = [json.loads(line) for line in made.stderr.read().splitlines()]
        assert (lines[0]["event"], lines[-1]["event"]) == ("serving", "ended")
        assert {line["level"] for line in lines} == {"info"}


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with process(tmp_path, drain=LONG) as (made, url), ThreadPoolExecutor() as pool:
        asked = pool.submit(httpx2.get, f"{url}/wait", timeout=LONG)
        until((tmp_path / "entered").exists)
        made.send_signal(signal.SIGTERM)
        until(lambda: httpx2.get(f"{url}/readyz").text == "stopping\n")
        made.send_signal(signal.SIGINT)
        assert made.wait(LONG) == 0  # though its work goes on
        with contextlib.suppress(httpx2.TransportError):
            assert asked.result().status_code == 503


def test_a_taken_port_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with listening("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        assert serve(sample(), Options(port=port)) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"flyball: port {port} on 127.0.0.1 cannot be had (Address already in use)")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": ""}, "the host is empty"),
        ({"port": 65536}, "the port is 65536"),
        ({"port": -1}, "the port is -1"),
        ({"certificate": Path("a")}, "a certificate without a key"),
        ({"key": Path("a")}, "a key without a certificate"),
        ({"log": "xml"}, "the log is 'xml': it is one of auto, json, text, off"),
        ({"grace": -1.0}, "grace is -1"),
        ({"grace": float("nan")}, "grace is nan"),
        ({"drain": 4000.0}, "drain is 4000"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Options(**options)


def test_an_unknown_host_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"the host 'no\.such\.invalid' is not known here"):
        listening("no.such.invalid", 0)


def test_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org")] == [False] * 4


def test_what_is_open_to_others_is_warned_of() -> None:
    file = Path("file")
    assert warning_of(Options()) == warning_of(Options(host="::1")) == ""
    assert "0.0.0.0 may use the service" in warning_of(Options(host="0.0.0.0"))
    assert "travel readable" in warning_of(Options(host="0.0.0.0", token_file=file))
    assert warning_of(Options(host="0.0.0.0", token_file=file, certificate=file, key=file)) == ""


def test_it_serves_ipv6_and_other_names_of_this_machine() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    for host, shown in (("::1", "[::1]"), ("127.0.0.9", "127.0.0.9"), ("localhost", "localhost")):
        with running(sample(), host=host) as url:
            assert url.startswith(f"http://{shown}:")
            assert httpx2.get(f"{url}/things/a").status_code == 200


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with listening("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP  # what asyncio asks before it sets TCP_NODELAY


def test_who_connects_and_says_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    with serving(sample()) as made:
        for said in (b"", b"GET /healthz HTTP/1.1\r\nHost: local"):
            with socket.create_connection(("127.0.0.1", made.port), LONG) as sock:
                sock.sendall(said)
                assert sock.recv(1) == b""


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: local"),
        (b"POST /none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", b"half"),
    ],
)
def test_who_stops_in_the_middle_after_an_answer_is_sent_away(
    monkeypatch: pytest.MonkeyPatch, first: bytes, then: bytes
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.5)
    with serving(sample()) as made, socket.create_connection(("127.0.0.1", made.port), LONG) as sock:
        sock.sendall(first)
        assert sock.recv(65536).startswith(b"HTTP/1.1 ")
        sock.sendall(then)
        sock.settimeout(10.0)  # below uvicorn's keep-alive, which a byte ends anyway
        while sock.recv(65536):
            pass


def test_who_does_not_read_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    with serving(sample()) as made, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", made.port))
        sock.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        connections = made._server.server_state.connections
        until(lambda: len(connections) == 1)
        until(lambda: not connections)
