"""A ModelBooster that names targets and no hardware: the optimizer sizes it, and the loop scales it then."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from flyball.boosting.asked import CHOICE
from flyball.boosting.sized import Choice
from tests.booster_cluster.booth import Booth
from tests.boosting import samples
from tests.clusters import eventually
from tests.operator_cluster.desk import Object, Running

pytestmark = pytest.mark.slow
GENERATION = "v1"
OPERATOR = ("operator", "--boost", "--local", "--namespace", "home", "--period", "1")
NAME = "chat-b1"
ASKS = {
    "flyball.dev/class": "Chat",
    "flyball.dev/ttft": "p95<1s",
    "flyball.dev/itl": "p95<50ms",
    "flyball.dev/rate": "5/s",
    "flyball.dev/mode": "act",
    "flyball.dev/max-replicas": "9",
}


def wanting(**annotations: str) -> Object:
    """A ModelBooster without devices."""
    said = ASKS | {f"flyball.dev/{key}": value for key, value in annotations.items()}
    return samples.document([{"type": "server"}], None, said, modelURI="hf://meta-llama/Llama-3.1-8B")


def engine(serving: Object) -> dict[str, Any]:
    """The PodSpec of its first pods, and the container of the engine in it."""
    pod = serving["spec"]["template"]["roles"][0]["entryTemplate"]["spec"]
    container = next(one for one in pod["containers"] if one["name"] == "engine")
    return {"pod": pod, "command": " ".join(container["command"]), "resources": container["resources"]}


def load(booth: Booth, rpm: int) -> None:
    """What a load generator writes on it."""
    labels = {"rpm": str(rpm), "intokens": "1000", "outtokens": "300"}
    found = {f"inferno.server.load.{key}": value for key, value in labels.items()}
    booth.edit("ModelServing", NAME, {"metadata": {"labels": found}}, manager="load")


def replicas(booth: Booth) -> int:
    return int(booth.get("ModelServing", NAME)["spec"]["replicas"])


def scaled_by(booth: Booth) -> set[str]:
    fields = booth.get("ModelServing", NAME)["metadata"]["managedFields"]
    return {one["manager"] for one in fields if one.get("subresource") == "scale"}


def test_it_is_sized_once_and_scaled_by_its_load(booth: Booth, operator: Running) -> None:
    booth.make(document=wanting())
    booth.done()
    serving = booth.get("ModelServing", NAME)
    choice = msgspec.json.decode(serving["metadata"]["annotations"][CHOICE], type=Choice)
    found = engine(serving)
    assert choice.card in ("H100", "A100", "L40S")
    assert found["resources"]["limits"]["nvidia.com/gpu"] == str(choice.cards)
    assert f"--tensor-parallel-size {choice.cards}" in found["command"]
    assert f"--max-num-seqs {choice.batch}" in found["command"]
    assert "nvidia.com/gpu.product" in str(found["pod"]["affinity"]["nodeAffinity"])
    assert serving["spec"]["replicas"] == choice.replicas
    labels = serving["metadata"]["labels"]
    assert labels["inferno.server.managed"] == "true"
    assert labels["inferno.server.class"] == "Chat"
    assert scaled_by(booth) == set()

    load(booth, 600)
    few = eventually(lambda: scaled_by(booth) == {"flyball"} and replicas(booth))
    load(booth, 6000)
    many = eventually(lambda: (now := replicas(booth)) > few and now)
    assert many <= 9
    # What the booster is asked for meanwhile changes neither its number nor its cards.
    booth.ask({"backend": {"runtimeClassName": "nvidia"}})
    booth.done()
    serving = booth.get("ModelServing", NAME)
    assert "nvidia" in engine(serving)["pod"]["runtimeClassName"]
    assert msgspec.json.decode(serving["metadata"]["annotations"][CHOICE], type=Choice) == choice
    assert replicas(booth) >= many
    assert "Traceback" not in operator.words
