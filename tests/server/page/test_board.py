"""The board: what it shows of a cycle, and how far back."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from flyball.server.page.board import FULL, LARGE, LONGEST, THIN, Board, moves_of
from flyball.server.page.view import STALE, view
from flyball.spec.service_class import Target
from flyball.spec.snapshot import Reading, Variant
from flyball.testing.make import make_fleet, make_server
from tests.server.page.builders import cycle, seen, step

P95 = (Target("ttft", 1.0, 0.95), Target("itl", 0.05, 0.95))


def test_a_view_counts_replicas_cards_and_costs() -> None:
    fleet = make_fleet([make_server(), make_server("t")], capacity={"A": 8, "B": 2})
    variants = (Variant("A", ready=3, pending=2, draining=1), Variant("B", ready=1))
    made = view(7, cycle(fleet, seen(variants=variants), capacity={"A": 5, "B": 2}))
    shown = made.named("s")
    assert shown is not None
    assert (shown.ready, shown.pending, shown.draining) == (4, 2, 1)
    assert shown.cost == made.cost == 6 * 1.0 + 1 * 1.5
    assert made.cards == (("A", 6, 5), ("B", 1, 2))
    other = made.named("t")
    assert other is not None
    assert (other.state, other.offered, other.cost) == ("unseen", None, 0.0)
    assert made.offered == 2.0


def test_servers_are_in_order_of_priority_and_name() -> None:
    fleet = make_fleet([make_server("z", service_class="Gold"), make_server("b", service_class="Bronze"),
                        make_server("a", service_class="Bronze")])  # fmt: skip
    assert [s.name for s in view(1, cycle(fleet)).servers] == ["z", "a", "b"]


def test_latency_is_judged_in_the_statistic_that_is_promised() -> None:
    fleet = make_fleet([make_server()], targets=P95)
    readings = {"mean": Reading(0.2), "p95": Reading(1.2), "p99": Reading(3.0)}
    one = seen(variants=(Variant("A", ready=1),), ttft=readings, itl={"p95": Reading(0.04)})
    made = view(1, cycle(fleet, one))
    shown = made.servers[0]
    assert shown.first is not None
    assert shown.itl is not None
    assert (shown.first.value, shown.first.ratio, shown.first.late) == (1.2, 1.2, True)
    assert (shown.itl.value, shown.itl.late) == (0.04, False)
    assert (shown.state, made.met, made.judged) == ("late", 0, 1)


def test_a_server_with_load_and_without_replicas_is_not_within_its_target() -> None:
    fleet = make_fleet([make_server("s"), make_server("t"), make_server("u")], targets=P95)
    starting = seen("t", variants=(Variant("A", pending=1),))
    idle = seen("u", arrival_rate=Reading(0.0))
    made = view(1, cycle(fleet, seen("s"), starting, idle))
    assert [s.state for s in made.servers] == ["none", "starting", "none"]
    assert (made.met, made.judged) == (0, 2)


def test_a_statistic_that_is_not_measured_is_judged_by_the_next_above() -> None:
    fleet = make_fleet([make_server()], targets=[Target("ttft", 1.0, 0.93)])
    readings = {"p90": Reading(0.2), "p95": Reading(1.2)}
    shown = view(1, cycle(fleet, seen(ttft=readings))).servers[0].first
    assert shown is not None
    assert (shown.statistic, shown.value) == ("p93", 1.2)


def test_a_stale_reading_is_as_good_as_absent() -> None:
    fleet = make_fleet([make_server()], targets=P95)
    for age, known in ((STALE, True), (STALE + 1, False)):
        shown = view(1, cycle(fleet, seen(ttft={"p95": Reading(2.0, age)}))).servers[0].first
        assert shown is not None
        assert (shown.value is not None, shown.late) == (known, known)


def test_a_response_time_is_the_sum_of_its_parts() -> None:
    fleet = make_fleet([make_server()], targets=[Target("e2e", 10.0)])
    one = seen(ttft={"mean": Reading(0.5)}, itl={"mean": Reading(0.02)}, out_tokens=Reading(101))
    shown = view(1, cycle(fleet, one)).servers[0].first
    assert shown is not None
    assert (shown.metric, shown.value) == ("e2e", 0.5 + 100 * 0.02)


def test_moves_say_what_changed_and_what_it_costs() -> None:
    fleet = make_fleet([make_server("s", service_class="Bronze"), make_server("t"), make_server("u")])
    steps = [
        step("s", {"A": 3}, {"A": 4}, cause="demand", demand=14.2),
        step("t", {"A": 2}, {"B": 2}, cause="cheaper"),
        step("u", {"A": 2}, {"A": 2}),
    ]
    made = moves_of(9, cycle(fleet, time=30.0, steps=steps))
    assert [(m.server, m.what, m.cost) for m in made] == [
        ("t", "2 x A to 2 x B", 1.0),
        ("s", "3 to 4 x A", 1.0),
    ]
    assert made[1].why == "more is needed at 14.2 req/s"
    assert {(m.number, m.time) for m in made} == {(9, 30.0)}


@given(st.floats(1.0, 900.0), st.integers(1, 400))
def test_the_past_is_kept_whole_for_a_while_and_thinned_behind(period: float, count: int) -> None:
    board, fleet = Board(), make_fleet([make_server()])
    for i in range(count):
        board.add(i + 1, cycle(fleet, time=i * period))
    times = [v.time for v in board.views()]
    now = times[-1]
    assert times == sorted(set(times))
    whole = [i * period for i in range(count) if now - i * period <= FULL]
    assert [t for t in times if now - t <= FULL] == whole
    old = [t for t in times if now - t > FULL]
    assert all(b - a >= min(THIN, period) for a, b in itertools.pairwise(old))
    assert all(now - t <= LONGEST for t in times)


def test_of_a_large_fleet_less_is_kept() -> None:
    board, fleet = Board(), make_fleet([make_server(f"s{i}") for i in range(4 * LARGE)])
    for i in range(1000):
        board.add(i + 1, cycle(fleet, time=i * 15.0))
    times = [v.time for v in board.views()]
    recent = [t for t in times if times[-1] - t <= FULL / 4]
    assert len(recent) == FULL / 4 / 15 + 1
    old = [t for t in times if times[-1] - t > FULL / 4]
    assert old
    assert all(b - a >= 4 * THIN for a, b in itertools.pairwise(old))


def test_a_day_and_a_half_fits() -> None:
    board, fleet = Board(), make_fleet([make_server()])
    count = int(1.5 * LONGEST / 15)
    for i in range(count):
        board.add(i + 1, cycle(fleet, time=i * 15.0))
    views = board.views()
    assert views[-1].time - views[0].time > LONGEST - 2 * THIN
    assert len(views) <= FULL / 15 + LONGEST / THIN + 2
    assert [v.number for v in board.views(since=count - 3)] == [count - 2, count - 1, count]
    assert board.views(since=count) == []
    early = board.views(since=views[4].number)
    assert early == views[5:]


def test_moves_are_found_by_server_and_kind_newest_first() -> None:
    board, fleet = Board(), make_fleet([make_server("s"), make_server("t")])
    for i in range(4):
        board.add(i + 1, cycle(fleet, time=i, steps=[step("st"[i % 2], {"A": i}, {"A": i + 1})]))
    board.happened(5.0, "a node failed")
    assert [m.number for m in board.moves(2)] == [4, 4]
    assert [m.what for m in board.moves(9, kinds=("world",))] == ["a node failed"]
    assert [(m.number, m.server) for m in board.moves(9, "s")] == [(3, "s"), (1, "s")]
    assert board.moves(0) == []
