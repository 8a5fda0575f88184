"""Budgets with schedules, shares of peak and average, and which of overlapping policies wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.power.budget import (
    BUCKETS,
    Budget,
    Observed,
    Standing,
    budget_at,
    cap_watts,
    governing,
    held_back,
    observed,
    selects,
)
from flyball.spec.power import DAY, AbsoluteCap, Domain, Policy, RelativeCap, Slot, WorkloadRef

HOUR = 3600.0
EVENING = Slot(17 * HOUR, 20 * HOUR, 32000.0, True, "peak tariff")
NIGHT = Slot(22 * HOUR, 6 * HOUR, 45000.0, True, "cool air")
ONCE = Slot(10 * DAY, 10 * DAY + HOUR, 20000.0, False, "grid event")
RACK = Domain("rack", "Rack", watts=40000.0, schedule=(EVENING, NIGHT, ONCE), breaker=44000.0)


@pytest.mark.parametrize(
    ("at", "watts", "reason"),
    [
        (12 * HOUR, 40000.0, "budget"),
        (17 * HOUR, 32000.0, "peak tariff"),
        (20 * HOUR, 40000.0, "budget"),
        (23 * HOUR, 44000.0, "breaker"),
        (DAY + 5 * HOUR, 44000.0, "breaker"),
        (DAY + 6 * HOUR, 40000.0, "budget"),
        (10 * DAY, 20000.0, "grid event"),
        (10 * DAY + HOUR, 44000.0, "breaker"),
    ],
)
def test_a_budget_follows_its_schedule_and_never_passes_the_breaker(
    at: float, watts: float, reason: str
) -> None:
    assert budget_at(RACK, at) == Budget(watts, reason)


def test_of_several_slots_the_lowest_holds_and_without_any_figure_there_is_none() -> None:
    both = Domain("d", schedule=(Slot(0.0, HOUR, 10.0), Slot(0.0, HOUR, 5.0, reason="b")))
    assert budget_at(both, 60.0) == Budget(5.0, "b")
    assert budget_at(both, 2 * HOUR) is None
    assert budget_at(Domain("d", breaker=7.0), 0.0) == Budget(7.0, "breaker")


def run(window: float, series: list[tuple[float, float | None]]) -> Observed:
    seen = Observed(window)
    for time, watts in series:
        seen = observed(seen, time, watts)
    return seen


def test_peak_and_average_over_the_window() -> None:
    series = [(15.0 * i, 100.0 if i % 2 else 300.0) for i in range(240)]
    seen = run(HOUR, series)
    assert seen.peak == 300.0
    assert seen.average == pytest.approx(200.0, rel=0.02)
    assert cap_watts(RelativeCap(0.8, "Peak", HOUR), seen) == pytest.approx(240.0)
    assert cap_watts(RelativeCap(0.5, "Average", HOUR), seen) == pytest.approx(100.0, rel=0.02)
    assert cap_watts(AbsoluteCap(7.0), None) == 7.0
    assert cap_watts(RelativeCap(0.8), None) is cap_watts(None, seen) is None
    assert cap_watts(RelativeCap(0.8), run(HOUR, series[:230])) is None  # not yet a whole window


def test_a_peak_is_forgotten_after_the_window() -> None:
    series = [(15.0 * i, 900.0 if i == 10 else 100.0) for i in range(1000)]
    assert run(HOUR, series[:250]).peak == 900.0
    assert run(HOUR, series[: 10 + 240 + 4]).peak == 100.0


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=60), st.floats(60.0, 14400.0))
def test_average_is_never_above_peak_and_memory_is_bounded(series: list[float], window: float) -> None:
    seen = run(window, [(15.0 * i, w) for i, w in enumerate(series)])
    assert len(seen.buckets) <= BUCKETS
    assert seen.peak is not None
    assert seen.average is not None
    assert min(series) - 1e-6 <= seen.average <= seen.peak * (1 + 1e-9)
    if 15.0 * len(series) <= window:
        assert seen.peak == max(series)


def test_a_share_of_what_was_wanted_does_not_eat_itself() -> None:
    """Ten windows at a constant wish of 1,000 W: the cap stays at 800 W."""
    cap, seen = RelativeCap(0.8, "Peak", HOUR), Observed(HOUR)
    for i in range(2400):
        limit = cap_watts(cap, seen) or 1000.0
        draws = min(1000.0, limit)
        seen = observed(seen, 15.0 * i, draws, held_back({"a": 1000.0}, {"a": draws}, ["a"]))
    assert cap_watts(cap, seen) == pytest.approx(800.0)


def test_nothing_seen_ages_the_window_only() -> None:
    seen = run(HOUR, [(0.0, 500.0), (1800.0, None)])
    assert seen.peak == 500.0
    assert run(HOUR, [(0.0, 500.0), (3700.0, None)]).peak is None
    assert observed(seen, 100.0, 900.0) == seen  # a time that is past teaches nothing


def test_the_most_restrictive_of_overlapping_policies_wins_and_it_is_said() -> None:
    loose = Standing(Policy("loose", mode="Enforce", min_replicas=3), ("a", "b"), 900.0, 1000.0)
    tight = Standing(Policy("tight", min_replicas=1, protected=True), ("b", "c"), 400.0, 1000.0)
    found = governing([loose, tight])
    assert found.policy == {"a": "loose", "b": "tight", "c": "tight"}
    assert found.overruled == {"loose": "tight is more restrictive for b"}
    assert found.min_replicas == {"a": 3, "b": 3, "c": 1}
    assert found.protected == ("b", "c")


def test_of_equals_the_one_that_enforces_wins_then_by_name() -> None:
    names = [Standing(Policy(n), ("s",), None) for n in ("y", "x")]
    assert governing(names).policy == {"s": "x"}
    assert governing([*names, Standing(Policy("z", mode="Enforce"), ("s",), None)]).policy == {"s": "z"}
    assert governing(names[::-1]) == governing(names)


DEPLOYMENT, SCALED = WorkloadRef("Deployment", "chat", "apps/v1"), WorkloadRef("ScaledObject", "chat-so")


@pytest.mark.parametrize(
    ("policy", "is_for"),
    [
        (Policy("p", "ns", labels={"w": "inference"}), True),
        (Policy("p", "ns", labels={"w": "training"}), False),
        (Policy("p", "ns"), True),
        (Policy("p", "other"), False),
        (Policy("p", "ns", kinds=("ScaledObject",)), True),
        (Policy("p", "ns", kinds=("StatefulSet",)), False),
        (Policy("p", "ns", workloads=(WorkloadRef("ScaledObject", "chat-so", "keda.sh/v1alpha1"),)), True),
        (Policy("p", "ns", workloads=(WorkloadRef("ScaledObject", "chat"),)), False),
    ],
)
def test_which_pods_a_policy_is_for(policy: Policy, is_for: bool) -> None:
    assert selects(policy, "ns", {"w": "inference", "x": "y"}, [DEPLOYMENT, SCALED]) is is_for
