"""ModelBoosters without devices: sized once, and left at that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from flyball.boosting.asked import CHOICE
from flyball.boosting.errors import BoosterError
from flyball.boosting.expand import expand
from flyball.boosting.settings import Images, Settings
from flyball.operator.booster_sizing import FRESH, Sizing
from flyball.wire.errors import WireError
from flyball.wire.kthena_booster import ModelBooster, read_booster


def booster(model: str = "hf://meta-llama/Llama-3.1-8B", **annotations: str) -> ModelBooster:
    said = {"flyball.dev/ttft": "p95<1s"} | {
        f"flyball.dev/{key}": value for key, value in annotations.items()
    }
    document: dict[str, Any] = {
        "apiVersion": "workload.serving.volcano.sh/v1alpha1",
        "kind": "ModelBooster",
        "metadata": {"name": "chat", "namespace": "infer", "uid": "u", "annotations": said},
        "spec": {
            "backend": {
                "name": "main",
                "type": "vLLM",
                "modelURI": model,
                "replicas": 1,
                "workers": [{"type": "server"}],
            }
        },
    }
    return read_booster(document, "ModelBooster infer/chat")


class World:
    """Free cards, and a clock."""

    def __init__(self, free: Mapping[str, int] | None) -> None:
        self.free, self.seconds, self.asked = free, 0.0, 0
        self.sizing = Sizing(self._free, lambda: self.seconds)

    def _free(self) -> Mapping[str, int] | None:
        self.asked += 1
        return self.free

    def serving(self, one: ModelBooster, said: Mapping[str, str] | None = None) -> dict[str, Any]:
        made = expand(self.sizing(one, said or {}), Images(), Settings()).documents()[0]
        return dict(made["metadata"]["annotations"])


def test_what_was_chosen_stays_whatever_becomes_of_the_cards() -> None:
    world = World({"A100": 8, "H100": 8})
    first = world.serving(booster())
    card = msgspec.json.decode(first[CHOICE])["card"]
    world.free, world.seconds = {name: 0 if name == card else 8 for name in ("A100", "H100")}, 2 * FRESH
    assert world.serving(booster(), first)[CHOICE] == first[CHOICE]
    assert msgspec.json.decode(world.serving(booster())[CHOICE])["card"] != card  # one that is made now


def test_another_target_is_another_choice() -> None:
    world = World({"L40S": 8, "H100": 8})
    first = world.serving(booster())
    tight = world.serving(booster(itl="mean<8ms"), first)
    assert tight[CHOICE] != first[CHOICE]


def test_equal_asks_at_once_are_answered_once() -> None:
    world = World({"H100": 8})
    for _ in range(20):
        world.serving(booster())
    assert world.asked == 1


def test_one_that_names_devices_is_left_as_it_is() -> None:
    world = World({"H100": 8})
    one = booster()
    worker = msgspec.structs.replace(
        one.spec.backend.workers[0], resources={"limits": {"nvidia.com/gpu": "2"}}
    )
    backend = msgspec.structs.replace(one.spec.backend, workers=[worker])
    full = msgspec.structs.replace(one, spec=msgspec.structs.replace(one.spec, backend=backend))
    assert world.sizing(full, {}) is full
    assert world.asked == 0


def test_a_model_that_nobody_knows_is_told_with_its_neighbours() -> None:
    with pytest.raises((WireError, BoosterError), match=r"Llama"):
        World({"H100": 8}).serving(booster("hf://meta-llama/Lama-3.1-8B"))
