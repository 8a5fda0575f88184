"""Priors: from the nearest entry, from the roofline, and into profiles and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.calibrate.near import TIERS, nearest, tier_of
from flyball.calibrate.prior import EXPERIENCE, GAMMA, TIER_COVARIANCE, belief_of, prior, profile_of
from flyball.physics import roofline
from flyball.profiles.latency import entries
from flyball.profiles.library import cards, find_card, find_model, models
from flyball.spec.card import Card
from flyball.spec.library import Entry
from flyball.spec.model import Model
from flyball.spec.profile import IterationTiming, PhaseTiming, Profile, Uncertainty

LLAMA, H100, H200 = find_model("Llama-3.1-70B"), find_card("H100"), find_card("H200")
SIGMA = Uncertainty(0.1, 0.2, 0.3, 0.15, 0.5, 0.0, 0.03)
ENTRY = Entry(
    LLAMA.name, "H100", 2, "vllm", "fp8", "measured",
    IterationTiming(16e-3, 50e-6, 57e-9, 72e-6, 0.03), SIGMA, version="0.18.0", points=12,
)  # fmt: skip


def test_an_exact_entry_gives_its_own_figures_and_deviations() -> None:
    found = prior(LLAMA, H100, 2, "vllm", "fp8", [ENTRY], "0.18.0")
    assert found.values == pytest.approx([16e-3, 50e-6, 57e-9, 72e-6])
    assert found.sigmas == pytest.approx([0.1, 0.2, 0.3, 0.15])
    assert (found.tier, found.residual, found.gamma_sigma) == ("exact", 0.03, 0.5)
    assert np.exp(found.gamma) == pytest.approx(0.03)
    assert found.source == "measured on 2 H100 with vllm 0.18.0"


def test_of_another_version_the_figures_are_less_sure() -> None:
    found = prior(LLAMA, H100, 2, "vllm", "fp8", [ENTRY])
    assert found.values == pytest.approx([16e-3, 50e-6, 57e-9, 72e-6])
    own = np.diag([0.1, 0.2, 0.3, 0.15]) ** 2
    assert found.covariance == pytest.approx(own + TIER_COVARIANCE["version"][:4, :4])
    assert found.source == "measured on 2 H100 with vllm 0.18.0; versions and layouts differ"


def test_two_layouts_under_one_name_are_not_exact() -> None:
    other = replace(ENTRY, timing=replace(ENTRY.timing, alpha=9e-3), points=20)
    found = prior(LLAMA, H100, 2, "vllm", "fp8", [ENTRY, other], "0.18.0")
    assert (found.tier, found.values[0]) == ("version", pytest.approx(9e-3))
    assert prior(LLAMA, H100, 2, "vllm", "fp8", [ENTRY, ENTRY], "0.18.0").tier == "exact"


def test_what_is_carried_over_moves_as_the_roofline_does() -> None:
    found = prior(LLAMA, H100, 4, "vllm", "fp8", [ENTRY])
    two, four = (EXPERIENCE.roofline(LLAMA, H100, tp, "fp8") for tp in (2, 4))
    assert np.log(found.values / np.array([16e-3, 50e-6, 57e-9, 72e-6])) == pytest.approx(four - two)
    assert found.tier == "tp"
    assert found.source == "measured on 2 H100 with vllm 0.18.0, carried over to 4 H100 by the roofline"
    there = prior(LLAMA, H200, 2, "sglang", "fp8", [ENTRY])
    assert there.source.endswith("carried over to 2 H200 by the roofline")
    assert np.exp(there.gamma) == pytest.approx(GAMMA["sglang"])
    wider = prior(LLAMA, H100, 2, "vllm", "bf16", [ENTRY]).source
    assert wider.endswith("vllm 0.18.0 at fp8, carried over to bf16 by the roofline")
    both = prior(LLAMA, H200, 1, "vllm", "bf16", [ENTRY]).source
    assert both.endswith("at fp8, carried over to 1 H200 at bf16 by the roofline")
    assert prior(LLAMA, H100, 2, "trtllm", "fp8", [ENTRY]).source.endswith("vllm 0.18.0, taken for trtllm")


def test_without_an_entry_the_roofline_is_believed() -> None:
    found = prior(find_model("Mixtral-8x7B-v0.1"), find_card("B200"), 1, "vllm", entries=[ENTRY])
    assert found.tier == "roofline"
    assert found.source == "reckoned by the roofline of 1 B200, not measured"
    assert np.array_equal(found.covariance, roofline.COVARIANCE)
    other = prior(find_model("Mixtral-8x7B-v0.1"), find_card("MI300X"), 1, "vllm", entries=[ENTRY])
    assert other.covariance == pytest.approx(roofline.COVARIANCE + 0.09)
    assert other.source.endswith("nothing was measured on cards of AMD")
    assert found.experts_per_token == 2


def test_nearer_goes_first_and_suspects_never() -> None:
    far = replace(ENTRY, card="H200", points=99)
    same_cards = replace(ENTRY, engine="trtllm")
    assert nearest(LLAMA, H100, 2, "vllm", "fp8", [far, same_cards]) == ("engine", same_cards)
    assert nearest(LLAMA, H100, 2, "vllm", "fp8", [far, replace(same_cards, suspect="x")]) == ("card", far)
    assert nearest(LLAMA, H100, 2, "vllm", "fp8", [replace(far, model="us/unknown")]) is None
    kernels = replace(ENTRY, tier="op-level", points=99)
    assert nearest(LLAMA, H100, 2, "vllm", "fp8", [kernels, ENTRY]) == ("version", ENTRY)
    assert tier_of(ENTRY, H200, 4, "sglang", "bf16") == TIERS[-1]


def test_ones_own_model_and_card_have_entries_of_their_own() -> None:
    mine = replace(LLAMA, name="us/ours", shape=None), replace(H100, name="OURS")
    own = replace(ENTRY, model="us/ours", card="OURS")
    assert prior(*mine, 2, "vllm", "fp8", [ENTRY, own], "0.18.0").tier == "exact"
    assert prior(*mine, 4, "vllm", "fp8", [ENTRY, own]).source.endswith(
        "carried over to 4 OURS by the roofline"
    )
    assert prior(mine[0], H100, 2, "vllm", "fp8", [ENTRY, own]).tier == "roofline"
    sparse = replace(own, timing=replace(ENTRY.timing, experts=8, experts_per_token=2))
    assert prior(*mine, 2, "vllm", "fp8", [sparse]).tier == "roofline"


def test_one_shape_is_one_family() -> None:
    """DeepSeek-V3 and R1, and the same weights published at another precision."""
    r1 = next(
        e
        for e in entries()
        if e.model == "deepseek-ai/DeepSeek-R1" and e.engine == "trtllm" and not e.suspect
    )
    found = prior(find_model("DeepSeek-V3"), find_card(r1.card), r1.tp, "trtllm", r1.precision, [r1])
    assert found.tier == "version"
    assert "as deepseek-ai/DeepSeek-R1" in found.source


@given(
    st.sampled_from(models()),
    st.sampled_from(cards()),
    st.sampled_from((1, 2, 4, 8)),
    st.sampled_from(("vllm", "x")),
)
def test_every_model_has_a_prior_on_every_card(model: Model, card: Card, tp: int, engine: str) -> None:
    found = prior(model, card, tp, engine, entries=entries())
    assert np.all(np.isfinite(found.mean))
    assert np.linalg.eigvalsh(found.covariance).min() > 0
    assert 1e-4 < found.values[0] < 10
    assert found.source
    profile = profile_of(found, model.name, card.name, accelerator_count=tp, kv_tokens=1000)
    again = belief_of(profile)
    assert again.mean == pytest.approx(found.mean)
    assert again.sigmas == pytest.approx(found.sigmas)
    assert (again.residual, again.gamma_sigma) == (found.residual, found.gamma_sigma)
    assert again.gamma == pytest.approx(found.gamma)
    assert (profile.max_batch_size, profile.source) == (256, found.source)


@pytest.mark.parametrize("tier", TIERS)
def test_covariances_are_covariances(tier: str) -> None:
    assert np.array_equal(TIER_COVARIANCE[tier], TIER_COVARIANCE[tier].T)
    assert np.linalg.eigvalsh(TIER_COVARIANCE[tier]).min() > 5e-4


def test_a_parameter_of_zero_has_a_logarithm() -> None:
    profile = Profile("m", "a", IterationTiming(1e-2, 0.0, 0.0, 1e-5), uncertainty=SIGMA)
    assert np.all(np.isfinite(belief_of(profile).mean))
    assert belief_of(profile).gamma == -np.inf
    assert profile_of(belief_of(profile), "m", "a").timing.gamma == 0.0  # type: ignore[union-attr]


def test_what_is_no_belief_says_why() -> None:
    with pytest.raises(ValueError, match="the profile of m on a is not in the form of iterations"):
        belief_of(Profile("m", "a", PhaseTiming(1.0, 1.0, 1.0, 1.0)))
    with pytest.raises(ValueError, match="the profile of m on a has no uncertainty"):
        belief_of(Profile("m", "a", ENTRY.timing))
