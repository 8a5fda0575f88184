"""Time lines: columns over time."""

from __future__ import annotations

from flyball.server.page.board import Move
from flyball.server.page.series import CEILING, series
from flyball.server.page.view import view
from flyball.spec.service_class import Target
from flyball.spec.snapshot import Reading, Variant
from flyball.testing.make import make_fleet, make_server
from tests.server.page.builders import cycle, seen

FLEET = make_fleet([make_server("s"), make_server("t")], targets=[Target("ttft", 1.0)])
VIEWS = [
    view(1, cycle(FLEET, seen("s", variants=(Variant("A", 1, 2),)), time=15.0)),
    view(2, cycle(FLEET, seen("s", variants=(Variant("A", 3),), ttft={"mean": Reading(0.5)}),
                  seen("t", variants=(Variant("B", 2),), ttft={"mean": Reading(1e4)}), time=30.0)),
]  # fmt: skip


def test_the_columns_of_the_fleet() -> None:
    made = series(VIEWS)
    assert (made.number, made.time) == (2, [15.0, 30.0])
    assert made.replicas == {"A": [1, 3], "B": [0, 2]}
    assert made.pending == [2, 0]
    assert made.demand["measured"] == [2.0, 4.0]
    assert made.cost["$/h"] == [3.0, 6.0]
    assert made.cost["kW"] == [None, None]
    assert made.latency["first token"] == [None, CEILING]


def test_the_columns_of_one_server() -> None:
    made = series(VIEWS, server="s")
    assert made.replicas == {"A": [1, 3]}
    assert made.latency["first token"] == [None, 0.5]
    assert list(made.cost) == ["$/h"]


def test_marks_are_those_of_the_time_that_is_shown() -> None:
    events = [Move(2, 20.0, "world", what="later"), Move(1, 1.0, "world", what="before")]
    assert series(VIEWS, events).marks == [(20.0, "later")]


def test_without_views_there_are_no_columns() -> None:
    made = series([])
    assert (made.number, made.time, made.replicas) == (0, [], {})
