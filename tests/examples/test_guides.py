"""What the guides show works: their commands, the law of one's own, a fleet that is served and replayed."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import msgspec
import pytest

from flyball.laws.find import BUILT_IN
from flyball.server.tuner import REPLICA, service
from flyball.spec.calibration import Tuning
from flyball.spec.steering import Steering
from tests.examples.test_examples import ROOT, run, squeezed
from tests.server.service.conftest import running

pytestmark = pytest.mark.slow
GUIDES = ROOT / "docs" / "guides"
README = (ROOT / "README.md").read_text("utf-8")
CAMPAIGNS = (GUIDES / "simulate.md").read_text("utf-8")
LOOP = (ROOT / "docs" / "concepts" / "loop.md").read_text("utf-8")
LAWS = (GUIDES / "laws.md").read_text("utf-8")


def test_the_campaign_prints_what_the_guide_shows() -> None:
    ((command, shown),) = re.findall(r"```console\n\$ flyball ([^\n]*)\n(.*?)```", CAMPAIGNS, re.DOTALL)
    done = run("-m", "flyball", *shlex.split(command))
    assert done.returncode == 0
    printed = {squeezed(line) for line in done.stdout.splitlines()}
    lines = [squeezed(line) for line in shown.splitlines() if line != "..."]
    assert lines
    assert [line for line in lines if line not in printed] == []


def test_every_law_that_comes_along_is_in_the_guide() -> None:
    assert set(re.findall(r"^\| `([\w-]+)` \|", CAMPAIGNS, re.MULTILINE)) == {"flyball", *BUILT_IN}


def test_the_settings_of_the_loop_are_those_of_its_page() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \| [^|]+ \|", LOOP, re.MULTILINE)
    stated = {name: {"yes": True, "no": False}.get(value) for name, value in rows}
    stated |= {name: float(value.split()[0]) for name, value in rows if stated[name] is None}
    assert stated == msgspec.structs.asdict(Steering())


def test_a_law_of_ones_own(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", LAWS, re.DOTALL)
    (project,) = (tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", LAWS, re.DOTALL))
    (command,) = re.findall(r"```shell-session\n\$ flyball (.*)\n", LAWS)
    (tmp_path / "by_tokens.py").write_text(code, "utf-8")
    head, entries = project["project"], project["project"]["entry-points"]["flyball.laws"]
    info = tmp_path / f"{head['name'].replace('-', '_')}-{head['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {head['name']}\nVersion: {head['version']}\n", "utf-8"
    )
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (info / "entry_points.txt").write_text(f"[flyball.laws]\n{lines}", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "flyball", *shlex.split(command), "--duration", "1000s", "--format", "csv"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for policy in ("by-tokens", '"by-tokens:target=2000,down=0.2"', "keda"):
        assert f"\n{policy}," in done.stdout


def test_a_fleet_that_is_served_is_replayed(tmp_path: Path) -> None:
    ((served, replayed),) = re.findall(
        r"```shell-session\n\$ flyball (live [^\n]*)\n.*?\$ flyball (replay [^\n]*)\n", README, re.DOTALL
    )
    served, replayed = (text.replace("build/", f"{tmp_path}/") for text in (served, replayed))
    process = subprocess.Popen(
        [sys.executable, "-m", "flyball", *shlex.split(served), "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.match(r"The fleet is at (http://127\.0\.0\.1:\d+/)", process.stdout.readline())
        assert found
        with urllib.request.urlopen(f"{found[1]}healthz", timeout=60) as answer:
            assert answer.read() == b"ok\n"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0
    done = run("-m", "flyball", *shlex.split(replayed))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] in README


def test_the_services_answer_as_the_readme_and_the_guide_say(tmp_path: Path) -> None:
    ((served, called, curled),) = re.findall(
        r"```shell-session\n\$ flyball (serve)\n.*?\$ flyball (call [^\n]*)\n.*?\$ (curl [^\n]*)\n",
        README,
        re.DOTALL,
    )
    guide = (ROOT / "docs" / "guides" / "services.md").read_text("utf-8")
    program, _ = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    process = subprocess.Popen(
        [sys.executable, "-m", "flyball", *shlex.split(served), "--port", "0", "--log", "off"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.match(r"The optimizer is at (http://127\.0\.0\.1:\d+)/", process.stdout.readline())
        assert found
        done = run("-m", "flyball", *shlex.split(called), "--url", found[1])
        assert done.returncode == 3  # some are not served
        (summary,) = [line for line in done.stdout.splitlines() if " servers served, " in line]
        assert summary in README
        done = run("-c", program.replace("http://127.0.0.1:8080", found[1]))
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, summary, "")
        path = re.search(r"8080(/[^']*)'", curled)
        assert path
        body = (ROOT / "examples" / "fleet.yaml").read_bytes()
        with urllib.request.urlopen(f"{found[1]}{path[1]}", data=body, timeout=60) as answer:
            assert json.load(answer)["plan"]["solver"] == "greedy"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_the_tuner_learns_as_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (GUIDES / "services.md").read_text("utf-8")
    _, program = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "replicas.json").write_bytes(msgspec.json.encode([REPLICA]))
    monkeypatch.chdir(tmp_path)
    with running(service(Tuning(initial_observations=2), lambda: 0.0)) as url:
        for _ in range(2):
            exec(program.replace("http://127.0.0.1:8081", url), {})
    collecting, learned = capsys.readouterr().out.splitlines()
    assert collecting == "tuning produced no results for any model/accelerator group"
    assert learned.startswith("granite_8b H100 PerfShape(alpha=")
