"""The scalar reference is what it says: the original's algorithm, value by value."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmarks.reference.selfcheck import check


def test_reference_matches_every_recording(shared: Path, compared: Counter[str]) -> None:
    for name, tally in check(shared).items():
        assert not tally.mismatches, name
        compared[f"scalar reference, {name}"] += tally.compared
