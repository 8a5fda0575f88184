"""What saturation teaches: only what the replicas that are there now are to blame for."""

from __future__ import annotations

import pytest

from flyball.decide.demand import corrected
from flyball.decide.memory import Goal, ServerMemory
from flyball.decide.seen import Miss, Seen
from flyball.spec.service_class import MEAN, Target
from flyball.spec.steering import Steering
from tests.decide.worlds import server_of

LEAD, PERIOD, WINDOW = 75.0, 15.0, 60.0
RATE, READY, OFFERED = 1.0, 4, 2.0
LATE = Miss(Target("ttft", MEAN, 1.0), 40.0)


def seen(waiting: float = 0.0, ttft: float | None = None, blind: str = "") -> Seen:
    return Seen(
        *(server_of("s"), {"A": READY}, {}, {}, None if blind else OFFERED, 500.0, 200.0, None, None),
        *(waiting, 8.0, None, ttft, 0.02, 60.0),
        blind=blind,
        crowded=waiting > 2 * READY,
        miss=LATE if ttft is not None else None,
    )


def after(*readings: Seen, grew_at: float | None = None) -> float:
    """The correction after readings a period apart."""
    memory = ServerMemory(goal=Goal("A", READY, 8, RATE), rates={"A": RATE}, grew_at=grew_at)
    for cycle, reading in enumerate(readings):
        memory = corrected(memory, reading, 1000.0 + cycle * PERIOD, Steering(period=PERIOD), LEAD)
    return memory.correction


def test_a_queue_that_stays_is_the_models_fault() -> None:
    assert after(*[seen(40.0)] * 6) > 1.5


def test_a_queue_that_is_not_known_in_between_is_not_one_that_has_grown() -> None:
    falling = [seen(100.0 - 10.0 * i) for i in range(9)]
    assert after(*falling) == 1.0
    unknown = seen(blind="the queue is not known", ttft=90.0)
    holes = [one for reading in falling for one in (reading, unknown)]
    assert after(*holes) == 1.0
    still = [one for one in [seen(40.0)] * 6 for one in (one, unknown)]
    assert after(*still) > 1.5, "and not one that has fallen"


@pytest.mark.parametrize(("ttft", "learns"), [(5.0, True), (200.0, False)])
def test_who_was_late_before_the_present_replicas_came_says_nothing_of_them(
    ttft: float, learns: bool
) -> None:
    """They grew 200 s before the first reading."""
    readings = [seen(ttft=ttft)] * 6
    assert (after(*readings, grew_at=800.0) > 1.2) is learns
    assert after(*readings) > 1.2, "where nothing was done, that is how it is"
