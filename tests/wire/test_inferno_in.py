"""Inferno's documents to a fleet: units, defaults, generations, and what is refused."""

from __future__ import annotations

import copy

import pytest

from flyball.spec.accelerator import Accelerator, PowerCurve
from flyball.spec.fleet import Fleet, Settings
from flyball.spec.profile import ChunkedTiming, FlatTiming, PhaseTiming, Profile
from flyball.spec.server import Allocation, Load, Server
from flyball.spec.service_class import ModelTargets, ServiceClass, Target
from flyball.wire.errors import WireError
from flyball.wire.inferno import fleet_from_documents, fleet_from_system
from tests.wire.inferno_samples import FILES, G1, G2, G3, files_of, parts_of


def read(document: object) -> Fleet:
    return fleet_from_system(document, "system.json")


def refusal(document: object) -> str:
    with pytest.raises(WireError) as caught:
        read(document)
    return str(caught.value)


def changed(document: dict, part: str, index: int, **fields: object) -> dict:
    """A copy with fields of one row of a part replaced; `_` in a name stands for `-`."""
    document = copy.deepcopy(document)
    parts_of(document)[part][index].update({k.replace("_", "-"): v for k, v in fields.items()})
    return document


def with_load(document: dict, **fields: object) -> dict:
    document = copy.deepcopy(document)
    parts_of(document)["servers"][0]["currentAlloc"]["load"].update(fields)
    return document


def test_generation_1():
    assert read(G1) == Fleet(
        generation="G1",
        accelerators=(Accelerator(name="A100", type="A100", cost=0.40),),
        profiles=(Profile("granite", "A100", FlatTiming(0.02, 0.0005), 1, 32, 512),),
        service_classes=(
            ServiceClass(
                "Premium", 1, (ModelTargets("granite", (Target("itl", 0.04), Target("wait", 0.5, 0.95))),)
            ),
        ),
        servers=(
            Server(
                name="chat",
                model="granite",
                service_class="Premium",
                load=Load(arrival_rate=2.0, out_tokens=1024.0, arrival_cov=1.5, service_cov=1.0),
                current=Allocation("A100", 4, 16, 1.60, 0.025, 0.75),
            ),
        ),
        capacity={"A100": 4},
        settings=Settings(unlimited=True),
    )


def test_generation_2():
    fleet = read(G2)
    assert fleet.generation == "G2"
    assert fleet.profiles[0].timing == PhaseTiming(0.02, 0.0004, 0.2, 0.00002)
    assert fleet.service_classes[0].models[0].targets == (Target("itl", 0.04), Target("ttft", 1.0))
    assert fleet.servers[0].load == Load(arrival_rate=1.0, in_tokens=128.0, out_tokens=1024.0)
    assert fleet.servers[0].max_queue_size is None


def test_generation_3():
    fleet = read(G3)
    assert fleet.generation == "G3"
    assert fleet.profiles[0].timing == ChunkedTiming(0.02, 0.00004, 0.000001)
    assert fleet.servers[0].load.throughput == 0.5
    assert fleet.servers[0].max_queue_size == 0
    assert read(changed(G3, "servers", 0, maxQueueSize=7)).servers[0].max_queue_size == 7


def test_an_empty_system_is_an_empty_fleet():
    for document in ({}, {"system": {}}, {"system": None}, {"system": {"serverData": {"servers": None}}}):
        assert read(document) == Fleet(generation="G3")


def test_the_outer_system_may_be_left_out():
    assert read(G2["system"]) == read(G2)


def test_names_match_whatever_their_case_and_unknown_ones_are_passed_over():
    document = changed(G3, "servers", 0, _comment="x", KEEPACCELERATOR=True, MinNumReplicas=2)
    server = read({"SYSTEM": document["system"]}).servers[0]
    assert (server.keep_accelerator, server.min_replicas) == (True, 2)


def test_defaults():
    fleet = read(
        {
            "acceleratorData": {"accelerators": [{"name": "L4"}]},
            "modelData": {"models": [{"name": "m", "acc": "L4", "accCount": 0}]},
            "serviceClassData": {
                "serviceClasses": [{"name": "Free", "priority": 0}, {"name": "B", "priority": 101}]
            },
            "serverData": {"servers": [{"name": "s", "model": "m", "currentAlloc": None}]},
        }
    )
    assert fleet.accelerators == (Accelerator(name="L4", type=""),)
    assert fleet.profiles == (Profile("m", "L4", ChunkedTiming(0.0, 0.0, 0.0), 1, 0, 0),)
    assert [c.priority for c in fleet.service_classes] == [100, 100]
    assert fleet.servers == (Server(name="s", model="m", service_class="Free", max_queue_size=0),)


