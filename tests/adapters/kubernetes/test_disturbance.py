"""How an emulated load moves: its bounds, its mean, its seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.adapters.kubernetes.disturbance import (
    FACTOR,
    Disturbance,
    Load,
    disturbed,
    multiplier,
    scaled,
    shared,
)
from flyball.spec.phase import Phase

SHARE = st.floats(0.0, 1.0)
RATE = st.none() | st.floats(0.0, 1e6)
COUNT = st.none() | st.integers(0, 10**6)
LOAD = st.builds(Load, RATE, st.tuples(COUNT, COUNT))
SEED = st.integers(0, 2**32 - 1)


def within(load: Load, nominal: Load) -> None:
    """Its figures are those of the nominal load, each within the factor, tokens whole and at least 1."""
    assert (load.rate is None) == (nominal.rate is None)
    if load.rate is not None and nominal.rate is not None:
        assert nominal.rate / FACTOR <= load.rate <= nominal.rate * FACTOR
    for count, mean in zip(load.tokens, nominal.tokens, strict=True):
        assert (count is None) == (mean is None)
        if count is not None and mean is not None:
            assert isinstance(count, int)
            assert max(math.ceil(mean / FACTOR), 1) <= count <= max(mean * FACTOR, 1)


@given(LOAD, LOAD, SHARE, SHARE, SEED)
def test_a_load_stays_within_its_bounds(now: Load, nominal: Load, a: float, t: float, seed: int) -> None:
    within(disturbed(now, nominal, Disturbance(a, t), np.random.default_rng(seed)), nominal)


@given(LOAD, LOAD, SHARE, SEED)
def test_in_the_documents_form_only_the_undisturbed_value_counts(
    now: Load, nominal: Load, alpha: float, seed: int
) -> None:
    by = Disturbance(alpha)
    fresh = disturbed(Load(), nominal, by, np.random.default_rng(seed))
    assert disturbed(now, nominal, by, np.random.default_rng(seed)) == fresh


def run(by: Disturbance, nominal: Load, cycles: int) -> tuple[np.ndarray, np.ndarray]:
    """Rates and tokens of so many cycles."""
    rng, now, rates, tokens = np.random.default_rng(7), nominal, [], []
    for _ in range(cycles):
        now = disturbed(now, nominal, by, rng)
        rates.append(now.rate)
        tokens.append(now.tokens[0])
    return np.array(rates, dtype=float), np.array(tokens, dtype=float)


@pytest.mark.parametrize(
    ("by", "deviation"),
    [
        (Disturbance(0.2), 0.2),
        # An autoregression of the first order: sigma / sqrt(1 - (1 - theta)^2).
        (Disturbance(0.1, 0.2), 0.1 / math.sqrt(1 - 0.8**2)),
    ],
)
def test_in_the_long_run_the_mean_is_the_nominal_value(by: Disturbance, deviation: float) -> None:
    rates, tokens = run(by, Load(0.5, (2048,)), 20_000)
    for found, nominal in ((rates, 0.5), (tokens, 2048.0)):
        assert found.mean() == pytest.approx(nominal, rel=0.01)
        assert found.std() == pytest.approx(deviation * nominal, rel=0.05)


def test_rounding_does_not_raise_the_mean_of_few_tokens() -> None:
    assert run(Disturbance(0.1), Load(1.0, (10,)), 20_000)[1].mean() == pytest.approx(10.0, abs=0.05)


def test_without_disturbance_a_load_returns_and_then_stays() -> None:
    nominal, now = Load(2.0, (100, None)), Load(10.0, (900, None))
    for _ in range(60):
        now = disturbed(now, nominal, Disturbance(0.0, 0.5), np.random.default_rng(0))
    assert now.rate == pytest.approx(2.0)
    assert now.tokens == (100, None)


def test_the_same_seed_gives_the_same_loads() -> None:
    def of(seed: int) -> Load:
        return disturbed(Load(), Load(1.0, (500,)), Disturbance(), np.random.default_rng(seed))

    assert of(3) == of(3)
    assert of(3) != of(4)


# ---- pods --------------------------------------------------------------------------------------


@given(LOAD, st.lists(LOAD, max_size=6), SHARE, SEED)
def test_pods_share_the_whole_rate(load: Load, nominals: list[Load], skew: float, seed: int) -> None:
    parts = shared(load, nominals, skew, np.random.default_rng(seed))
    assert len(parts) == len(nominals)
    if load.rate is not None and nominals and all(own.rate is not None for own in nominals):
        assert sum(part.rate or 0.0 for part in parts) == pytest.approx(load.rate)
        assert all(part.rate is not None and part.rate >= 0 for part in parts)
    for part, own in zip(parts, nominals, strict=True):
        within(Load(None, part.tokens), Load(None, own.tokens))


def test_without_skew_they_share_it_evenly() -> None:
    own = Load(1.0, (100,))
    assert shared(Load(6.0, (50,)), [own] * 4, 0.0, np.random.default_rng(1)) == (Load(1.5, (50,)),) * 4


def test_with_skew_no_pod_gets_less_than_its_even_part_leaves() -> None:
    own = Load(1.0, (100,))
    parts = shared(Load(4.0, (100,)), [own] * 4, 0.3, np.random.default_rng(2))
    rates = [part.rate or 0.0 for part in parts]
    # Weights lie between 0.7 / 4 and 0.7 / 4 + 0.3.
    assert min(rates) >= 4.0 * 0.175 / (4 * 0.475)
    assert len({round(rate, 6) for rate in rates}) == 4
    assert all(70 <= part.tokens[0] <= 130 for part in parts if part.tokens[0] is not None)
    assert len({part.tokens for part in parts}) > 1


# ---- phases ------------------------------------------------------------------------------------

RAMPS = st.lists(st.builds(Phase, st.floats(0.1, 1e4), st.floats(0.1, 10.0)), max_size=5)


def test_ramps_are_straight_and_chained() -> None:
    phases = [Phase(360.0, 5.0), Phase(100.0), Phase(60.0, 0.2), Phase(0.0)]
    at = {0: 1.0, 180: 3.0, 360: 5.0, 400: 5.0, 460: 5.0, 490: 3.0, 520: 1.0, 10_000: 1.0}
    assert {time: pytest.approx(multiplier(phases, float(time))) for time in at} == at
    assert multiplier([], 5.0) == 1.0
    assert multiplier([Phase(0.0, 3.0)], 5.0) == 1.0


@given(RAMPS, st.floats(0.0, 1e5))
def test_a_multiplier_lies_between_the_ends_of_its_ramps(phases: list[Phase], elapsed: float) -> None:
    ends = np.cumprod([1.0, *(phase.ratio for phase in phases)])
    value = multiplier(phases, elapsed)
    assert ends.min() * (1 - 1e-9) <= value <= ends.max() * (1 + 1e-9)
    if elapsed > sum(phase.duration for phase in phases):
        assert value == pytest.approx(ends[-1])


def test_a_multiplier_moves_the_rate_only() -> None:
    assert scaled(Load(2.0, (5,)), 1.5) == Load(3.0, (5,))
    assert scaled(Load(None, (5,)), 1.5) == Load(None, (5,))
