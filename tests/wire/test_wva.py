"""VariantAutoscaling objects, in all their shapes, to Inferno's kinds."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.spec.profile import FlatTiming, PhaseTiming
from flyball.units import from_cents, from_ms
from flyball.wire.errors import WireError
from flyball.wire.kinds.documents import Namespace, Objects, read_namespace
from flyball.wire.wva import Imported, imported
from flyball.wire.wva_documents import given_in
from flyball.wire.wva_objects import beside
from tests.wire.wva_samples import (
    CLASSES,
    LLAMA,
    PARMS,
    PRICES,
    Document,
    bare,
    config_map,
    profiled,
    single,
    target,
    variant,
)

FREE = {"ttft": "p95<2s", "itl": "p95<100ms"}


def taken(*variants: Document, maps: tuple[Document, ...] = (PRICES, CLASSES)) -> Imported:
    return imported(variants, maps, FREE)


def read(made: Imported, namespace: str = "infer") -> Namespace:
    """As the operator reads them: without any error."""
    found = read_namespace(made.namespaces[namespace])
    assert not found.errors
    return found


CLASS_MAP = "service-classes-config"


def said(texts: tuple[str, ...], *words: str) -> bool:
    return any(all(word in text for word in words) for text in texts)


# ---- shapes --------------------------------------------------------------------------------------


def test_a_profile_for_each_accelerator_is_a_model_with_prices_and_a_class() -> None:
    made = taken(profiled())
    assert made.errors == ()
    fleet = read(made).fleet
    (server,) = fleet.servers
    assert (server.name, server.model, server.service_class) == ("chat", LLAMA, "Premium")
    assert (server.accelerators, server.max_batch_size) == (("A100",), 64)
    (profile,) = fleet.profiles
    assert isinstance(profile.timing, PhaseTiming)
    assert profile.timing.alpha == pytest.approx(from_ms(20.58))
    (accelerator,) = fleet.accelerators
    assert (accelerator.type, accelerator.cost) == ("NVIDIA-A100-SXM4-80GB", from_cents(40))
    (service_class,) = fleet.service_classes
    assert service_class.priority == 1
    targets = {t.metric: (t.limit, t.statistic) for t in service_class.models[0].targets}
    assert targets == {"itl": (from_ms(24), "mean"), "ttft": (from_ms(500), "mean")}
    assert said(made.notes, "VariantAutoscaling infer/chat", "names no workload")


def test_the_first_generation_has_alpha_and_beta_beside_the_accelerator() -> None:
    waits = config_map(
        "service-classes-config",
        premium_yaml=f"name: Premium\npriority: 1\ndata:\n- {{model: {LLAMA}, slo-itl: 24, slo-ttw: 500}}",
    )
    made = taken(profiled(alpha="20.58", beta=0.41, atTokens="512"), maps=(PRICES, waits))
    fleet = read(made).fleet
    assert fleet.generation == "G1"
    assert isinstance(fleet.profiles[0].timing, FlatTiming)
    assert fleet.profiles[0].at_tokens == 512
    assert fleet.servers[0].max_batch_size == 0  # atTokens says how the batch goes with the length
    assert {t.metric for t in fleet.service_classes[0].models[0].targets} == {"itl", "wait"}


def test_three_parameters_are_the_third_generation() -> None:
    made = taken(profiled(perfParms={"alpha": "8", "beta": "0.03", "gamma": "0.0002"}))
    assert read(made).fleet.generation == "G3"


def test_variants_of_one_model_in_one_class_are_one_server() -> None:
    made = taken(
        single("chat-a", "chat-a100", "A100", minReplicas=1, maxReplicas=4),
        single("chat-h", "chat-h100", "H100", minReplicas=0, maxReplicas=9),
    )
    found = read(made)
    (server,) = found.fleet.servers
    assert (server.name, server.accelerators) == ("chat-a100", ("A100", "H100"))
    assert found.servers["chat-a100"].max_replicas is None  # bounds are of its workloads
    assert [(t.name, t.server, t.accelerator, t.least, t.most) for t in made.targets] == [
        ("chat-a100", "chat-a100", "A100", 1, 4),
        ("chat-h100", "chat-a100", "H100", 0, 9),
    ]
    assert said(made.notes, "chat-a100, chat-h100", "inferno.server.name=chat-a100")


def test_two_on_the_same_accelerator_are_two_servers() -> None:
    made = taken(single("one", "one", "A100"), single("two", "two", "A100"))
    assert {s.name for s in read(made).fleet.servers} == {"one", "two"}
    assert said(made.notes, "infer/two is a server of its own")


def test_another_class_is_another_server() -> None:
    other = single("two", "two", "H100", sloClassRef={"name": "service-classes-config", "key": "freemium"})
    other["spec"]["modelID"] = "other"
    assert {s.service_class for s in read(taken(single("one", "one", "A100"), other)).fleet.servers} == {
        "Premium",
        "Freemium",
    }


def test_the_newest_shape_is_a_server_in_free_for_the_library() -> None:
    made = taken(bare(minReplicas=2, maxReplicas=5, variantCost="25"), maps=())
    objects = made.namespaces["infer"]
    assert objects.models == objects.accelerators == objects.service_classes == ()
    found = read(made)
    (server,) = found.fleet.servers
    assert (server.name, server.service_class, server.min_replicas) == ("chat", "Free", 2)
    assert found.servers["chat"].max_replicas == 5
    assert made.targets[0].least == 2
    assert said(made.notes, "variantCost", "not carried over")


def test_a_profile_without_a_class_has_the_targets_of_free() -> None:
    one = single("chat", "chat", "A100")
    del one["spec"]["sloClassRef"]
    fleet = read(taken(one, maps=(PRICES,))).fleet
    (free,) = fleet.service_classes
    assert (free.name, free.priority, free.models[0].model) == ("Free", 100, LLAMA)
    assert [(t.metric, t.limit) for t in free.models[0].targets] == [("ttft", 2.0), ("itl", 0.1)]


def test_a_class_of_the_name_free_is_ones_own() -> None:
    text = f"name: Free\npriority: 7\ndata:\n- {{model: {LLAMA}, slo-tpot: 70}}"
    other = single("other", "other", "H100")
    other["spec"]["modelID"] = "unnamed"
    made = taken(single("chat", "chat", "A100"), other, maps=(PRICES, config_map(CLASS_MAP, free_yaml=text)))
    (free,) = made.namespaces["infer"].service_classes
    assert free["spec"]["priority"] == 7
    assert free["spec"]["data"] == [{"model": LLAMA, "slo-itl": 70.0}]


def test_the_class_that_names_the_model_is_found_without_a_reference() -> None:
    assert read(taken(bare())).fleet.servers[0].service_class == "Premium"


@pytest.mark.parametrize("slo", [("premium-slo", "premium"), ("x", "Premium"), ("Premium", LLAMA)])
def test_a_reference_is_followed_by_name_or_key(slo: tuple[str, str]) -> None:
    made = taken(bare(sloClassRef={"name": slo[0], "key": slo[1]}))
    assert made.targets[0].service_class == "Premium"
    assert not said(made.notes, "sloClassRef")


def test_a_reference_that_leads_nowhere_is_told() -> None:
    one = bare(sloClassRef={"name": "gone", "key": "gold"})
    made = taken(one)
    assert made.targets[0].service_class == "Premium"
    assert said(made.notes, "spec.sloClassRef is gold of gone", "Premium, which names the model, is taken")
    made = taken(one, maps=())
    assert made.targets[0].service_class == ""
    assert said(made.notes, "spec.sloClassRef is gold of gone", "class Free")


def test_what_holds_for_any_model_is_written_out() -> None:
    any_model = config_map(
        "service-classes-config",
        premium_yaml="name: Premium\ndata:\n- {model: default/default, slo-tpot: 9, slo-ttft: 90}",
    )
    made = taken(profiled(), maps=(PRICES, any_model))
    rows = made.namespaces["infer"].service_classes[0]["spec"]["data"]
    assert {"model": LLAMA, "slo-itl": 9.0, "slo-ttft": 90.0} in rows


def test_a_class_is_the_same_in_every_namespace() -> None:
    other = profiled("mail", "b")
    other["spec"]["modelID"] = "other-model"
    any_model = copy.deepcopy(CLASSES)
    any_model["data"]["premium.yaml"] += "\n- {model: default/default, slo-tpot: 9}"
    made = taken(profiled(), other, maps=(PRICES, any_model))
    first, second = (made.namespaces[name].service_classes[0]["spec"] for name in ("infer", "b"))
    assert first == second
    assert {LLAMA, "other-model"} <= {row["model"] for row in first["data"]}


def test_config_maps_with_one_key_for_all() -> None:
    prices = config_map("accelerator-unitcost", accelerators="- {name: A100, type: A100-80, cost: 40}")
    text = f"- {{name: Premium, model: {LLAMA}, priority: 1, slo-itl: 24, slo-ttw: 500}}"
    made = taken(profiled(), maps=(prices, config_map("my-serviceclass", serviceClasses=text)))
    fleet = read(made).fleet
    assert fleet.accelerators[0].type == "A100-80"
    assert {t.metric for t in fleet.service_classes[0].models[0].targets} == {"itl", "ttft"}


def test_prices() -> None:
    h100 = single("b", "b", "H100", variantCost="90", acceleratorCount=2)
    fleet = read(taken(h100, maps=(CLASSES,))).fleet
    assert fleet.accelerators[0].cost == pytest.approx(from_cents(45))  # of one of its two cards
    gone = profiled()
    gone["spec"]["modelProfile"]["accelerators"].append(
        {"acc": "L40S", "accCount": 2, "perfParms": PARMS, "maxBatchSize": 8}
    )
    made = taken(gone)
    assert read(made).fleet.servers[0].accelerators == ("A100",)
    assert said(made.notes, "L40S", "left out")
    assert {a.cost for a in read(taken(gone, maps=(CLASSES,))).fleet.accelerators} == {from_cents(10)}


def test_one_generation_in_a_namespace() -> None:
    old = profiled("old", alpha="1", beta="2")
    made = taken(profiled("a"), profiled("b"), old)
    assert said(made.errors, "VariantAutoscaling infer/old: spec.modelProfile.accelerators[0]", "alpha, beta")
    assert read(made).fleet.generation == "G2"
    alone = copy.deepcopy(old)
    alone["metadata"]["namespace"] = "other"
    assert not taken(profiled(), alone).errors


# ---- what is wrong -------------------------------------------------------------------------------

ROW: dict[str, Any] = {"acc": "A100", "accCount": 1, "maxBatchSize": 64}


@pytest.mark.parametrize(
    ("one", "path"),
    [
        ({"metadata": {"name": "chat", "namespace": "infer"}}, "spec"),
        (variant(modelID=None), "spec.modelID"),
        (variant(modelID=7), "spec.modelID is 7"),
        (variant(scaleTargetRef={"kind": "Deployment"}), "spec.scaleTargetRef.name"),
        (variant(scaleTargetRef="chat"), "spec.scaleTargetRef"),
        (bare("chat", variantCost="ten"), 'spec.variantCost is "ten"'),
        (bare("chat", minReplicas=-1), "spec.minReplicas is -1"),
        (bare("chat", minReplicas=3, maxReplicas=2), "spec.maxReplicas is 2"),
        (profiled(alpha="1"), "spec.modelProfile.accelerators[0].beta"),
        (profiled(alpha="1", beta="-2"), "spec.modelProfile.accelerators[0].beta"),
        (profiled(accCount=0, perfParms=PARMS), "spec.modelProfile.accelerators[0].accCount is 0"),
        (profiled(maxBatchSize="many", perfParms=PARMS), "accelerators[0].maxBatchSize"),
        (
            profiled(perfParms={"decodeParms": PARMS["decodeParms"]}),
            "accelerators[0].perfParms.prefillParms.gamma",
        ),
        (variant(modelProfile={"accelerators": ROW}), "spec.modelProfile.accelerators"),
        (variant(variantProfile={"maxBatchSize": 4}), "spec.variantProfile"),
    ],
)
def test_what_cannot_be_read_names_object_and_path(one: Document, path: str) -> None:
    made = taken(one, profiled("mail"))
    (error,) = made.errors
    assert error.startswith("VariantAutoscaling infer/chat: ")
    assert path in error
    assert [t.name for t in made.targets] == ["mail"]  # the others are taken over


@pytest.mark.parametrize(
    ("maps", "path"),
    [
        (config_map("accelerator-unit-costs", A100="{device: x}"), "data.A100: cost"),
        (config_map("accelerator-unit-costs", A100="{cost: dear}"), "data.A100: cost"),
        (config_map("accelerator-unit-costs", A100="{cost: ["), "data.A100"),
        (config_map("service-classes-config", p="{name: P, data: [{slo-itl: 3}]}"), "data.p: data[0]"),
        (config_map("service-classes-config", p="{name: P, data: {}}"), "data.p: data"),
        (config_map("service-classes-config", p="- 7"), "data.p: [0]"),
        (config_map("service-classes-config", p="{name: P, priority: first, data: []}"), "priority"),
    ],
)
def test_config_maps_that_cannot_be_read_name_the_key(maps: Document, path: str) -> None:
    (error,) = taken(bare(), maps=(maps,)).errors
    assert error.startswith(f"ConfigMap wva-system/{maps['metadata']['name']}: data.")
    assert path in error


def test_what_is_not_taken_over_is_told() -> None:
    excluded = bare("out")
    excluded["metadata"]["annotations"] = {"wva.llmd.ai/exclude": "true"}
    going = bare("going", "going")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    made = taken(
        excluded,
        going,
        bare("tuned", "tuned", activateModelTuner=True),
        bare("job", "job", scaleTargetRef=target("job", "RoleSet")),
        maps=(config_map("wva-saturation-scaling-config", default="kvCacheThreshold: 0.8"),),
    )
    assert {t.name for t in made.targets} == {"tuned", "job"}
    assert not said(made.notes, "variantCost")  # as the API server writes it
    for words in (("out", "excluded"), ("going", "deleted"), ("activateModelTuner",), ("RoleSet", "--kinds")):
        assert said(made.notes, *words)
    assert said(made.notes, "wva-saturation-scaling-config", "no use")


def test_own_objects_win_by_name() -> None:
    made = taken(profiled(), bare("mail", "mail", modelID="m")).namespaces["infer"]
    own = Objects(servers=({"metadata": {"name": "x"}, "spec": {"name": "chat", "model": "mine"}},))
    both = beside(own, made)
    assert {s["spec"]["name"]: s["spec"]["model"] for s in both.servers} == {"chat": "mine", "mail": "m"}
    assert both.models == made.models


def test_files() -> None:
    text = (
        b"# a comment\n---\napiVersion: v1\nkind: List\nitems:\n"
        b"- {apiVersion: llmd.ai/v1alpha1, kind: VariantAutoscaling, metadata: {name: a}}\n"
        b"- {kind: Deployment, metadata: {name: d}}\n"
        b"---\nkind: ConfigMap\ndata:\n  key: |\n    ---\n    x: 1\n"
    )
    found = given_in([("file", text)])
    assert [one["metadata"]["name"] for one in found.variants] == ["a"]
    assert found.maps[0]["data"]["key"] == "---\nx: 1\n"
    assert found.others == ("Deployment",)
    with pytest.raises(WireError, match="file, document 2"):
        given_in([("file", b"kind: ConfigMap\n---\n- 1\n")])
    with pytest.raises(WireError, match="apiVersion"):
        given_in([("file", b"kind: VariantAutoscaling\napiVersion: llmd.ai/v1\n")])
    with pytest.raises(WireError, match="holds nothing"):
        given_in([("file", b"---\n")])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "A100", "1.5", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["acc", "alpha"]), inner),
    max_leaves=4,
)
FIELDS = (
    "scaleTargetRef",
    "modelID",
    "modelProfile",
    "variantProfile",
    "accelerator",
    "acceleratorCount",
    "sloClassRef",
    "minReplicas",
    "variantCost",
)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_whatever_stands_in_it_is_read_or_named(spec: Document) -> None:
    made = taken({**bare(), "spec": spec})
    assert len(made.targets) + len(made.errors) == 1
    assert all(error.startswith("VariantAutoscaling infer/chat-va: ") for error in made.errors)
