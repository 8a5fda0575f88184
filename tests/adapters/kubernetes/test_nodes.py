"""Nodes and their cards, which templates may go where, and what capacity is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.adapters.kubernetes.capacity import within_quotas
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.kubernetes.nodes import Pool, product_values
from flyball.adapters.kubernetes.objects import PodSpec
from flyball.testing.cluster import Object, listing, lone_pod, node, pod_of, quota, workload

A100, MI300X = "NVIDIA-A100-SXM4-80GB", "AMD_Instinct_MI300X_OAM"
AMD: dict[str, Any] = {"label": "amd.com/gpu.product-name", "resource": "amd.com/gpu"}


def pool(*nodes: Object) -> Pool:
    return Pool(listing(nodes=nodes).nodes or (), Library().card_type)


def template(**fields: Any) -> PodSpec:
    return msgspec.convert(fields, PodSpec)


def affinity(key: str, operator: str, *values: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"nodeAffinity": required}


def test_cards_of_nodes_by_their_labels() -> None:
    found = pool(
        node("a"),
        node("b", A100, 4),
        node("c", MI300X, **AMD),
        node("d", "", labels={"flyball.dev/accelerator": "L40S"}),
        node("e", "nvidia-l4", 2, label="cloud.google.com/gke-accelerator"),
        node("f", "", 0),
    )
    types = {name: (cards.type, cards.resource, cards.count) for name, cards in found.cards.items()}
    nvidia = "nvidia.com/gpu"
    assert types == {
        "a": ("H100", nvidia, 8),
        "b": ("A100", nvidia, 4),
        "c": ("MI300X", "amd.com/gpu", 8),
        "d": ("L40S", nvidia, 8),
        "e": ("L4", nvidia, 2),
    }
    assert found.types() == ("A100", "H100", "L4", "L40S", "MI300X")
    assert found.types("amd.com/gpu") == ("MI300X",)
    assert found.notes == []


def test_unknown_cards_are_told_once_for_all_their_nodes() -> None:
    found = pool(*(node(f"n{i}", "NVIDIA-H10") for i in range(5)), node("bare", ""))
    assert found.cards == {}
    bare, unknown = sorted(found.notes)
    assert bare.startswith("node bare: no label says which card")
    assert "flyball.dev/accelerator" in bare
    assert unknown.startswith("nodes n0, n1, n2 and 2 more: nvidia.com/gpu.product=NVIDIA-H10: there is no")
    assert "Near: " in unknown
    assert "NVIDIA-H20" in unknown


@pytest.mark.parametrize("product", ["NVIDIA-H100-80GB-HBM3-SHARED", "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"])
def test_parts_of_cards_are_not_counted(product: str) -> None:
    found = pool(node("n", product, 28))
    assert found.cards == {}
    assert len(found.notes) == 1


def test_capacity_is_what_others_leave() -> None:
    chat = workload()
    ours, others = pod_of(chat, node="a"), lone_pod("train", "a", 3)
    found = pool(node("a"), node("b", ready=False), node("c", unschedulable=True), node("d"))
    seen = listing(
        pods=[ours, others, pod_of(chat, 1, node="c"), lone_pod("x", "c", 2), lone_pod("y", "gone")]
    )
    governed = {"infer-chat-7d9f-0", "infer-chat-7d9f-1"}
    # a: 8 - 3, b: gone, c: takes no new ones, so what is ours there, d: 8
    assert found.capacity(seen.pods, governed) == {"H100": 5 + 0 + 1 + 8}
    assert found.capacity(seen.pods, set()) == {"H100": 8 - 4 + 8}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans())))
def test_capacity_is_never_less_than_what_is_ours_nor_more_than_there_is(
    taken: list[tuple[str, int, bool]],
) -> None:
    found = pool(node("a"), node("b", unschedulable=True), node("c"))
    pods = listing(pods=[lone_pod(f"p{i}", name, cards) for i, (name, cards, _) in enumerate(taken)]).pods
    ours = {f"others-p{i}" for i, (_, _, governed) in enumerate(taken) if governed}
    capacity = found.capacity(pods, ours)["H100"]
    assert 0 <= capacity <= 24
    more = found.capacity(pods, {f"others-p{i}" for i in range(len(taken))})["H100"]
    assert capacity <= more
    every = {name: sum(cards for at, cards, _ in taken if at == name) for name in "abc"}
    if all(total <= 8 for total in every.values()):  # as the scheduler would have it
        assert capacity >= sum(cards for _, cards, governed in taken if governed)


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({}, None),
        ({"nodeSelector": {"kubernetes.io/hostname": "b"}}, {"b"}),
        ({"nodeSelector": {"pool": "fast"}}, {"a"}),
        ({"nodeSelector": {"pool": "none"}}, set()),
        ({"affinity": affinity("pool", "In", "fast", "slow")}, {"a", "b"}),
        ({"affinity": affinity("pool", "NotIn", "fast")}, {"b", "c"}),
        ({"affinity": affinity("pool", "Exists")}, {"a", "b"}),
        ({"affinity": affinity("pool", "DoesNotExist")}, {"c"}),
        ({"affinity": affinity("size", "Gt", "5")}, {"a"}),
        ({"nodeSelector": {"pool": "slow"}, "affinity": affinity("size", "Lt", "5")}, {"b"}),
        ({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}}, None),
    ],
)
def test_where_a_template_may_go(asked: dict[str, Any], names: set[str] | None) -> None:
    found = pool(
        node("a", labels={"pool": "fast", "size": "8"}),
        node("b", A100, labels={"pool": "slow", "size": "4"}),
        node("c"),
    )
    assert found.matching(template(**asked)) == names
    assert found.matching(template(**asked)) == names  # as remembered


def test_products_that_a_template_asks_for() -> None:
    asked = affinity("nvidia.com/gpu.product", "In", A100, "NVIDIA-L40S")
    assert product_values(template(affinity=asked)) == (A100, "NVIDIA-L40S")
    assert product_values(template(nodeSelector={"nvidia.com/gpu.product": A100})) == (A100,)
    assert product_values(template()) == ()


def test_a_quota_bounds_what_can_be_had() -> None:
    found = pool(node("a"), node("b", A100))
    capacity = {"A100": 8, "H100": 8}
    quotas = listing(quotas=[quota("infer", hard=6, used=4)]).quotas
    held = {"nvidia.com/gpu": {"infer": 3}}
    bounded, notes = within_quotas(capacity, quotas, held, found)
    assert bounded == {"A100": 5, "H100": 5}  # 3 are ours, 2 are left
    assert "infer leave 5 cards" in notes[0]
    elsewhere = {"nvidia.com/gpu": {"infer": 3, "free": 1}}
    assert within_quotas(capacity, quotas, elsewhere, found) == (capacity, ())
    assert within_quotas(capacity, (), held, found) == (capacity, ())
