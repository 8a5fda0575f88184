"""What the loop reads of a ModelServing that was made of a sized ModelBooster, and which cards are free."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from flyball.adapters.kubernetes.engine import engine_of
from flyball.adapters.kubernetes.errors import ApiError
from flyball.adapters.kubernetes.free_cards import free_cards
from flyball.adapters.kubernetes.hardware import place_of
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.kubernetes.labels import said_by
from flyball.adapters.kubernetes.nodes import Pool
from flyball.adapters.kubernetes.objects import Node, Workload
from flyball.boosting.sized import sized
from flyball.decide.boost import choose
from tests.boosting.samples import booster, children

H100, L40S = "NVIDIA-H100-80GB-HBM3", "NVIDIA-L40S"
TARGETS = {"flyball.dev/ttft": "p95<1s", "flyball.dev/rate": "5/s"}


def node(name: str, product: str, cards: int = 8) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"nvidia.com/gpu.product": product}},
        "status": {
            "allocatable": {"nvidia.com/gpu": str(cards)},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(name: str, on: str, cards: int) -> dict[str, Any]:
    limits = {"limits": {"nvidia.com/gpu": cards}}
    return {
        "metadata": {"name": name, "uid": name},
        "spec": {"nodeName": on, "containers": [{"resources": limits}]},
    }


class FakeApi:
    def __init__(self, nodes: list[Any], pods: list[Any], status: int = 0) -> None:
        self.nodes, self.pods, self.status = nodes, pods, status

    def items(self, path: str, kind: Any, **_: object) -> list[Any]:
        if self.status:
            raise ApiError("GET", path, self.status, "Refused", "no")
        return msgspec.convert(self.nodes if path.endswith("/nodes") else self.pods, list[kind])  # type: ignore[valid-type]


@pytest.mark.parametrize("uri", ["hf://meta-llama/Llama-3.1-8B", "hf://meta-llama/Llama-3.1-70B"])
def test_the_loop_sees_the_accelerator_that_was_chosen(uri: str) -> None:
    made = booster([{"type": "server"}], None, TARGETS, modelURI=uri)
    choice = choose(made, {"H100": 16})
    serving = msgspec.convert(children(sized(made, choice))["ModelServing"], Workload)
    said, engine = said_by(serving.metadata, "it"), engine_of(serving.spec)
    assert said.problems == ()
    assert (engine.cards, engine.resource) == (choice.cards, "nvidia.com/gpu")
    assert engine.max_batch_size == choice.batch
    known = Library()
    assert known.model((said.model,)) == said.model == uri.removeprefix("hf://")
    pool = Pool([msgspec.convert(node(n, p), Node) for n, p in (("a", H100), ("b", L40S))], known.card_type)
    template = serving.spec.template.roles[0].entry_template.spec
    place = place_of(said, engine, template, (), said.model, pool, known, "it")
    assert (place.accelerator, place.pinned, place.problems) == (choice.accelerator, True, ())
    assert pool.matching(template) == {"a"}


def test_free_cards_are_those_that_no_pod_has() -> None:
    nodes = [node("a", H100), node("b", H100, 4), node("c", L40S)]
    api: Any = FakeApi(nodes, [pod("p", "a", 3), pod("q", "c", 8)])
    assert free_cards(api) == {"H100": 9, "L40S": 0}


def test_where_no_card_is_known_that_is_not_none() -> None:
    bare = {"metadata": {"name": "cpu"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    api: Any = FakeApi([bare], [])
    assert free_cards(api) is None
    forbidden: Any = FakeApi([], [], 403)
    assert free_cards(forbidden) is None
    broken: Any = FakeApi([], [], 500)
    with pytest.raises(ApiError):
        free_cards(broken)
