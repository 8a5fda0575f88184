"""What the catalogue knows of models and devices, as a webhook warns with it."""

from __future__ import annotations

from typing import Any

import pytest

from flyball.boosting.judge import judge
from flyball.decide.boost_known import device_memory_of, weights_of
from flyball.wire.kthena_booster import Worker
from tests.boosting.samples import booster, worker


def affinity(*labels: str) -> dict[str, Any]:
    rule = {"key": "nvidia.com/gpu.product", "operator": "In", "values": list(labels)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def test_weights_are_parameters_in_their_precision() -> None:
    assert weights_of("meta-llama/Llama-3.1-8B") == pytest.approx(16.06e9, rel=0.01)
    assert weights_of("nobody/knows-it") is None


@pytest.mark.parametrize(
    ("labels", "gigabytes"),
    [(("NVIDIA-L4",), 24), (("NVIDIA-L4", "NVIDIA-H100-80GB-HBM3"), 84), (("nobody-s",), None), ((), None)],
)
def test_memory_is_that_of_the_largest_card_that_is_allowed(
    labels: tuple[str, ...], gigabytes: float | None
) -> None:
    found = device_memory_of(Worker(affinity=affinity(*labels)))
    assert found is None if gigabytes is None else found == pytest.approx(gigabytes * 1e9, rel=0.06)


@pytest.mark.parametrize("odd", [None, {}, {"nodeAffinity": 3}, {"nodeAffinity": {"x": []}}])
def test_affinities_of_any_form_are_read(odd: Any) -> None:
    assert device_memory_of(Worker(affinity=odd)) is None


def test_a_model_that_its_device_cannot_hold_is_warned_of() -> None:
    limits = {"resources": {"limits": {"nvidia.com/gpu": 1}}, "affinity": affinity("NVIDIA-L4")}
    verdict = judge(
        booster([worker(**limits)], modelURI="hf://meta-llama/Llama-3.1-70B"), weights_of, device_memory_of
    )
    assert not verdict.refusal
    assert "141 GB of weights" in verdict.warnings[0]
    small = booster([worker(**limits)], modelURI="hf://Qwen/Qwen3-8B-FP8")
    assert judge(small, weights_of, device_memory_of).warnings == ()
