"""The measured rows that lie beside the checkout, and which of them others may learn from."""

from __future__ import annotations

from pathlib import Path

from flyball.calibrate import measured
from flyball.calibrate.measured import PACKED
from flyball.wire.aiconfigurator import runs_from_csv


class Configuration(measured.Configuration):
    """A measured configuration, as the study sees it."""

    @property
    def kind(self) -> str:
        """Of architecture: dense, moe or mla."""
        return "mla" if self.model.attention == "mla" else "moe" if self.model.experts else "dense"

    @property
    def teaches(self) -> bool:
        """Whether others may learn from it: one server, a known layout, three points, prompts computed."""
        return self.tp in PACKED and self.moe_tp > 0 and len(self.tpot) >= 3 and not self.cached


def configurations(file: Path) -> list[Configuration]:
    """Every configuration of the file: not disaggregated, one pipeline stage, one attention rank; medians."""
    return [Configuration.of(run) for run in runs_from_csv(file.read_text("utf-8"), str(file))]


def without_repeats(every: list[Configuration]) -> list[Configuration]:
    """Those whose runs are not there already under another name."""
    seen: set[tuple[object, ...]] = set()
    kept = []
    for c in every:
        if len(c.tpot) < 4 or c.fingerprint not in seen:
            kept.append(c)
        seen.add(c.fingerprint)
    return kept
