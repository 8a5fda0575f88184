"""Whether a ModelBooster is admitted: Kthena's rules in its words, what they forget, and warnings."""

from __future__ import annotations

import msgspec

from flyball.boosting.asked import ask_complaints, governed, lacks
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
    One that is to be sized, or whose bounds are for the loop, is judged as if that were done.
    """
    booster = _as_if_sized(booster)
    for rules in (kthena_complaints, ask_complaints, further_complaints, last_complaint):
        if complaints := [*rules(booster)]:
            lines = "\n".join(f"  - {one}" for one in complaints)
            return Verdict(refusal=f"validation failed:\n{lines}")
    if weights is None or device_memory is None:
        return Verdict()
    return Verdict(warnings=tuple(size_warnings(booster, weights, device_memory)))


IMAGE = "engine"
"""In place of one that is to be chosen."""


def _as_if_sized(booster: ModelBooster) -> ModelBooster:
    """The booster with what the sizing fills in, so that its absence is no complaint."""
    backend = booster.spec.backend
    low, high = backend.min_replicas, backend.max_replicas
    if not governed(booster) or booster.spec.autoscaling_policy is not None:
        return booster
    if low is None or high is None or low <= high:
        # Without a policy Kthena wants the bounds to be equal; here they are the loop's to move between.
        bound = high if low is None or high is not None else low
        backend = msgspec.structs.replace(
            backend,
            replicas=bound or 1 if backend.replicas is None else backend.replicas,
            min_replicas=bound,
            max_replicas=bound,
        )
    if lacks(booster):
        workers = [msgspec.structs.replace(one, image=one.image or IMAGE) for one in backend.workers]
        backend = msgspec.structs.replace(backend, workers=workers)
    return msgspec.structs.replace(booster, spec=msgspec.structs.replace(booster.spec, backend=backend))
