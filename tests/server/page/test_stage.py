"""The stage: simulated time at a speed, period by period."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flyball.server.page.live import Scenery
from flyball.server.page.stage import SimulatedStage
from flyball.spec.scenario import Event

LONG = 30.0
"""Seconds that a test waits at most for what comes at once."""


class Ticking:
    """A world of which only the time is of interest."""

    def __init__(self) -> None:
        self.time, self.runs = 0.0, list[float]()
        self.log: list[tuple[float, str]] = []
        self.happened = 0

    def now(self) -> float:
        return self.time

    def run(self, until: float) -> None:
        self.time = until
        self.runs.append(until)

    def happen(self, event: Event) -> str:
        self.log.append((event.at, event.what))
        self.happened += 1
        return event.what


def stage_of(world: Ticking, speed: float) -> SimulatedStage:
    return SimulatedStage(world, lambda: Scenery("t", "", (), (), {}), 15.0, speed)


@contextmanager
def playing(stage: SimulatedStage, after: int) -> Iterator[threading.Event]:
    """Play in a thread; the event is set after so many cycles."""
    stop, enough, count = threading.Event(), threading.Event(), []

    def cycle() -> None:
        count.append(1)
        if len(count) >= after:
            enough.set()

    thread = threading.Thread(target=stage.play, args=(cycle, stop), daemon=True)
    thread.start()
    try:
        yield enough
    finally:
        stop.set()
        stage.wake()
        thread.join(LONG)
        assert not thread.is_alive()


def test_time_goes_on_by_periods_with_a_cycle_after_each() -> None:
    world = Ticking()
    with playing(stage_of(world, 3600.0), 5) as enough:
        assert enough.wait(LONG)
    assert world.runs == [15.0 * (i + 1) for i in range(len(world.runs))]
    assert len(world.runs) >= 5


def test_a_paused_world_stands_still_until_it_is_let_go() -> None:
    world = Ticking()
    stage = stage_of(world, 0.0)
    with playing(stage, 2) as enough:
        assert not enough.wait(0.05)
        assert world.runs == []
        stage.speed = 3600.0
        assert enough.wait(LONG)


def test_a_world_that_is_slow_can_be_made_fast_at_once() -> None:
    world = Ticking()
    stage = stage_of(world, 0.01)  # the second period would come after 25 minutes
    with playing(stage, 3) as enough:
        assert not enough.wait(0.05)
        stage.speed = 3600.0
        assert enough.wait(LONG)


def test_what_happens_is_told_once() -> None:
    stage = stage_of(Ticking(), 1.0)
    assert stage.happen("load", "", 2.0) == "load"
    assert stage.news() == [(0.0, "load")]
    assert stage.news() == []


@pytest.mark.parametrize("what", ["", "explode", "__init__"])
def test_what_cannot_happen_is_refused(what: str) -> None:
    with pytest.raises(ValueError, match="cannot be made to happen; it can be load, "):
        stage_of(Ticking(), 1.0).happen(what, "", 1.0)


@pytest.mark.parametrize("speed", [-1.0, float("nan"), 1e9])
def test_a_speed_has_bounds(speed: float) -> None:
    stage = stage_of(Ticking(), 1.0)
    with pytest.raises(ValueError, match="between 0"):
        stage.speed = speed
    assert stage.speed == 1.0
