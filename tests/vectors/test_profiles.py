"""What is shipped of latency profiles is what the recorded rows give: entries, efficiencies, covariances."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.entries import library
from benchmarks.measured import configurations
from benchmarks.profiles import Study, unseen_shapes, weak, world
from flyball.calibrate.near import TIERS
from flyball.calibrate.prior import EXPERIENCE, GAMMA
from flyball.physics.roofline import PARAMETERS
from flyball.profiles.latency import entries
from flyball.wire.library import entries_from_csv, entries_to_csv


def test_every_entry_is_what_fitting_again_gives(shared: Path, compared: Counter[str]) -> None:
    data = shared / "data"
    rows = configurations(data / "measured_latency.csv")
    again = entries_from_csv(entries_to_csv(library(rows, data / "profiles.json", EXPERIENCE)), "again")
    assert len(again) == len(entries())
    for made, shipped in zip(again, entries(), strict=True):
        for name in ("model", "card", "tp", "engine", "version", "precision", "tier", "kv_tokens", "points"):
            assert getattr(made, name) == getattr(shipped, name)
        assert (made.suspect, made.notes, made.source) == (shipped.suspect, shipped.notes, shipped.source)
        for name in PARAMETERS:
            value = getattr(shipped.timing, name)
            assert getattr(made.timing, name) == pytest.approx(value, rel=0.01), shipped
            assert getattr(made.uncertainty, name) == pytest.approx(
                getattr(shipped.uncertainty, name), rel=0.01
            )
        assert made.timing.gamma == pytest.approx(shipped.timing.gamma, rel=0.01)
        compared["latency profiles fitted again"] += 1


@pytest.mark.parametrize("engine", GAMMA)
def test_what_an_engine_adds_to_a_request_is_the_median_of_its_entries(engine: str) -> None:
    found = [
        e.timing.gamma for e in entries() if e.engine == engine and e.tier == "measured" and not e.suspect
    ]
    assert np.median(found) == pytest.approx(GAMMA[engine], rel=0.15)


@pytest.mark.slow
def test_constants_are_what_the_rows_teach(shared: Path, compared: Counter[str]) -> None:
    known, _ = world(Study(shared / "data").every)
    assert known.residual == pytest.approx(EXPERIENCE.residual, rel=0.01)
    for found, shipped in zip(known.efficiency, EXPERIENCE.efficiency, strict=True):
        assert found == pytest.approx(shipped, rel=0.02)
    pairs = [(known.covariance, EXPERIENCE.covariance)]
    pairs += [(known.tiers[tier], EXPERIENCE.tiers[tier]) for tier in TIERS]
    for found, shipped in pairs:
        scale = np.sqrt(np.outer(np.diag(shipped), np.diag(shipped)))
        assert np.abs((found - shipped) / scale).max() < 0.02
        compared["covariances of priors learnt again"] += 1


@pytest.mark.slow
def test_unseen_shapes_are_predicted_within_four_percent(shared: Path, compared: Counter[str]) -> None:
    study = Study(shared / "data")
    cases = [c for c in study.every if len(c.tpot) >= 7 and len(c.shapes) >= 6 and not c.cached]
    errors = [unseen_shapes(c, weak(c, EXPERIENCE)) for c in cases]
    assert np.median(errors) < 0.04
    assert max(errors) < 0.09
    compared["configurations with an unseen shape"] += len(errors)
