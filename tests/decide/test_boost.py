"""On what boosters without devices are to run, by the library and the optimizer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyball.boosting.asked import asked_of
from flyball.boosting.errors import BoosterError
from flyball.boosting.sized import Choice, sized
from flyball.decide.boost import Known, choice_of, choose, look, products_of
from flyball.physics.roofline import kv_tokens
from flyball.profiles.library import cards, find_card, find_model
from flyball.wire.errors import WireError
from tests.boosting.samples import booster, command, container, pods, worker

LLAMA_8B, LLAMA_70B = "hf://meta-llama/Llama-3.1-8B-Instruct", "hf://meta-llama/Llama-3.1-70B-Instruct"
TARGETS = {"flyball.dev/ttft": "p95<1s", "flyball.dev/itl": "p95<50ms"}
H100S = {"H100": 16}


def asking(uri: str = LLAMA_8B, changed: dict[str, Any] | None = None, **said: str) -> Any:
    annotations = TARGETS | {f"flyball.dev/{key.strip('_')}": value for key, value in said.items()}
    return booster([{"type": "server", **(changed or {})}], None, annotations, modelURI=uri)


def chosen(uri: str = LLAMA_8B, free: dict[str, int] | None = None, **said: Any) -> Choice:
    return choose(asking(uri, **said), free)


def test_a_small_model_gets_one_card() -> None:
    made = asking(rate="5/s")
    found = choose(made)
    assert (found.cards, found.resource) == (1, "nvidia.com/gpu")
    assert found.card in ("A100", "L40S", "H100", "H200", "B200", "RTXPRO6000")
    assert found.accelerator == found.card
    assert found.next_best
    assert "$" in found.reason
    done = sized(made, found)
    assert command(done)[-2:] == ["--tensor-parallel-size", "1"]
    assert container(pods(done)["leader"], "engine")["image"].startswith("vllm/vllm-openai:")


def test_a_large_model_gets_several() -> None:
    made = asking(LLAMA_70B, rate="5/s")
    found = choose(made, H100S)
    assert (found.accelerator, found.card, found.cards) == ("H100x4", "H100", 4)
    assert found.products == {
        "flyball.dev/accelerator": ("H100",),
        "nvidia.com/gpu.product": ("NVIDIA-H100-80GB-HBM3",),
        "cloud.google.com/gke-accelerator": ("nvidia-h100-80gb", "nvidia-h100-mega-80gb"),
    }
    words = command(sized(made, found))
    assert words[words.index("--tensor-parallel-size") + 1] == "4"
    assert words[words.index("--max-num-seqs") + 1] == str(found.batch)


def test_smaller_weights_need_fewer_cards() -> None:
    whole = chosen(LLAMA_70B, H100S, rate="2")
    half = chosen("hf://nvidia/Llama-3.1-70B-Instruct-FP8", H100S, rate="2")
    loaded = choose(asking(LLAMA_70B, {"config": {"quantization": "fp8"}}, rate="2"), H100S)
    assert half.cards < whole.cards
    assert loaded.cards == half.cards


@pytest.mark.parametrize("uri", [LLAMA_8B, LLAMA_70B])
def test_what_is_chosen_holds_the_model_and_its_longest_request(uri: str) -> None:
    model = find_model(uri.partition("://")[2])
    for card in ("L4", "L40S", "A100", "H100", "H200"):
        found = choose(asking(uri, rate="1", ttft="30s", itl="1s"), {card: 64})
        room = kv_tokens(model, find_card(card), found.cards, model.precision)
        assert (found.context or model.context) <= room
        assert found.context is None or 1300 <= found.context < model.context


def test_the_load_moves_the_number_of_replicas() -> None:
    found = [chosen(LLAMA_8B, {"H100": 1000}, rate=rate).replicas for rate in ("1/s", "60/s", "240/s")]
    assert found == sorted(found)
    assert found[0] == 1 < found[2]
    assert "no rate is said" in chosen().reason


@given(st.sampled_from(("1", "7", "33")), st.sampled_from((None, {"H100": 4, "L40S": 8}, {"A100": 2})))
@settings(max_examples=9)
def test_the_same_ask_gives_the_same_choice(rate: str, free: dict[str, int] | None) -> None:
    assert chosen(rate=rate, free=free) == chosen(rate=rate, free=dict(free) if free else free)


def test_what_is_free_is_taken_before_what_is_cheaper() -> None:
    cheap = chosen(rate="5/s", free={"A100": 8, "H100": 8})
    assert cheap.card == "A100"
    other = chosen(rate="5/s", free={"A100": 0, "H100": 8})
    assert other.card == "H100"
    assert "of what fits on the cards that are free" in other.reason
    part = chosen(rate="60/s", free={"A100": 2, "H100": 0})
    assert part.card == "A100"
    assert part.replicas > 2
    none = chosen(LLAMA_70B, {"H100": 2}, rate="5/s")
    assert (none.card, none.cards) == ("H100", 4)
    assert "takes 4 H100, of which 2 are free" in none.reason


def test_cards_and_units_can_be_named() -> None:
    assert chosen(accelerator="H200").card == "H200"
    assert chosen(LLAMA_70B, accelerator="h100x8, H200x8").cards == 8
    parallel = choose(asking(LLAMA_70B, {"config": {"tensor-parallel-size": 8}}))
    assert parallel.cards == 8
    batch = choose(asking(LLAMA_8B, {"config": {"max-num-seqs": 16}}))
    assert batch.batch == 16


def test_the_image_says_whose_cards() -> None:
    amd = choose(asking(LLAMA_8B, {"image": "rocm/vllm:latest"}))
    assert (amd.resource, amd.image) == ("amd.com/gpu", "")
    assert {"amd.com/gpu.product-name", "amd.com/gpu.device-id"} & amd.products.keys()
    sglang = booster([{"type": "server"}], None, TARGETS, modelURI=LLAMA_8B, type="SGLang")
    assert choose(sglang).image.startswith("lmsysorg/sglang:")


def test_a_class_stands_for_its_targets() -> None:
    annotations = {"flyball.dev/class": "Chat"}
    made = booster([worker(image=None)], None, annotations, modelURI=LLAMA_8B)
    assert choose(made).reason.count("p95<") == 2
    mixed = booster(
        [worker(image=None)], None, annotations | {"flyball.dev/itl": "p95<20ms"}, modelURI=LLAMA_8B
    )
    assert "itl p95<20ms, ttft p95<1s" in choose(mixed).reason


def test_every_card_of_a_vendor_is_found_by_its_labels() -> None:
    for card in cards():
        found = products_of(card)
        known = {value for values in found.values() for value in values}
        assert set(card.labels) <= known, card.name
        assert all(find_card(value).name == card.name for value in known)


@pytest.mark.parametrize(
    ("made", "free", "message"),
    [
        (asking("hf://meta-llama/Lama-3.1-8B"), None, "there is no such model. Near: Llama-3.1-8B"),
        (asking(accelerator="H1000"), None, 'flyball.dev/accelerator] is "H1000": there is no such card'),
        (
            asking(accelerator="MI300X"),
            None,
            "no image is named, and the one to begin with is for cards of NVIDIA",
        ),
        (
            asking(LLAMA_8B, {"image": "vllm/vllm-cpu:1"}),
            None,
            "the image of its engine is for cards of none",
        ),
        (asking(), {"MI300X": 8}, "the cluster has MI300X, and what can be used is"),
        (
            asking("hf://meta-llama/Llama-3.1-405B"),
            {"L4": 8},
            "no unit of 1 or 2 or 4 or 8 of these cards holds",
        ),
        (asking(ttft="p95<1ms"), H100S, "no card reaches ttft p95 < 1ms. H100"),
    ],
)
def test_what_cannot_be_chosen_says_why(made: Any, free: dict[str, int] | None, message: str) -> None:
    with pytest.raises(WireError) as error:
        choose(made, free)
    assert message in str(error.value)


def test_classes_are_those_that_are_given() -> None:
    made = booster([worker(image=None)], None, {"flyball.dev/class": "Gold"}, modelURI=LLAMA_8B)
    with pytest.raises(WireError, match='"Gold": there is no such class, and no target is said'):
        choose(made)
    with pytest.raises(WireError, match="there is no such class"):
        choose(made, None, Known(classes=()))


def test_what_admission_refuses_is_not_chosen_for() -> None:
    with pytest.raises(BoosterError, match="is no load to size for"):
        choose(asking(rate="0"))


def test_it_is_what_the_plan_of_one_model_has() -> None:
    looked = look(asked_of(asking(rate="5/s")), H100S)
    allocation = looked.plan.servers[0].allocation
    assert allocation is not None
    found = choice_of(looked, H100S)
    assert (found.accelerator, found.replicas, found.batch, found.cost) == (
        allocation.accelerator,
        allocation.replicas,
        allocation.max_batch_size,
        allocation.cost,
    )
