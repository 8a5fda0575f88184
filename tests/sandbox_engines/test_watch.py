"""What is read from the cluster's objects: labels, annotations, command lines, nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from flyball.sandbox.engines.arguments import Arguments, arguments_of
from flyball.sandbox.engines.asked import LOAD, TRACE, Asked, load_of
from flyball.sandbox.engines.lister import Lister, Pods
from flyball.sandbox.engines.objects import DeploymentObject, NodeObject, PodObject, StatefulSetObject
from flyball.sandbox.engines.watch import Objects, Seen, seen
from flyball.spec.scenario import Days, Trace
from flyball.spec.server import Load
from flyball.spec.service_class import Target

LABELS = {
    "inferno.server.managed": "true",
    "inferno.server.name": "chat",
    "inferno.server.model": "Llama-3.1-8B",
    "inferno.server.class": "Chat",
    "inferno.server.allocation.accelerator": "H100",
    "inferno.server.allocation.maxbatchsize": "64",
    "inferno.server.load.rpm": "120.5000",
    "inferno.server.load.intokens": "900",
    "inferno.server.load.outtokens": "200",
}
READY = {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:01:40Z"}


def deployment(
    name: str = "chat-h100", labels: dict[str, str] | None = None, **metadata: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "labels": LABELS if labels is None else labels,
            "managedFields": [{"manager": "someone"}],
            **metadata,
        },
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "vllm", "image": "i"}]}}},
    }


def pod(
    args: list[str] | None = None, labels: dict[str, str] | None = None, cards: str = "1", **metadata: Any
) -> dict[str, Any]:
    container = {"name": "vllm", "args": args or [], "resources": {"limits": {"nvidia.com/gpu": cards}}}
    return {
        "metadata": {
            "name": "chat-h100-5d9c-x1",
            "namespace": "ns",
            "uid": "u1",
            "labels": {"pod-template-hash": "5d9c", **(labels or {})},
            "ownerReferences": [
                {"kind": "ReplicaSet", "name": "chat-h100-5d9c", "controller": True, "uid": "r"}
            ],
            **metadata,
        },
        "spec": {"containers": [container], "nodeName": "n0", "terminationGracePeriodSeconds": 45},
        "status": {"phase": "Running", "conditions": [READY], "podIP": "10.0.0.1"},
    }


def node(name: str = "n0", ready: str = "True") -> dict[str, Any]:
    labels = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"conditions": [{"type": "Ready", "status": ready}], "allocatable": {"cpu": "4"}},
    }


def look(
    deployments: list[Any] | None = None,
    pods: list[Any] | None = None,
    nodes: list[Any] | None = None,
    sets: list[Any] | None = None,
    asked: Asked | None = None,
) -> Seen:
    """As the API gives them: from JSON."""

    def decoded(items: list[Any], kind: type[Any]) -> tuple[Any, ...]:
        return tuple(msgspec.json.decode(msgspec.json.encode(item), type=kind) for item in items)

    objects = Objects(
        decoded([deployment()] if deployments is None else deployments, DeploymentObject),
        decoded(sets or [], StatefulSetObject),
        decoded([pod()] if pods is None else pods, PodObject),
        decoded([node()] if nodes is None else nodes, NodeObject),
    )
    return seen(objects, asked or Asked(), lambda unix: unix * 2.0)


def test_a_managed_deployment_and_its_pod() -> None:
    found = look()
    (workload,), (one,) = found.workloads, found.pods
    assert (workload.namespace, workload.name, workload.server) == ("ns", "chat-h100", "chat")
    assert workload.load == Load(120.5 / 60, 900, 200)
    assert {t.metric for t in workload.targets} == {"ttft", "itl"}, "those of the shipped class Chat"
    assert (one.server, one.workload, one.model, one.weights) == (
        "chat",
        "chat-h100",
        "Llama-3.1-8B",
        "Llama-3.1-8B",
    )
    assert (one.accelerator, one.cards, one.max_batch_size) == ("H100", 1, 64)
    assert (one.ready_since, one.terminating, one.failed, one.grace) == (200.0, False, False, 45.0)
    assert found.nodes == {"n0"}
    assert found.notes == ()


def test_a_pods_own_labels_stand_above_its_workloads() -> None:
    own = {
        "inferno.server.allocation.accelerator": "H100x2",
        "inferno.server.allocation.maxbatchsize": "16",
        "inferno.server.model": "other",
    }
    (one,) = look(pods=[pod(labels=own)]).pods
    assert (one.accelerator, one.max_batch_size, one.model) == ("H100x2", 16, "other")


def test_what_an_engine_was_started_with_runs_whatever_inferno_calls_it() -> None:
    labels = {"inferno.server.managed": "true", "inferno.server.model": "llama_13b"}
    args = ["serve", "meta-llama/Llama-2-13b-chat-hf", "--served-model-name=llama_13b"]
    (one,) = look([deployment(labels=labels)], [pod(args)]).pods
    assert (one.model, one.weights) == ("llama_13b", "meta-llama/Llama-2-13b-chat-hf")
    stated = pod(args, annotations={"flyball.dev/model": "Llama-3.1-8B"})
    (one,) = look([deployment(labels=labels)], [stated]).pods
    assert (one.model, one.weights) == ("llama_13b", "Llama-3.1-8B")


def test_without_labels_the_command_line_and_the_node_say_it() -> None:
    args = ["--model", "Qwen/Qwen3-8B", "--served-model-name=qwen", "--max-num-seqs=32"]
    bare = deployment(labels={"inferno.server.managed": "true"})
    found = look([bare], [pod(args, cards="2")])
    (one,) = found.pods
    assert (one.server, one.model, one.weights) == ("chat-h100", "qwen", "Qwen/Qwen3-8B")
    assert (one.accelerator, one.cards, one.max_batch_size) == ("NVIDIA-A100-SXM4-80GB", 2, 32)
    assert found.workloads[0].load == Load()
    (one,) = look([bare], [pod()]).pods
    assert one.max_batch_size == 256


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["vllm", "serve", "a/b", "--max-num-seqs", "8"], Arguments("a/b", "", 8)),
        (
            ["sh", "-c", "exec vllm serve a/b --served-model-name 'c d' --max-num-seqs=8"],
            Arguments("a/b", "c d", 8),
        ),
        (["--model=a/b", "--max_num_seqs", "many"], Arguments("a/b", "", 0)),
        (["--model"], Arguments()),
        (["serve", "--model", "x"], Arguments("x")),
        (["sh", "-c", "echo 'never closed --model x"], Arguments("x")),
        ([], Arguments()),
    ],
)
def test_command_lines(words: list[str], expected: Arguments) -> None:
    assert arguments_of(words) == expected


def test_pods_of_nobody_and_of_others_are_passed_over() -> None:
    loose = pod(ownerReferences=[])
    job = pod(ownerReferences=[{"kind": "Job", "name": "chat-h100", "controller": True}])
    foreign = pod(ownerReferences=[{"kind": "ReplicaSet", "name": "web-5d9c", "controller": True}])
    elsewhere = pod(namespace="other")
    assert look(pods=[loose, job, foreign, elsewhere]).pods == ()


def test_a_stateful_sets_pod() -> None:
    owner = [{"kind": "StatefulSet", "name": "chat-h100", "controller": True}]
    (one,) = look([], [pod(ownerReferences=owner)], sets=[deployment()]).pods
    assert one.workload == "chat-h100"


def test_how_a_pod_stands() -> None:
    ending = pod(deletionTimestamp="2026-01-01T00:00:00Z", deletionGracePeriodSeconds=5)
    (one,) = look(pods=[ending]).pods
    assert (one.terminating, one.grace) == (True, 5.0)
    over = pod()
    over["status"]["phase"] = "Failed"
    waits = pod()
    waits["status"] = {"phase": "Pending"}
    del waits["spec"]["nodeName"]
    failed, pending = look(pods=[over, waits]).pods
    assert (failed.failed, pending.failed) == (True, False)
    assert pending.ready_since is None
    assert pending.node == ""


def test_a_node_stands_unless_it_is_said_not_to() -> None:
    assert look(nodes=[node("a"), node("b", "False"), node("c", "Unknown")]).nodes == {"a", "c"}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"inferno.server.load.rpm": "60"}, Load(1.0)),
        ({"inferno.server.load.rpm": "60", "inferno.server.load.numtokens": "300"}, Load(1.0, 0.0, 300.0)),
        ({"inferno.server.load.rpm": "much"}, Load()),
        ({"inferno.server.load.rpm": "-4"}, Load()),
        ({"inferno.server.load.rpm": "nan"}, Load()),
        ({}, Load()),
    ],
)
def test_load_labels(labels: dict[str, str], expected: Load) -> None:
    assert load_of(labels) == expected


def test_a_trace_is_read_once_and_played_again(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time,input,output\n0,10,5\n2,20,6\n")
    asked = Asked(tmp_path)
    stream = asked.of("ns/chat", LABELS, {TRACE: "t.csv"}).stream
    assert stream is not None
    assert isinstance(stream.arrivals, Trace)
    assert stream.arrivals.repeat
    assert stream.arrivals.in_tokens == (10, 20)
    (tmp_path / "t.csv").unlink()
    assert asked.of("ns/chat", LABELS, {TRACE: "t.csv"}).stream is stream
    assert asked.of("ns/chat", {}, {TRACE: "t.csv"}).stream == stream


def test_a_day_and_a_stated_load() -> None:
    asked = Asked()
    day = asked.of("ns/chat", LABELS, {TRACE: "day"}).stream
    assert day is not None
    assert isinstance(day.arrivals, Days)
    assert day.arrivals.rate == pytest.approx(120.5 / 60)
    assert (day.in_tokens.mean, day.out_tokens.mean) == (900, 200)
    stated = asked.of(
        "ns/chat", {}, {LOAD: "{arrivals: {days: {rate: 3/s, swing: 80%}}, in: 2k, cached: 40%}"}
    ).stream
    assert stated is not None
    assert isinstance(stated.arrivals, Days)
    assert (stated.arrivals.rate, stated.arrivals.swing) == (3.0, 0.8)
    assert (stated.in_tokens.mean, stated.cached_share) == (2000, 0.4)


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({TRACE: "none.csv"}, "there is no such trace"),
        ({TRACE: "day"}, "rate: is missing"),
        ({LOAD: "5"}, "allowed is an object"),
        ({LOAD: "{arrivals: 3/s, often: true}"}, "there is no such field"),
        ({LOAD: "{"}, "sandbox.flyball.dev/load"),
        ({"flyball.dev/ttft": "soon"}, "flyball.dev/ttft"),
    ],
)
def test_what_cannot_be_read_is_a_note_and_no_load(annotations: dict[str, str], said: str) -> None:
    found = look([deployment(labels={"inferno.server.managed": "true"}, annotations=annotations)])
    assert found.workloads[0].stream is None
    (note,) = found.notes
    assert said in note
    assert "ns/chat-h100" in note or TRACE in annotations


def test_targets_of_annotations_stand_above_the_classs() -> None:
    annotations = {"flyball.dev/ttft": "p95<700ms", "flyball.dev/class": "Chat"}
    targets = {t.metric: t for t in Asked().of("x", {}, annotations).targets}
    assert targets["ttft"] == Target("ttft", 0.7, 0.95)
    assert targets["itl"].limit == 0.05


def test_a_pod_that_is_gone_was_killed_unless_it_was_asked_to_end() -> None:
    def as_object(**metadata: Any) -> PodObject:
        return msgspec.json.decode(msgspec.json.encode(pod(**metadata)), type=PodObject)

    pods = Pods()
    with pytest.raises(ConnectionError, match="not listed yet"):
        pods.take()
    pods.begin([as_object(uid="a"), as_object(uid="b")])
    pods.event("ADDED", as_object(uid="c"))
    time, grace = "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds"
    pods.event("MODIFIED", as_object(uid="b", deletionTimestamp=time, **{grace: 30}))
    pods.event("MODIFIED", as_object(uid="b", deletionTimestamp=time, **{grace: 0}))
    graces = {one.metadata.uid: one.metadata.deletion_grace_period_seconds for one in pods.take()[0]}
    assert graces == {"a": None, "b": 30, "c": None}
    pods.event("MODIFIED", as_object(uid="c", deletionTimestamp=time, **{grace: 0}))
    for uid in ("a", "b", "c"):
        pods.event("DELETED", as_object(uid=uid, deletionTimestamp=time, **{grace: 0}))
    pods.event("ADDED", as_object(uid="d"))
    left, killed = pods.take()
    assert [one.metadata.uid for one in left] == ["d"]
    assert killed == {"a", "c"}
    assert pods.take()[1] == set()
    pods.broken(OSError("away"))
    with pytest.raises(OSError, match="away"):
        pods.take()
    pods.begin([])
    assert pods.take() == ((), set())


@pytest.mark.parametrize("text", ["a: b", "a: [b", ""])
def test_a_file_that_is_no_kubeconfig(text: str, tmp_path: Path) -> None:
    (tmp_path / "k").write_text(text)
    with pytest.raises(ValueError, match="is no kubeconfig"):
        Lister(tmp_path / "k")
