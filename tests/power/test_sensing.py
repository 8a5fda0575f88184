"""Sums of readings: one zone once, parts under the whole, and the upper bound for what is not known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.power.sensing import domain_reading, node_watts, pod_watts
from flyball.power.tree import lowest, tree_of
from flyball.spec.power import Domain, Known, PlacedPod, PowerNode, PowerReading

NODE = PowerNode(
    "n1",
    {"rack": "a"},
    2,
    host_idle=300.0,
    host_most=1000.0,
    host_other=200.0,
    card_idle=70.0,
    card_most=700.0,
)


def card(watts: float | None, device: str, source: str = "dcgm", **more: float) -> PowerReading:
    return PowerReading(source, "card", "n1", watts, device=device, **more)  # type: ignore[arg-type]


def cpu(watts: float, zone: str, device: str = "0", source: str = "kepler") -> PowerReading:
    return PowerReading(source, "cpu", "n1", watts, zone=zone, device=device)  # type: ignore[arg-type]


CARDS = (card(400.0, "a"), card(300.0, "b"))


def test_cards_and_one_zone_of_the_cpu_add_up() -> None:
    zones = [cpu(180.0, "package", "0"), cpu(170.0, "package", "1"), cpu(100.0, "core"), cpu(60.0, "dram")]
    known, notes = node_watts(NODE, [*CARDS, *zones])
    assert known.watts == pytest.approx(400 + 300 + 180 + 170 + 200)
    assert known.complete
    assert notes == ()
    independent = math.sqrt(sum((0.05 * w) ** 2 for w in (400, 300, 180, 170)))
    assert known.error == pytest.approx(independent / known.watts)


def test_a_reading_that_comes_twice_counts_once_and_the_youngest_holds() -> None:
    old = card(500.0, "a", age=30.0)
    known, _ = node_watts(NODE, [*CARDS, old, cpu(300.0, "package")])
    assert known.watts == pytest.approx(700 + 300 + 200)


@pytest.mark.parametrize("absent", [None, 0.0, -5.0, math.nan, math.inf])
def test_absent_and_zero_are_unknown_and_the_bound_counts(absent: float | None) -> None:
    known, notes = node_watts(NODE, [card(400.0, "a"), card(absent, "b"), cpu(300.0, "package")])
    assert not known.complete
    assert known.watts == pytest.approx(400 + 700 + 300 + 200)
    assert known.least == pytest.approx(400 + 300)
    assert notes == ("n1: 1 of 2 cards are not measured",)


def test_what_is_stale_is_unknown() -> None:
    known, _ = node_watts(NODE, [card(400.0, "a", age=61.0), card(300.0, "b", age=59.0)])
    assert known.watts == pytest.approx(700 + 300 + 1000)
    assert known.age == 59.0


def test_a_card_that_no_pod_uses_is_bounded_by_its_idle_draw() -> None:
    idle = PowerNode("n1", {}, 2, 1, 300.0, 1000.0, 200.0, 70.0, 700.0)
    assert node_watts(idle, [])[0].watts == pytest.approx(1000 + 700 + 70) == idle.most


@pytest.mark.parametrize("watts", [5000.0, 20.0])
def test_what_the_hardware_cannot_draw_is_not_believed(watts: float) -> None:
    known, notes = node_watts(NODE, [card(watts, "a"), card(300.0, "b"), cpu(300.0, "package")])
    assert known.watts == pytest.approx(700 + 300 + 300 + 200)
    assert "which the hardware cannot draw" in notes[0]


def test_sources_that_differ_are_told_and_the_larger_counts() -> None:
    kepler = [card(500.0, "a", "kepler"), card(400.0, "b", "kepler")]
    known, notes = node_watts(NODE, [*CARDS, *kepler, cpu(300.0, "package")])
    assert known.watts == pytest.approx(900 + 300 + 200)
    assert notes == ("n1's cards: dcgm says 700 W, kepler 900 W: the larger counts",)
    near = [card(420.0, "a", "kepler"), card(320.0, "b", "kepler")]
    known, notes = node_watts(NODE, [*CARDS, *near, cpu(300.0, "package")])
    assert (known.watts, notes) == (pytest.approx(700 + 300 + 200), ())


def test_a_whole_goes_before_its_parts_and_parts_that_are_more_before_it() -> None:
    whole = PowerReading("redfish", "whole", "n1", 1500.0)
    assert node_watts(NODE, [*CARDS, cpu(300.0, "package"), whole])[0].watts == 1500.0
    low = PowerReading("redfish", "whole", "n1", 800.0)
    known, notes = node_watts(NODE, [*CARDS, cpu(300.0, "package"), low])
    assert known.watts == pytest.approx(1200)
    assert "more than its whole" in notes[0]


DOMAINS = (
    Domain("site", "Site", ungoverned=500.0),
    Domain("rack-a", "Rack", "site", {"rack": "a"}),
    Domain("rack-b", "Rack", "site", {"rack": "b"}),
    Domain("feed", "Feed", labels={"feed": "1"}),
)
NODES = (
    NODE,
    PowerNode("n2", {"rack": "b", "feed": "1"}, 0, host_idle=100.0, host_most=400.0),
    PowerNode("n3", {}, 0, host_most=100.0),
)


def test_a_node_is_in_all_domains_above_it_and_in_other_trees() -> None:
    tree = tree_of(DOMAINS, NODES)
    assert tree.nodes == {"feed": ("n2",), "site": ("n1", "n2"), "rack-a": ("n1",), "rack-b": ("n2",)}
    assert tree.above["n2"] == ("feed", "site", "rack-b")
    assert (lowest(tree, "n2"), lowest(tree, "n3")) == ("rack-b", None)
    assert tree_of([Domain("all")], NODES).nodes["all"] == ("n1", "n2", "n3")


def test_domains_that_hang_in_the_air_are_left_out_and_named() -> None:
    wrong = (Domain("x", parent="y"), Domain("y", parent="x"), Domain("z", parent="nowhere"))
    tree = tree_of((*DOMAINS, *wrong, Domain("feed", "Row")), NODES)
    assert set(tree.domains) == {d.name for d in DOMAINS}
    assert set(tree.errors) == {"x", "y", "z", "feed"}
    assert "which is not there" in tree.errors["z"]
    assert tree.domains["feed"].level == "Feed"


def test_a_domain_sums_its_nodes_and_says_what_is_governed() -> None:
    tree = tree_of(DOMAINS, NODES)
    readings = [*CARDS, cpu(300.0, "package"), PowerReading("redfish", "whole", "n2", 200.0)]
    pods = [
        PlacedPod("p1", "chat", "n1", "running", idle=120.0, load=200.0),
        PlacedPod("p2", "chat", "n1", "pending", idle=120.0, load=200.0),
        PlacedPod("p3", "chat", "n1", "terminating", idle=100.0),
        PlacedPod("p4", "chat", "elsewhere", "running", idle=999.0),
    ]
    found = domain_reading(tree, "site", {n.name: n for n in NODES}, readings, pods)
    assert found.known.watts == pytest.approx(1200 + 200 + 500)
    assert (found.governed, found.committed) == (420.0, 100.0)
    assert found.ungoverned == pytest.approx(1900 - 420)
    assert found.known.error > 0.01  # that of all sensors together is in it


def test_a_meter_of_the_domain_counts_unless_its_nodes_draw_more() -> None:
    tree = tree_of(DOMAINS, NODES)
    nodes = {n.name: n for n in NODES}
    whole = PowerReading("redfish", "whole", "n2", 200.0)
    meter = PowerReading("redfish", "whole", "rack-b", 300.0, error=0.01)
    found = domain_reading(tree, "rack-b", nodes, [whole, meter])
    assert (found.known.watts, found.known.error) == (300.0, pytest.approx(0.02))
    assert domain_reading(tree, "rack-b", nodes, [meter]).known.complete  # its node need not be seen
    low = PowerReading("redfish", "whole", "rack-b", 100.0)
    found = domain_reading(tree, "rack-b", nodes, [whole, low])
    assert found.known.watts == 200.0
    assert "more than its meter" in found.notes[0]


def test_pods_are_never_above_their_node() -> None:
    readings = [
        PowerReading("kepler", "pod", "n1", 600.0, device="a/x"),
        PowerReading("kepler", "pod", "n1", 200.0, device="a/y"),
        PowerReading("dcgm", "pod", "n1", 900.0, device="a/x"),
    ]
    assert pod_watts(Known(1000.0, 1000.0, True), readings) == {"a/x": 600.0, "a/y": 200.0}
    assert pod_watts(Known(400.0, 400.0, True), readings) == {"a/x": 300.0, "a/y": 100.0}


SOURCES = st.sampled_from(["agent", "dcgm", "kepler", "redfish"])
WATTS = st.one_of(st.none(), st.floats(0.0, 3000.0))


@given(
    cards=st.lists(st.tuples(SOURCES, st.sampled_from(["a", "b", "c"]), WATTS), max_size=8),
    zones=st.lists(st.tuples(st.sampled_from(["package", "core", "dram"]), WATTS), max_size=6),
    whole=WATTS,
)
def test_a_node_is_never_above_what_it_can_draw_nor_below_what_is_measured(
    cards: list[tuple[str, str, float | None]], zones: list[tuple[str, float | None]], whole: float | None
) -> None:
    readings = [card(w, d, s) for s, d, w in cards]
    readings += [PowerReading("kepler", "cpu", "n1", w, zone=z) for z, w in zones]
    readings.append(PowerReading("redfish", "whole", "n1", whole))
    known, _ = node_watts(NODE, readings)
    assert known.least <= known.watts + 1e-9
    assert known.watts <= known.most + 1e-9
    # Three devices may be named where the node has two cards; none of them draws more than a card can.
    assert known.watts <= max(NODE.most * 1.25, 3 * 700.0 * 1.25 + 1250.0 + 200.0)
    if known.watts < NODE.most:
        assert known.least > 0.0


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.booleans(), st.floats(150.0, 1200.0)), min_size=1, max_size=6
    )
)
def test_each_node_counts_once_in_each_domain_that_it_is_in(racks: list[tuple[str, bool, float]]) -> None:
    nodes, readings = {}, []
    for i, (rack, fed, watts) in enumerate(racks):
        labels = {"rack": rack} | ({"feed": "1"} if fed else {})
        nodes[f"n{i}"] = PowerNode(f"n{i}", labels, host_idle=300.0, host_most=1000.0)
        readings += [PowerReading(s, "whole", f"n{i}", watts) for s in ("redfish", "agent")]  # type: ignore[arg-type]
    tree = tree_of(DOMAINS, nodes.values())
    found = {name: domain_reading(tree, name, nodes, readings).known.watts for name in tree.domains}
    for rack in "ab":
        assert found[f"rack-{rack}"] == pytest.approx(sum(w for r, _, w in racks if r == rack))
    assert found["feed"] == pytest.approx(sum(w for _, fed, w in racks if fed))
    assert found["site"] == pytest.approx(found["rack-a"] + found["rack-b"] + 500.0)
