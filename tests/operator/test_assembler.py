"""The cluster as the loop sees it, with objects of our kinds in it."""

from __future__ import annotations

from typing import Any

import pytest

from flyball.adapters.kubernetes.assemble import Rules
from flyball.adapters.kubernetes.governed import Cluster
from flyball.operator.assembler import KindsAssembler
from flyball.spec.server import Server
from flyball.testing.cluster import Object, listing, node, workload
from tests.operator.world import SPACE, World
from tests.operator_kinds.samples import sample

NAME = "Premium-granite-13b"
UNMANAGED = {"inferno.server.managed": "false"}
ON_A100 = {"inferno.server.allocation.accelerator": "A100"}
NODES = (node("a100-1", "NVIDIA-A100-SXM4-80GB"),)


def named(name: str = NAME, namespace: str = SPACE, **more: Any) -> Object:
    """A workload that has but a Server's name as label."""
    labels = {**UNMANAGED, **ON_A100, "inferno.server.name": name, **more.pop("labels", {})}
    return workload("chat", namespace, labels=labels, **more)


class Seen:
    """Objects, and clusters made with them."""

    def __init__(self, *leave_out: str) -> None:
        self.world = World()
        self.world.samples(*leave_out)
        self.assembler = KindsAssembler(self.world.kinds, Rules())

    def cluster(self, *workloads: Object) -> Cluster:
        self.world.watch()
        return self.assembler.cluster(listing(workloads, (), NODES))

    def server(self, *workloads: Object) -> Server:
        (one,) = self.cluster(*workloads).fleet.servers
        return one


@pytest.fixture
def seen() -> Any:
    made = Seen()
    yield made
    made.world.reconciler.close()


# ---- who is governed -----------------------------------------------------------------------------


def test_a_server_s_name_is_enough(seen: Seen) -> None:
    server = seen.server(named())
    assert (server.name, server.model, server.service_class) == (NAME, "granite-13b", "Premium")
    found = seen.assembler.refs[NAME]
    assert (found.governed.ref.name, found.fleet.generation) == ("premium-granite-13b", "G1")


def test_unknown_workloads_are_not_governed(seen: Seen) -> None:
    assert seen.cluster(named("nobody-s"), named(namespace="elsewhere")).governed == ()
    assert seen.assembler.refs == {}
    bare = workload("chat", SPACE, labels=UNMANAGED)
    assert seen.cluster(bare).governed == ()


def test_managed_ones_are_governed_without_any_object(seen: Seen) -> None:
    cluster = seen.cluster(workload("other", SPACE, labels=ON_A100))
    assert [one.name for one in cluster.governed] == ["other"]
    assert seen.assembler.refs == {}


def test_one_by_the_server_s_own_name_is_governed(seen: Seen) -> None:
    seen.world.set("Server", "name", "chat")
    labels = UNMANAGED | ON_A100
    assert seen.server(workload("chat", SPACE, labels=labels)).name == "chat"


def test_with_the_object_it_goes(seen: Seen) -> None:
    assert seen.cluster(named()).governed
    seen.world.remove("Server")
    assert seen.cluster(named()).governed == ()
    assert seen.assembler.refs == {}


def test_an_object_that_cannot_be_read_names_nothing(seen: Seen) -> None:
    seen.world.edit("Server", lambda one: one.update(spec=None))
    assert seen.cluster(named()).governed == ()


# ---- whose word counts ---------------------------------------------------------------------------


def test_the_object_goes_before_annotations_and_these_before_labels(seen: Seen) -> None:
    labels = {"inferno.server.model": "label-s", "inferno.server.class": "label-s"}
    annotations = {"flyball.dev/model": "annotation-s", "flyball.dev/class": "annotation-s"}
    server = seen.server(named(labels=labels, annotations=annotations))
    assert (server.model, server.service_class) == ("granite-13b", "Premium")
    seen.world.remove("Server")
    managed = {"inferno.server.managed": "true"}
    server = seen.server(named(labels=labels | managed, annotations=annotations))
    assert (server.model, server.service_class) == ("annotation-s", "annotation-s")
    server = seen.server(named(labels=labels | managed, resourceVersion="2"))
    assert (server.model, server.service_class) == ("label-s", "label-s")


