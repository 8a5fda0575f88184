"""A sweep's steps, their time, and what streamed answers say, on answers that are made up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.calibrate.design import design
from flyball.calibrate.fit import anywhere
from flyball.calibrate.sweep import (
    LEAST_REQUESTS,
    Span,
    Step,
    Taken,
    climb,
    foretold,
    is_full,
    missed,
    other_lengths,
    statistic,
    taken,
)
from flyball.spec.measurement import Streamed
from flyball.spec.service_class import MEAN, Target

STEP = Step(2, 100, 10)


def streams(
    count: int = 12, *, itl: float = 0.01, ttft: float = 0.05, per_piece: int = 1, start: float = 0.0
) -> list[Streamed]:
    """Two requests in flight, each of 9 x per_piece gaps, one after the other, whole."""
    pieces = 10
    length = ttft + (pieces - 1) * itl * per_piece
    found = []
    for i in range(count):
        sent = start + (i // 2) * length
        arrivals = tuple(sent + ttft + k * itl * per_piece for k in range(pieces))
        found.append(Streamed(sent, arrivals, 103, 1 + (pieces - 1) * per_piece))
    return found


@given(
    itl=st.floats(0.001, 0.2),
    ttft=st.floats(0.001, 2.0),
    per_piece=st.integers(1, 5),
    start=st.floats(-100, 1e4),
)
def test_means_are_those_of_the_answers(itl: float, ttft: float, per_piece: int, start: float) -> None:
    seen = streams(itl=itl, ttft=ttft, per_piece=per_piece, start=start)
    end = seen[-1].arrivals[-1]
    found = taken(STEP, seen, start, end)
    assert found is not None
    point = found.point
    assert point.tpot == pytest.approx(itl, rel=1e-4)
    assert point.ttft == pytest.approx(ttft, rel=1e-4)
    assert (point.in_tokens, point.concurrency) == (103.0, 2.0)
    assert point.out_tokens == 1 + 9 * per_piece
    # Of each answer's ten pieces, as many tokens came as there were gaps, and a part of the first.
    assert found.throughput == pytest.approx(12 * 10 * per_piece / (end - start), rel=1e-3)
    assert found.rate == pytest.approx(12 / (end - start), rel=1e-3)


def test_what_came_before_or_after_does_not_count() -> None:
    slow, fast = streams(8, itl=0.1), streams(40, itl=0.01, start=10.0)
    found = taken(STEP, [*slow, *fast], 10.0, 11.0)
    assert found is not None
    assert found.point.tpot == pytest.approx(0.01)
    assert len(found.ttft) < 40


def test_answers_that_are_still_under_way_count_as_far_as_they_are() -> None:
    whole = streams(12)
    cut = [Streamed(s.sent, s.arrivals[:4]) for s in whole]
    found = taken(STEP, cut, 0.0, 10.0)
    assert found is not None
    assert found.point.tpot == pytest.approx(0.01)
    assert (found.in_tokens, found.out_tokens) == (100.0, 10.0)  # as asked for: nobody has counted
    # The first answers, to warm up, are shorter than the rest.
    first = [Streamed(s.sent, s.arrivals[:5], 103, 5) for s in whole[:2]]
    assert taken(STEP, [*first, *whole[2:]], 0.0, 10.0).out_tokens == 10.0  # type: ignore[union-attr]


def test_too_few_answers_say_nothing() -> None:
    assert taken(STEP, [], 0.0, 1.0) is None
    assert taken(STEP, streams(LEAST_REQUESTS - 1), 0.0, 10.0) is None
    assert taken(STEP, streams(LEAST_REQUESTS), 0.0, 10.0) is not None
    assert taken(STEP, streams(), 100.0, 101.0) is None


def test_others_and_those_that_wait_are_counted() -> None:
    found = taken(STEP, streams(), 0.0, 10.0, waiting=[0, 1, 2], running=[2, 2, 4])
    assert found is not None
    assert found.waiting == 1.0
    assert found.foreign == pytest.approx((0 + 1 + 4) / 3)
    alone = taken(STEP, streams(), 0.0, 10.0, waiting=[0, 0], running=[2, 1])
    assert alone is not None
    assert alone.foreign == 0.0


def test_steps_double_as_far_as_memory_allows() -> None:
    assert [s.load for s in climb((), 1000, 300, 0)] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert [s.load for s in climb((), 1000, 300, 13_000)] == [1, 2, 4, 8]
    assert [s.load for s in climb((), 1000, 300, 100)] == [1]
    assert [s.load for s in climb((3, 90), 1000, 300, 13_000)] == [3, 90]


@pytest.mark.parametrize(("in_tokens", "out_tokens"), [(1000, 300), (200, 40), (4000, 100), (100, 1000)])
def test_other_lengths_tell_the_parameters_apart(in_tokens: int, out_tokens: int) -> None:
    climbed = climb((1, 4, 16), in_tokens, out_tokens, 0)

    def weakest(steps: list[Step]) -> float:
        n, i, o = (
            np.array([getattr(s, name) for s in steps]) for name in ("load", "in_tokens", "out_tokens")
        )
        columns = design(n, i, o)
        return float(np.linalg.svd(columns / np.linalg.norm(columns, axis=0), compute_uv=False)[-1])

    assert weakest(climbed) < 1e-9
    assert weakest(climbed + other_lengths(16, in_tokens, out_tokens, 0)) > 0.02


def test_other_lengths_keep_to_the_memory() -> None:
    base = Step(8, 1000, 300)
    assert base.fits(8 * 1300)
    others = other_lengths(8, 1000, 300, 8 * 1300)
    assert [s.load for s in others] == [8, 4]
    assert all(s.fits(8 * 1300) for s in others)
    assert other_lengths(1, 1, 1, 2) == [Step(1, 1, 1)]


def test_a_step_ends_after_its_time_or_its_requests() -> None:
    assert not Span(20.0).over(19.9, 100)
    assert not Span(20.0).over(25.0, LEAST_REQUESTS - 1)
    assert Span(20.0).over(20.0, LEAST_REQUESTS)
    assert Span(requests=10).over(0.1, 10)
    assert not Span(requests=10).over(1e3, 9)


def test_the_time_foretold_grows_with_what_is_asked() -> None:
    belief = anywhere()
    itl, seconds = foretold(belief, Step(1, 1000, 300), Span(20.0))
    alpha, beta, kappa, delta = belief.values
    assert itl == pytest.approx(alpha + beta + kappa * 1150 + delta * 1000 / 300)
    answer = math.exp(belief.gamma) + 1000 * delta + 300 * itl
    assert seconds == pytest.approx(20.0 + 1000 * delta + answer)
    assert foretold(belief, Step(1, 1000, 300), Span(requests=10))[1] == pytest.approx(
        10 * answer + 1000 * delta + answer
    )
    assert foretold(belief, Step(64, 1000, 300), Span(20.0))[1] > seconds


def found(load: int, itl: float, ttft: float, throughput: float, waiting: float = 0.0) -> Taken:
    times = np.array([itl] * 90 + [10 * itl] * 10)
    return Taken(
        Step(load, 100, 50), 100.0, 50.0, np.full(5, ttft), times, throughput, throughput / 50, 9.0, waiting
    )


def test_targets_are_of_their_statistic() -> None:
    one = found(4, 0.01, 0.5, 100.0)
    assert statistic(one.itl, Target("itl", 1.0, MEAN)) == pytest.approx(0.019)
    assert statistic(one.itl, Target("itl", 1.0, 0.5)) == pytest.approx(0.01)
    assert missed(one, [Target("itl", 0.02, MEAN), Target("ttft", 0.6, 0.95)]) is None
    late = Target("ttft", 0.4, 0.95)
    assert missed(one, [Target("itl", 0.02, MEAN), late]) == late
    assert missed(one, [Target("itl", 0.02, 0.95)]) is not None


def test_a_batch_is_full_when_requests_wait() -> None:
    before = found(8, 0.01, 0.05, 1000.0)
    assert not is_full(found(16, 0.01, 0.05, 1900.0), before)
    assert not is_full(found(16, 0.02, 0.05, 1010.0), before)  # no gain, but nobody waits
    assert is_full(found(16, 0.01, 0.6, 1010.0), before)
    assert not is_full(found(16, 0.01, 0.6, 1900.0), before)  # long prompts, and worth it
    assert not is_full(found(16, 0.01, 0.6, 1010.0), None)


def test_metrics_say_so_sooner() -> None:
    before = found(8, 0.01, 0.05, 1000.0)
    assert is_full(found(16, 0.01, 0.6, 1500.0, 7.0), before)
    assert is_full(found(16, 0.01, 0.6, 1500.0, 7.0), None)
    assert not is_full(found(16, 0.01, 0.6, 1500.0, 3.0), before)
    assert not is_full(found(16, 0.01, 0.05, 1500.0, 7.0), before)  # for an iteration, not for a place
