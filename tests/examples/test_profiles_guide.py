"""The guide to profiles: its commands print what it shows, on the measurements that it gives."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from flyball.wire.catalogue import catalogue_from_own
from flyball.wire.measurements import KNOWN
from flyball.wire.text import decode
from tests.commands.terminal import flyball
from tests.examples.test_examples import ROOT, squeezed
from tests.wire.test_aiconfigurator import ROW, table

GUIDE = (ROOT / "docs" / "guides" / "profiles.md").read_text("utf-8")
BLOCKS = re.findall(r"```console\n\$ flyball ([^\n]*)\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[command[:30] for command, _ in BLOCKS])
def test_commands_print_what_the_guide_shows(
    command: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (runs,) = re.findall(r"```csv\n(.*?)```", GUIDE, re.DOTALL)
    Path("runs.csv").write_text(runs, "utf-8")
    done = flyball(*shlex.split(command))
    assert done.code == 0
    printed = {squeezed(line) for line in (done.out + done.err).splitlines()}
    lines = [squeezed(line) for line in shown.splitlines() if line != "..."]
    assert lines
    assert [line for line in lines if line not in printed] == []
    if "--output" in command:
        assert catalogue_from_own(decode(Path("profile.yaml").read_bytes(), "p"), "p").profiles
        assert Path("fit.html").stat().st_size > 50_000


def test_the_import_as_the_guide_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ((imported, used),) = re.findall(
        r"```shell-session\n\$ flyball ([^\n]*)\n\$ flyball ([^\n]*)\n```", GUIDE, re.DOTALL
    )
    rows = [
        ROW | {"model_path": "Llama-3.1-70B", "system": "h200_sxm", "precision": "fp8", "batch_size": str(n)}
        for n in (1, 2, 4, 8, 16, 32, 64)
    ]
    Path("silicon_sample.csv").write_text(table(*rows), "utf-8")
    words = shlex.split(imported)
    words.insert(words.index("aiconfigurator") + 1, "silicon_sample.csv")
    assert flyball(*words).code == 0
    assert flyball(*shlex.split(used)).code == 0


def test_columns_that_the_guide_names_are_read() -> None:
    (columns,) = re.findall(r"\| load: one of .*?\n\n", GUIDE, re.DOTALL)
    named = {re.sub(r"_(ms|s)$", "", name) for name in re.findall(r"`([a-z_]+)`", columns)}
    assert len(named) > 15
    assert named <= set(KNOWN)
