"""Workloads of VariantAutoscaling objects are governed without any label."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest

from flyball.adapters.kubernetes.api import Api, Event
from flyball.adapters.kubernetes.assemble import Rules
from flyball.adapters.kubernetes.errors import ApiError, NotFound, Unreachable
from flyball.adapters.kubernetes.governed import DEPLOYMENT, Cluster
from flyball.adapters.kubernetes.listing import Scope, list_cluster
from flyball.operator.assembler import KindsAssembler
from flyball.operator.kinds import Kinds
from flyball.operator.variants import Variants, free_targets
from flyball.testing.cluster import H100, NOW, Object, listing, node, workload
from flyball.wire.kinds.documents import Objects
from flyball.wire.wva import Imported, imported
from tests.clusters import eventually
from tests.commands.terminal import flyball
from tests.wire.wva_samples import CLASSES, LLAMA, PRICES, Document, bare, profiled, single

A100 = "NVIDIA-A100-SXM4-80GB"
NODES = (node("h100-1"), node("a100-1", A100))


class Known:
    """Objects of our kinds, as they would be watched."""

    problem = ""

    def __init__(self, **objects: Objects) -> None:
        self._objects = objects

    def namespaces(self) -> tuple[str, ...]:
        return tuple(self._objects)

    def objects(self, namespace: str) -> Objects:
        return self._objects.get(namespace, Objects())


def unlabelled(name: str, card: str = "", **more: Any) -> Object:
    """A workload that nobody marked."""
    spec = {"nodeSelector": {"nvidia.com/gpu.product": card}} if card else {}
    made = workload(name, args=("serve", LLAMA), spec=spec, **more)
    made["metadata"]["labels"] = more.get("labels", {})
    return made


def taken(*variants: Document, maps: tuple[Document, ...] = (PRICES, CLASSES)) -> Imported:
    return imported(variants, maps, free_targets())


def seen(
    made: Imported, *workloads: Object, known: Known | None = None, nodes: Any = NODES, **more: Any
) -> tuple[Cluster, KindsAssembler]:
    assembler = KindsAssembler(cast(Kinds, known or Known()), Rules(**more), lambda: made)
    return assembler.cluster(listing(workloads, (), nodes)), assembler


# ---- what is governed ----------------------------------------------------------------------------


def test_a_watched_object_governs_its_workload_and_nothing_else() -> None:
    made = taken(bare("va", "chat", minReplicas=2, maxReplicas=5), maps=())
    cluster, assembler = seen(made, unlabelled("chat", H100), unlabelled("mail", H100), mode="act")
    (one,) = cluster.governed
    assert (one.name, one.server, one.accelerator, one.mode) == ("chat", "chat", "H100", "act")
    assert (one.least, one.most) == (2, 5)
    (server,) = cluster.fleet.servers
    assert (server.model, server.service_class, server.min_replicas) == (LLAMA, "Free", 2)
    assert {p.accelerator for p in cluster.fleet.profiles} == {"H100"}  # the library's
    assert set(assembler.refs) == {"chat"}
    assert cluster.notes == ()


def test_profiles_prices_and_classes_come_from_the_objects() -> None:
    cluster, _ = seen(taken(profiled()), unlabelled("chat", A100), nodes=NODES[1:])
    (server,) = cluster.fleet.servers
    assert (server.service_class, server.accelerators, server.max_batch_size) == ("Premium", ("A100",), 64)
    assert [a.type for a in cluster.fleet.accelerators] == [A100]
    assert cluster.governed[0].accelerator == "A100"
    assert cluster.notes == ()


def test_variants_need_no_common_label() -> None:
    made = taken(
        single("a", "chat-a", "A100", minReplicas=1, maxReplicas=3),
        single("b", "chat-b", "H100", minReplicas=2, maxReplicas=9),
    )
    cluster, assembler = seen(made, unlabelled("chat-a", A100), unlabelled("chat-b"))
    assert [(o.name, o.server, o.accelerator, o.least, o.most) for o in cluster.governed] == [
        ("chat-a", "chat-a", "A100", 1, 3),
        ("chat-b", "chat-a", "H100", 2, 9),  # its object says on what it is
    ]
    (server,) = cluster.fleet.servers
    assert server.accelerators == ("A100", "H100")
    assert set(assembler.refs) == {"chat-a"}


def test_own_objects_and_own_labels_win() -> None:
    own = Objects(
        servers=(
            {
                "metadata": {"name": "chat", "namespace": "infer"},
                "spec": {"model": "Qwen/Qwen3-8B", "mode": "gauge"},
            },
        )
    )
    made = taken(bare("va", "chat"), bare("other", "mail", modelID="Qwen/Qwen3-8B"), maps=())
    labelled = unlabelled("mail", A100, labels={"inferno.server.name": "chat"})
    cluster, assembler = seen(made, unlabelled("chat", H100), labelled, known=Known(infer=own))
    (server,) = cluster.fleet.servers
    assert (server.name, server.model) == ("chat", "Qwen/Qwen3-8B")
    assert {(one.name, one.mode) for one in cluster.governed} == {("chat", "gauge"), ("mail", "gauge")}
    assert assembler.refs["chat"].server.model == "Qwen/Qwen3-8B"


def test_what_is_left_out_is_told_in_each_cycle() -> None:
    cluster, _ = seen(taken(bare("va", "chat", minReplicas=-1)), unlabelled("chat", H100))
    assert cluster.governed == ()
    assert "left out: VariantAutoscaling infer/va: spec.minReplicas is -1" in cluster.notes[0]


# ---- what is listed ------------------------------------------------------------------------------


class Server:
    """An API server with some objects."""

    def __init__(self, *variants: Document, maps: tuple[Document, ...] = ()) -> None:
        self.variants, self.maps = list(variants), list(maps)
        self.error: Exception | None = None
        self.asked: list[tuple[str, str]] = []
        self.over = threading.Event()

    def listed(self, path: str, kind: type[Any], *, selector: str = "") -> tuple[list[Any], str]:
        assert path == "/apis/llmd.ai/v1alpha1/variantautoscalings"
        if self.error is not None:
            raise self.error
        return [decoded(one, kind) for one in self.variants], "7"

    def watch(self, path: str, kind: type[Any], version: str, **more: Any) -> Iterator[Event[Any]]:
        self.over.wait(60)
        raise Unreachable("here", "GET", path, "it is over")
        yield  # a generator, as the real one

    def items(
        self, path: str, kind: type[Any], *, selector: str = "", fields: str = "", **more: object
    ) -> list[Any]:
        self.asked.append((path, selector or fields))
        if path == "/api/v1/configmaps":
            if self.error is not None:
                raise self.error
            name = fields.removeprefix("metadata.name=")
            return [decoded(one, kind) for one in self.maps if one["metadata"]["name"] == name]
        if path == "/apis/apps/v1/namespaces/infer/deployments" and not selector:
            return [decoded(unlabelled(name), kind) for name in ("chat", "mail")]
        return []


def decoded(one: Document, kind: type[Any]) -> Any:
    about = {"uid": f"u-{one['metadata']['name']}", "resourceVersion": "1"}
    text = msgspec.json.encode({**one, "metadata": {**about, **one["metadata"]}})
    return msgspec.json.decode(text, type=kind)


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


def started(server: Server, clock: list[float]) -> Variants:
    made = Variants(cast(Api, server), monotonic=lambda: clock[0])
    made.start()
    return made


def test_objects_are_watched_and_config_maps_read_once_a_minute(clock: list[float]) -> None:
    server = Server(profiled(), maps=(PRICES, CLASSES))
    variants = started(server, clock)
    try:
        assert variants.watch.wait(60)
        made = variants.read()
        assert [t.service_class for t in made.targets] == ["Premium"]
        assert variants.read() is made is variants.last
        assert len(server.asked) == 2
        server.maps = []
        clock[0] = 61.0
        assert [t.service_class for t in variants.read().targets] == [""]
        clock[0] = 122.0
        server.error = ApiError("GET", "/api/v1/configmaps", 403, "Forbidden", "may not")
        variants.read()
        assert "Allow its service account to list configmaps" in variants.problem
        server.error = None
        clock[0] = 183.0
        variants.read()
        assert variants.problem == ""
    finally:
        variants.stop()
        server.over.set()


def test_without_the_kind_it_is_a_problem_and_no_failure(clock: list[float]) -> None:
    server = Server()
    server.error = NotFound("GET", "/apis/llmd.ai/v1alpha1/variantautoscalings", 404, "NotFound", "no such")
    variants = started(server, clock)
    try:
        assert "the cluster has no such kind of llmd.ai/v1alpha1" in eventually(lambda: variants.problem)
        assert variants.read() == Imported()
        assert list(variants.targets()) == []
        assert server.asked == []  # no ConfigMap is asked for
    finally:
        variants.stop()
        server.over.set()


def test_the_workloads_that_they_name_are_listed(clock: list[float]) -> None:
    server = Server(
        bare("va", "chat"), bare("other", "job", scaleTargetRef={"kind": "RoleSet", "name": "job"})
    )
    variants = started(server, clock)
    try:
        assert variants.watch.wait(60)
        assert list(variants.targets()) == [(DEPLOYMENT, "infer", "chat")]
        found = list_cluster(cast(Api, server), NOW, Scope(targets=variants.targets))
        assert [(one.kind, one.workload.metadata.name) for one in found.workloads] == [(DEPLOYMENT, "chat")]
        other = list_cluster(cast(Api, server), NOW, Scope(namespace="elsewhere", targets=variants.targets))
        assert other.workloads == ()
    finally:
        variants.stop()
        server.over.set()


def test_it_wants_a_loop_to_govern_with() -> None:
    done = flyball("operator", "--wva", "--no-loop")
    assert done.code == 2
    assert "--wva names workloads to govern, and --no-loop governs none" in done.err