def test_a_pair_that_is_not_learned_yet_stands_beside_learned_ones():
    parts = copy.deepcopy(G3)
    parts_of(parts)["models"].append({"name": "granite", "acc": "L4", "maxBatchSize": 8, "atTokens": 512})
    assert read(parts).profiles[1].timing == ChunkedTiming(0.0, 0.0, 0.0)


def test_a_load_that_cannot_be_served_is_read():
    load = read(with_load(G3, arrivalRate=-5, avgInTokens=-1, avgOutTokens=0)).servers[0].load
    assert (load.arrival_rate, load.in_tokens, load.out_tokens) == (-5 / 60, -1.0, 0.0)


def test_throughput_targets_and_absent_ones():
    models = [{"model": "granite", "slo-itl": 0, "slo-tps": 2000}]
    assert read(changed(G3, "serviceClasses", 0, modelTargets=models)).service_classes[0].models == (
        ModelTargets("granite", (), 2000.0),
    )


@pytest.mark.parametrize(
    ("power", "curve"),
    [
        ({"idle": 150, "full": 400, "midPower": 320, "midUtil": 0.6}, PowerCurve(150.0, 400.0, 320.0, 0.6)),
        ({"idle": 100, "full": 400}, PowerCurve(100.0, 400.0, 250.0, 0.5)),
        ({"idle": 0, "full": 0, "midPower": 0, "midUtil": 0}, None),
        (None, None),
    ],
)
def test_power(power, curve):
    assert read(changed(G3, "accelerators", 0, power=power)).accelerators[0].power == curve


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        ({"milpsolver": True}, Settings(solver="exact")),
        ({"useCplex": True}, Settings(solver="exact", note="useCplex: solved with HiGHS instead")),
        ({"unlimited": True, "milpSolver": True}, Settings(solver="exact", unlimited=True)),
        ({"saturationPolicy": "RoundRobin"}, Settings(saturation_policy="RoundRobin")),
        ({"saturationPolicy": "roundrobin"}, Settings()),
        (
            {"heterogeneous": True, "delayedBestEffort": True},
            Settings(heterogeneous=True, delayed_best_effort=True),
        ),
    ],
)
def test_settings(optimizer, settings):
    assert read({"optimizerData": {"optimizer": optimizer}}).settings == settings


@pytest.mark.parametrize("generation", [G1, G2, G3])
@pytest.mark.parametrize("part", ["accelerators", "models", "serviceClasses", "servers", "count"])
def test_the_same_twice_is_taken_once_and_two_that_differ_are_refused(generation, part):
    document = copy.deepcopy(generation)
    rows = parts_of(document)[part]
    rows.append(copy.deepcopy(rows[0]))
    assert read(document) == read(generation)
    rows[-1][
        {"models": "atTokens", "serviceClasses": "priority", "servers": "maxBatchSize"}.get(part, "count")
    ] = 77
    if part == "accelerators":
        rows[-1]["cost"] = 77
    assert "stands here twice, and differs. Keep one" in refusal(document)


def test_a_model_twice_in_a_class_is_refused():
    models = [{"model": "granite", "slo-itl": 1}, {"model": "granite", "slo-itl": 2}]
    message = refusal(changed(G3, "serviceClasses", 0, modelTargets=models))
    assert "serviceClasses[0].modelTargets[1]" in message


PERF = {"alpha": 1, "beta": 1, "gamma": 1}


