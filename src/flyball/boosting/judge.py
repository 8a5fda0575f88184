"""Whether a ModelBooster is admitted: Kthena's rules in its words, what they forget, and warnings."""

from __future__ import annotations

from flyball.boosting.further_rules import (
    DeviceMemory,
    Weights,
    further_complaints,
    last_complaint,
    size_warnings,
)
from flyball.boosting.rules import kthena_complaints
from flyball.wire.admission import Verdict
from flyball.wire.kthena_booster import ModelBooster


def judge(
    booster: ModelBooster, weights: Weights | None = None, device_memory: DeviceMemory | None = None
) -> Verdict:
    """The verdict on a booster; with what is known of models and devices, also on its size.

    Further rules are asked only where Kthena's have nothing to say, whose message so stays to the letter.
    """
    for rules in (kthena_complaints, further_complaints, last_complaint):
        if complaints := [*rules(booster)]:
            lines = "\n".join(f"  - {one}" for one in complaints)
            return Verdict(refusal=f"validation failed:\n{lines}")
    if weights is None or device_memory is None:
        return Verdict()
    return Verdict(warnings=tuple(size_warnings(booster, weights, device_memory)))
