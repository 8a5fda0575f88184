"""`flyball serve` as a process: its options, what it keeps, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from flyball.cli import main
from flyball.server.optimizer.examples import SYSTEM
from tests.calibrate.inferno.points import LOADS
from tests.server.replicas import replica

LONG = 60.0


@contextmanager
def serving(*arguments: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves, and the address that it says."""
    command = [sys.executable, "-m", "flyball", "serve", *arguments]
    process = subprocess.Popen(
        command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " is at http://" in line, process.communicate()
        yield process, next(word for word in line.split() if word.startswith("http")).rstrip("/")
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> str:
    """What it said on standard error until its end, which is a clean one."""
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=LONG)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    return said


@pytest.mark.slow
def test_a_kept_system_is_there_after_a_restart(tmp_path: Path) -> None:
    options = ("--stateful", "--state", str(tmp_path / "new" / "state.json"), "--port", "0")
    with serving(*options) as (process, url):
        httpx2.post(f"{url}/optimizeOne", json=SYSTEM).raise_for_status()
        shown = httpx2.get(f"{url}/getServers").json()
        said = ended(process)
    lines = [json.loads(line) for line in said.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [(line["route"], line["status"]) for line in requests] == [
        ("/optimizeOne", 200),
        ("/getServers", 200),
    ]
    assert requests[0]["servers"] == 1
    assert shown["servers"][0]["desiredAlloc"]["numReplicas"] == 2
    with serving(*options) as (process, url):
        assert httpx2.get(f"{url}/getServers").json() == shown
        ended(process)


@pytest.mark.slow
def test_inferno_s_variables_and_short_option() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving("-F", INFERNO_HOST="", INFERNO_PORT=str(port), FLYBALL_SOLVER="greedy") as (process, url):
        assert url == f"http://127.0.0.1:{port}"
        assert httpx2.get(f"{url}/addModel/m").json() == "m"
        ended(process)


@pytest.mark.slow
def test_the_queue_analysis_is_a_service_of_its_own() -> None:
    asked = {
        "RPS": 1,
        "maxBatchSize": 8,
        "avgInputTokens": 64,
        "avgOutputTokens": 64,
        "alpha": 10,
        "beta": 0.1,
    }
    with serving("queue", "--port", "0", "--log", "off") as (process, url):
        assert httpx2.post(f"{url}/solve", json=asked).json()["throughput"] == pytest.approx(1.0, rel=1e-3)
        assert httpx2.post(f"{url}/optimizeOne", json=SYSTEM).status_code == 404
        assert ended(process) == ""


@pytest.mark.slow
def test_the_model_tuner_with_its_variables_and_its_store(tmp_path: Path) -> None:
    asked = json.dumps([replica(LOADS[0])] * 2)
    prior = {"modelData": {"initState": [8.0, 0.02, 0.0005], "percentChange": [0.1, 0.1, 0.1]}}
    (tmp_path / "default-config-data.json").write_text(json.dumps(prior))
    variables = {
        "TUNER_PORT": "0",
        "TUNER_HOST": "",
        "TUNER_INIT_OBS": "2",
        "TUNER_INIT_HOLD_BACK": "false",
        "CONFIG_DATA_DIR": str(tmp_path),
    }
    options = ("tuner", "--state", str(tmp_path / "learned.json"))
    with serving(*options, **variables) as (process, url):
        assert httpx2.post(f"{url}/tune", content=asked).status_code == 422
        assert httpx2.get(f"{url}/warmup").json() == {"warmingUp": False}
        (learned,) = httpx2.post(f"{url}/tune", content=asked).json()["models"]
        assert learned["perfParms"]["gamma"] == pytest.approx(0.0005, rel=0.01), "from the configuration"
        lines = [json.loads(line) for line in ended(process).splitlines()]
    assert [line["status"] for line in lines if line["event"] == "request"] == [422, 200, 200]
    with serving(*options, **variables, TUNER_ESTIMATOR_MODE="sliding-window") as (process, url):
        merged = httpx2.post(f"{url}/merge", json={"models": []}).json()["models"]
        assert [each["perfParms"] for each in merged] == [learned["perfParms"]]
        ended(process)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--state", "x"], "--state goes with --stateful"),
        (["--budget", "-1"], "--budget is -1: it is seconds for the solver, from 0 to 600"),
        (["--port", "65536"], "the port is 65536: a port is a number from 0"),
        (["--certificate", "x"], "a certificate without a key"),
        (["--token-file", "nowhere/tokens"], "nowhere/tokens"),
        (["--host", "no.such.host.invalid"], "no.such.host.invalid"),
        (["--generation", "G4"], "G4"),
        (["day"], "flyball live day"),
        (["queue", "more"], "there is no place for more"),
        (["tuner", "--window-size", "0"], "the window size is 0: it is a number from 1 to 1,000"),
        (["tuner", "--max-condition-number", "nan"], "the largest condition number is nan"),
        (["tuner", "--estimator", "bayes"], "bayes"),
        (["tuner", "--config", "nowhere"], "nowhere/default-config-data.json: cannot be read"),
        (["tuner", "--state", "/dev/null/learned.json"], "/dev/null/learned.json"),
        (["tuner", "--port", "65536", "--state", "learned.json"], "the port is 65536"),
    ],
)
def test_options_that_make_no_sense(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["serve", *arguments])
    assert left.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("configuration", "says"),
    [
        ("", "holds nothing"),
        ("[]", "expected an object"),
        ('{"filterData": {"errorLevel": 0}}', "filterData.errorlevel is 0"),
        ('{"filterData": {"errorLevel": "x"}}', "filterData.errorlevel"),
        ('{"modelData": {"initState": [1, -1, 1]}}', "modelData.initstate[1] is -1"),
        ('{"modelData": {"initState": [1, 1]}}', "modelData.initstate"),
        ('{"modelData": {"percentChange": [1, 1, 1e999]}}', "default-config-data.json"),
    ],
)
def test_a_configuration_of_the_tuner_that_makes_no_sense(
    tmp_path: Path, configuration: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "default-config-data.json").write_text(configuration)
    with pytest.raises(SystemExit) as left:
        main(["serve", "tuner", "--config", str(tmp_path), "--port", "0"])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert says.lower() in said.lower()
    assert "default-config-data.json" in said


def test_a_taken_port_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit) as left:
            main(["serve", "--port", str(taken.getsockname()[1])])
    assert left.value.code == 2
    assert "cannot be had" in capsys.readouterr().err


def test_a_damaged_state_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"kind": "InfernoSystem", "version": 1, "system"')
    with pytest.raises(SystemExit) as left:
        main(["serve", "-F", "--state", str(state), "--port", "0"])
    assert left.value.code == 2
    assert "is no state of an optimizer" in capsys.readouterr().err
    assert state.read_text() == '{"kind": "InfernoSystem", "version": 1, "system"'


def test_a_port_that_kubernetes_sets_for_a_service_of_that_name_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INFERNO_PORT", "tcp://10.96.0.7:8080")
    with pytest.raises(SystemExit):
        main(["serve", "--token-file", "nowhere/tokens"])
    assert "nowhere/tokens" in capsys.readouterr().err
