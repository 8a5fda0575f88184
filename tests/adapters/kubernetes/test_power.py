"""What nodes and pods can draw, and the domains that their labels tell of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flyball.adapters.kubernetes.governed import DEPLOYMENT, Cluster, Governed, PodState
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.kubernetes.power import (
    RACK,
    Hardware,
    HostDraw,
    batch_use,
    placed_pods,
    pod_places,
    power_nodes,
)
from flyball.adapters.kubernetes.power_domains import domains_of
from flyball.power.tree import tree_of
from flyball.power.watch import Seen, watch
from flyball.profiles import library
from flyball.spec.accelerator import Accelerator, PowerCurve
from flyball.spec.fleet import Fleet
from flyball.spec.power import DeviceDraw, DeviceProfile, Domain, PlacedPod, PowerNode, PowerReading, Slot
from flyball.spec.profile import FlatTiming, Profile
from flyball.spec.server import Server
from flyball.spec.snapshot import Observation, Reading
from flyball.testing.cluster import H100, Object, listing, lone_pod, node, pod_of, workload

CARDS = {card.name: card for card in library.cards()}
PLAIN = HostDraw(100.0, 500.0, 0.0, 0.0, 0.0, 0.0, 0.5)
HARDWARE = Hardware(Library().card_type, CARDS, host=PLAIN)


def nodes(
    *objects: Object, pods: tuple[Object, ...] = (), hardware: Hardware = HARDWARE, everywhere: bool = True
) -> tuple[dict[str, PowerNode], tuple[str, ...]]:
    listed = listing(pods=pods, nodes=objects)
    return power_nodes(listed.nodes or (), listed.pods, hardware, everywhere)


def amounts(name: str, product: str, labels: dict[str, str] | None = None, **of: int) -> Object:
    """A node with such resources, whose names have no prefix here."""
    one = node(name, product, labels=labels)
    one["status"]["allocatable"] = {"cpu": "128", **{f"nvidia.com/{key}": str(n) for key, n in of.items()}}
    return one


def test_a_node_with_its_cards_used_and_idle() -> None:
    chat = workload(resources={"nvidia.com/gpu": "2"})
    pods = (pod_of(chat, node="a"), lone_pod("train", "a", 3), pod_of(chat, 1, state="unschedulable"))
    found, notes = nodes(node("a"), node("b", ready=False), pods=pods)
    a, b = found["a"], found["b"]
    card = CARDS["H100"]
    assert (a.cards, a.cards_used, a.card_most) == (8, 5, card.tdp)
    assert a.most == 500.0 + 5 * card.tdp + 3 * a.card_idle
    assert a.card_idle == pytest.approx(0.17 * card.tdp)
    assert (b.cards, b.cards_used) == (8, 0)  # it is not ready, and draws
    assert (a.host_idle, a.host_most, a.host_other) == (100.0, 500.0, 250.0)
    assert notes == ()


def test_what_pods_of_other_namespaces_use_is_not_known() -> None:
    found, _ = nodes(node("a"), everywhere=False)
    assert found["a"].cards_used is None
    assert found["a"].most == 500.0 + 8 * CARDS["H100"].tdp


@pytest.mark.parametrize(
    ("one", "cards"),
    [
        (amounts("n", f"{H100}-MIG-1g.10gb", gpu=56), 8),
        (amounts("n", f"{H100}-MIG-2g.20gb", gpu=9), 3),
        (amounts("n", f"{H100}-MIG-7g.80gb", gpu=8), 8),
        (amounts("n", H100, {"nvidia.com/gpu.count": "8"}, **{"gpu": 6, "mig-1g.10gb": 14}), 8),
        (amounts("n", f"{H100}-SHARED", {"nvidia.com/gpu.count": "8"}, gpu=32), 8),
        (amounts("n", f"{H100}-SHARED", gpu=32), 32),
    ],
)
def test_parts_of_cards_are_counted_as_whole_ones_any_of_which_may_work(one: Object, cards: int) -> None:
    found, notes = nodes(one, pods=(lone_pod("small", "n", 1),))
    assert (found["n"].cards, found["n"].cards_used) == (cards, None)
    assert found["n"].card_most == CARDS["H100"].tdp
    assert notes == ()


def test_an_unknown_card_draws_the_most_of_any() -> None:
    found, notes = nodes(node("a", "NVIDIA-H10"), node("b", ""))
    most = max(card.tdp for card in CARDS.values())
    assert {n.card_most for n in found.values()} == {most}
    assert notes[0].startswith("2 nodes have cards of which it is not known what they draw, such as a")


def test_profiles_go_before_the_catalogue() -> None:
    own = (
        DeviceProfile("H100", 650.0, 70.0, 120.0),
        DeviceProfile(H100, 600.0, 80.0, 120.0, "m", 4, (DeviceDraw("prefill", 8, 690.0),)),
        DeviceProfile("p5.48xlarge", 3000.0, 900.0, 900.0),
    )
    labels = {"node.kubernetes.io/instance-type": "p5.48xlarge"}
    found, notes = nodes(node("a", labels=labels), hardware=replace(HARDWARE, profiles=own))
    a = found["a"]
    assert (a.card_idle, a.card_most, a.host_idle, a.host_most) == (70.0, 690.0, 900.0, 3000.0)
    other, _ = nodes(
        node("b", "NVIDIA-Q7"), hardware=replace(HARDWARE, profiles=(replace(own[0], product="NVIDIA-Q7"),))
    )
    assert (other["b"].card_idle, other["b"].card_most) == (70.0, 650.0)
    assert notes == ()


def test_hosts_as_they_are_sold_are_within_the_defaults() -> None:
    """Nameplates: 10.2 kW with 8 H100, 6.5 kW with 8 A100; idle 2.8 and 1.5 kW, cards included."""
    hardware = replace(HARDWARE, host=HostDraw())
    found, _ = nodes(node("h"), node("a", "NVIDIA-A100-SXM4-80GB"), node("cpu", "", 0), hardware=hardware)
    assert found["h"].host_most >= 10_200.0 - 8 * 700.0
    assert found["a"].host_most >= 6_500.0 - 8 * 400.0
    assert found["h"].host_idle <= 2_800.0 - 8 * 75.0
    assert found["a"].host_idle <= 1_500.0 - 8 * 63.0
    assert (found["cpu"].cards, found["cpu"].host_most) == (0, 500.0 + 6.0 * 128)


def test_racks_of_nodes_without_a_label() -> None:
    hardware = replace(HARDWARE, racks={"a": "r1", "b": "r9"})
    found, _ = nodes(node("a"), node("b", labels={RACK: "r2"}), hardware=hardware)
    assert (found["a"].labels[RACK], found["b"].labels[RACK]) == ("r1", "r2")


# ---- pods ----------------------------------------------------------------------------------------

CURVE = PowerCurve(100.0, 700.0, 400.0, 0.4)
FLEET = Fleet(
    accelerators=(Accelerator("H100", "H100", 1, power=CURVE), Accelerator("L4", "L4", 1)),
    profiles=(Profile("llama", "H100", FlatTiming(0.01, 0.001), accelerator_count=2),),
    servers=(Server("chat", "llama"),),
)


def governed(states: list[PodState], replicas: int, **more: Any) -> Governed:
    base = {"server": "chat", "accelerator": "H100", "kind": DEPLOYMENT, "namespace": "infer", "name": "chat"}
    about = {"uid": "u", "resource_version": "1", "mode": "act", "replicas": replicas}
    return Governed(**{**base, **about, "pods": tuple(states), **more})  # type: ignore[arg-type]


def placed(
    states: list[PodState], replicas: int, utilization: dict[str, float] | None = None, **more: Any
) -> dict[str, PlacedPod]:
    cluster = Cluster(FLEET, (governed(states, replicas, **more),), {})
    return {pod.name: pod for pod in placed_pods(cluster, utilization)}


def ready(name: str, since: float = 100.0) -> PodState:
    return PodState(name, "ready", node="a", ready_for=since)


def test_pods_in_all_their_states() -> None:
    states = [
        ready("old", 900.0),
        ready("new", 5.0),
        PodState("coming", "pending", node="b"),
        PodState("going", "draining", node="a"),
    ]
    rollout = placed(states, 1, {"chat": 0.4})
    assert {pod.name: pod.phase for pod in rollout.values()} == {
        "infer/old": "running",
        "infer/new": "surge",
        "infer/coming": "surge",
        "infer/going": "terminating",
    }
    assert {(p.idle, p.load, p.most) for p in rollout.values()} == {(400.0, 400.0, 1400.0)}
    growing = placed(states, 3, {"chat": 0.4})
    assert [growing[f"infer/{n}"].phase for n in ("old", "new", "coming")] == [
        "running",
        "running",
        "pending",
    ]
    assert growing["infer/coming"].load == 0.0
    assert growing["infer/coming"].node == "b"


def test_load_that_is_not_known_is_none_of_those_that_stay_and_all_of_those_that_go() -> None:
    found = placed([ready("a", 900.0), ready("b"), PodState("c", "draining", node="a")], 1)
    assert [found[f"infer/{n}"].load for n in "abc"] == [0.0, 1000.0, 1000.0]


@given(share=st.floats(0.0, 1.5))
def test_load_is_between_nothing_and_the_most(share: float) -> None:
    one = placed([ready("a")], 1, {"chat": share})["infer/a"]
    assert 0.0 <= one.load <= one.most - one.idle


def test_an_accelerator_without_a_curve_draws_nothing_that_is_known() -> None:
    for accelerator in ("L4", "unknown"):
        one = placed([ready("a")], 1, {"chat": 0.5}, accelerator=accelerator)["infer/a"]
        assert (one.idle, one.load, one.most) == (0.0, 0.0, 0.0)


def test_a_profile_of_the_model_goes_before_the_curve() -> None:
    cluster = Cluster(FLEET, (governed([ready("a")], 1),), {})
    table = (DeviceDraw("decode", 64, 380.0),)
    own = DeviceProfile("H100", 700.0, 72.0, 120.0, "llama", 0, table)
    other = replace(own, model="qwen", table=())
    (one,) = placed_pods(cluster, {"chat": 0.5}, (other, own))
    assert (one.idle, one.load, one.most) == (240.0, 260.0, 760.0)


def test_the_share_of_the_batch_in_use() -> None:
    one = governed([ready("a"), ready("b"), PodState("c", "pending")], 3, max_batch_size=64)
    cluster = Cluster(FLEET, (one, replace(one, server="idle", pods=())), {})
    seen = [Observation(name, running=Reading(32.0)) for name in ("chat", "idle", "other")]
    assert batch_use(cluster, [*seen, Observation("silent")]) == {"chat": 0.25}


def test_where_pods_are() -> None:
    pods = listing(pods=(lone_pod("train", "a", 3), lone_pod("web", "b", 0))).pods
    assert pod_places(pods) == (
        {("others", "train"): "a", ("others", "web"): "b"},
        frozenset({("others", "train")}),
    )


# ---- domains -------------------------------------------------------------------------------------


def racked(**racks: str) -> list[PowerNode]:
    return [PowerNode(name, {RACK: rack} if rack else {}) for name, rack in racks.items()]


def test_racks_that_nobody_wrote_are_watched_and_the_cluster_has_all() -> None:
    there = racked(a="r1", b="r2", c="")
    found = domains_of((), {}, there)
    assert [(d.name, d.level, d.watts, d.parent) for d in found] == [
        ("cluster", "Cluster", None, ""),
        ("rack-r1", "Rack", None, ""),
        ("rack-r2", "Rack", None, ""),
    ]
    tree = tree_of(found, there)
    assert tree.errors == {}
    assert tree.nodes == {"cluster": ("a", "b", "c"), "rack-r1": ("a",), "rack-r2": ("b",)}


def test_written_racks_and_a_written_cluster_stay_alone() -> None:
    written = (Domain("all", "Cluster", watts=9e4), Domain("mine", "Rack", labels={RACK: "r1"}, watts=4e4))
    found = domains_of(written, {}, racked(a="r1", b="r2"))
    assert [d.name for d in found] == ["all", "mine", "rack-r2"]


def test_each_discovered_rack_has_the_budget_and_their_sum_has_none() -> None:
    slot = Slot(0.0, 3600.0, 3e4, True)
    racks = Domain("racks", "Row", watts=4e4, schedule=(slot,), breaker=44e3, ungoverned=400.0)
    there = racked(a="r1", b="r2")
    found = {d.name: d for d in domains_of((racks,), {"racks": RACK}, there)}
    assert sorted(found) == ["cluster", "racks", "racks-r1", "racks-r2"]
    one, whole = found["racks-r1"], found["racks"]
    assert (one.watts, one.schedule, one.breaker, one.parent) == (4e4, (slot,), 44e3, "racks")
    assert (whole.watts, whole.schedule, whole.breaker, whole.ungoverned) == (None, (), None, 0.0)
    assert tree_of(found.values(), there).nodes["racks"] == ("a", "b")


def test_what_was_listed_and_read_is_what_is_watched() -> None:
    chat = workload()
    states = (pod_of(chat, 0, "a"), pod_of(chat, 1, "a"))
    there, _ = nodes(node("a", labels={RACK: "r1"}), pods=states)
    cards = [PowerReading("dcgm", "card", "a", 150.0, 5.0, device=f"GPU-{i}") for i in range(8)]
    whole = PowerReading("redfish", "whole", "a", 2000.0, 5.0, 0.03)
    pods = tuple(placed([ready("x"), ready("y")], 2, {"chat": 0.0}).values())
    tree = tree_of(domains_of((), {}, there.values()), there.values())
    _, found = watch(tree, Seen(there, (*cards, whole), pods), {}, 0.0, 60.0)
    reading = found["rack-r1"].reading
    assert (reading.known.watts, reading.known.complete) == (2000.0, True)
    assert (reading.governed, reading.ungoverned) == (400.0, 1600.0)
