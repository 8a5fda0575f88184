"""On the recorded rows: the import gives the shipped entries, and a few rows tell a new pair well enough."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measured import configurations, without_repeats
from flyball.calibrate.belief import predicted
from flyball.calibrate.fit import anywhere, fit
from flyball.calibrate.prior import prior
from flyball.profiles.latency import entries
from flyball.spec.measurement import Point
from flyball.wire.library import entries_from_csv
from tests.commands.terminal import flyball


def test_import_gives_the_shipped_measured_entries(shared: Path, compared: Counter[str]) -> None:
    file = shared / "data" / "measured_latency.csv"
    done = flyball("profiles", "import", "aiconfigurator", file, "--format", "csv")
    shipped = [e for e in entries() if e.tier == "measured"]
    made = entries_from_csv(done.out, "import")
    assert len(made) == len(shipped)
    for ours, theirs in zip(made, shipped, strict=True):
        assert (ours.model, ours.card, ours.tp, ours.version) == (
            *(theirs.model, theirs.card, theirs.tp, theirs.version),
        )
        assert ours.timing.alpha == pytest.approx(theirs.timing.alpha, rel=0.01)
        assert (ours.suspect, ours.notes) == (theirs.suspect, theirs.notes)
        compared["entries imported again"] += 1


def test_fits_of_recorded_rows_hold_for_shapes_that_were_left_out(
    shared: Path, compared: Counter[str]
) -> None:
    """The prior is made of entries on other cards only; six rows of each are seen."""
    unseen, none = [], []
    every = without_repeats(configurations(shared / "data" / "measured_latency.csv"))
    cases = [c for c in every if len(c.shapes) >= 3 and c.teaches and len(c.tpot) >= 12]
    for c in cases:
        columns = (c.in_tokens, c.out_tokens, c.tpot, c.concurrency, np.zeros(len(c.tpot)), c.ttft)
        points = [Point(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
        rng = np.random.default_rng(1)
        seen = rng.permutation(len(points))
        library = [e for e in entries() if e.card != c.card.name]
        before = prior(c.model, c.card, c.tp, c.engine, c.precision, library)
        for errors, start in ((unseen, before), (none, anywhere(c.model))):
            done = fit(start, [points[i] for i in seen[:6]])
            rest = seen[6:]
            found = predicted(done.after, c.design[rest]).time
            errors.append(float(np.mean(np.abs(found / c.tpot[rest] - 1))))
        compared["configurations fitted to six rows"] += 1
    assert np.median(unseen) < 0.06
    assert np.median(unseen) < np.median(none)
