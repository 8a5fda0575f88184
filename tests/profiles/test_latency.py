"""The shipped library of latency profiles: complete, of shipped models and cards, flagged where needed."""

from __future__ import annotations

from collections import Counter

import pytest

from flyball.physics.roofline import kv_tokens
from flyball.profiles.latency import entries
from flyball.profiles.library import find_card, find_model
from flyball.spec.library import Entry


def one(model: str, card: str, tp: int, **wanted: object) -> Entry:
    (found,) = (
        e
        for e in entries()
        if (e.model, e.card, e.tp) == (model, card, tp) and all(getattr(e, k) == v for k, v in wanted.items())
    )
    return found


def test_so_many_of_each_tier() -> None:
    assert Counter(e.tier for e in entries()) == {"measured": 108, "op-level": 35}


@pytest.mark.parametrize(
    "entry", entries(), ids=lambda e: f"{e.model}-{e.card}-{e.tp}-{e.engine}-{e.version}"
)
def test_figures_are_of_shipped_models_and_cards(entry: Entry) -> None:
    model, card = find_model(entry.model), find_card(entry.card)
    assert (model.name, card.name) == (entry.model, entry.card)
    assert (entry.timing.experts, entry.timing.experts_per_token) == (model.experts, model.experts_per_token)
    assert entry.kv_tokens == kv_tokens(model, card, entry.tp, entry.precision)
    assert 1e-3 < entry.timing.alpha < 0.11
    assert 5e-3 < entry.timing.gamma < 2.0
    assert 0.01 < entry.uncertainty.alpha < 1.0
    assert entry.uncertainty.gamma >= 0.5
    assert 0.01 < entry.uncertainty.residual < 0.2
    assert entry.points >= 7
    assert (entry.shapes > 0) == (entry.tier == "measured")


def test_golden_figures() -> None:
    """As published of the same kernels and runs: the op-level 8B, and the 70B at FP8."""
    small = one("meta-llama/Llama-3.1-8B", "H100", 1)
    assert small.timing.alpha == pytest.approx(6.3947e-3)
    assert small.timing.kappa == pytest.approx(40.846e-9)
    assert small.timing.delta == pytest.approx(20.173e-6)
    large = one("meta-llama/Llama-3.1-70B", "H200", 1, engine="trtllm", precision="fp8", tier="measured")
    assert large.timing.alpha == pytest.approx(19.45e-3, rel=0.01)
    assert large.timing.delta == pytest.approx(0.1120e-3, rel=0.05)


def test_what_is_known_to_be_wrong_is_flagged() -> None:
    suspects = Counter(e.suspect for e in entries() if e.suspect)
    assert suspects == {
        "speed-of-light formula, not measured": 1,
        "its PCIe all-reduce table dominates": 3,
        "its block-FP8 kernels are 1.6 to 5 times slower than measured engines": 3,
        "wide expert parallelism over a rack, one run": 2,
        "a prefix cache held prompts: more of them a second than the cards compute": 1,
    }
    assert sum("the same runs as" in e.notes for e in entries()) == 3
    assert all(
        e.uncertainty.alpha == pytest.approx(0.45) for e in entries() if e.suspect and e.tier == "op-level"
    )
    assert {e.card for e in entries() if "speed-of-light" in e.suspect} == {"L4"}
