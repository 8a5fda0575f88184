"""The filter keeps its promises whatever is asked for; algorithms never give more for a lower budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.power.algorithms.find import BUILT_IN
from flyball.power.filter import Steps, filtered
from flyball.power.spread import Spread
from flyball.power.view import FIT, Group, Room, ServerView, View, floors, infeasible


def server(name: str, replicas: int, **more: Any) -> ServerView:
    given: dict[str, Any] = {
        "wanted": replicas,
        "idle": 100.0,
        "full": 300.0,
        "load": 0.0,
        "places": {"d": 1.0},
    }
    return ServerView(name, replicas, **given | more)


def view(watts: float, *servers: ServerView, grow: float | None = None, **more: bool) -> View:
    return View((Room("d", watts, watts if grow is None else grow, **more),), servers)


def test_removing_replicas_moves_their_load_to_the_rest() -> None:
    one = server("a", 10, load=1000.0)
    assert [one.watts(n) for n in (10, 6, 5, 4, 0)] == [2000.0, 1600.0, 1500.0, 1200.0, 0.0]


def test_the_least_important_sheds_first_and_one_after_the_other_within_its_priority() -> None:
    three = (server("gold", 8, priority=1), server("a", 8), server("b", 4))
    found = filtered(view(1500.0, *three, at_once=True), {})
    assert found.replicas == {"gold": 8, "a": 3, "b": 4}
    assert found.watts == {"d": 1500.0}
    assert found.short == {}


def test_who_has_lost_something_or_makes_fewer_tokens_of_a_watt_goes_first() -> None:
    keen = server("keen", 8, tokens=100.0)
    slow = server("slow", 8, tokens=50.0)
    assert filtered(view(1100.0, keen, slow, at_once=True), {}).replicas == {"keen": 8, "slow": 3}
    lost = server("keen", 7, tokens=100.0, wanted=8)
    assert filtered(view(1100.0, lost, slow, at_once=True), {}).replicas == {"keen": 3, "slow": 8}


def test_who_goes_does_not_hang_on_the_order_of_a_set() -> None:
    rooms = ("a", "b", "c")
    weights = [dict(zip(rooms, each, strict=True)) for each in ((0.1, 0.2, 0.3), (0.3, 0.2, 0.1))]
    there = server("s", 2, groups=tuple(Group(1, one) for one in weights))
    for over in permutations(rooms):
        spread = Spread(there)
        assert spread.take(over)
        assert spread.went == [0]


def test_where_load_moves_to_the_less_important_go_first_too() -> None:
    """What `both` leaves in b moves to a, where `bulk` has gone its step and `gold` would be next."""
    both = server("both", 6, priority=1, load=600.0, groups=(Group(3, {"a": 1.0}), Group(3, {"b": 1.0})))
    both = replace(both, places={"a": 0.5, "b": 0.5})
    gold = server("gold", 3, priority=1, places={"a": 1.0})
    bulk = server("bulk", 5, places={"a": 1.0})
    there = View((Room("a", 400.0, 400.0), Room("b", 500.0, 500.0)), (both, gold, bulk))
    found = filtered(there, {})
    assert found.replicas == {"both": 5, "gold": 3, "bulk": 3}
    at_once = replace(there, rooms=tuple(replace(room, at_once=True) for room in there.rooms))
    assert filtered(at_once, {}).replicas["bulk"] == 0


def test_nobody_goes_below_the_goal_because_the_step_of_another_is_short() -> None:
    both = (server("a", 8), server("b", 8))
    there = view(1200.0, *both)
    goal = filtered(there, {}, Steps(1.0, 100)).replicas
    assert goal == {"a": 4, "b": 8}
    assert filtered(there, {}, goal=goal).replicas == {"a": 6, "b": 8}


def test_nobody_grows_beyond_its_goal() -> None:
    roomy = view(9e9, server("a", 6, wanted=8), server("b", 4, wanted=8))
    assert filtered(roomy, {}, goal={"a": 4, "b": 5}).replicas == {"a": 6, "b": 5}


def test_what_is_protected_and_floors_stay_and_what_is_short_is_said() -> None:
    both = (server("a", 8, protected=True), server("b", 8, least=3))
    found = filtered(view(500.0, *both, at_once=True), {"a": 0, "b": 0})
    assert found.replicas == {"a": 8, "b": 3}
    assert found.short == {"d": 600.0}
    assert floors(view(500.0, *both)) == {"d": 1100.0}
    assert infeasible(view(500.0, *both)) == (
        "d: least replicas and protection draw 1,100 W, 500 W are left for them: "
        "raise the budget, or lower minimums or protection",
    )
    assert infeasible(view(1100.0, *both)) == ()


def test_what_an_algorithm_takes_goes_from_the_least_important_first() -> None:
    both = (server("gold", 8, priority=1), server("bulk", 8))
    asked = {"gold": 4, "bulk": 2}
    tight = view(700.0, *both)
    assert filtered(tight, asked).replicas == {"gold": 8, "bulk": 6}
    late = view(850.0, both[0], server("bulk", 2, wanted=8))
    assert filtered(late, asked).replicas == {"gold": 6, "bulk": 2}
    now = view(700.0, *both, at_once=True)
    assert filtered(now, asked).replicas == asked


def test_steps_bound_how_many_go_at_once() -> None:
    found = filtered(view(0.0, server("a", 8), server("b", 1)), {})
    assert found.replicas == {"a": 6, "b": 0}
    assert found.short == {"d": 600.0}


def test_the_important_wait_until_the_rest_is_at_its_floor() -> None:
    both = (server("gold", 8, priority=1), server("a", 8, least=1))
    assert filtered(view(0.0, *both), {}).replicas == {"gold": 8, "a": 6}
    assert filtered(view(0.0, server("gold", 8, priority=1), server("a", 1, least=1)), {}).replicas == {
        "gold": 6,
        "a": 1,
    }


def test_growth_wants_room_and_is_given_up_before_anything_is_shed() -> None:
    growing = (server("a", 4, wanted=8), server("b", 4))
    assert filtered(view(1000.0, *growing), {}).replicas == {"a": 5, "b": 4}
    assert filtered(view(1000.0, *growing, grow=850.0), {}).replicas == {"a": 4, "b": 4}
    assert filtered(view(1000.0, *growing, frozen=True), {}).replicas == {"a": 4, "b": 4}


def test_the_user_s_own_maximum_wins_even_over_what_there_is() -> None:
    assert filtered(view(9e9, server("a", 8, most=5, least=7)), {"a": 99}).replicas == {"a": 5}


@pytest.mark.parametrize("asked", [{"a": math.nan}, {"a": math.inf}, {"a": "many"}, {"a": True}, {"a": [1]}])
def test_what_is_no_number_is_passed_over_and_said(asked: dict[str, object]) -> None:
    found = filtered(view(9e9, server("a", 4)), asked)
    assert found.replicas == {"a": 4}
    assert "is no number of replicas" in found.notes[0]
    assert "there is no server x" in filtered(view(1.0), {"x": 3}).notes[0]


ROOMS = ("d", "r1", "r2")


@st.composite
def servers(draw: st.DrawFn, name: str) -> ServerView:
    share = draw(st.sampled_from([0.0, 0.5, 1.0]))
    idle = draw(st.floats(0.0, 300.0))
    return ServerView(
        name=name,
        replicas=draw(st.integers(0, 30)),
        wanted=draw(st.integers(0, 30)),
        least=draw(st.integers(0, 5)),
        most=draw(st.integers(0, 40)),
        priority=draw(st.sampled_from([1, 50, 100])),
        protected=draw(st.sampled_from([False, False, True])),
        idle=idle,
        full=idle + draw(st.floats(0.0, 500.0)),
        load=draw(st.floats(0.0, 4000.0)),
        tokens=draw(st.floats(0.0, 1e5)),
        places={"d": 1.0, "r1": share, "r2": 1.0 - share},
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    count = draw(st.integers(1, 5))
    rooms = []
    for name in ROOMS:
        watts = draw(st.floats(0.0, 20000.0))
        grow = watts * draw(st.sampled_from([0.5, 0.9, 1.0]))
        rooms.append(Room(name, watts, grow, draw(st.booleans()), draw(st.booleans())))
    return View(tuple(rooms), tuple(draw(servers(f"s{i}")) for i in range(count)))


STEPS = st.builds(Steps, share=st.floats(0.05, 1.0), least=st.integers(1, 3))
ASKED = st.dictionaries(
    st.sampled_from(["s0", "s1", "s2", "s9"]),
    st.one_of(st.integers(-5, 10**12), st.floats(), st.text(max_size=3), st.none()),
)


@given(views(), ASKED, STEPS)
def test_the_promises(seen: View, asked: dict[str, object], steps: Steps) -> None:
    found = filtered(seen, asked, steps)
    open_ = tuple(replace(r, watts=math.inf, grow=math.inf) for r in seen.rooms)
    free = filtered(replace(seen, rooms=open_), asked, steps)
    assert set(found.replicas) == {s.name for s in seen.servers}
    lows = {}
    for s in seen.servers:
        mine = [r for r in seen.rooms if s.places[r.name] > 0]
        frozen, at_once = any(r.frozen for r in mine), any(r.at_once for r in mine)
        n, step = found.replicas[s.name], steps.of(s.replicas)
        assert min(s.least, s.most) <= n <= s.most
        if s.protected:
            assert n >= min(s.replicas, s.most)
        if n < s.replicas - step:
            assert at_once or n == s.most
        if n > s.replicas + (0 if frozen else step) and n != min(s.floor, s.most):
            whole = seen.drawn({o.name: max(o.ceiling, o.floor) for o in seen.servers})
            if frozen:  # the less important pay
                assert any(
                    found.replicas[o.name] < o.replicas for o in seen.servers if o.priority > s.priority
                )
                assert n <= s.replicas + step
            else:
                assert all(whole[r.name] <= min(r.grow, r.watts) + FIT for r in mine)
        low = s.floor if at_once else max(s.floor, s.replicas - step)
        lows[s.name] = min(low, s.most)
    drawn = seen.drawn(found.replicas)
    for room in seen.rooms:
        holds = drawn[room.name] <= room.watts + 1e-3
        inside = [s for s in seen.servers if s.places[room.name] > 0]
        waits = [s.priority for s in inside if found.replicas[s.name] > max(s.floor, 0)]
        for s in inside:  # what is over may go no further in this step, or waits for the less important
            done = found.replicas[s.name] <= lows[s.name]
            assert holds or done or max(waits) > s.priority
        for s in inside:
            if found.replicas[s.name] < min(s.replicas, free.replicas[s.name]):  # it sheds
                rest = [o for o in inside if o.priority > s.priority and o.places == s.places]
                assert all(found.replicas[o.name] <= max(o.floor, 0) for o in rest)
        assert holds or found.short[room.name] == pytest.approx(drawn[room.name] - room.watts)
        # What grew found room to grow.
        grew = any(
            found.replicas[s.name] > max(s.replicas, lows[s.name]) and s.places[room.name] > 0
            for s in seen.servers
        )
        now = seen.drawn({})[room.name]
        most = now if room.frozen else max(min(room.grow, room.watts), now)
        assert not grew or drawn[room.name] <= min(most, room.watts) + 1e-3


def test_the_less_important_pay_for_the_growth_of_the_more_important() -> None:
    gold, bulk = server("gold", 4, priority=1, wanted=6), server("bulk", 8)
    full = view(2000.0, gold, bulk, grow=1200.0, frozen=True)
    assert filtered(full, {}).replicas == {"gold": 5, "bulk": 7}
    assert filtered(full, {}, Steps(1.0, 100)).replicas == {"gold": 6, "bulk": 6}
    assert filtered(view(2000.0, gold, grow=400.0, frozen=True), {}).replicas == {"gold": 4}
    dark = view(math.inf, gold, bulk, grow=1200.0, frozen=True)  # nobody knows what is drawn
    assert filtered(dark, {}).replicas == {"gold": 4, "bulk": 8}
    some = msgspec.structs.replace(gold, needed=5)  # the other is for what may come
    assert filtered(view(2000.0, some, bulk, frozen=True), {}, Steps(1.0, 100)).replicas == {
        "gold": 5,
        "bulk": 7,
    }
    tight = view(2000.0, some, bulk, grow=1200.0)
    assert filtered(tight, {}, Steps(1.0, 100)).replicas == {"gold": 5, "bulk": 7}
    roomy = view(2000.0, some, bulk, grow=1400.0)
    assert filtered(roomy, {}, Steps(1.0, 100)).replicas == {"gold": 6, "bulk": 8}
    mid = server("mid", 2, priority=50)  # it waits until the least important has gone its steps
    three = view(math.inf, gold, mid, server("bulk", 2), grow=0.0)
    assert filtered(three, {}, Steps(0.0, 1)).replicas == {"gold": 5, "mid": 2, "bulk": 1}
    equals = view(2000.0, server("a", 4, wanted=6), server("b", 8), frozen=True)
    assert filtered(equals, {}).replicas == {"a": 4, "b": 8}


def one_room(seen: View, watts: float) -> View:
    return replace(
        seen,
        rooms=(Room("d", watts, 0.9 * watts),),
    )


@given(views(), STEPS, st.floats(0.0, 20000.0), st.floats(0.0, 1.0))
def test_of_one_room_a_lower_budget_never_leaves_more_watts(
    seen: View, steps: Steps, watts: float, share: float
) -> None:
    more = filtered(one_room(seen, watts), {}, steps).watts["d"]
    less = filtered(one_room(seen, share * watts), {}, steps).watts["d"]
    assert less <= more + FIT


@pytest.mark.parametrize("name", BUILT_IN)
@given(seen=views(), watts=st.floats(0.0, 20000.0), share=st.floats(0.0, 1.0))
def test_algorithms_fit_keep_floors_and_give_no_more_for_less(
    name: str, seen: View, watts: float, share: float
) -> None:
    algorithm: Callable[[View], dict[str, int]] = BUILT_IN[name]  # type: ignore[assignment]
    given = algorithm(seen)
    least = floors(seen)
    for room in seen.rooms:
        assert seen.drawn(given)[room.name] <= max(room.watts, least[room.name]) + 1e-3
    for s in seen.servers:
        assert s.floor <= given[s.name] <= max(s.floor, s.ceiling)
    more, less = algorithm(one_room(seen, watts)), algorithm(one_room(seen, share * watts))
    assert all(less[s] <= more[s] for s in more)
