"""From the objects of a namespace to a fleet, and from its plan back to the objects."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from flyball.decide.plan import plan
from flyball.spec.plan import Option, Plan, ServerPlan
from flyball.spec.service_class import Target
from flyball.wire.inferno import fleet_from_system, system_document
from flyball.wire.inferno_in import CAPACITY_NOTE
from flyball.wire.kinds.decided import decided, desired_allocations, unchanged
from flyball.wire.kinds.documents import Namespace, Objects, read_namespace
from flyball.wire.kinds.inferno_objects import Document, Ref
from tests.operator_kinds.cases import ENTRY, FLAT, G2, G3
from tests.operator_kinds.samples import sample
from tests.operator_kinds.structural import misfits
from tests.operator_kinds.test_inferno_kinds import SCHEMAS

SERVER = "Premium-granite-13b"
FIELDS = {
    "Accelerator": "accelerators",
    "Model": "models",
    "ServiceClass": "service_classes",
    "Server": "servers",
    "Capacity": "capacities",
    "Optimizer": "optimizers",
}


def read(*more: Document, without: tuple[str, ...] = (), **optimizer: str) -> Namespace:
    """The samples, in which those of the same kind and name are replaced by `more`; `without` kinds."""
    kept = {(kind, sample(kind)["metadata"]["name"]): sample(kind, "infer") for kind in FIELDS}
    kept = {key: one for key, one in kept.items() if key[0] not in without}
    kept |= {(one["kind"], one["metadata"]["name"]): one for one in more}
    shuffled = list(kept.values())
    random.Random(1).shuffle(shuffled)
    given = {f: tuple(o for o in shuffled if o["kind"] == kind) for kind, f in FIELDS.items()}
    return read_namespace(Objects(**given), **optimizer)


def named(kind: str, called: str, /, **changes: object) -> Document:
    one = sample(kind, "infer", **changes)
    one["metadata"]["name"] = called
    return one


def one(kind: str, **changes: object) -> Document:
    return sample(kind, "infer", **changes)


def of_generation(parameters: Document, load: Document, slo: Document) -> tuple[Document, ...]:
    return (
        one("Model", data=[{**ENTRY, **parameters}]),
        one("ServiceClass", data=[{"model": "granite-13b", **slo}]),
        one("Server", currentAlloc__load={"arrivalRate": 40, **load}, currentAlloc__waitAverage=None),
    )


NEW_LOAD = {"avgInTokens": 128, "avgOutTokens": 1024}
NEW_SLO = {"slo-itl": 40, "slo-ttft": 500}


def test_the_sample_is_planned_as_the_original_does() -> None:
    found = read()
    assert (found.errors, found.blocked, found.fleet.generation) == ({}, {}, "G1")
    assert found.servers[SERVER].ref == Ref("Server", "infer", "premium-granite-13b")
    assert found.optimizer == Ref("Optimizer", "infer", "inferno")
    made = decided(found.fleet, plan(found.fleet))[SERVER]
    desired = dict(made.desired or {})
    assert desired.pop("itlAverage") == 24.395647
    assert desired.pop("waitAverage") == pytest.approx(84.95117, rel=1e-4)
    assert desired == {
        "accelerator": "A100",
        "numReplicas": 2,
        "maxBatch": 16,
        "cost": 80,
        "load": {"arrivalRate": 40, "avgLength": 1024, "arrivalCOV": 1, "serviceCOV": 1},
    }
    assert (made.reason, made.binding) == ("cheapest", "wait")


def test_at_ten_times_the_load_it_is_nineteen() -> None:
    found = read(one("Server", currentAlloc__load__arrivalRate=400))
    desired = desired_allocations(found.fleet, plan(found.fleet))[SERVER]
    assert (desired["accelerator"], desired["numReplicas"], desired["cost"]) == ("A100", 19, 760)


def test_without_load_the_accelerator_is_kept_with_no_replica() -> None:
    found = read(one("Server", currentAlloc__load__arrivalRate=0))
    desired = desired_allocations(found.fleet, plan(found.fleet))[SERVER]
    assert (desired["accelerator"], desired["numReplicas"], desired["cost"]) == ("A100", 0, 0)


@pytest.mark.parametrize(
    ("generation", "parameters", "load", "slo"),
    [
        ("G1", FLAT, {"avgLength": 1024}, {"slo-itl": 40, "slo-ttw": 500}),
        ("G2", G2, NEW_LOAD, {"slo-itl": 40, "slo-ttft": 2500}),
        ("G3", G3, NEW_LOAD, NEW_SLO),
        # the words of two generations side by side: its own hold
        ("G1", FLAT, {"avgLength": 1024, **NEW_LOAD}, {"slo-itl": 40, "slo-ttw": 500, "slo-ttft": 1}),
        ("G3", G3, {"avgLength": 9, **NEW_LOAD}, {**NEW_SLO, "slo-ttw": 1}),
    ],
)
def test_a_namespace_is_of_the_generation_of_its_models(
    generation: str, parameters: Document, load: Document, slo: Document
) -> None:
    found = read(*of_generation(parameters, load, slo))
    assert (found.errors, found.blocked, found.fleet.generation) == ({}, {}, generation)
    system = system_document(found.fleet)
    again = fleet_from_system(system, "again")
    assert (again.profiles, again.servers) == (found.fleet.profiles, found.fleet.servers)
    made = decided(found.fleet, plan(found.fleet))[SERVER]
    assert made.desired is not None
    assert made.desired["numReplicas"] > 0
    written = one("Server", desiredAlloc=made.desired)
    written["status"] = {
        "desiredAlloc": made.desired,
        "reason": made.reason,
        "bindingConstraint": made.binding,
    }
    assert list(misfits(SCHEMAS["Server"], written)) == []


def test_generation_3_waits_for_parameters_that_are_learned() -> None:
    model, *others = of_generation(G3, NEW_LOAD, NEW_SLO)
    model["spec"]["data"].append({"acc": "G2"})
    found = read(model, *others, named("Accelerator", "g2", name="G2", type="G2"))
    assert found.errors == {}
    (planned,) = plan(found.fleet).servers
    assert [(e.accelerator, e.reason) for e in planned.exclusions] == [("G2", "not_learned")]


def test_of_two_generations_most_models_win_and_the_rest_are_named() -> None:
    def model(name: str, parameters: Document) -> Document:
        return named("Model", name, name=name, data=[{**ENTRY, **parameters}])

    found = read(model("a", G2), model("granite-13b", FLAT), model("z", FLAT))
    assert found.fleet.generation == "G1"
    assert found.errors == {
        Ref(
            "Model", "infer", "a"
        ): "Model infer/a: spec.data[0]: has decodeParms, prefillParms (G2), but most "
        "models here are of generation 1, and those of one namespace are of one. Write alpha, beta."
    }
    assert {p.model for p in found.fleet.profiles} == {"granite-13b", "z"}
    alike = read(model("a", G3), model("b", FLAT), without=("Model",))
    assert alike.fleet.generation == "G3"
    assert {ref.name for ref in alike.errors} == {"b", "premium", "premium-granite-13b"}


BAD: list[tuple[Document, str]] = [
    (
        one("Model", data__0__alpha=-1),
        "spec.data[0].alpha is -1: expected a number >= 0. Write it in milliseconds",
    ),
    (one("Model", data__1__acc=""), "spec.data[1].acc"),
    (one("Model", data__1__acc="A100"), 'spec.data[1]: "A100" stands here twice, and differs'),
    (
        one("Model", data__0__perfParms=G3["perfParms"]),
        "spec.data[0]: perfParms (G3) beside alpha, beta (G1)",
    ),
    (
        one("Model", data=[{**ENTRY, **FLAT}, {"acc": "G2"}]),
        "spec.data[1]: has no parameters. Add alpha, beta",
    ),
    (one("Model", data=5), "spec.data is 5: expected a list"),
    (one("ServiceClass", data__0__model=7), "spec.data[0].model is 7"),
    (one("ServiceClass", data__0={"model": "granite-13b", "slo-ttft": 9}), "spec.data[0].slo-ttft is 9"),
    (one("ServiceClass", data__0__targets={"itl": "soon"}), 'spec.data[0].targets.itl is "soon"'),
    (one("ServiceClass", data__0__targets={"ttft": "p95<1s"}), "spec.data[0].targets.ttft: generation 1"),
    (one("ServiceClass", data__0__targets=3), "spec.data[0].targets is 3"),
    (one("ServiceClass", data__1__model="granite-13b"), "spec.data[1]"),
    (one("Server", currentAlloc__numReplicas=-3), "spec.currentAlloc.numReplicas is -3"),
    (
        one("Server", currentAlloc__load={"arrivalRate": 1, **NEW_LOAD}),
        "spec.currentAlloc.load: lacks avgLength",
    ),
    (one("Server", minNumReplicas=3, maxNumReplicas=2), "spec.maxNumReplicas is 2: allowed is at least"),
    (one("Server", mode="off"), "spec.mode is"),
    (one("Accelerator", cost=-1), "spec.cost is -1"),
    (
        one("Accelerator", power={"idle": 2, "full": 1}),
        "spec.power: idle is 2 watts, allowed is at most full, 1",
    ),
    (one("Accelerator", power__midPower=900), "spec.power: midPower is 900 watts"),
    (one("Capacity", count__0__count=-1), "spec.count[0].count is -1"),
    (one("Capacity", count__1={"type": "A100", "count": 9}), 'spec.count[1]: "A100" stands here twice'),
    (one("Optimizer", period=-1), "spec.period is -1"),
    (one("Optimizer", data=[]), ""),
    (one("Optimizer", data__optimizer__solver="best"), "spec.data.optimizer.solver is"),
]


@pytest.mark.parametrize(
    ("bad", "said"), [b for b in BAD if b[1]], ids=lambda v: v if isinstance(v, str) else ""
)
def test_one_bad_object_is_left_out_and_named(bad: Document, said: str) -> None:
    good = [
        named("Accelerator", "other", name="H100", type="H100"),
        named("Model", "other", name="other", data=[{**ENTRY, **FLAT, "acc": "H100"}]),
        named(
            "ServiceClass", "other", name="Other", data=[{"model": "other", "slo-itl": 40, "slo-ttw": 500}]
        ),
        named("Server", "other", **{"name": "Other", "class": "Other", "model": "other"}),
        named("Capacity", "other", count=[{"type": "H100", "count": 64}]),
    ]
    found = read(bad, *good)
    ref = Ref(bad["kind"], "infer", bad["metadata"]["name"])
    assert list(found.errors) == [ref]
    assert found.errors[ref].startswith(f"{ref}: {said}")
    made = decided(found.fleet, plan(found.fleet))
    assert made["Other"].desired is not None
    if bad["kind"] in ("Model", "ServiceClass"):
        assert found.blocked == {SERVER: found.errors[ref]}
        assert made[SERVER].desired is None
        assert made[SERVER].reason in ("no_profile", "no_target")
    else:
        assert found.blocked == {}
        assert (SERVER in made) is (bad["kind"] != "Server")


def test_an_object_without_a_spec_is_named() -> None:
    bare: Any = {"kind": "Server", "metadata": {"name": "bare", "namespace": "infer"}}
    assert read(bare).errors == {
        Ref("Server", "infer", "bare"): "Server infer/bare: spec: is missing. Write a spec."
    }


def test_what_is_nowhere_is_said_too() -> None:
    found = read(one("Server", model="llama"), without=("ServiceClass",))
    assert "no Model of the name llama" in found.blocked[SERVER]
    found = read(one("Server", **{"class": None}))
    assert "no ServiceClass of the name Free" in found.blocked[SERVER]


def test_of_two_by_one_name_the_first_holds() -> None:
    found = read(named("Accelerator", "b", cost=1), named("Server", "z"), named("Capacity", "d"))
    assert set(found.errors) == {Ref("Accelerator", "infer", "b"), Ref("Server", "infer", "z")}
    assert 'spec.name is "A100": Accelerator infer/a100 has this name already' in str(found.errors)
    assert found.fleet.accelerators[0].cost == 0.4
    assert found.servers[SERVER].ref.name == "premium-granite-13b"
    other = read(named("Capacity", "d", count=[{"type": "A100", "count": 5}]))
    assert "A100: Capacity infer/capacity has 4 of these cards, and this 5" in str(other.errors)
    assert other.fleet.capacity == {"A100": 4, "G2": 8}


def test_names_that_are_absent_are_those_of_the_objects() -> None:
    found = read(
        named("Accelerator", "l4", name=None, type=None),
        named("Model", "tiny", name=None, data=[{**ENTRY, **FLAT, "acc": "l4"}]),
        named("ServiceClass", "gold", name=None, data=[{"model": "tiny", "slo-itl": 40}]),
        named("Server", "chat", name=None, model="tiny", **{"class": "gold"}),
        named("Optimizer", "slow", data__optimizer__unlimited=True),
    )
    assert (found.errors, found.blocked) == ({}, {})
    made = decided(found.fleet, plan(found.fleet))
    assert made["chat"].desired is not None
    assert made["chat"].desired["accelerator"] == "l4"


def test_without_any_capacity_there_is_no_limit() -> None:
    limited = one("Optimizer", data__optimizer__unlimited=False)
    found = read(limited, without=("Capacity",))
    assert found.fleet.settings.unlimited
    assert found.fleet.settings.note == CAPACITY_NOTE
    found = read(limited)
    assert (found.fleet.settings.unlimited, found.fleet.capacity) == (False, {"A100": 4, "G2": 8})


def test_settings_are_those_of_the_optimizer_that_is_asked_for() -> None:
    more = {"saturationPolicy": "RoundRobin", "delayedBestEffort": True, "solver": "greedy"}
    slow = named("Optimizer", "slow", optimize=True, period=30, data__optimizer=more)
    found = read(slow, optimizer="slow")
    settings = found.fleet.settings
    assert (found.optimizer, found.optimize, found.period) == (Ref("Optimizer", "infer", "slow"), True, 30)
    assert (settings.solver, settings.saturation_policy, settings.delayed_best_effort) == (
        "greedy",
        "RoundRobin",
        True,
    )
    assert not settings.unlimited
    assert read(slow).optimizer == Ref("Optimizer", "infer", "inferno")
    assert read(slow, optimizer="gone").optimizer is None
    assert read(one("Optimizer", data__optimizer={"solver": "unlimited"})).fleet.settings.unlimited


def test_targets_in_flyball_s_words_go_before_slos() -> None:
    parts = of_generation(G3, NEW_LOAD, {**NEW_SLO, "targets": {"ttft": "p99<2s", "e2e": "mean<80s"}})
    found = read(*parts)
    (promise,) = found.fleet.service_classes[0].models
    assert promise.targets == (Target("itl", 0.04), Target("ttft", 2.0, 0.99), Target("e2e", 80.0))
    planned = plan(found.fleet).servers[0]
    assert [(p.metric, p.statistic, p.met) for p in planned.promises if p.metric == "ttft"] == [
        ("ttft", "p99", True)
    ]
    tight = of_generation(G3, NEW_LOAD, {**NEW_SLO, "targets": {"ttft": "p99<1ms"}})
    assert plan(read(*tight).fleet).servers[0].reason == "out_of_reach"


def test_what_a_server_asks_for_is_kept() -> None:
    wishes = {"mode": "keda", "minNumReplicas": 5, "maxNumReplicas": 9, "accelerators": ["G2"]}
    both = named("Accelerator", "g2", name="G2", type="G2", cost=23)
    found = read(both, one("Server", **wishes))
    governed = found.servers[SERVER]
    assert (governed.mode, governed.max_replicas) == ("keda", 9)
    desired = desired_allocations(found.fleet, plan(found.fleet))[SERVER]
    assert (desired["accelerator"], desired["numReplicas"]) == ("G2", 5)
    kept = read(both, one("Server", keepAccelerator=True, maxBatchSize=4))
    desired = desired_allocations(kept.fleet, plan(kept.fleet))[SERVER]
    assert (desired["accelerator"], desired["maxBatch"]) == ("A100", 4)


def test_what_was_desired_before_need_not_be_right() -> None:
    assert read(one("Server", desiredAlloc={"accelerator": "A100", "numReplicas": -9})).errors == {}


def option(**changes: Any) -> Option:
    values = {
        "accelerator": "G2",
        "replicas": 3,
        "max_batch_size": 8,
        "cost": 0.69,
        "value": 0.69,
        "itl": 0.0205,
        "ttft": float("inf"),
        "utilization": 0.5,
        "max_rate": 1.0,
        "watts": None,
        "binding": "itl",
    }
    return Option(**{**values, **changes})  # type: ignore[arg-type]


def test_the_next_best_is_written_and_what_has_no_bound_is_not() -> None:
    found = read()
    served = ServerPlan(SERVER, 1, "served", "capacity", option(), next_best=option(accelerator="A100"))
    made = Plan("G1", "auto", (served,), (), 0.0, 0.0, 0.0, True, 0.69, None)
    answer = decided(found.fleet, made)[SERVER]
    assert answer.next_best == {
        "accelerator": "A100",
        "numReplicas": 3,
        "maxBatch": 8,
        "cost": 69,
        "itlAverage": 20.5,
    }
    assert answer.desired is not None
    assert "waitAverage" not in answer.desired
    assert list(misfits(SCHEMAS["Server"], {"status": {"nextBest": answer.next_best}})) == []


def test_tokens_that_were_measured_are_written_as_whole_numbers() -> None:
    fleet = read().fleet
    (server,) = fleet.servers
    load = msgspec.structs.replace(server.load, out_tokens=1023.6)
    measured = msgspec.structs.replace(fleet, servers=(msgspec.structs.replace(server, load=load),))
    desired = desired_allocations(measured, plan(measured))[SERVER]
    assert desired["load"]["avgLength"] == 1024
    assert list(misfits(SCHEMAS["Server"], {"spec": {"model": "m", "desiredAlloc": desired}})) == []


def test_power_that_rises_at_once_is_no_fault() -> None:
    found = read(one("Accelerator", power__midUtil=1e-320))
    assert (plan(found.fleet).watts or 0) > 0


def test_only_a_real_difference_is_a_change() -> None:
    found = read()
    desired = desired_allocations(found.fleet, plan(found.fleet))[SERVER]
    nearly = read(one("Server", currentAlloc__load__arrivalRate=40.0001))
    again = desired_allocations(nearly.fleet, plan(nearly.fleet))[SERVER]
    assert again != desired
    assert unchanged(desired, again)
    assert unchanged(desired, desired)
    for key, value in (
        ("numReplicas", 3),
        ("accelerator", "G2"),
        ("itlAverage", 24.5),
        ("load", {**desired["load"], "arrivalRate": 41}),
        ("more", 1),
    ):
        assert not unchanged(desired, {**desired, key: value})
    large = {"numReplicas": 100_000}
    assert not unchanged(large, {"numReplicas": 100_001})
    assert not unchanged(None, desired)
