"""Learning from readings: what one can tell is learned, what it cannot tell is left alone."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.calibrate.belief import Belief
from flyball.calibrate.learn import (
    FORGET,
    IN_A_ROW,
    MOST_POINTS,
    MOST_WEIGHT,
    WIDEST,
    belief,
    distrust,
    surprise,
)
from flyball.calibrate.learn import learn as learn_from
from flyball.queueing.analysis import analyze
from flyball.queueing.iteration import iteration_curve, occupancy, with_experts
from flyball.spec.learned import Learned, Point

TRUE = np.array([8e-3, 2e-5, 5e-8, 3e-5])
PRIOR = Belief(
    np.log([6.4e-3, 1.2e-5, 4e-8, 2e-5]),
    np.diag([0.3, 0.8, 0.5, 0.4]) ** 2,
    0.05,
    gamma=math.log(0.02),
    gamma_sigma=0.8,
)
MIXED = replace(
    PRIOR,
    mean=np.append(PRIOR.mean, math.log(4e-3)),
    covariance=np.diag([0.3, 0.8, 0.5, 0.4, 0.5]) ** 2,
    experts=128,
    experts_per_token=8,
)


def shown(rate: float, in_tokens: float = 1000, out_tokens: float = 300, gamma: float = 0.05) -> Point:
    """What a replica with the true parameters shows."""
    columns = [np.array([float(v)]) for v in (*TRUE, in_tokens, out_tokens, 1024)]
    found = analyze(iteration_curve(*columns), np.array([math.inf]), np.array([rate]))
    itl = float(found.itl[0])
    return Point(rate * out_tokens * itl, rate, in_tokens, out_tokens, itl, float(found.ttft[0]) + gamma)


def learn(prior: Belief, found: Learned, reading: Point, now: float) -> Learned:
    """With the belief that it goes by."""
    return learn_from(belief(prior, found, now), found, reading, now)


def learned(prior: Belief, *readings: Point, every: float = 60.0) -> Learned:
    found = Learned()
    for i, one in enumerate(readings):
        found = learn(prior, found, one, i * every)
    return found


def foretold(known: Belief, rate: float, **lengths: float) -> float:
    """Error of the time between tokens at a load, as a share."""
    return math.expm1(-surprise(known, shown(rate, **lengths))[0])


def test_loads_spread_wide_are_told_apart() -> None:
    readings = [shown(r) for r in (0.3, 1, 2, 4, 6, 8, 10, 12)]
    known = belief(PRIOR, learned(PRIOR, *readings), 480)
    assert abs(foretold(PRIOR, 8)) > 0.2
    for rate in (0.3, 1, 3, 5, 9, 12):
        assert abs(foretold(known, rate)) < 0.03
    assert abs(foretold(known, 2, in_tokens=4000)) < 0.1  # lengths that were never seen
    assert known.values[0] == pytest.approx(TRUE[0], rel=0.05)
    assert math.exp(known.gamma) == pytest.approx(0.05, rel=0.35)


def test_a_mixture_of_experts_learns_how_they_wake() -> None:
    def mixed(rate: float) -> Point:
        def around(n):  # type: ignore[no-untyped-def]
            line = with_experts(*(np.array([v]) for v in (TRUE[0], TRUE[1], 12e-3, 1 - 8 / 128)), n)
            rest = (np.array([float(v)]) for v in (TRUE[2], TRUE[3], 1000, 300, 1024))
            return iteration_curve(*line, *rest)

        one = np.array([rate])
        found = analyze(around(occupancy(around, one, np.array([1024.0]))), np.array([math.inf]), one)
        itl = float(found.itl[0])
        return Point(rate * 300 * itl, rate, 1000, 300, itl)

    known = belief(MIXED, learned(MIXED, *(mixed(r) for r in (0.1, 0.3, 0.6, 1, 2, 4, 6, 8))), 480)
    assert known.values[4] == pytest.approx(12e-3, rel=0.15)
    for rate in (0.2, 0.8, 3, 7):
        assert abs(surprise(known, mixed(rate))[0]) < 0.05


def test_one_load_moves_only_what_it_can_tell() -> None:
    known = belief(PRIOR, learned(PRIOR, *[shown(2.0)] * 200), 200 * 60)
    assert abs(foretold(known, 2.0)) < 0.04
    # far away it is as little known as the sum at one point says
    here, far = surprise(known, shown(2.0))[1], surprise(known, shown(12.0))[1]
    assert far > 1.5 * here
    assert far < surprise(PRIOR, shown(12.0))[1]
    left = known.sigmas / PRIOR.sigmas
    assert left[0] < 0.7
    assert left[1] > 0.8  # so light a load says nothing of beta


def test_repeating_a_reading_does_not_make_it_certain() -> None:
    few = belief(PRIOR, learned(PRIOR, *[shown(2.0)] * 20), 1200)
    many = belief(PRIOR, learned(PRIOR, *[shown(2.0)] * 300), 18_000)
    assert np.sqrt(np.diag(many.covariance)) == pytest.approx(np.sqrt(np.diag(few.covariance)), rel=0.2)


def test_an_outlier_is_set_aside_and_a_change_is_not() -> None:
    spread = [shown(r) for r in (1, 2, 4, 6, 8, 10)]
    before = learned(PRIOR, *spread)
    odd = msgspec.structs.replace(shown(4.0), itl=5 * shown(4.0).itl)
    once = learn(PRIOR, before, odd, 400)
    assert once.points == before.points
    assert (len(once.strange), once.outliers) == (1, 1)
    after = learn(PRIOR, once, shown(5.0), 460)
    assert (after.strange, after.changes, after.outliers) == ((), 0, 1)
    steady = before
    for i in range(IN_A_ROW):
        slow = shown(4.0 + i)
        steady = learn(PRIOR, steady, msgspec.structs.replace(slow, itl=3 * slow.itl, ttft=0.0), 400 + 60 * i)
    assert (steady.changes, steady.outliers) == (1, 0)  # those that were set aside count now
    known = belief(PRIOR, steady, 700)
    assert math.exp(surprise(known, shown(5.0))[0]) == pytest.approx(1 / 3, rel=0.15)


def test_outliers_on_both_sides_are_no_change() -> None:
    found = learned(PRIOR, *[shown(r) for r in (1, 2, 4, 6, 8, 10)])
    for i in range(12):
        factor = 5.0 if i % 2 else 0.2
        odd = msgspec.structs.replace(shown(4.0), itl=factor * shown(4.0).itl)
        found = learn(PRIOR, found, odd, 400 + 60 * i)
    assert found.changes == 0
    assert distrust(found) == WIDEST


def test_trust_is_lost_by_misses_and_comes_back() -> None:
    found = learned(PRIOR, *[shown(r) for r in (1, 2, 4, 6, 8, 10)] * 5)
    assert distrust(found) == 1.0
    for i in range(6):
        noisy = msgspec.structs.replace(shown(4.0), itl=(1.6 if i % 2 else 0.62) * shown(4.0).itl)
        found = learn(PRIOR, found, noisy, 2000 + 60 * i)
    assert distrust(found) > 1.1
    for i in range(60):
        found = learn(PRIOR, found, shown(4.0), 3000 + 60 * i)
    assert distrust(found) == 1.0


def test_what_was_seen_is_forgotten() -> None:
    found = learned(PRIOR, *[shown(r) for r in (1, 4, 8)])
    assert belief(PRIOR, found, 180).mean != pytest.approx(PRIOR.mean)
    assert belief(PRIOR, found, 20 * FORGET).mean == pytest.approx(PRIOR.mean)
    assert belief(PRIOR, Learned(), 0.0) is PRIOR


def test_a_memory_stays_small_and_survives_msgpack() -> None:
    rng = np.random.default_rng(1)
    found = Learned()
    for i in range(300):
        lengths = {"in_tokens": float(rng.integers(50, 6000)), "out_tokens": float(rng.integers(20, 900))}
        found = learn(PRIOR, found, shown(float(rng.uniform(0.05, 0.6)), **lengths), 60.0 * i)
    assert len(found.points) == MOST_POINTS
    assert all(0 < p.weight <= MOST_WEIGHT for p in found.points)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Learned) == found


@given(
    st.lists(
        st.tuples(
            st.floats(0.05, 500),
            st.floats(1e-3, 300),
            st.floats(0, 1e5),
            st.floats(1, 1e4),
            st.floats(1e-5, 10),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_comes_the_belief_stays_finite(rows: list[tuple[float, float, float, float, float]]) -> None:
    found = Learned()
    for i, (running, rate, tokens_in, tokens_out, itl) in enumerate(rows):
        found = learn(PRIOR, found, Point(running, rate, tokens_in, tokens_out, itl, 2 * itl), 60.0 * i)
    known = belief(PRIOR, found, 600)
    assert np.isfinite(known.mean).all()
    assert (np.diag(known.covariance) > 0).all()
    assert 1.0 <= distrust(found) <= WIDEST


@pytest.mark.parametrize(
    "change", [{"itl": math.nan}, {"itl": 0.0}, {"running": math.inf}, {"out_tokens": 0.0}]
)
def test_what_cannot_be_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a reading of"):
        learn(PRIOR, Learned(), msgspec.structs.replace(shown(1.0), **change), 0.0)
