"""Pairs of a model and cards: what fits, how fast it is believed to be, and which of two is faster."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flyball.calibrate.over_batch import TENTH, belief_of_entry, itl_over, largest_batch, surely_faster
from flyball.calibrate.pair import cards_measured, pair_of, same_model
from flyball.calibrate.simpler import simpler
from flyball.profiles.latency import entries
from flyball.profiles.library import find_card, find_model
from flyball.queueing.curves import flat_curve
from flyball.spec.profile import ChunkedTiming, FlatTiming, IterationTiming, PhaseTiming

LLAMA = find_model("Llama-3.1-8B")
DENSE = IterationTiming(alpha=8e-3, beta=40e-6, kappa=40e-9, delta=30e-6, gamma=0.03)
SPARSE = IterationTiming(3e-3, 25e-6, 1e-9, 9e-6, 0.03, 6e-3, 128, 4)


def test_as_few_cards_as_hold_it() -> None:
    counts = {
        (model, card): pair_of(find_model(model), find_card(card), entries(), engine="vllm").count
        for model, card in (("Llama-3.1-8B", "H100"), ("Llama-3.1-70B", "H100"), ("Llama-3.1-70B", "H200"))
    }
    assert list(counts.values()) == [1, 2, 2]


def test_what_does_not_fit_has_no_batch() -> None:
    pair = pair_of(find_model("Llama-3.1-70B"), find_card("L4"), entries(), engine="vllm", count=1)
    assert (pair.kv_tokens, pair.batch, pair.tokens_per_second, pair.dollars_per_million) == (0, 0, 0.0, 0.0)


def test_capacity_by_hand() -> None:
    pair = pair_of(LLAMA, find_card("L40S"), entries(), engine="vllm", in_tokens=1000, out_tokens=300)
    assert pair.batch == pair.kv_tokens // 1300
    itl = float(pair.itl([pair.batch]).itl[0])
    assert pair.tokens_per_second == pytest.approx(pair.batch / itl)
    assert pair.dollars_per_million == pytest.approx(pair.accelerator.cost / 3600 * itl / pair.batch * 1e6)
    assert largest_batch(0, 1000, 300) == 256


def test_the_band_holds_four_fifths() -> None:
    belief = pair_of(LLAMA, find_card("H100"), entries(), engine="vllm").belief
    band = itl_over(belief, [1, 64], 1000, 300)
    assert band.high / band.itl == pytest.approx(band.itl / band.low)
    rng = np.random.default_rng(3)
    logs = rng.multivariate_normal(belief.mean, belief.covariance, 4000)
    times = np.exp(logs[:, 0]) + np.exp(logs[:, 1]) + 1150 * np.exp(logs[:, 2]) + np.exp(logs[:, 3]) / 0.3
    times *= np.exp(belief.residual * rng.standard_normal(4000))
    assert np.mean((times > band.low[0]) & (times < band.high[0])) == pytest.approx(0.8, abs=0.03)
    assert pytest.approx(1.2816, abs=1e-4) == TENTH


def test_which_is_faster_and_how_surely() -> None:
    fast, slow = (pair_of(LLAMA, find_card(c), entries(), engine="vllm").belief for c in ("H100", "L40S"))
    sure = surely_faster(fast, slow, 16, 1000, 300)
    assert sure > 0.95
    assert surely_faster(slow, fast, 16, 1000, 300) == pytest.approx(1 - sure)
    assert surely_faster(fast, fast, 16, 1000, 300) == 0.5
    exact = replace(fast, covariance=np.zeros((4, 4)), residual=0.0)
    other = replace(exact, mean=exact.mean + 0.1)
    assert [surely_faster(exact, b, 1, 1000, 300) for b in (exact, other)] == [0.5, 1.0]


def test_entries_of_a_model_are_those_of_its_shape() -> None:
    found = {e.model for e in entries() if same_model(e, LLAMA)}
    assert "meta-llama/Llama-3.1-8B" in found
    assert cards_measured(LLAMA, entries())[0] in {e.card for e in entries() if e.model in found}


def test_an_entrys_belief_says_its_own_times() -> None:
    entry = next(e for e in entries() if e.timing.experts)
    found = itl_over(belief_of_entry(entry), [8], 1000, 500).itl[0]
    t = entry.timing
    q = t.untouched
    by_hand = t.alpha + 8 * (t.beta + t.kappa * 1250 + t.delta * 2) + t.epsilon * (q - q**8)
    assert found == pytest.approx(by_hand, rel=1e-6)


# ---- in fewer words -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generation", "form"), [("G1", FlatTiming), ("G2", PhaseTiming), ("G3", ChunkedTiming)]
)
def test_a_dense_model_is_the_same_at_the_given_length(generation: str, form: type) -> None:
    made = simpler(DENSE, generation, 1000, 300, 256)  # type: ignore[arg-type]
    assert isinstance(made.timing, form)
    assert made.here < 1e-9
    assert 0.0 < made.elsewhere < 1.0


def test_generation_1_by_hand() -> None:
    made = simpler(DENSE, "G1", 1000, 300, 256).timing
    assert isinstance(made, FlatTiming)
    assert made.alpha == pytest.approx(8e-3)
    assert made.beta == pytest.approx(40e-6 + 40e-9 * 1150 + 30e-6 * 1000 / 300)
    one = np.ones(1)
    curve = flat_curve(made.alpha * one, made.beta * one, 300 * one, 64 * one)
    assert float(curve.itl_at(32 * one)[0]) == pytest.approx(8e-3 + 32 * made.beta)


def test_where_prompt_and_output_tokens_cost_the_same_generation_3_holds_everywhere() -> None:
    same = IterationTiming(8e-3, 30e-6, 0.0, 30e-6)
    made = simpler(same, "G3", 1000, 300, 256)
    assert made.timing == ChunkedTiming(
        pytest.approx(8e-3), pytest.approx(30e-6), pytest.approx(0.0, abs=1e-15)
    )
    assert made.elsewhere < 1e-9


def test_experts_are_lost_and_it_is_said() -> None:
    made = simpler(SPARSE, "G3", 1000, 300, 256)
    assert 0.05 < made.here < 0.6


def test_flyballs_own_form_is_no_generation() -> None:
    with pytest.raises(ValueError, match="G1, G2 or G3"):
        simpler(DENSE, "flyball", 1000, 300, 256)
