"""`flyball emulate`: its options, and a cluster that is not there."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from flyball.adapters.kubernetes.load import Outcome
from flyball.cli import main
from flyball.commands import emulate

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: me, user: {token: none}}]
contexts: [{name: here, context: {cluster: here, user: me}}]
current-context: here
"""


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("INTERVAL", "ALPHA", "THETA", "SKEW", "PHASES"):
        monkeypatch.delenv(f"INFERNO_LOAD_{name}", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))


def code_of(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["emulate", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["soon"], 'interval (INFERNO_LOAD_INTERVAL) is "soon"'),
        (["0"], "a time over 0"),
        (["60", "1.5"], 'alpha (INFERNO_LOAD_ALPHA) is "1.5": allowed is a share from 0 to 100%'),
        (["--theta", "2"], '--theta (INFERNO_LOAD_THETA) is "2"'),
        (["--skew", "x"], '--skew (INFERNO_LOAD_SKEW) is "x"'),
        (["--count", "0"], "--count is 0: allowed is a whole number from 1"),
        (["--phases", "absent.yaml"], "absent.yaml: cannot be read (No such file or directory)"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(*words) == 2
    assert said in capsys.readouterr().err


def test_the_environment_is_read_and_arguments_go_before_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INFERNO_LOAD_INTERVAL", "never")
    monkeypatch.setenv("INFERNO_LOAD_THETA", "")
    assert code_of() == 2
    assert 'interval (INFERNO_LOAD_INTERVAL) is "never"' in capsys.readouterr().err
    assert code_of("30s") == 5  # all is well but for the cluster
    monkeypatch.setenv("INFERNO_LOAD_ALPHA", "-1")
    assert code_of("30s") == 2
    assert 'alpha (INFERNO_LOAD_ALPHA) is "-1"' in capsys.readouterr().err
    assert code_of("30s", "0.1") == 5


def test_without_a_cluster_it_says_how_to_name_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("--once") == 5
    assert "Set KUBECONFIG or give --kubeconfig" in capsys.readouterr().err


def test_a_cluster_that_does_not_answer_is_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    assert code_of("--kubeconfig", str(path), "--count", "1") == 5
    err = capsys.readouterr().err
    assert "the API server at http://127.0.0.1:9 does not answer" in err
    assert len(err.splitlines()) == 1


class Interrupted:
    """An emulator whose user ends it as a cycle begins."""

    writes = 0

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def cycle(self, elapsed: float) -> Outcome:
        os.kill(os.getpid(), signal.SIGTERM)
        return Outcome()


def test_a_cycle_that_is_ended_before_it_looked_says_of_nobody_that_it_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text(KUBECONFIG)
    monkeypatch.setattr(emulate, "Emulator", Interrupted)
    assert emulate.run(emulate.Request(kubeconfig=config)) == 0
    assert capsys.readouterr().err == ""