def test_mode_bounds_and_batch_are_the_object_s_where_it_has_them(seen: Seen) -> None:
    annotations = {"flyball.dev/mode": "freeze", "flyball.dev/min": "5", "flyball.dev/max": "9"}
    (one,) = seen.cluster(named(annotations=annotations)).governed
    assert (one.mode, one.least, one.most) == ("freeze", 5, 9)
    for path, value in (("mode", "act"), ("minNumReplicas", 2), ("maxNumReplicas", 4), ("maxBatchSize", 16)):
        seen.world.set("Server", path, value)
    (one,) = seen.cluster(named(annotations=annotations)).governed
    assert (one.mode, one.least, one.most) == ("act", 2, 4)
    assert one.max_batch_size == 16


def test_an_edit_of_the_object_counts_at_once_though_the_workload_is_the_same(seen: Seen) -> None:
    same = named()
    assert seen.cluster(same).governed[0].mode == "recommend"
    seen.world.set("Server", "mode", "act")
    assert seen.cluster(same).governed[0].mode == "act"


def test_wishes_for_accelerators_leave_the_others_out(seen: Seen) -> None:
    assert seen.server(named()).accelerators == ()  # any: the label is all there is
    seen.world.set("Server", "accelerators", ["A100"])
    assert seen.server(named()).accelerators == ("A100",)
    pinned = named(spec={"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}})
    assert seen.server(pinned).accelerators == ("A100",)
    seen.world.set("Server", "accelerators", ["G2"])
    assert seen.server(pinned).accelerators == ("A100",)  # it cannot be carried out
    seen.world.set("Server", "keepAccelerator", True)
    assert seen.server(named()).keep_accelerator


# ---- what is known -------------------------------------------------------------------------------


def test_what_is_known_comes_from_objects_as_soon_as_there_is_a_model() -> None:
    seen = Seen("Model")
    try:
        library = seen.cluster(named()).fleet
        assert {"Premium", "Free"} <= {one.name for one in library.service_classes}
        seen.world.make(sample("Model", SPACE))
        given = seen.cluster(named()).fleet
        assert {one.model for one in given.profiles} == {"granite-13b"}
        assert {one.name for one in given.accelerators} == {"A100"}
    finally:
        seen.world.reconciler.close()


def test_namespaces_know_together_and_the_first_counts(seen: Seen) -> None:
    accelerator, model = sample("Accelerator", "more", cost=7), sample("Model", "more", name="theirs")
    other = sample("Accelerator", "more", name="H100")
    other["metadata"]["name"] = "h100"
    seen.world.make(accelerator, model, other)
    fleet = seen.cluster(named()).fleet
    assert {one.model for one in fleet.profiles} == {"granite-13b", "theirs"}
    price = {one.name: one.cost for one in fleet.accelerators}
    assert price["A100"] == pytest.approx(0.4)
    assert "H100" in price


def test_models_of_another_generation_are_passed_over_and_told(seen: Seen) -> None:
    entry = {"acc": "A100", "perfParms": {"alpha": 1, "beta": 1, "gamma": 1}}
    seen.world.make(sample("Model", "more", name="theirs", data=[entry]))
    cluster = seen.cluster(named())
    assert {one.model for one in cluster.fleet.profiles} == {"granite-13b"}
    assert any("generation G3 are passed over" in note for note in cluster.notes)


def test_while_objects_may_be_old_that_is_told(seen: Seen) -> None:
    assert not any("may have changed" in note for note in seen.cluster(named()).notes)
    seen.world.kinds.watches["Model"]._trouble = "it is away"
    made = seen.assembler.cluster(listing((named(),), (), NODES))
    assert "objects of our kinds may have changed since: it is away" in made.notes
