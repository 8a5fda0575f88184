"""Replicas from waiting and running requests, against figures worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.laws.hpa import Hpa, average_value, desired
from flyball.laws.keda import Keda, keda_tuned
from tests.laws.builders import asked, fleet, follow, last, seen


@pytest.mark.parametrize(
    ("waiting", "ready", "pending", "expected"),
    [
        (40.0, 4, 0, 8),  # 10 a pod: 2 x 4
        (41.0, 4, 0, 9),
        (22.0, 4, 0, 4),  # 1.1 of the target: within the tolerance
        (23.0, 4, 0, 5),
        (18.0, 4, 0, 4),  # 0.9
        (17.0, 4, 0, 4),  # 0.85 x 4 = 3.4
        (15.0, 4, 0, 3),
        (0.0, 4, 0, 0),
        (40.0, 4, 2, 8),  # up: those that start count 0: 40 / 30 of 6
        (30.0, 4, 2, 6),  # up, but with those that start it is the target
        (25.0, 4, 2, 6),  # 1.25 alone, 0.83 with them: the direction turns, nothing changes
        (10.0, 4, 2, 4),  # down: those that start are at the target: (10 + 10) / 30 of 6
        (0.0, 4, 2, 2),
        (19.0, 4, 2, 6),  # down, but (19 + 10) / 30 is within the tolerance
    ],
)
def test_pods_metric_by_hand(waiting: float, ready: int, pending: int, expected: int) -> None:
    assert desired(waiting, 5.0, ready, pending) == expected


def test_without_a_ready_pod_there_is_no_metric() -> None:
    assert desired(100.0, 5.0, 0, 3) is None
    assert asked(Hpa()(seen(0.0, 0, 3, waiting=100.0), None)[0]) == 3


@given(st.floats(0.0, 1e4), st.floats(0.5, 100.0), st.integers(1, 50), st.integers(0, 20))
def test_pods_metric_never_turns_the_direction(total: float, target: float, ready: int, pending: int) -> None:
    now, wish = ready + pending, desired(total, target, ready, pending)
    assert wish is not None
    if total / ready >= target:
        assert wish >= now
    else:
        assert wish <= now
    if wish > now:  # enough, and one less would not be
        assert (wish - 1) * target < total * (1 + 1e-9)
        assert wish * target >= total * (1 - 1e-9)


@given(st.floats(0.0, 1e4), st.floats(0.5, 100.0), st.integers(0, 50))
def test_average_value_is_enough_and_no_more(total: float, target: float, current: int) -> None:
    wish = average_value(total, target, current)
    if wish == current:
        assert current == math.ceil(total / target) or abs(total / (target * current) - 1.0) <= 0.1 + 1e-9
    else:
        assert (wish - 1) * target < total <= wish * target * (1 + 1e-9)


def test_hpa_grows_at_once_and_shrinks_after_five_minutes() -> None:
    grow = [seen(15.0 * i, 2, waiting=400.0) for i in range(3)]
    assert follow(Hpa(), grow) == [6, 12, 24]
    calm = [seen(45.0 + 15.0 * i, 2, waiting=0.0) for i in range(25)]
    numbers = follow(Hpa(), [*grow, *calm])[3:]
    # A wish of 12 x 33.3 / 5 made at 30 s is out of the window at 330 s: 20 ticks, then all go at once.
    assert numbers[:19] == [24] * 19
    assert numbers[19:] == [1] * 6


@pytest.mark.parametrize("law", [Hpa(), Keda()])
def test_nothing_moves_without_readings(law: Hpa | Keda) -> None:
    assert last(law, [seen(0.0, 4)]) == 4
    assert last(law, [seen(0.0, 4, waiting=100.0, running=100.0, age=301.0)]) == 4
    assert last(law, [seen(0.0, 4, waiting=math.nan, running=math.nan)]) == 4
    assert asked(law(seen(0.0, 4), None)[0]) == 4


def test_a_server_that_is_not_seen_is_left_alone() -> None:
    decision, _ = Hpa()(seen(0.0, 4, of=fleet(), waiting=1.0), None)
    assert len(decision.steps) == 1
    hidden = seen(0.0, 4)
    assert Hpa()(type(hidden)(hidden.fleet, type(hidden.seen)(0.0)), None)[0].steps == ()


@pytest.mark.parametrize(
    ("waiting", "running", "ready", "expected"),
    [
        (0.0, 160.0, 8, 10),  # 160 / 16
        (0.0, 161.0, 8, 11),
        (12.0, 160.0, 8, 12),  # the queue asks for more
        (0.0, 140.0, 8, 8),  # 1.09: tolerated
        (40.0, 0.0, 8, 16),  # 100 % each 15 s
    ],
)
def test_keda_takes_the_larger_trigger(waiting: float, running: float, ready: int, expected: int) -> None:
    assert last(Keda(), [seen(0.0, ready, waiting=waiting, running=running)]) == expected


def test_keda_grows_on_one_trigger_but_does_not_shrink_on_one() -> None:
    assert last(Keda(), [seen(0.0, 4, waiting=6.0)]) == 6
    quiet = [seen(15.0 * i, 4, running=1.0) for i in range(40)]
    assert last(Keda(), quiet) == 4
    assert last(Keda(), [seen(15.0 * i, 4, running=1.0, waiting=0.0) for i in range(40)]) == 1


def test_keda_tuned_runs_more_requests_a_replica() -> None:
    snapshots = [seen(0.0, 2, waiting=0.0, running=180.0)]
    assert last(keda_tuned(), snapshots) == 4
    assert last(Keda(), snapshots) == 4  # 12, but at most twice
    assert last(Keda(), [seen(0.0, 8, waiting=0.0, running=180.0)]) == 12


def test_bounds_are_the_servers_minimum_and_all_cards() -> None:
    small = fleet(high=6, low=3)
    assert last(Keda(), [seen(0.0, 5, of=small, waiting=0.0, running=900.0)]) == 6
    assert last(Keda(), [seen(400.0 * i, 5, of=small, waiting=0.0, running=0.0) for i in range(2)]) == 3
    assert last(Keda(max=4), [seen(0.0, 5, of=small, waiting=0.0, running=900.0)]) == 4
    assert last(Keda(), [seen(0.0, 0, of=small)]) == 3


def test_the_reason_is_said() -> None:
    step = Hpa()(seen(0.0, 2, waiting=400.0), None)[0].steps[0]
    assert (step.cause, step.metric, step.limit, step.value) == ("threshold", "waiting", 5.0, 200.0)
    assert [(h.guard, h.wanted, h.allowed) for h in step.holds] == [("step", 80, 6)]
    assert Hpa()(seen(0.0, 2, waiting=10.0), None)[0].steps[0].cause == "steady"
