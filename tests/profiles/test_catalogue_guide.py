"""The guide to the catalogue: its files are read and its Python runs, as a reader would copy them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flyball.adapters.files import read_fleet
from flyball.calibrate.catalogue import catalogue_for
from flyball.profiles.library import cards, classes, models
from flyball.wire.cards import Prices, prices_from

GUIDE = (Path(__file__).parents[2] / "docs/guides/catalogue.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", GUIDE, re.DOTALL)
FILES = {"Cards": "cards.yaml", "Models": "models.yaml", "Prices": "prices.yaml", "Fleet": "fleet.yaml"}


def test_what_the_guide_shows_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, block in BLOCKS:
        if language == "csv":
            Path("prices.csv").write_text(block, encoding="utf-8")
        elif language == "yaml":
            Path(FILES[re.findall(r"kind: (\w+)", block)[0]]).write_text(block, encoding="utf-8")
        else:
            exec(block, names)
    assert [language for language, _ in BLOCKS].count("python") == 4
    assert prices_from(Path("prices.yaml").read_bytes(), "p") == Prices(
        {"H100": 2.10, "L40S": 0.99}, "p", "2026-11-21"
    )
    fleet = read_fleet(Path("fleet.yaml"), catalogue_for)
    assert {a.type for a in fleet.accelerators} == set(fleet.capacity) == {"H100", "MI300X"}


def test_the_guide_counts_what_is_shipped() -> None:
    assert f"{len(cards())} cards" in GUIDE
    assert f"{len(models())} models" in GUIDE
    assert ", ".join(c.name for c in classes()) in GUIDE
