"""It is a function of what it is given, so a test is one call."""

from __future__ import annotations

from halve_batch import halve_batch

from flyball.power.filter import filtered
from flyball.power.view import Room, ServerView, View


def seen(watts: float) -> View:
    """A chat and a batch server with 8 replicas of 100 W idle each, and so many watts for them."""
    return View(
        rooms=(Room("row-a", watts, watts, at_once=True),),
        servers=(
            ServerView("chat", 8, 8, priority=1, idle=100.0, full=300.0, places={"row-a": 1.0}),
            ServerView("nightly", 8, 8, priority=80, idle=100.0, full=300.0, places={"row-a": 1.0}),
        ),
    )


def test_nobody_loses_while_there_is_enough() -> None:
    assert halve_batch(seen(1600.0)) == {}


def test_batch_goes_to_half_where_watts_are_short() -> None:
    assert halve_batch(seen(1500.0)) == {"nightly": 4}
    assert halve_batch(seen(1500.0), share=0.25) == {"nightly": 2}


def test_what_is_still_short_the_filter_takes() -> None:
    assert filtered(seen(1500.0), halve_batch(seen(1500.0))).replicas == {"chat": 8, "nightly": 4}
    assert filtered(seen(1000.0), halve_batch(seen(1000.0))).replicas == {"chat": 8, "nightly": 2}
