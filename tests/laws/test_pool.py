"""Where a law scales: the accelerator it has, else the cheapest; and what is left alone."""

from __future__ import annotations

import pytest

from flyball.laws.hpa import Hpa
from flyball.laws.pool import Bounds, pools
from flyball.laws.static import Static, static
from flyball.spec.fleet import Fleet, Settings
from flyball.spec.server import Allocation
from flyball.spec.snapshot import Observation, Reading, Scrape, Snapshot, Variant
from flyball.testing.make import make_fleet, make_server
from tests.laws.builders import asked, fleet, last, seen


def shown(of: Fleet, *variants: Variant, waiting: float = 0.0) -> Snapshot:
    return Snapshot(of, Scrape(0.0, (Observation("s", variants, waiting=Reading(waiting)),)))


def test_it_scales_where_most_replicas_are_and_leaves_the_others() -> None:
    two = make_fleet([make_server(max_batch_size=16)], capacity={"A": 9, "B": 5})
    snapshot = shown(two, Variant("A", 1, 0, max_batch_size=8), Variant("B", 2, 1), waiting=100.0)
    (pool,) = pools(snapshot, Bounds())
    assert (pool.accelerator, pool.ready, pool.pending, pool.elsewhere) == ("B", 3, 1, 1)
    assert (pool.low, pool.high, pool.max_batch_size) == (1, 6, 16)
    decision, _ = Hpa()(snapshot, None)
    # 4 of them, at most 8, and 5 cards beside the other accelerator's replica.
    assert [(o.accelerator, o.replicas) for o in decision.steps[0].orders] == [("A", 1), ("B", 5)]
    assert [(o.accelerator, o.replicas) for o in decision.steps[0].was] == [("A", 1), ("B", 3)]
    assert decision.cost == pytest.approx(1.0 + 5 * 1.5)


@pytest.mark.parametrize(
    ("capacity", "current", "expected"),
    [
        ({"A": 4, "B": 4}, "", "A"),  # the cheaper one
        ({"A": 0, "B": 4}, "", "B"),  # which has cards
        ({"A": 4, "B": 4}, "B", "B"),  # what is configured
        ({}, "", "A"),
    ],
)
def test_without_replicas(capacity: dict[str, int], current: str, expected: str) -> None:
    server = make_server(current=Allocation(current) if current else Allocation())
    (pool,) = pools(shown(make_fleet([server], capacity=capacity)), Bounds())
    assert pool.accelerator == expected
    assert asked(Hpa()(shown(make_fleet([server], capacity=capacity)), None)[0]) == 1


def test_a_model_that_runs_nowhere_is_left_alone() -> None:
    assert pools(shown(make_fleet([make_server(model="other")])), Bounds()) == []


def test_unlimited_has_no_ceiling() -> None:
    free = make_fleet([make_server()], settings=Settings(unlimited=True), capacity={})
    assert asked(Hpa()(shown(free, Variant("A", 50), waiting=1e6), None)[0]) == 100


def test_static_keeps_its_number() -> None:
    assert last(Static(), [seen(0.0, 3, of=fleet(current=5))]) == 5
    assert last(Static(), [seen(0.0, 3)]) is None  # nothing is configured
    assert last(static(7), [seen(0.0, 3, of=fleet(current=5))]) == 7
    assert last(static(7, s=2), [seen(0.0, 3)]) == 2
    assert last(static(0), [seen(0.0, 3)]) == 0
    assert Static(2, {"t": 4})(seen(0.0, 3), None)[0].notes == ("static: the fleet has no server 't'",)
