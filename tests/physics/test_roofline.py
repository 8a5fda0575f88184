"""The roofline: its limits by hand, what grows with what, and KV tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.physics import roofline
from flyball.profiles.library import find_card, find_model, models
from flyball.spec.model import Model

H100 = find_card("H100")
LLAMA = find_model("Llama-3.1-70B")
OSS = find_model("gpt-oss-120b")


def test_weights_in_bf16_over_the_bandwidth_is_the_least_of_a_step() -> None:
    found = roofline.features(LLAMA, H100, 1, "bf16")
    read = 2 * (70.55e9 - 128256 * 8192)  # the input embedding is looked up
    assert found.alpha[0] == pytest.approx(read / 3.35e12, rel=1e-3)
    assert found.kappa == (pytest.approx(327_680 / 3.35e12), 0.0)
    assert found.delta[0] == found.beta[0] == pytest.approx(read / 989e12, rel=1e-3)
    assert found.alpha[1:] == (pytest.approx(80 * 10e-6), 0.0, 0.0, 0.0)
    assert found.epsilon == ()


def test_what_cards_share_and_what_they_cannot() -> None:
    """Of 8 KV heads on 16 cards every one is there twice; MLA's cache is on every card."""
    one, sixteen = (roofline.features(LLAMA, H100, tp, "bf16") for tp in (1, 16))
    assert sixteen.alpha[0] == pytest.approx(one.alpha[0] / 16)
    assert sixteen.kappa[0] == pytest.approx(one.kappa[0] / 8)
    r1 = find_model("DeepSeek-R1")
    alone, shared = (roofline.features(r1, H100, tp, "fp8").kappa for tp in (1, 16))
    assert alone == shared == (0.0, pytest.approx(70_272 / 3.35e12))
    assert one.delta[2] == one.alpha[4] == 0.0 < sixteen.delta[2]


def test_experts_are_read_as_they_wake() -> None:
    found = roofline.features(OSS, H100, 1, "mxfp4")
    experts = 36 * 128 * 3 * 2880 * 2880
    assert found.epsilon == (pytest.approx(experts * 0.53125 / 3.35e12),)
    core = OSS.core_parameters * 2.0
    assert found.alpha[0] == pytest.approx((core + experts * 4 / 128 * 0.53125) / 3.35e12)


def test_a_card_computes_at_the_next_wider_precision_it_has() -> None:
    a100, b200 = find_card("A100"), find_card("B200")
    assert roofline.peak(a100, "fp8") == roofline.peak(a100, "bf16") == 312e12
    assert roofline.peak(H100, "nvfp4") == roofline.peak(H100, "fp8") == 1979e12
    assert roofline.peak(b200, "nvfp4") == 9000e12
    assert roofline.peak(b200, "int4") == 2250e12


def test_kv_tokens_are_what_weights_and_runtime_leave() -> None:
    free = 4 * (0.9 * H100.memory_bytes - 3e9) - 2 * 70.55e9
    assert roofline.kv_tokens(LLAMA, H100, 4, "bf16") == pytest.approx(free / 327_680, rel=1e-3)
    assert roofline.kv_tokens(LLAMA, H100, 1, "bf16") == 0
    # AIConfigurator's estimates of the same
    assert roofline.kv_tokens(find_model("Llama-3.1-8B"), H100, 1, "bf16") == pytest.approx(437_550, rel=0.03)
    assert roofline.kv_tokens(LLAMA, find_card("H200"), 2, "bf16") == pytest.approx(374_700, rel=0.03)


def test_mla_keeps_a_copy_on_every_card() -> None:
    r1, h200 = find_model("DeepSeek-R1"), find_card("H200")
    free = 8 * (0.9 * h200.memory_bytes - 3e9) - 671e9
    assert roofline.kv_tokens(r1, h200, 8, "fp8") == pytest.approx(free / (8 * 70_272), rel=0.02)


def test_golden_figures_of_two_models() -> None:
    """ms, us, ns, us and ms: as learnt from the recorded rows."""
    for model, tp, precision, expected in (
        (LLAMA, 4, "bf16", (17.62, 68.3, 16.12, 82.3)),
        (OSS, 2, "mxfp4", (4.30, 19.7, 3.63, 21.9, 9.26)),
    ):
        units = np.array([1e3, 1e6, 1e9, 1e6, 1e3])[: len(expected)]
        found = np.exp(roofline.mean(roofline.features(model, H100, tp, precision))) * units  # type: ignore[arg-type]
        assert found == pytest.approx(expected, rel=0.01)


@given(st.sampled_from(models()), st.sampled_from((1, 2, 4, 8)))
def test_more_cards_read_and_compute_no_slower_and_hold_more(model: Model, tp: int) -> None:
    few, many = (roofline.features(model, H100, n, model.precision) for n in (tp, 2 * tp))
    assert many.alpha[0] < few.alpha[0]
    assert many.beta[0] < few.beta[0]
    assert sum(many.kappa) <= sum(few.kappa)
    assert many.delta[2] > few.delta[2]
    held = [roofline.kv_tokens(model, H100, n, model.precision) for n in (tp, 2 * tp)]
    assert held[0] <= held[1]
    assert np.all(np.isfinite(roofline.mean(few)))
    assert len(roofline.mean(few)) == (5 if model.experts else 4)


@given(st.sampled_from(models()), st.floats(1.01, 10))
def test_a_faster_memory_or_processor_never_slows(model: Model, times: float) -> None:
    base = roofline.mean(roofline.features(model, H100, 2, "bf16"))
    for faster in (
        replace(H100, bandwidth_gbs=times * H100.bandwidth_gbs),
        replace(H100, tflops=times * H100.tflops),
        replace(H100, link_gbs=times * H100.link_gbs),
    ):
        assert np.all(roofline.mean(roofline.features(model, faster, 2, "bf16")) <= base)


def test_covariance_is_one() -> None:
    assert np.array_equal(roofline.COVARIANCE, roofline.COVARIANCE.T)
    assert np.linalg.eigvalsh(roofline.COVARIANCE).min() > 0.01


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"bandwidth_gbs of H100 is 0: .* add it to the card"):
        roofline.features(LLAMA, replace(H100, bandwidth_gbs=0.0), 1, "bf16")
    with pytest.raises(ValueError, match="tp is 0"):
        roofline.features(LLAMA, H100, 0, "bf16")


def test_a_model_without_a_shape_is_reckoned_as_a_plain_transformer() -> None:
    bare = replace(LLAMA, shape=None)
    assert roofline.hidden(bare) == pytest.approx(8192, rel=0.1)
    known, guessed = (np.exp(roofline.mean(roofline.features(m, H100, 4, "bf16"))) for m in (LLAMA, bare))
    assert guessed == pytest.approx(known, rel=0.1)
