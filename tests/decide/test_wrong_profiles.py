"""Wrong profiles, drifting engines and lying sensors: the loop finds out, and stays calm meanwhile."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from flyball.simulate.compiled import available
from flyball.spec.snapshot import Reading, Scrape
from tests.decide.calibrating import CYCLE, Ran, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not available(), reason="takes minutes without numba"),
]

NEAR = 0.10


def right(ran: Ran) -> bool:
    """Whether all that is in use is foretold to 10 %."""
    return bool(ran.pairs) and all(abs(p.now) <= NEAR for p in ran.pairs)


@pytest.mark.parametrize("seed", range(4))
def test_profiles_half_off_are_right_after_twenty_cycles(seed: int) -> None:
    ran = run(seed)
    assert all(abs(p.before) > 0.25 for p in ran.pairs)
    assert right(ran), ran
    assert ran.turns <= 1


@pytest.mark.parametrize("factor", [1.3, 1 / 1.3])
def test_an_engine_that_drifts_is_found_and_followed(factor: float) -> None:
    ran = run(2, cycles=45, off=0.1, slow=(25 * CYCLE, factor))
    assert any(p.changes for p in ran.pairs)
    assert right(ran), ran
    assert ran.turns <= 1


def test_a_steady_engine_is_not_taken_for_another() -> None:
    assert not any(p.changes for p in run(2, cycles=45, off=0.1).pairs)


def lies(seen: Scrape, rng: np.random.Generator) -> Scrape:
    """One reading of seven is two to twelve times too long or too short."""
    servers = []
    for one in seen.servers:
        factor = math.exp(rng.choice([-1.0, 1.0]) * rng.uniform(0.7, 2.5)) if rng.random() < 0.15 else 1.0
        itl = {
            name: Reading(r.value * factor, r.age, None if r.least is None else r.least * factor)
            for name, r in one.itl.items()
        }
        servers.append(replace(one, itl=itl))
    return replace(seen, servers=tuple(servers))


def test_a_lying_sensor_is_not_believed() -> None:
    ran = run(1, cycles=30, lie=lies)
    assert right(ran), ran


@pytest.mark.soak
def test_a_hundred_fleets() -> None:
    """With profiles half off, 95 are right after twenty cycles; none turns more than once in ten minutes."""
    wrong, turns = [], []
    for seed in range(100):
        ran = run(seed)
        turns.append(ran.turns)
        if not right(ran):
            wrong.append((seed, ran.pairs))
    print(f"{100 - len(wrong)} of 100 right; at most {max(turns)} turns in ten minutes; wrong: {wrong}")
    assert len(wrong) <= 5
    assert max(turns) <= 1