@pytest.mark.parametrize(
    ("document", "place", "says"),
    [
        (changed(G1, "models", 0, perfParms=PERF), "models[0]", "perfParms (G3) beside alpha, beta (G1)"),
        (changed(G2, "models", 0, perfParms=PERF), "models[0]", "perfParms (G3) beside decodeParms"),
        (changed(G1, "models", 0, alpha=None, beta=None), "models[0]: has no parameters", "Add alpha, beta"),
        (with_load(G1, avgInTokens=5), "servers[0].currentAlloc.load", "Write avgLength"),
        (with_load(G2, avgLength=5), "servers[0].currentAlloc.load", "Write avgInTokens and avgOutTokens"),
        (
            changed(G1, "serviceClasses", 0, modelTargets=[{"model": "m", "slo-ttw": 1, "slo-ttft": 1}]),
            "serviceClasses[0].modelTargets[0]",
            "slo-ttft in a fleet of generation 1",
        ),
        (
            changed(G3, "serviceClasses", 0, modelTargets=[{"model": "m", "slo-ttw": 1, "slo-ttft": 1}]),
            "serviceClasses[0].modelTargets[0]",
            "slo-ttw in a fleet of generation 3",
        ),
        (
            changed(G3, "serviceClasses", 0, modelTargets=[{"model": "m", "slo-itl": -1}]),
            "serviceClasses[0].modelTargets[0].slo-itl is -1",
            "milliseconds, 0 for no limit",
        ),
        (changed(G3, "accelerators", 0, multiplicity=0), "multiplicity is 0", ">= 1"),
        (changed(G3, "accelerators", 0, cost=-1), "cost is -1", "cents per hour"),
        (changed(G3, "accelerators", 0, name=""), 'name is ""', "expected a name"),
        (changed(G3, "accelerators", 0, name=None), "accelerators[0]", "lacks the field `name`"),
        (changed(G3, "accelerators", 0, type=4090), "type is 4090", "Put it in quotes"),
        (changed(G3, "accelerators", 0, power={"idle": 9, "full": 5}), ".power: idle", "over full (5 W)"),
        (changed(G3, "accelerators", 0, power={"midUtil": 1.5}), "midUtil is 1.5", "a share from 0 to 1"),
        (changed(G3, "count", 0, count=-1), "count[0].count is -1", ">= 0"),
        (changed(G3, "models", 0, maxBatchSize=65_537), "models[0].maxBatchSize is 65537", "65536"),
        (changed(G3, "models", 0, perfParms=PERF | {"beta": -1}), "perfParms.beta is -1", "milliseconds"),
        (with_load(G3, arrivalRate="many"), 'load.arrivalRate is "many"', "Write it in requests per minute"),
        (with_load(G3, arrivalRate=float("nan")), "arrivalRate is nan", "requests per minute"),
        (with_load(G3, avgOutTokens=1e8), "avgOutTokens is 100000000.0", "10000000"),
        (with_load(G3, arrivalRate=10**400), "arrivalRate is a whole number of very many digits", ""),
        (changed(G3, "servers", 0, minNumReplicas=2.5), "minNumReplicas is 2.5", "a whole number"),
        ({"system": [1]}, "system is a list of 1", "an object"),
        ([], "an empty list", "an object"),
        ({"serverData": {"servers": "x"}}, 'serverData.servers is "x"', "a list"),
        ({"serverData": {"servers": [None]}}, "serverData.servers[0] is null", "an object"),
    ],
)  # fmt: skip
def test_what_is_refused(document, place, says):
    message = refusal(document)
    assert message.startswith("system.json")
    assert place in message
    assert says in message


def test_entries_of_two_generations_in_one_fleet_are_refused():
    document = copy.deepcopy(G2)
    parts_of(document)["models"].append(parts_of(G3)["models"][0] | {"acc": "L4"})
    assert "modelData.models[1]: perfParms (G3) beside decodeParms, prefillParms (G2)" in refusal(document)


def test_an_entry_without_parameters_is_refused_where_nothing_is_learned():
    document = copy.deepcopy(G1)
    parts_of(document)["models"].append({"name": "granite", "acc": "L4"})
    assert "modelData.models[1]: has no parameters. Add alpha, beta" in refusal(document)


def test_files_and_system_agree():
    for system in (G1, G2, G3):
        assert fleet_from_documents(files_of(system)) == read(system)


def test_files_are_known_by_what_is_in_them():
    documents = {f"{i}.json": doc for i, doc in enumerate(files_of(G3).values())}
    assert fleet_from_documents(documents | {"solution.json": {"allocations": {}}}) == read(G3)


def test_single_files_win_over_a_system_document():
    other = changed(G3, "accelerators", 0, cost=99)
    assert fleet_from_documents({"system-data.json": other, **files_of(G3)}) == read(G3)
    assert fleet_from_documents({"system-data.json": other}) == read(other)


@pytest.mark.parametrize("missing", ["accelerators", "models", "serviceClasses", "servers"])
def test_a_missing_file_is_named_and_shown(missing):
    documents = files_of(G3)
    del documents[FILES[missing]]
    with pytest.raises(WireError, match=f"{FILES[missing]} is missing") as caught:
        fleet_from_documents(documents | {"notes.yaml": {"a": 1}})
    assert "not recognised: notes.yaml" in str(caught.value)
    assert f'Add a file like {{"{missing}": [{{"name": ' in str(caught.value)


def test_without_capacity_and_optimizer_files_the_fleet_is_unlimited_and_says_so():
    documents = files_of(G3)
    del documents["capacity-data.json"], documents["optimizer-data.json"]
    fleet = fleet_from_documents(documents)
    assert fleet.settings == Settings(unlimited=True, note="no capacity was given: taken as unlimited")


def test_two_files_of_one_kind_must_be_the_same():
    documents = files_of(G3)
    copied = {"old.json": copy.deepcopy(documents["server-data.json"])}
    assert fleet_from_documents(documents | copied) == read(G3)
    copied["old.json"]["servers"][0]["name"] = "other"
    with pytest.raises(WireError, match=r"servers stands in server-data\.json too"):
        fleet_from_documents(documents | copied)
