"""Labels, annotations and engine arguments: what a workload says of itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.adapters.kubernetes.engine import Engine, engine_of, whole
from flyball.adapters.kubernetes.labels import KNOWN, OURS, Said, said_by
from flyball.adapters.kubernetes.objects import Metadata, Workload
from flyball.spec.server import Load
from flyball.spec.service_class import Target
from flyball.testing.cluster import workload


def said(labels: dict[str, str] | None = None, **annotations: str) -> Said:
    ours = {OURS + key: value for key, value in annotations.items()}
    return said_by(Metadata(labels=labels or {}, annotations=ours), "Deployment infer/chat")


def engine(**fields: Any) -> Engine:
    return engine_of(msgspec.convert(workload(**fields), Workload).spec)


INFERNO = {
    "inferno.server.managed": "true",
    "inferno.server.name": "vllm-001",
    "inferno.server.model": "llama_13b",
    "inferno.server.class": "Premium",
    "inferno.server.allocation.accelerator": "MI250",
    "inferno.server.allocation.maxbatchsize": "8",
    "inferno.server.load.rpm": "30.5000",
    "inferno.server.load.intokens": "128",
    "inferno.server.load.outtokens": "2048",
}


def test_infernos_labels_are_read() -> None:
    assert said(INFERNO) == Said(
        name="vllm-001",
        model="llama_13b",
        service_class="Premium",
        accelerator="MI250",
        batch=8,
        load=Load(30.5 / 60, 128, 2048),
    )


def test_annotations_win_over_labels() -> None:
    found = said(
        INFERNO,
        **{"class": "Chat", "model": "Qwen/Qwen3-32B", "accelerator": "H100", "batch": "64"},
        **{"mode": "act", "min": "2", "max": "9", "ttft": "p95<1s", "itl": "mean<40ms"},
    )
    assert (found.service_class, found.model, found.accelerator) == ("Chat", "Qwen/Qwen3-32B", "H100")
    assert (found.batch, found.batch_pinned, found.batch_apply) == (64, 64, False)
    assert (found.mode, found.least, found.most) == ("act", 2, 9)
    assert found.targets == (Target("ttft", 1.0, 0.95), Target("itl", 0.04))
    assert found.problems == ()


def test_apply_is_no_name() -> None:
    found = said(INFERNO, accelerator="apply", batch="apply")
    assert (found.accelerator, found.accelerator_apply) == ("MI250", True)
    assert (found.batch, found.batch_pinned, found.batch_apply) == (8, 0, True)


def test_tokens_of_older_generations() -> None:
    older = {"inferno.server.load.rpm": "60", "inferno.server.load.numtokens": "512"}
    assert said(older).load == Load(1.0, 0.0, 512)
    assert said({"inferno.server.load.outtokens": "512"}).load is None


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("ttft", "fast", 'flyball.dev/ttft is "fast": allowed is a time'),
        ("mode", "atc", 'flyball.dev/mode is "atc": there is no such mode. Near: act'),
        ("min", "-1", 'flyball.dev/min is "-1"'),
        ("batch", "0", 'flyball.dev/batch is "0"'),
        ("clas", "Chat", "there is no such annotation. Near: flyball.dev/class"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(key: str, value: str, says: str) -> None:
    (problem,) = said(**{key: value}).problems
    assert problem.startswith("Deployment infer/chat: ")
    assert says in problem


def test_an_unknown_mode_never_acts() -> None:
    assert said(mode="atc").mode == "recommend"
    assert said().mode is None


def test_what_flyball_writes_itself_is_not_told() -> None:
    assert said(found="{}", nominal="{}").problems == ()


@given(st.dictionaries(st.sampled_from(KNOWN), st.text(max_size=12)), st.text(max_size=12))
def test_whatever_is_written_is_read_or_told(annotations: dict[str, str], rate: str) -> None:
    found = said({"inferno.server.load.rpm": rate}, **annotations)
    assert found.least >= 0
    assert found.load is None or found.load.arrival_rate >= 0
    assert all(problem.endswith(".") for problem in found.problems)


# ---- the engine ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "model"),
    [
        (("serve", "Qwen/Qwen3-8B", "--port", "8000"), "Qwen/Qwen3-8B"),
        (("--model", "Qwen/Qwen3-8B"), "Qwen/Qwen3-8B"),
        (("--model=Qwen/Qwen3-8B",), "Qwen/Qwen3-8B"),
        (("--model-path", "/models/Qwen3-8B/"), "/models/Qwen3-8B/"),
        (("-c", "exec vllm serve 'Qwen/Qwen3-8B' --max-num-seqs 64"), "Qwen/Qwen3-8B"),
        (("serve", "$(NAME)"), "org/seven"),
        (("-c", "vllm serve ${NAME}"), "org/seven"),
        (("--served-model-name", "chat"), "chat"),
        (("serve", "Qwen/Qwen3-8B", "--quantization", "fp8"), "Qwen/Qwen3-8B-FP8"),
        (("serve", "Qwen/Qwen3-8B-FP8", "-q=fp8"), "Qwen/Qwen3-8B-FP8"),
        (("--model", "--port", "8000"), ""),
        (("-c", "echo 'unbalanced; vllm serve a/b"), "a/b"),
    ],
)
def test_the_model_of_arguments(args: tuple[str, ...], model: str) -> None:
    assert next(iter(engine(args=args, env={"NAME": "org/seven"}).models), "") == model


def test_weights_come_before_what_they_are_served_as() -> None:
    args = ("serve", "/mnt/w", "--served-model-name", "Qwen3-8B")
    assert engine(args=args, env={"MODEL": "org/m"}).models == ("/mnt/w", "org/m", "Qwen3-8B")
    assert engine(args=(), env={"MODEL": "org/m"}).models == ("org/m",)


def test_batch_and_cards() -> None:
    found = engine(args=("serve", "m", "--max-num-seqs=64"), resources={"amd.com/gpu": 2, "cpu": "8"})
    assert (found.max_batch_size, found.cards, found.resource) == (64, 2, "amd.com/gpu")
    assert engine(resources={"cpu": "8"}).cards == 0


def test_the_container_with_cards_is_the_engine() -> None:
    deployment = workload()
    containers = deployment["spec"]["template"]["spec"]["containers"]
    containers.insert(0, {"name": "proxy", "args": ["--model", "not-this"]})
    found = engine_of(msgspec.convert(deployment, Workload).spec)
    assert (found.models, found.cards) == (("Qwen/Qwen3-8B",), 1)


def test_a_replica_of_several_pods_has_all_their_cards() -> None:
    cards = {"containers": [{"name": "w", "resources": {"limits": {"nvidia.com/gpu": "8"}}}]}
    group = {"size": 3, "workerTemplate": {"spec": cards}}
    assert engine_of(msgspec.convert({"spec": {"leaderWorkerTemplate": group}}, Workload).spec).cards == 24
    role = {"name": "r", "replicas": 2, "workerReplicas": 1, "entryTemplate": {"spec": cards}}
    roles = {"template": {"roles": [{**role, "workerTemplate": {"spec": cards}}]}}
    assert engine_of(msgspec.convert({"spec": roles}, Workload).spec).cards == 32


@pytest.mark.parametrize(
    ("quantity", "number"), [("8", 8), (8, 8), ("1k", 1000), ("", 0), ("half", 0), ("500m", 0), (2.0, 2)]
)
def test_quantities(quantity: Any, number: int) -> None:
    assert whole(quantity) == number
