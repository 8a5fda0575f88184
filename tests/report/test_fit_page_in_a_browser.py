"""The page of a fit in a real browser: both plots are drawn, points as points, and no script fails."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.commands.terminal import flyball
from tests.commands.test_profiles_command import KNOWN, RUNS
from tests.report.test_in_a_browser import shown

pytestmark = pytest.mark.slow


def test_fit_and_residuals_are_drawn(tmp_path: Path) -> None:
    runs, page = tmp_path / "runs.csv", tmp_path / "fit.html"
    runs.write_text(RUNS, "utf-8")
    assert flyball("profiles", "fit", runs, *KNOWN, "--report", page).code == 0
    seen = shown(page.read_text("utf-8"), tmp_path)
    assert seen.canvases == 2
    assert not re.search(r"Uncaught|SyntaxError|TypeError", seen.log)
    for words in ("1,000 in, 300 out, measured", "set aside", "NOT IDENTIFIED"):
        assert words in seen.dom
