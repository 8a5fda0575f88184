"""Boosters that name targets and no devices: what they ask, and what is filled in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.adapters.kubernetes import labels
from flyball.adapters.kubernetes.objects import Metadata
from flyball.boosting.adopt import settled
from flyball.boosting.asked import Asked, asked_of, governed, lacks, vendor_of
from flyball.boosting.errors import BoosterError
from flyball.boosting.judge import judge
from flyball.boosting.sized import Choice, chosen_before, sized
from flyball.spec.service_class import Target
from flyball.wire.kthena_booster import ModelBooster
from tests.boosting.samples import GPU, booster, children, command, container, pods, worker

TTFT = {"flyball.dev/ttft": "p95<1s"}
BARE = {"type": "server"}
POLICY = {"autoscalingPolicy": {"metrics": [{"metricName": "m", "targetValue": 1}]}}
PAIR = [worker("prefill"), worker("decode")]
PRODUCT, NAMED = "nvidia.com/gpu.product", "flyball.dev/accelerator"


def asking(said: dict[str, str] | None = None, changed: dict[str, Any] | None = None, **backend: Any) -> Any:
    return booster([{**BARE, **(changed or {})}], None, TTFT | (said or {}), **backend)


def choice(made: ModelBooster, **fields: Any) -> Choice:
    values: dict[str, Any] = {
        "accelerator": "H100x2",
        "card": "H100",
        "cards": 2,
        "resource": "nvidia.com/gpu",
        "products": {NAMED: ("H100",), PRODUCT: ("NVIDIA-H100-80GB-HBM3",)},
        "replicas": 3,
        "batch": 128,
        "cost": 17.94,
        "context": 65536,
        "image": "vllm/vllm-openai:v9",
        "reason": "It costs least.",
    }
    return Choice(asked=asked_of(made), **(values | fields))


def required(pod: dict[str, Any]) -> list[dict[str, Any]]:
    affinity = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return affinity["nodeSelectorTerms"]  # type: ignore[no-any-return]


# ---- what is asked -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "resources", "expected"),
    [
        ({"flyball.dev/class": "Chat"}, None, True),
        ({"flyball.dev/itl": "50ms"}, {"limits": {"memory": "8Gi"}}, True),
        ({"flyball.dev/rate": "3/s"}, None, False),
        ({}, None, False),
        (TTFT, GPU, False),
        (TTFT, {"requests": {"amd.com/gpu": 1}}, False),
        (TTFT, {"limits": 3}, False),
    ],
)
def test_what_names_targets_and_no_devices_is_to_be_sized(
    said: dict[str, str], resources: Any, expected: bool
) -> None:
    made = booster([worker()], None, said)
    one = msgspec.structs.replace(made.spec.backend.workers[0], resources=resources)
    backend = msgspec.structs.replace(made.spec.backend, workers=[one])
    spec = msgspec.structs.replace(made.spec, backend=backend)
    assert lacks(msgspec.structs.replace(made, spec=spec)) is expected


def test_an_ask_is_read_with_its_units() -> None:
    said = {
        "flyball.dev/itl": "50ms",
        "flyball.dev/class": "Chat",
        "flyball.dev/rate": "1200/min",
        "flyball.dev/in": "2k",
        "flyball.dev/out": "150",
        "flyball.dev/accelerator": "H100, L40S",
    }
    config = {"tensor_parallel_size": "4", "max-num-seqs": 64, "quantization": "fp8"}
    found = asked_of(asking(said, {"image": "vllm/vllm-openai:v1", "config": config}))
    assert found == Asked(
        model="Qwen/Qwen3-8B-FP8",
        engine="vLLM",
        vendor="NVIDIA",
        service_class="Chat",
        targets=(Target("ttft", 1.0, 0.95), Target("itl", 0.05, 0.95)),
        rate=20.0,
        rated=True,
        in_tokens=2000.0,
        out_tokens=150.0,
        cards=("H100", "L40S"),
        parallel=4,
        batch=64,
    )
    assert (asked_of(asking()).rate, asked_of(asking()).rated) == (1.0, False)
    assert asked_of(asking({"flyball.dev/model": "Llama-3.1-8B"})).model == "Llama-3.1-8B"


def test_another_tag_of_the_image_is_no_other_ask() -> None:
    tags = [asked_of(asking(None, {"image": f"vllm/vllm-openai:{tag}"})) for tag in ("v0.10.0", "v0.11.0")]
    assert tags[0] == tags[1]
    assert asked_of(asking({"flyball.dev/rate": "2"})) != asked_of(asking({"flyball.dev/rate": "3"}))


@pytest.mark.parametrize(
    ("image", "vendor"),
    [
        ("", ""),
        ("vllm/vllm-openai:v0.10.0", "NVIDIA"),
        ("rocm/vllm:latest", "AMD"),
        ("example:5000/vllm-openai-rocm:1", "AMD"),
        ("opea/vllm-gaudi:1.2", "Intel"),
        ("vllm/vllm-cpu:1", "none"),
    ],
)
def test_an_image_says_whose_cards_it_is_for(image: str, vendor: str) -> None:
    assert vendor_of(image) == vendor


# ---- what is filled in -------------------------------------------------------------------------------


def test_a_booster_is_filled_in() -> None:
    made = asking(None, {"resources": {"limits": {"memory": "64Gi"}}}, replicas=1)
    done = sized(made, choice(made))
    assert not lacks(done)
    serving = children(done)["ModelServing"]
    pod = pods(done)["leader"]
    engine = container(pod, "engine")
    assert serving["spec"]["replicas"] == 3
    assert engine["image"] == "vllm/vllm-openai:v9"
    assert engine["resources"] == {
        "limits": {"memory": "64Gi", "nvidia.com/gpu": "2"},
        "requests": {"nvidia.com/gpu": "2"},
    }
    assert command(done)[5:] == [
        *("--max-model-len", "65536", "--max-num-seqs", "128"),
        *("--served-model-name", "chat", "--tensor-parallel-size", "2"),
    ]
    assert required(pod) == [
        {"matchExpressions": [{"key": NAMED, "operator": "In", "values": ["H100"]}]},
        {"matchExpressions": [{"key": PRODUCT, "operator": "In", "values": ["NVIDIA-H100-80GB-HBM3"]}]},
    ]
    assert judge(done).refusal == ""


def test_sglang_has_flags_of_its_own() -> None:
    made = asking(None, {"image": "lmsysorg/sglang:v1"}, type="SGLang")
    config = sized(made, choice(made)).spec.backend.workers[0].config
    assert config == {
        "tp-size": 2,
        "max-running-requests": 128,
        "context-length": 65536,
        "served-model-name": "chat",
    }


def test_what_it_says_itself_stays() -> None:
    zone = {"key": "zone", "operator": "In", "values": ["a"]}
    affinity = {
        "podAntiAffinity": {"x": 1},
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [],
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [zone]},
                    {"matchFields": [{"key": "metadata.name"}]},
                ]
            },
        },
    }
    config = {"tp": 2, "max_num_seqs": 32, "max-model-len": 8192, "served_model_name": "mine", "port": 9000}
    made = asking(None, {"image": "mine/vllm:1", "affinity": affinity, "config": config})
    filled = sized(made, choice(made)).spec.backend.workers[0]
    assert (filled.image, filled.config) == ("mine/vllm:1", config)
    assert filled.affinity is not None
    assert filled.affinity["podAntiAffinity"] == {"x": 1}
    terms = required({"affinity": filled.affinity})
    assert len(terms) == 4
    assert [term["matchExpressions"][0] for term in terms[:2]] == [zone, zone]
    assert all(term["matchFields"] == [{"key": "metadata.name"}] for term in terms[2:])
    assert made.spec.backend.workers[0].affinity == affinity  # what was given is not changed


@given(
    st.none() | st.integers(0, 9),
    st.none() | st.integers(1, 9),
    st.integers(1, 20),
    st.none() | st.integers(0, 9),
)
def test_replicas_are_within_the_bounds(
    low: int | None, high: int | None, replicas: int, said: int | None
) -> None:
    if low is not None and high is not None and low > high:
        low, high = high, low
    made = asking(minReplicas=low, maxReplicas=high, replicas=said)
    assert judge(made).refusal == ""
    done = sized(made, choice(made, replicas=replicas))
    found = done.spec.backend.replicas
    assert found == max(low or 0, min(replicas, high or replicas))
    assert judge(done).refusal == ""
    assert children(done)["ModelServing"]["spec"]["replicas"] == found


def test_only_what_lacks_devices_is_sized() -> None:
    made = asking()
    with pytest.raises(BoosterError, match="ModelBooster chat: names devices, or no class and no target"):
        sized(booster([worker(resources=GPU)], None, TTFT), choice(made))


# ---- how it is kept, and governed --------------------------------------------------------------------


def test_a_choice_is_kept_as_long_as_the_ask_is_the_same() -> None:
    made = asking({"flyball.dev/rate": "2.7/min"})
    first = choice(made)
    serving = children(sized(made, first))["ModelServing"]
    kept = chosen_before(serving["metadata"]["annotations"], asked_of(made))
    assert kept == first
    assert children(sized(made, kept))["ModelServing"] == serving
    assert chosen_before(serving["metadata"]["annotations"], asked_of(asking())) is None
    assert chosen_before({}, asked_of(made)) is None
    assert chosen_before({"flyball.dev/choice": '{"asked": 3}'}, asked_of(made)) is None


def test_the_loop_reads_what_it_is_to_govern() -> None:
    said = {"flyball.dev/class": "Chat", "flyball.dev/itl": "p99<80ms", "flyball.dev/mode": "recommend"}
    made = asking(said, minReplicas=1, maxReplicas=6)
    for one in (made, sized(made, choice(made))):
        metadata = msgspec.convert(children(one)["ModelServing"]["metadata"], Metadata)
        assert metadata.labels[labels.MANAGED] == "true"
        found = labels.said_by(metadata, "it")
        assert found == labels.Said(
            name="chat",
            model="Qwen/Qwen3-8B",
            service_class="Chat",
            targets=(Target("ttft", 1.0, 0.95), Target("itl", 0.08, 0.99)),
            mode="recommend",
            least=1,
            most=6,
        )
        assert metadata.labels[labels.CLASS] == "Chat"


def test_pods_carry_none_of_it_and_without_targets_nothing_does() -> None:
    asked, plain = asking({"flyball.dev/class": "Chat"}, {"image": "a/b:1"}), booster([worker(image="a/b:1")])
    (role,) = children(asked)["ModelServing"]["spec"]["template"]["roles"]
    (other,) = children(plain)["ModelServing"]["spec"]["template"]["roles"]
    assert role["entryTemplate"]["metadata"] == other["entryTemplate"]["metadata"]
    metadata = children(plain)["ModelServing"]["metadata"]
    assert "annotations" not in metadata
    assert not any("inferno" in key for key in metadata["labels"])
    assert governed(asked)
    assert not governed(plain)
    for kind in ("ModelServer", "ModelRoute"):
        found = [children(one)[kind]["metadata"] for one in (asked, plain)]
        assert found[0] == found[1]


def test_an_annotation_that_is_not_there_is_written() -> None:
    wanted = children(asking(None, {"image": "a/b:1"}))["ModelServing"]
    existing = {**wanted, "metadata": {**wanted["metadata"], "annotations": {"other": "stays"}}}
    assert not settled(existing, wanted)
    existing["metadata"]["annotations"] |= wanted["metadata"]["annotations"]
    assert settled(existing, wanted)


def test_what_is_no_longer_asked_is_taken_away_and_what_others_wrote_is_not() -> None:
    bounded, free, plain = (
        children(one)["ModelServing"]
        for one in (
            asking(None, {"image": "a/b:1"}, minReplicas=1, maxReplicas=4),
            asking(None, {"image": "a/b:1"}),
            booster([worker(image="a/b:1", replicas=None)]),
        )
    )
    assert settled(bounded, bounded)
    assert not settled(bounded, free)
    assert not settled(bounded, plain)
    labelled = {**plain, "metadata": {**plain["metadata"], "annotations": {"flyball.dev/ttft": "1s"}}}
    labelled["metadata"]["labels"] = {**plain["metadata"]["labels"], labels.MANAGED: "true"}
    assert settled(labelled, plain)
    released = {**free, "metadata": {**free["metadata"]}}
    released["metadata"]["annotations"] = {**free["metadata"]["annotations"], "flyball.dev/mode": "freeze"}
    assert settled(released, free)


# ---- admission ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (asking({"flyball.dev/itl": "soon"}), 'metadata.annotations[flyball.dev/itl] is "soon"'),
        (asking({"flyball.dev/rate": "0"}), 'metadata.annotations[flyball.dev/rate] is "0": is no load'),
        (asking({"flyball.dev/rate": "3/d"}), 'metadata.annotations[flyball.dev/rate] is "3/d"'),
        (asking({"flyball.dev/class": "for people"}), "metadata.annotations[flyball.dev/class]: allowed are"),
        (asking(None, {"pods": 2, "image": "a/b:1"}), "one pod on one node is sized"),
        (asking(None, {"replicas": 2, "image": "a/b:1"}), "one pod on one node is sized"),
        (booster(PAIR, None, TTFT, type="vLLMDisaggregated"), "prefill and decode are not sized"),
        (
            booster([worker(resources=GPU)], POLICY, TTFT, minReplicas=1, maxReplicas=2),
            "flyball.dev/ttft lets Flyball scale it, and two would; keep one of them",
        ),
        (asking(minReplicas=3, maxReplicas=2), "minReplicas cannot be greater than maxReplicas"),
    ],
)
def test_what_cannot_be_sized_or_governed_is_refused(made: ModelBooster, message: str) -> None:
    assert message in judge(made).refusal


def test_bounds_of_what_is_governed_may_differ_and_of_others_not() -> None:
    bounds: dict[str, Any] = {"minReplicas": 1, "maxReplicas": 4}
    assert judge(booster([worker(resources=GPU)], None, TTFT, **bounds)).refusal == ""
    assert "must be equal" in judge(booster([worker(resources=GPU)], **bounds)).refusal
