"""Fleets of a sandbox: what is read, what is refused, and which nodes come of it."""

from __future__ import annotations

import re

import pytest

from flyball.profiles.library import cards, find_card
from flyball.sandbox.fleet import POWER, fleet_from, nodes_of, shipped_fleet
from flyball.wire.errors import WireError


def read(nodes: str, more: str = "") -> list[dict]:
    return nodes_of(fleet_from(f"kind: SandboxFleet\n{more}\nnodes: {nodes}".encode(), "f.yaml"))


def test_a_node_says_what_a_cluster_with_such_cards_would_say() -> None:
    one, two = read(
        "[{accelerator: H100, count: 2, cards: 8, rack: r7, watts: 10200, cpu: 96, memory: 512Gi}]"
    )
    assert [node["metadata"]["name"] for node in (one, two)] == ["h100-1", "h100-2"]
    assert one["metadata"]["annotations"][POWER] == "10200"
    assert one["metadata"]["labels"]["topology.kubernetes.io/rack"] == "r7"
    assert one["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-H100-80GB-HBM3"
    assert one["metadata"]["labels"]["nvidia.com/gpu.memory"] == "81559"
    assert one["status"]["allocatable"] == {
        "cpu": "96",
        "memory": "512Gi",
        "pods": "110",
        "nvidia.com/gpu": "8",
    }


def test_amd_cards_are_amds_resource_and_labels() -> None:
    (node,) = read("[{accelerator: MI300X, cards: 4}]")
    assert node["status"]["capacity"]["amd.com/gpu"] == "4"
    assert node["metadata"]["labels"]["amd.com/gpu.product-name"] == "AMD_Instinct_MI300X_OAM"
    assert node["metadata"]["labels"]["amd.com/gpu.device-id"] == "74a1"


def test_the_product_label_of_every_card_leads_back_to_it() -> None:
    for card in cards():
        (node,) = read(f"[{{accelerator: {card.name}}}]")
        labels = node["metadata"]["labels"]
        product = next(value for key, value in labels.items() if "product" in key)
        assert find_card(product).name == card.name


def test_racks_can_have_another_label() -> None:
    (node,) = read("[{accelerator: L4, rack: r1}]", "rackLabel: example.com/rack")
    assert node["metadata"]["labels"]["example.com/rack"] == "r1"


def test_groups_of_the_same_card_get_names_of_their_own() -> None:
    names = [node["metadata"]["name"] for node in read("[{accelerator: L4}, {accelerator: L4, rack: b}]")]
    assert names == ["l4-1", "l4-b-1"]


def test_the_shipped_fleet_has_sixty_cards() -> None:
    assert sum(group.count * group.cards for group in shipped_fleet().groups) == 60


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ("[{accelerator: H1000}]", 'nodes[0].accelerator is "H1000": there is no such card'),
        ("[{accelerator: H100, gpus: 8}]", "nodes[0].gpus: there is no such field"),
        ("[{accelerator: H100, cards: -1}]", "nodes[0].cards is -1"),
        ("[{accelerator: H100, memory: lots}]", 'nodes[0].memory is "lots"'),
        ("[{accelerator: H100, rack: 'a b'}]", 'nodes[0].rack is "a b"'),
        ("[{accelerator: H100, name: x}, {accelerator: L4, name: x}]", "nodes[1].name: x is there already"),
        (
            "[{accelerator: H100, count: 9999}, {accelerator: L4, count: 9}]",
            "10,008 nodes are more than 10,000",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(nodes: str, message: str) -> None:
    with pytest.raises(WireError, match=re.escape(message)):
        read(nodes)
