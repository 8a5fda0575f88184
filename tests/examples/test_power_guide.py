"""The algorithm of one's own: the guide's package builds, installs, is found, and is asked as a loop asks."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from flyball.adapters.algorithms import Isolated
from flyball.power.filter import filtered
from flyball.wire.kinds.power_documents import policy_of
from flyball.wire.text import decode
from tests.examples.test_examples import EXAMPLES, ROOT, squeezed
from tests.power.test_filter import server, view

pytestmark = pytest.mark.slow
PACKAGE = EXAMPLES / "power-algorithm"
GUIDE = (ROOT / "docs" / "guides" / "power-algorithms.md").read_text("utf-8")
SEEN = view(1500.0, server("chat", 8, priority=1), server("nightly", 8), at_once=True)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which it is installed, without an index."""
    folder = tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index"]
    offline = ["--no-deps", "--no-build-isolation", "--target", str(folder), str(PACKAGE)]
    done = subprocess.run([*pip, *offline], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_guide_shows_the_package() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert code == (PACKAGE / "halve_batch.py").read_text("utf-8")
    (shown,) = (tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL))
    real = tomllib.loads((PACKAGE / "pyproject.toml").read_text("utf-8"))
    assert shown["project"].items() <= real["project"].items()


def test_the_policy_of_the_guide_asks_for_it() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    found = policy_of(decode(text.encode(), "guide"))  # type: ignore[arg-type]
    assert (found.algorithm, found.parameters, found.mode) == ("halve-batch", {"share": 0.25}, "Recommend")


def test_the_port_asks_it(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(target))
    one = Isolated(deadline=30.0)
    answer = one.ask("halve-batch", {}, SEEN)
    quarter = one.ask("halve-batch", {"share": 0.25}, SEEN)
    one.close()
    assert (answer.replicas, answer.problem) == ({"nightly": 4.0}, "")
    assert quarter.replicas == {"nightly": 2.0}
    assert filtered(SEEN, answer.replicas or {}).replicas == {"chat": 8, "nightly": 4}
    assert "halve_batch" not in sys.modules


def test_it_is_listed_as_the_guide_shows(target: Path) -> None:
    ((command, shown),) = re.findall(r"```console\n\$ flyball ([^\n]*)\n(.*?)```", GUIDE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-m", "flyball", *shlex.split(command)],
        env=os.environ | {"PYTHONPATH": str(target), "PYTHONUTF8": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    printed = {squeezed(line) for line in done.stdout.splitlines()}
    lines = [squeezed(line) for line in shown.splitlines() if line != "..."]
    assert len(lines) == 4
    assert [line for line in lines if line not in printed] == []


def test_its_own_tests_pass(target: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PACKAGE)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(target), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
