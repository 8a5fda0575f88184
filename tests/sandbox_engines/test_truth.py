"""How fast the true engines are: the library's profile, off by chance."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyball.sandbox.engines.truth import Truth, library_profile, stated_profiles
from flyball.spec.profile import IterationTiming
from flyball.wire.errors import WireError
from tests.sandbox_engines.builders import pod

MODEL = "meta-llama/Llama-3.1-8B"


def test_an_engine_is_off_from_the_library_by_up_to_the_error() -> None:
    known = library_profile(MODEL, "H100")
    assert isinstance(known.timing, IterationTiming)
    one = pod(model="anything", weights=MODEL, max_batch_size=64)
    engines = [Truth(0.1, seed).engine_of(one) for seed in range(20)]
    for name in ("alpha", "beta", "kappa", "delta"):
        shares = [getattr(e, name) / getattr(known.timing, name) for e in engines]
        assert all(0.9 <= share <= 1.1 for share in shares)
        assert max(shares) - min(shares) > 0.1
    assert {(e.max_sequences, e.kv_tokens) for e in engines} == {(64, known.kv_tokens)}
    assert Truth(0.1, 3).engine_of(one) == engines[3]
    assert Truth(0.0, 3).engine_of(one).alpha == known.timing.alpha


def test_units_of_cards() -> None:
    two = library_profile(MODEL, "H100x2")
    assert two == library_profile(MODEL, "H100", 2) == library_profile(MODEL, "NVIDIA-H100-80GB-HBM3", 2)
    assert two == library_profile(MODEL, "2xH100"), "as Inferno's data call it"
    assert two.kv_tokens > library_profile(MODEL, "H100").kv_tokens
    assert library_profile("Llama-3.1-70B", "H100").accelerator == "H100x2", "as few as hold it"


@pytest.mark.parametrize(
    ("model", "accelerator", "cards", "said"),
    [
        ("no-such-model", "H100", 0, "no-such-model"),
        (MODEL, "G9", 0, "G9"),
        (MODEL, "G9x2", 0, "G9"),
        (MODEL, "", 0, "there is no such card"),
        ("Llama-3.1-70B", "L4", 1, "do not fit into 1 x L4"),
    ],
)
def test_what_is_not_known_is_said(model: str, accelerator: str, cards: int, said: str) -> None:
    truth = Truth()
    for _ in range(2):
        with pytest.raises(WireError, match=said):
            truth.engine_of(pod(model=model, accelerator=accelerator, cards=cards))


CATALOGUE = """
apiVersion: flyball/v1
kind: Catalogue
name: mine
accelerators: [{name: G2, type: G2, cards: 1, price: 1}]
profiles:
  - {model: mine, accelerator: G2, TIMING, maxBatch: 64, kvTokens: 50000}
"""
ITERATION = "alpha: 10ms, beta: 200us, kappa: 200ns, delta: 30us"


def test_stated_profiles_hold_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(CATALOGUE.replace("TIMING", ITERATION))
    engine = Truth(0.5, 1, stated_profiles(file)).engine_of(pod(model="mine", accelerator="G2"))
    assert (engine.alpha, engine.beta, engine.kv_tokens) == (0.01, 2e-4, 50_000)
    file.write_text(CATALOGUE.replace("TIMING", "timing: flat, alpha: 10ms, beta: 200us"))
    with pytest.raises(WireError, match="timing: iteration"):
        stated_profiles(file)
    with pytest.raises(WireError, match="cannot be read"):
        stated_profiles(tmp_path / "none.yaml")
