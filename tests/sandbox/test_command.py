"""`flyball sandbox`: up, status, kubeconfig, down; two side by side; and nothing that stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flyball.cli import main
from flyball.sandbox.folders import state_folder
from flyball.sandbox.network import answers, get
from flyball.sandbox.state import holder
from tests.clusters import eventually, is_here, needed

FLEET = "kind: SandboxFleet\nnodes: [{accelerator: H200, count: 1, rack: r9}]\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def flyball(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flyball", "sandbox", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stderr
    return done


def lives(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_two_run_side_by_side_and_leave_nothing(home: Path) -> None:
    needed()
    fleet = home / "fleet.yaml"
    fleet.write_text(FLEET)
    for name, more in (("one", ("--speed", "10", "--seed", "3", "--error", "0")), ("two", ("--no-engines",))):
        told = flyball(
            "up", "--name", name, "--fleet", str(fleet), "--cold-start", "1s", "--detach", *more
        ).stdout
        assert told.startswith(f"The sandbox {name} is up: 1 node with 8 cards at https://127.0.0.1:")

    states = json.loads(flyball("status", "--json").stdout)
    assert [state["name"] for state in states] == ["one", "two"]
    assert len({state["url"] for state in states}) == 2
    shown = flyball("status").stdout
    for state in states:
        assert f"{state['name']}: 1 node with 8 cards at {state['url']}" in shown
        assert all(str(process["pid"]) in shown for process in state["processes"])
    paths = [flyball("kubeconfig", "--name", name).stdout.strip() for name in ("one", "two")]
    assert [state["kubeconfig"] for state in states] == paths
    assert flyball("kubeconfig", "--name", "two", "--print").stdout == Path(paths[1]).read_text()
    again = flyball("up", "--name", "one", "--detach", code=5)
    assert "the sandbox one is up already" in again.stderr

    one, two = ([process["pid"] for process in state["processes"]] for state in states)
    assert len(one) == len(two) + 1 == 6
    (engines,) = [process for process in states[0]["processes"] if process["name"] == "engines"]
    words = Path(f"/proc/{engines['pid']}/cmdline").read_bytes().decode().split("\0")
    assert [words[words.index(key) + 1] for key in ("--speed", "--seed", "--error")] == ["10.0", "3", "0.0"]
    assert engines["url"] in shown
    assert answers(int(engines["url"].rsplit(":", 1)[1]), "/targets")
    flyball("down", "--name", "one")
    assert not any(map(lives, one))
    assert all(map(lives, two))
    assert [path.name for path in state_folder().iterdir()] == ["two"]

    held_by = holder("two")
    assert held_by is not None
    os.kill(held_by, signal.SIGKILL)  # without a chance to clean up
    eventually(lambda: not any(map(lives, two)))
    assert json.loads(flyball("status", "--json").stdout) == []
    assert list(state_folder().iterdir()) == []


@pytest.mark.slow
def test_in_the_foreground_it_ends_by_ctrl_c(home: Path) -> None:
    needed()
    command = [sys.executable, "-m", "flyball", "sandbox", "up"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        assert first.startswith("The sandbox default is up: 10 nodes with 60 cards at https://127.0.0.1:")
        port = int(first.split("127.0.0.1:")[1].split()[0])
        path = Path(second.removeprefix("export KUBECONFIG=").strip())
        authority = path.parent / "keys" / "ca.crt"
        assert answers(port, "/version", authority)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert "the sandbox default has ended" in process.stderr.read()
    assert not answers(port, "/version")
    assert list(state_folder().iterdir()) == []


@pytest.mark.slow
def test_the_demo_governs_by_what_prometheus_scrapes_and_ends_by_ctrl_c(home: Path) -> None:
    needed()
    if not is_here("prometheus"):
        pytest.skip("there is no Prometheus")
    command = [sys.executable, "-m", "flyball", "sandbox", "demo", "--port", "0", "--speed", "30"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        assert lines[0].startswith("The sandbox demo is up: 10 nodes with 60 cards")
        urls = dict(line.strip().split(": ") for line in lines[2:4])
        page = int(lines[4].split("http://127.0.0.1:")[1].split("/")[0])
        prometheus = int(urls["prometheus"].rsplit(":", 1)[1])
        query = "/api/v1/query?query=sum(vllm:generation_tokens_total)>0"
        eventually(lambda: b'"value"' in get(prometheus, query)[1], limit=120)
        eventually(lambda: b"</a>: <b>" in get(page, "/")[1], limit=120)  # it decided something
        process.send_signal(signal.SIGINT)
        assert "the sandbox demo has ended" in process.communicate(timeout=60)[1]
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
    assert list(state_folder().iterdir()) == []


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--speed", "0"), "flyball: --speed is 0: it is over 0"),
        (("--period", "0"), "flyball: --period is 0: seconds between cycles, over 0"),
        (("--port", "70000"), "flyball: --port is 70000: a port is a number from 0"),
    ],
)
def test_wrong_options_of_the_demo(
    capsys: pytest.CaptureFixture[str], option: tuple[str, str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sandbox", "demo", *option])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("command", [("down",), ("kubeconfig",)])
def test_what_is_not_there_cannot_be_ended_or_entered(
    home: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sandbox", *command, "--name", "x"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("flyball: there is no sandbox x. None is up")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cold-start", "30"), 'flyball: --cold-start is "30": has no unit'),
        (("--scrape", "0s"), 'flyball: --scrape is "0s": allowed is a time over 0'),
        (("--name", "No"), 'flyball: --name is "No": allowed are'),
        (("--fleet", "none.yaml"), "flyball: none.yaml: cannot be read (No such file or directory)"),
        (("--with", "grafana"), "flyball: there is no part grafana. Known: engines, alertmanager"),
        (("--speed", "0"), "flyball: --speed is 0: it is over 0, up to 1000"),
        (("--seed", "-1"), "flyball: --seed is -1: a seed is 0 or more"),
        (("--error", "1"), "flyball: --error is 1: it is a share from 0 to 0.9"),
    ],
)
def test_wrong_options_are_said_before_anything_is_built(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    with pytest.raises(SystemExit) as ended:
        main(["sandbox", "up", *arguments])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(message)
    assert not (home / "cache").exists()
