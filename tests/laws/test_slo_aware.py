"""The published formula by hand, the smoothing, and what is done without readings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.laws.slo_aware import SloAware, limits_of, wished
from flyball.spec.service_class import Target
from flyball.testing.make import make_fleet, make_server
from tests.laws.builders import fleet, last, seen

UP, DOWN = 0.55, 0.40


@pytest.mark.parametrize(
    ("signal", "n", "ready", "expected"),
    [
        (0.55, 4, 4, 4),  # on the edge: hold
        (0.56, 4, 4, 5),  # 4 + ceil(0.07)
        (1.10, 4, 4, 8),
        (2.00, 3, 3, 11),  # 3 + ceil(7.9)
        (1.10, 8, 4, 8),  # credit 1/2: 8 + ceil(0)
        (1.20, 8, 4, 9),  # 8 + ceil(8 x 0.0909)
        (0.60, 8, 2, 8),  # the credit never shrinks it
        (1.10, 4, 0, 8),  # none ready: no credit
        (0.40, 4, 4, 4),
        (0.39, 4, 4, 4),  # floor(0.1)
        (0.29, 4, 4, 3),  # floor(1.1)
        (0.20, 4, 4, 2),
        (0.20, 8, 2, 4),  # shrinking takes no credit
        (0.00, 4, 4, 0),
    ],
)
def test_the_formula_by_hand(signal: float, n: int, ready: int, expected: int) -> None:
    assert wished(signal, n, ready, UP, DOWN) == expected


@given(st.floats(0.0, 2.0), st.floats(0.0, 2.0), st.integers(1, 60), st.integers(0, 60))
def test_more_latency_never_asks_for_fewer(a: float, b: float, n: int, ready: int) -> None:
    low, high = sorted((a, b))
    assert wished(low, n, min(ready, n), UP, DOWN) <= wished(high, n, min(ready, n), UP, DOWN)


def steadily(ticks: int, **readings: float) -> int | None:
    """What is asked for 4 replicas when the readings stay as they are."""
    return last(SloAware(), [seen(15.0 * i, 4, **readings) for i in range(ticks)])


def test_it_takes_the_worse_of_both_shares() -> None:
    assert steadily(3, ttft=0.9, itl=0.11) == 8  # 0.45 and 1.1
    assert steadily(3, ttft=2.2, itl=0.045) == 8
    assert steadily(3, ttft=0.9, itl=0.045) == 4


def test_samples_are_clamped_and_averaged_over_45_seconds() -> None:
    memory, signals = None, []
    for time, itl in [(0.0, 9.0), (15.0, 0.045), (30.0, 0.045), (45.0, 0.045)]:
        decision, memory = SloAware()(seen(time, 4, itl=itl), memory)
        signals.append(decision.steps[0].value)
    assert signals == pytest.approx([2.0, 1.225, 2.9 / 3, 0.45])


def test_growth_is_the_least_wish_of_30_seconds() -> None:
    snapshots = [seen(0.0, 4, itl=0.05), seen(15.0, 4, itl=0.09), seen(30.0, 4, itl=0.1)]
    # Means 0.5, 0.7 and 0.8 wish for 4, 6 and 6; at 30 the first one is out of the window.
    assert last(SloAware(), snapshots[:2]) == 4
    assert last(SloAware(), snapshots) == 6


def test_it_drains_one_by_one_and_not_before_three_minutes() -> None:
    assert steadily(12, itl=0.01, ttft=0.1) == 4
    assert steadily(13, itl=0.01, ttft=0.1) == 3


def test_no_traffic_is_no_latency_but_no_reading_is_no_sample() -> None:
    assert steadily(13, arrival_rate=0.0) == 3
    assert steadily(13, arrival_rate=3.0) == 4
    assert steadily(13) == 4
    assert last(SloAware(), [seen(0.0, 4, itl=0.2), seen(30.0, 4)]) == 8  # what was seen last counts on
    assert last(SloAware(), [seen(0.0, 4, itl=0.2), seen(60.0, 4)]) == 4


def test_the_limits_are_those_of_the_class() -> None:
    one = fleet()
    assert limits_of(one, one.servers[0]) == {"ttft": 2.0, "itl": 0.1}
    none = make_fleet([make_server()], targets=[Target("e2e", 9.0)])
    assert limits_of(none, none.servers[0]) == {}
    assert last(SloAware(), [seen(0.0, 4, of=none, itl=9.0)]) is None
