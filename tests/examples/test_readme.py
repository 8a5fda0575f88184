"""What the README shows is what the commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.examples.test_examples import ROOT, run, squeezed

pytestmark = pytest.mark.slow
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```console\n\$ flyball ([^\n]*)\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[command for command, _ in BLOCKS])
def test_commands(command: str, shown: str, tmp_path: Path) -> None:
    arguments = [word.replace("build/", f"{tmp_path}/") for word in shlex.split(command)]
    done = run("-m", "flyball", *arguments)
    before = README[: README.index(f"$ flyball {command}\n")]
    stated = re.search(r"xit code (\d)[^`]*```console\n\Z", before)
    assert done.returncode == (int(stated[1]) if stated else 0)
    printed = {squeezed(line) for line in (done.stdout + done.stderr).splitlines()}
    lines = [squeezed(line) for line in shown.splitlines() if line != "..."]
    assert [line for line in lines if line not in printed] == []


def test_the_lines_of_python(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = run("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 12


def test_links_lead_somewhere() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    for document in documents:
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8")):
            if not link.startswith("http"):
                assert (document.parent / link).exists(), f"{document}: {link}"


def test_tests_named_in_the_deviations_exist() -> None:
    file = ""
    for name in re.findall(r"`((?:tests/[\w/]+\.py)?::\w+)`", (ROOT / "docs" / "deviations.md").read_text()):
        path, _, test = name.partition("::")
        file = path or file
        assert f"def {test}(" in (ROOT / file).read_text("utf-8"), f"{file}::{test}"
