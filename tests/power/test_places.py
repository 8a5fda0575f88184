"""Where replicas are: those go that are where it is too much, and new ones come where there is room."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from flyball.power.algorithms.built_in import oversubscription
from flyball.power.filter import filtered
from flyball.power.govern import Need, Power, PowerMemory
from flyball.power.limits import limits
from flyball.power.outcome import decided
from flyball.power.patience import REGROW
from flyball.power.spread import NEW, Spread
from flyball.power.view import Group, Room, ServerView, View, floors
from flyball.spec.power import (
    AbsoluteCap,
    Domain,
    PlacedPod,
    Policy,
    PowerNode,
    PowerReading,
    PowerSeen,
    PowerWorkload,
    Thermal,
)

EACH = 100.0


def racks(one: int, other: int, **more: object) -> ServerView:
    """A server with replicas of 100 W in two racks of a site."""
    count = one + other
    groups = (Group(one, {"site": 1.0, "r1": 1.0}), Group(other, {"site": 1.0, "r2": 1.0}))
    places = {"site": 1.0, "r1": one / count, "r2": other / count}
    given: dict[str, object] = {"wanted": count, "idle": EACH, "full": EACH}
    return ServerView("s", count, places=places, groups=groups, **given | more)  # type: ignore[arg-type]


def rooms(r1: float, r2: float, at_once: bool = True) -> tuple[Room, ...]:
    limits = {"site": r1 + r2, "r1": r1, "r2": r2}
    return tuple(Room(name, watts, watts, at_once=at_once) for name, watts in limits.items())


def test_what_has_to_go_from_a_rack_goes_from_that_rack() -> None:
    server = racks(2, 6)
    view = View(rooms(100.0, 1000.0), (server,))
    found = filtered(view, {})
    assert found.replicas == {"s": 7}  # in proportion four would have to go, to take one from the rack
    assert found.watts == {"site": 700.0, "r1": 100.0, "r2": 600.0}
    assert found.short == {}
    assert oversubscription(view) == {"s": 7}


def test_new_ones_come_where_there_is_room() -> None:
    server = racks(2, 2, wanted=6, lands={"site": 1.0, "r2": 1.0})
    view = View(rooms(200.0, 1000.0, at_once=False), (server,))
    assert filtered(view, {}).replicas == {"s": 6}
    assert oversubscription(view) == {"s": 6}
    here = racks(2, 2, wanted=6, lands={"site": 1.0, "r1": 1.0})
    assert filtered(View(rooms(200.0, 1000.0, at_once=False), (here,)), {}).replicas == {"s": 4}


def test_who_has_to_leave_a_room_does_not_grow_elsewhere_meanwhile() -> None:
    """More are asked for in all, and then none of those that are there would go."""
    server = racks(2, 2, wanted=6, lands={"site": 1.0, "r2": 1.0})
    found = filtered(View(rooms(100.0, 1000.0, at_once=True), (server,)), {})
    assert found.replicas == {"s": 3}
    assert found.went == {"s": (0,)}
    least = filtered(View(rooms(100.0, 1000.0, at_once=True), (replace(server, least=4),)), {})
    assert least.replicas["s"] >= 4
    assert "r1" in least.short


def test_floors_are_where_they_hurt_least() -> None:
    view = View(rooms(0.0, 0.0), (racks(2, 6, least=3),))
    assert floors(view) == {"site": 300.0, "r1": 0.0, "r2": 100.0}


def test_a_spread_counts_what_comes_and_goes() -> None:
    spread = Spread(racks(2, 1))
    assert spread.drawn() == {"site": 300.0, "r1": 200.0, "r2": 100.0}
    spread.add(NEW)
    assert spread.take(("r2",))  # of the two that help, the one that is on no node yet is no loss
    assert spread.take(("r2",))
    assert not spread.take(("r2",))
    assert spread.drawn()["r1"] == 200.0
    assert not spread.is_in("r2")


# ---- the same from what is seen -----------------------------------------------------------------


def seen(pods: dict[str, int], policy: Policy, watts: float = 900.0, now: float = 0.0) -> PowerSeen:
    """Two racks of a node each, with so many replicas of 100 W; the first may draw so much."""
    placed = tuple(
        PlacedPod(f"llm/{rack}-{i}", "s", rack, "running", "A", EACH, 0.0, EACH)
        for rack, count in pods.items()
        for i in range(count)
    )
    nodes = tuple(PowerNode(name, {"rack": name}, 20, pods[name], 0.0, 10.0, 0.0, 0.0, EACH) for name in pods)
    readings = tuple(PowerReading("agent", "whole", name, EACH * n, 0.0, 0.0) for name, n in pods.items())
    domains = (
        Domain("r1", "Rack", labels={"rack": "r1"}, watts=watts, floor=0.0, common_error=0.0),
        Domain("r2", "Rack", labels={"rack": "r2"}, watts=900.0, floor=0.0, common_error=0.0),
    )
    count = sum(pods.values())
    return PowerSeen(
        now,
        30.0,
        domains,
        (policy,),
        nodes,
        readings,
        placed,
        (PowerWorkload("s", "llm", replicas=count, least=1),),
    )


def test_a_policy_for_some_domains_leaves_the_budgets_of_others_alone() -> None:
    pods = {"r1": 10, "r2": 10}
    every = Policy("p", "llm", mode="Enforce")
    # Both are at 1,000 W; of 900 W 12 % are kept free before rises are known: three must go from each.
    for policy, most, goal in (
        (every, 15, 14),
        (Policy("p", "llm", mode="Enforce", domains=("r2",)), 17, 17),
    ):
        power = Power(seen(pods, policy), PowerMemory(), {"s": Need(20, 20)})
        given, plan, _ = decided(power, {"s": 20})
        assert given["s"] == most
        assert plan.caps[0].goal == goal


def test_who_has_shed_does_not_come_back_at_once() -> None:
    policy = Policy("p", "llm", mode="Enforce")
    memory, now, counts = PowerMemory(), 0.0, []
    pods = {"r1": 10, "r2": 4}
    for _ in range(40):
        power = Power(seen(pods, policy, 800.0, now), memory, {"s": Need(sum(pods.values()), 14)})
        given, _, memory = decided(power, {"s": 14})
        pods = {"r1": min(pods["r1"], given["s"] - 4), "r2": 4 + max(given["s"] - 4 - pods["r1"], 0)}
        counts.append(given["s"])
        now += 15.0
    least = counts.index(min(counts))
    waits = int(REGROW / 15.0)
    assert counts[: least + waits] == sorted(counts[: least + waits], reverse=True)
    assert counts[-1] > min(counts)


def test_who_gives_up_what_is_still_under_way_waits_too() -> None:
    pods, counts, memory = {"r1": 4, "r2": 4}, [], PowerMemory()
    for cycle, cap in enumerate((1400.0, 890.0, 1400.0)):  # it wants one more, which never comes
        policy = Policy("p", "llm", mode="Enforce", cap=AbsoluteCap(cap))
        power = Power(seen(pods, policy, now=15.0 * cycle), memory, {"s": Need(8, 9)})
        given, _, memory = decided(power, {"s": 9})
        counts.append(given["s"])
    assert counts == [9, 8, 8]
    assert memory.shed["s"].wait == REGROW


# ---- heat ---------------------------------------------------------------------------------------


def hall(pods: dict[str, int], most: float = 30.0, types: tuple[str, ...] = ("A",)) -> Power:
    """Three racks of a node of each type with 8 cards; 100 W in the first make a kelvin there."""
    warms = {
        "r1": {"r1": 0.010, "r2": 0.002, "r3": 0.0001},
        "r2": {"r1": 0.002, "r2": 0.004},
        "r3": {"r3": 0.002},
    }
    nodes = [
        PowerNode(f"{rack}-{type_}", {"rack": rack}, 8, pods[rack], 0.0, 10.0, 0.0, 0.0, EACH, type_)
        for rack in warms
        for type_ in types
    ]
    placed = [
        PlacedPod(f"llm/{rack}-{i}", "s", f"{rack}-A", "running", "A", EACH, 0.0, EACH)
        for rack, count in pods.items()
        for i in range(count)
    ]
    readings = [
        PowerReading("agent", "whole", n.name, EACH * pods[n.name[:2]] or 1.0, 0.0, 0.0) for n in nodes
    ]
    domains = [
        Domain(rack, "Rack", labels={"rack": rack}, thermal=Thermal(most, 18.0, by))
        for rack, by in warms.items()
    ]
    count = sum(pods.values())
    seen = PowerSeen(
        0.0,
        30.0,
        tuple(domains),
        (Policy("p", "llm", mode="Enforce"),),
        tuple(nodes),
        tuple(readings),
        tuple(placed),
        (PowerWorkload("s", "llm", replicas=count, least=1),),
    )
    return Power(seen, PowerMemory(), {"s": Need(count, count)})


def test_new_ones_prefer_racks_that_warm_the_warmest_inlets_least() -> None:
    assert hall({"r1": 4, "r2": 4, "r3": 4}).places.cool == ("r3-A", "r2-A")  # six of the 12 free cards
    assert hall({"r1": 0, "r2": 7, "r3": 8}).places.cool == ("r2-A", "r1-A")  # r3 has none, r2 only one
    assert hall({"r1": 2, "r2": 8, "r3": 8}).places.cool == ("r1-A",)
    power = hall({"r1": 4, "r2": 4, "r3": 4})
    burden = {rack: power.places.burden(f"{rack}-A") for rack in ("r1", "r2", "r3")}
    assert burden["r1"] > burden["r2"] > burden["r3"] > 0.0
    heat = [name for name in power.places.lands if name.startswith("heat ")]
    assert "heat r1" not in heat  # four of eight land in r2, which is no lever on it


def test_each_type_of_cards_has_its_cool_nodes() -> None:
    power = hall({"r1": 4, "r2": 4, "r3": 4}, types=("A", "B"))
    assert {name[-1] for name in power.places.cool} == {"A", "B"}
    made = limits(power)
    assert made is not None
    assert set(made.free) == {"A", "B"}
    assert all("r1" not in made.places[place] for free in made.free.values() for place in free)


def test_without_inlets_nothing_is_preferred() -> None:
    assert Power(seen({"r1": 4, "r2": 4}, Policy("p", "llm")), PowerMemory(), {}).places.cool == ()


def test_what_hardly_warms_an_inlet_neither_sheds_nor_waits_for_it() -> None:
    power = hall({"r1": 8, "r2": 0, "r3": 4}, most=25.0)  # r1 is at 26 degrees
    assert power.inlets["r1"] == pytest.approx(26.04, abs=0.01)
    given, plan, _ = decided(power, {"s": 16})
    assert set(plan.hot) == {"r1-A"}
    assert plan.cool == ("r3-A", "r2-A")
    assert plan.caps[0].reason == "r1: its inlet comes to 26.0 degrees"
    assert {name.split("-")[0] for name in (pod.removeprefix("llm/") for pod in plan.caps[0].leave)} == {"r1"}
    # Of its 12 one or two go from r1, and what is new lands elsewhere: all in all it is as many at least.
    assert given["s"] >= 10
    held = {room.name: room for room in power.rooms}
    without = 18.0 + 0.0001 * EACH * 4  # r3 is no lever: what it makes is off the margin
    assert held["heat r1"].watts == pytest.approx(25.0 - without, abs=0.01)
