"""From lists of objects to servers, their accelerators and classes, and capacity."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.adapters.kubernetes.assemble import Assembler, Rules, observe
from flyball.adapters.kubernetes.governed import Cluster
from flyball.adapters.kubernetes.hardware import UNKNOWN
from flyball.adapters.kubernetes.known import Given, Library
from flyball.decide.plan import plan
from flyball.spec.fleet import Fleet
from flyball.spec.server import Load, Server
from flyball.spec.service_class import MEAN, Target
from flyball.spec.snapshot import Variant
from flyball.testing.cluster import (
    H100,
    NOW,
    Object,
    listing,
    lone_pod,
    metadata,
    node,
    pod_of,
    quota,
    scaler,
    time,
    workload,
)
from flyball.wire.inferno import fleet_from_documents

A100 = "NVIDIA-A100-SXM4-80GB"
NODES = (node("h100-1"), node("a100-1", A100))
PINNED_H100 = {"nodeSelector": {"nvidia.com/gpu.product": H100}}
PINNED_A100 = {"nodeSelector": {"nvidia.com/gpu.product": A100}}
LABEL = "inferno.server.allocation.accelerator"


def seen(
    *deployments: Object,
    nodes: Any = NODES,
    rules: Rules | None = None,
    known: Any = None,
    models: dict[tuple[str, str], str] | None = None,
    **more: Any,
) -> Cluster:
    assembler = Assembler(known or Library(), rules)
    listed = listing(deployments, more.pop("pods", ()), nodes, **more)
    return assembler.cluster(listed, models)


def server(cluster: Cluster, name: str = "chat") -> Server:
    return next(one for one in cluster.fleet.servers if one.name == name)


def variants(name: str, namespace: str = "infer", **labels: str) -> list[Object]:
    marked = {"inferno.server.name": "chat", **labels}
    return [
        workload(f"{name}-h100", namespace, labels=marked, spec=PINNED_H100),
        workload(f"{name}-a100", namespace, labels=marked, spec=PINNED_A100),
    ]


# ---- names and variants --------------------------------------------------------------------------


def test_the_least_that_is_needed_is_the_label() -> None:
    cluster = seen(workload(), nodes=[node()])
    assert cluster.notes == ()
    assert server(cluster) == Server("chat", "Qwen/Qwen3-8B", "Free", min_replicas=1, accelerators=("H100",))
    (one,) = cluster.governed
    assert (one.server, one.accelerator, one.mode, one.replicas, one.cards) == (
        "chat",
        "H100",
        "recommend",
        1,
        1,
    )
    assert (one.max_batch_size, one.owner, one.warnings, one.pinned) == (256, "", (), False)
    assert cluster.capacity == cluster.fleet.capacity == {"H100": 8}
    assert {p.accelerator for p in cluster.fleet.profiles} == {"H100"}


def test_what_is_assembled_can_be_planned() -> None:
    cluster = seen(workload(), nodes=[node()])
    (bare,) = cluster.fleet.servers
    loaded = msgspec.structs.replace(bare, load=Load(5.0, 1000, 300))
    (planned,) = plan(msgspec.structs.replace(cluster.fleet, servers=(loaded,))).servers
    assert planned.allocation
    assert (planned.status, planned.allocation.accelerator) == ("served", "H100")
    assert planned.allocation.replicas >= 1


def test_workloads_of_one_name_are_variants_of_one_server() -> None:
    cluster = seen(*variants("chat"))
    assert cluster.notes == ()
    assert [one.name for one in cluster.fleet.servers] == ["chat"]
    assert server(cluster).accelerators == ("A100", "H100")
    assert [(one.name, one.server, one.accelerator, one.pinned) for one in cluster.governed] == [
        ("chat-a100", "chat", "A100", True),
        ("chat-h100", "chat", "H100", True),
    ]


def test_one_name_in_two_namespaces_is_two_servers() -> None:
    older = workload(namespace="b", creationTimestamp=time(NOW - 9000))
    cluster = seen(workload(namespace="a"), older, nodes=[node()])
    assert [(one.namespace, one.server) for one in cluster.governed] == [("a", "a/chat"), ("b", "chat")]
    assert (
        "Deployment a/chat is a server of its own, a/chat: the name chat is taken in the namespace b"
        in (cluster.notes[0])
    )


def test_two_on_one_accelerator_are_two_servers() -> None:
    first, second = workload("x", labels={"inferno.server.name": "chat"}), workload("y")
    second["metadata"]["labels"]["inferno.server.name"] = "chat"
    cluster = seen(first, second, nodes=[node()])
    assert [one.server for one in cluster.governed] == ["chat", "infer/y"]
    assert "Deployment x serves chat on H100 too" in cluster.notes[0]


def test_a_stateful_set_called_as_a_deployment_is_a_server_of_its_own() -> None:
    cluster = seen(workload(), nodes=[node()], stateful_sets=[workload(uid="other")])
    assert [one.server for one in cluster.governed] == ["chat", "infer/chat"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.sampled_from("xyz"), st.sampled_from(["", "x", "s"]), st.booleans()
        ),
        unique_by=lambda one: one[:2],
        max_size=6,
    )
)
def test_every_workload_is_in_one_server_and_no_two_alike(made: list[tuple[str, str, str, bool]]) -> None:
    deployments = [
        workload(name, space, labels={"inferno.server.name": said} if said else {}, spec=spec)
        for space, name, said, fast in made
        for spec in [PINNED_H100 if fast else PINNED_A100]
    ]
    cluster = seen(*deployments)
    places = [(one.server, one.accelerator) for one in cluster.governed]
    assert len(places) == len(made) == len(set(places))
    names = [one.name for one in cluster.fleet.servers]
    assert sorted(set(names)) == names == sorted({one.server for one in cluster.governed})
    for one in cluster.fleet.servers:
        assert len({g.namespace for g in cluster.governed if g.server == one.name}) == 1
    assert seen(*reversed(deployments)) == cluster


# ---- accelerators --------------------------------------------------------------------------------


def test_a_pinned_template_has_no_choice() -> None:
    cluster = seen(workload(spec=PINNED_A100, labels={LABEL: "H100"}))
    assert server(cluster).accelerators == ("A100",)
    assert cluster.governed[0].pinned


def test_a_node_pool_pins_as_well() -> None:
    nodes = [node("h100-1", labels={"pool": "fast"}), node("a100-1", A100)]
    cluster = seen(workload(spec={"nodeSelector": {"pool": "fast"}}), nodes=nodes)
    assert (server(cluster).accelerators, cluster.governed[0].pinned) == (("H100",), True)


def test_a_label_pins_nothing() -> None:
    cluster = seen(workload(labels={LABEL: "A100"}))
    assert (cluster.governed[0].accelerator, cluster.governed[0].pinned) == ("A100", False)
    assert server(cluster).accelerators == ("A100", "H100")


def test_without_label_it_is_where_the_pods_are() -> None:
    chat = workload(replicas=3)
    pods = [pod_of(chat, i, node=name) for i, name in enumerate(("a100-1", "a100-1", "h100-1"))]
    cluster = seen(chat, pods=pods)
    assert cluster.governed[0].accelerator == "A100"
    assert "its pods run on A100 and H100; it is taken for one of A100" in cluster.notes[0]


def test_a_label_that_is_not_true_is_told() -> None:
    chat = workload(labels={LABEL: "A100"})
    cluster = seen(chat, pods=[pod_of(chat, node="h100-1")])
    assert "its label says A100, its pods run on H100: a label moves no pods" in cluster.notes[0]
    assert seen(chat, pods=[pod_of(chat, node="a100-1")]).notes == ()


def test_what_is_on_no_known_accelerator_is_seen_and_not_acted_on() -> None:
    cluster = seen(workload())
    assert server(cluster).accelerators == (UNKNOWN,)
    assert "nothing says on which accelerator it runs, so it is not acted on" in cluster.notes[0]
    loaded = msgspec.structs.replace(server(cluster), load=Load(5.0, 1000, 300))
    (planned,) = plan(msgspec.structs.replace(cluster.fleet, servers=(loaded,))).servers
    assert planned.allocation is None


def test_several_cards_are_one_unit() -> None:
    chat = workload(resources={"nvidia.com/gpu": "2"}, spec=PINNED_H100)
    cluster = seen(chat, workload("four", resources={"nvidia.com/gpu": 4}, labels={LABEL: "H100"}))
    assert server(cluster).accelerators == ("H100x2",)
    assert server(cluster, "four").accelerators == ("A100x4", "H100x4")
    pair = next(a for a in cluster.fleet.accelerators if a.name == "H100x2")
    assert (pair.type, pair.multiplicity) == ("H100", 2)


def test_apply_frees_a_pinned_template() -> None:
    cluster = seen(workload(spec=PINNED_H100, annotations={"flyball.dev/accelerator": "apply"}))
    assert server(cluster).accelerators == ("A100", "H100")
    assert cluster.governed[0].pinned


def test_only_cards_of_the_same_resource_are_candidates() -> None:
    amd = node("m", "AMD_Instinct_MI300X_OAM", label="amd.com/gpu.product-name", resource="amd.com/gpu")
    cluster = seen(workload(labels={LABEL: "H100"}), nodes=[*NODES, amd])
    assert server(cluster).accelerators == ("A100", "H100")


def test_a_model_that_does_not_fit_is_told() -> None:
    big = workload(args=("serve", "meta-llama/Llama-3.1-70B"), spec=PINNED_H100)
    assert "has no profile on H100: it does not fit there" in seen(big).notes[0]


# ---- models and classes --------------------------------------------------------------------------


def test_where_the_model_comes_from() -> None:
    labelled = {"inferno.server.model": "Qwen3-32B"}
    both = workload(labels=labelled, annotations={"flyball.dev/model": "Qwen/Qwen3-14B"})
    assert server(seen(both)).model == "Qwen/Qwen3-14B"
    assert server(seen(workload(labels=labelled))).model == "Qwen3-32B"
    silent = workload(args=())
    assert server(seen(silent, models={("infer", "chat"): "Qwen/Qwen3-4B"})).model == "Qwen/Qwen3-4B"
    assert "nothing says which model it serves" in seen(silent).notes[0]


def test_a_name_of_weights_that_says_nothing_gives_way() -> None:
    args = ("serve", "/mnt/weights", "--served-model-name", "Qwen3-8B")
    assert server(seen(workload(args=args), nodes=[node()])).model == "Qwen3-8B"


def test_an_unknown_model_is_told_and_not_acted_on() -> None:
    cluster = seen(workload(annotations={"flyball.dev/model": "Qwen/Qwen3-9B"}), nodes=[node()])
    assert 'model is "Qwen/Qwen3-9B": there is no such model. Near: ' in cluster.notes[0]
    assert "kind: Models" in cluster.notes[0]
    assert cluster.fleet.profiles == ()


def test_targets_of_its_own_are_a_class_of_its_own() -> None:
    said = {"flyball.dev/class": "Chat", "flyball.dev/ttft": "mean<300ms"}
    cluster = seen(workload(annotations=said), nodes=[node()])
    own = next(c for c in cluster.fleet.service_classes if c.name == server(cluster).service_class)
    assert (own.name, own.priority) == ("Chat of chat", 5)
    assert own.models[0].targets == (Target("ttft", 0.3, MEAN), Target("itl", 0.05, 0.95))


def test_a_misspelt_class_is_told() -> None:
    (note,) = seen(workload(labels={"inferno.server.class": "Chatt"}), nodes=[node()]).notes
    assert note == "chat: there is no class Chatt, so it is not acted on. Near: Chat"


def test_variants_that_disagree_are_told() -> None:
    first, second = variants("chat")
    second["metadata"]["labels"]["inferno.server.class"] = "Chat"
    first["metadata"]["annotations"]["flyball.dev/class"] = "Batch"
    (note,) = seen(first, second).notes
    assert note == "chat: its workloads name class Chat and Batch; Chat counts. Keep one"


def test_batch_is_pinned_by_an_engine_that_cannot_be_changed() -> None:
    args = ("serve", "Qwen/Qwen3-8B", "--max-num-seqs", "64")
    assert server(seen(workload(args=args))).max_batch_size == 64
    applied = workload(args=args, annotations={"flyball.dev/batch": "apply"})
    cluster = seen(applied)
    assert (server(cluster).max_batch_size, cluster.governed[0].max_batch_size) == (0, 64)
    labelled = seen(workload(labels={"inferno.server.allocation.maxbatchsize": "8"}))
    assert (server(labelled).max_batch_size, labelled.governed[0].max_batch_size) == (0, 8)
    assert server(seen(workload(), rules=Rules(max_batch_size=32))).max_batch_size == 32


def test_replicas_at_least() -> None:
    assert server(seen(workload(annotations={"flyball.dev/min": "3"}))).min_replicas == 3
    assert server(seen(workload(), rules=Rules(least=0))).min_replicas == 0
    one = seen(workload(annotations={"flyball.dev/min": "2", "flyball.dev/max": "5"})).governed[0]
    assert (one.least, one.most) == (2, 5)


# ---- who else, and what is there -----------------------------------------------------------------


def test_who_else_scales_it() -> None:
    hpa = scaler("chat")
    assert seen(workload(), autoscalers=[hpa]).governed[0].owner == (
        "HorizontalPodAutoscaler infer/scales-chat"
    )
    keda = [{"kind": "ScaledObject", "name": "so", "uid": "u", "controller": True}]
    of_keda = scaler("chat", ownerReferences=keda)
    cluster = seen(workload(), autoscalers=[of_keda], scaled_objects=[scaler("chat")])
    assert cluster.governed[0].owner == "KEDA's ScaledObject infer/scales-chat"
    assert seen(workload(), autoscalers=[scaler("chat", "other")]).governed[0].owner == ""
    assert seen(workload(), autoscalers=[scaler("chat", kind="StatefulSet")]).governed[0].owner == ""


@pytest.mark.parametrize(
    ("manager", "how", "field", "owner", "warned"),
    [
        ("argocd-controller", "Update", "f:replicas", "Argo CD", False),
        ("kustomize-controller", "Apply", "f:replicas", "Flux", False),
        ("argocd-controller", "Update", "f:template", "", False),
        ("flyball", "Update", "f:replicas", "", False),
        ("helm", "Update", "f:replicas", "", True),
        ("kubectl", "Apply", "f:replicas", "", True),
        ("kubectl", "Update", "f:replicas", "", False),  # kubectl scale, once
    ],
)
def test_who_wrote_the_replicas(manager: str, how: str, field: str, owner: str, warned: bool) -> None:
    written = [{"manager": manager, "operation": how, "fieldsV1": {"f:spec": {field: {}}}}]
    (one,) = seen(workload(managedFields=written)).governed
    assert one.owner == owner
    assert any("leave replicas out there" in warning for warning in one.warnings) is warned


def test_what_is_unwise_is_told() -> None:
    bare = workload(spec={"terminationGracePeriodSeconds": 30})
    bare["spec"]["template"]["spec"]["containers"][0].pop("lifecycle")
    bare["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]
    (one,) = seen(bare).governed
    failure, hook, grace = one.warnings
    assert failure == "pods cannot be made: exceeded quota"
    assert "preStop" in hook
    assert grace.startswith("terminationGracePeriodSeconds is 30: ")


def test_what_is_there() -> None:
    fast, slow = variants("chat")
    fast["spec"]["replicas"] = 4
    states = ("ready", "ready", "unschedulable", "draining")
    pods = [pod_of(fast, i, state=state) for i, state in enumerate(states)]
    found = observe(seen(fast, slow, pods=pods))
    assert found == {
        "chat": (
            Variant("A100", pending=1, max_batch_size=256),
            Variant("H100", ready=2, pending=2, draining=1, max_batch_size=256, waited=600.0),
        )
    }


def test_cold_starts_and_labelled_load() -> None:
    chat = workload(labels={"inferno.server.load.rpm": "60", "inferno.server.load.outtokens": "300"})
    (one,) = seen(chat, pods=[pod_of(chat)]).governed
    assert one.cold_start == pytest.approx(90)
    assert one.load == Load(1.0, 0.0, 300)
    assert server(seen(chat)).load == Load()


# ---- capacity ------------------------------------------------------------------------------------


def test_capacity_of_nodes_without_what_others_take() -> None:
    chat = workload()
    cluster = seen(chat, pods=[pod_of(chat), lone_pod("train", "h100-1", 5)])
    assert cluster.capacity == {"A100": 8, "H100": 3}
    assert not cluster.fleet.settings.unlimited


def test_capacity_that_is_given_wins() -> None:
    cluster = seen(workload(), rules=Rules(capacity={"H100": 2}))
    assert cluster.capacity == {"H100": 2}


@pytest.mark.parametrize("nodes", [None, []])
def test_not_known_is_not_none(nodes: Any) -> None:
    cluster = seen(workload(labels={LABEL: "H100"}), nodes=nodes)
    assert (cluster.capacity, cluster.fleet.settings.unlimited) == ({}, True)
    assert "their number is taken as unlimited" in cluster.notes[-1]


def test_a_quota_is_no_more_than_its_namespace_may_have() -> None:
    chat = workload()
    cluster = seen(chat, pods=[pod_of(chat)], quotas=[quota("infer", hard=4, used=2)], nodes=[node()])
    assert cluster.capacity == {"H100": 3}
    assert "leave 3 cards" in cluster.notes[-1]


# ---- Inferno's static data -----------------------------------------------------------------------


def inferno(**more: Any) -> Fleet:
    accelerators = [
        {"name": "MI250", "type": "MI250", "multiplicity": 1, "cost": 46.0},
        {"name": "2xH100", "type": "H100", "multiplicity": 2, "cost": 150.0},
        {"name": "H100", "type": "H100", "multiplicity": 1, "cost": 75.0},
    ]
    perf = {"alpha": 17.15, "beta": 0.034, "gamma": 0.001}
    models = [
        {"name": "llama_13b", "acc": a["name"], "accCount": 1, "maxBatchSize": 38, "perfParms": perf}
        for a in accelerators
    ]
    target = {"model": "llama_13b", "slo-itl": 40, "slo-ttft": 1000}
    classes = [{"name": "Premium", "priority": 1, "modelTargets": [target]}]
    return fleet_from_documents(
        {
            "accelerator-data.json": {"accelerators": accelerators},
            "model-data.json": {"models": models},
            "serviceclass-data.json": {"serviceClasses": classes},
            "optimizer-data.json": {"optimizer": {"unlimited": False}},
            **more,
        },
        servers=False,
    )


LABELS = {"inferno.server.model": "llama_13b", "inferno.server.class": "Premium", LABEL: "MI250"}


def test_infernos_labels_and_data_are_a_fleet_of_their_generation() -> None:
    capacity = {"capacity-data.json": {"count": [{"type": "MI250", "count": 4}]}}
    data = inferno(**capacity)
    cluster = seen(workload(labels=LABELS, args=(), resources={}), nodes=[], known=Given(data))
    assert cluster.notes == ()
    assert cluster.fleet.generation == "G3"
    assert cluster.fleet.profiles == data.profiles
    assert cluster.capacity == {"MI250": 4}
    one = server(cluster)
    assert (one.model, one.service_class, one.accelerators) == ("llama_13b", "Premium", ())
    assert (cluster.governed[0].accelerator, cluster.governed[0].pinned) == ("MI250", False)


def test_nodes_count_where_the_data_have_no_capacity() -> None:
    cluster = seen(workload(labels=LABELS, args=()), nodes=[node()], known=Given(inferno()))
    assert cluster.capacity == {"H100": 8}
    assert not cluster.fleet.settings.unlimited
    bare = seen(workload(labels=LABELS, args=()), nodes=[], known=Given(inferno()))
    assert bare.fleet.settings.unlimited


def test_a_pinned_template_means_the_unit_of_its_cards() -> None:
    unlabelled = {key: value for key, value in LABELS.items() if key != LABEL}
    two = workload(labels=unlabelled, args=(), resources={"nvidia.com/gpu": "2"}, spec=PINNED_H100)
    cluster = seen(two, nodes=[node()], known=Given(inferno()))
    assert server(cluster).accelerators == ("2xH100",)
    four = workload(labels=unlabelled, args=(), resources={"nvidia.com/gpu": "4"}, spec=PINNED_H100)
    (note, _) = [
        n
        for n in seen(four, nodes=[node()], known=Given(inferno())).notes
        if "chat" in n and "class" not in n
    ]
    assert note == "Deployment infer/chat: the data have no accelerator of 4 H100 cards"
    named = seen(workload(labels={**LABELS, LABEL: "MI25"}, args=()), known=Given(inferno()))
    assert 'accelerator is "MI25": there is no such accelerator in the data. Near: MI250' in "".join(
        named.notes
    )


def test_what_the_data_do_not_promise_is_told() -> None:
    unclassed = workload(labels={**LABELS, "inferno.server.class": "Free"}, args=())
    (note,) = [n for n in seen(unclassed, known=Given(inferno())).notes if n.startswith("chat: ")]
    assert note == "chat: there is no class Free, so it is not acted on. Known: Premium"


def test_a_fleet_of_generation_1_has_no_ttft() -> None:
    data = msgspec.structs.replace(inferno(), generation="G1")
    said = workload(labels=LABELS, args=(), annotations={"flyball.dev/ttft": "p95<1s"})
    assert "generation 1, which promises waits" in "".join(seen(said, known=Given(data)).notes)


# ---- cycles --------------------------------------------------------------------------------------


def test_what_was_written_since_is_read_again() -> None:
    assembler = Assembler(Library())
    before = assembler.cluster(listing([workload()], nodes=[node()]))
    changed = workload(annotations={"flyball.dev/mode": "act"}, resourceVersion="2")
    after = assembler.cluster(listing([changed], nodes=[node()]))
    assert (before.governed[0].mode, after.governed[0].mode) == ("recommend", "act")
    assert assembler.cluster(listing([workload()], nodes=[node()])) == before


def test_an_empty_cluster_is_an_empty_fleet() -> None:
    assert seen(nodes=[node()]).fleet.servers == ()
    assert observe(seen()) == {}
    odd = {"metadata": metadata("odd"), "spec": {}}
    assert seen(odd).governed[0].accelerator == UNKNOWN


def test_a_label_does_not_move_a_template_to_cards_of_another_vendor() -> None:
    """The original relabels it, and the pods run where they ran."""
    asks = workload(labels=LABELS | {LABEL: "H100"}, args=(), resources={"nvidia.com/gpu": "1"})
    amd = node("b", "MI250", label="nvidia.com/gpu.product", resource="amd.com/gpu")
    nodes = [node("a"), amd]
    one = server(seen(asks, nodes=nodes, known=Given(inferno())))
    assert "H100" in one.accelerators
    assert "MI250" not in one.accelerators
