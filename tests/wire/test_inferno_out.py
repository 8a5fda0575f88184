"""Fleets and plans to Inferno's documents, and back again."""

from __future__ import annotations

import copy
import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.spec.fleet import Fleet
from flyball.spec.plan import Option, Plan, ServerPlan
from flyball.spec.profile import IterationTiming, Profile
from flyball.wire.errors import WireError
from flyball.wire.inferno import fleet_from_system, solution_document, system_document
from flyball.wire.text import decode
from tests.wire.inferno_samples import G1, G2, G3, parts_of

JUNK = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
)


def option(accelerator: str = "A100", **fields: object) -> Option:
    values = {"accelerator": accelerator, "replicas": 3, "max_batch_size": 16, "cost": 0.69, "value": 0.7}
    values |= {"itl": 0.0364196554321, "ttft": 0.5, "utilization": 0.5, "max_rate": 1.0, "watts": None}
    return Option(**(values | {"binding": "itl"} | fields))


def plan(fleet: Fleet, *servers: ServerPlan) -> Plan:
    return Plan(fleet.generation, "auto", servers, (), 0.0, 0.0, 0.0, True, 0.0, None)


def planned(server: str = "chat", status: str = "served", **fields: object) -> ServerPlan:
    return ServerPlan(server, 1, status, "cheapest", **fields)


@pytest.mark.parametrize(
    ("document", "latency", "load"),
    [
        (G1, "waitAverage", {"arrivalRate": 120, "avgLength": 1024, "arrivalCOV": 1.5, "serviceCOV": 1}),
        (G2, "ttftAverage", {"arrivalRate": 60, "avgInTokens": 128, "avgOutTokens": 1024}),
        (G3, "ttftAverage", {"arrivalRate": 60, "throughput": 30, "avgInTokens": 128, "avgOutTokens": 1024}),
    ],
)
def test_an_allocation_reads_as_recorded(document, latency, load):
    fleet = fleet_from_system(document, "x")
    solution = solution_document(fleet, plan(fleet, planned(allocation=option())))
    answer = {"accelerator": "A100", "numReplicas": 3, "maxBatch": 16, "cost": 69, "itlAverage": 36.419655}
    expected = {"allocations": {"chat": {**answer, latency: 500, "load": load}}}
    assert json.dumps(solution) == json.dumps(expected)


def test_who_appears_in_a_solution():
    document = copy.deepcopy(G2)
    servers = parts_of(document)["servers"]
    servers += [servers[0] | {"name": name} for name in ("zero", "best", "none")]
    fleet = fleet_from_system(document, "x")
    solution = solution_document(
        fleet,
        plan(
            fleet,
            planned("zero", "idle", allocation=option(replicas=0)),
            planned("none", "unserved"),
            planned("chat", allocation=option(), mix=(option(), option("L4", replicas=1))),
            planned("best", "best_effort", allocation=option(ttft=math.inf)),
        ),
    )
    allocations = solution["allocations"]
    assert list(allocations) == ["best", "chat", "zero"]
    assert (allocations["zero"]["accelerator"], allocations["zero"]["numReplicas"]) == ("", 0)
    assert [part["accelerator"] for part in allocations["chat"]["mix"]] == ["A100", "L4"]
    assert allocations["best"]["ttftAverage"] is None
    assert "mix" not in allocations["best"]


def test_a_fleet_of_flyballs_own_has_a_solution_but_no_system_document():
    fleet = Fleet(servers=fleet_from_system(G3, "x").servers)
    assert (
        "throughput"
        in solution_document(fleet, plan(fleet, planned(allocation=option())))["allocations"]["chat"]["load"]
    )
    with pytest.raises(WireError, match="own form says more"):
        system_document(fleet)
    timed = Fleet(generation="G3", profiles=(Profile("m", "L4", IterationTiming(1.0, 1.0, 1.0, 1.0)),))
    with pytest.raises(WireError, match="m on L4 has a timing that Inferno does not know"):
        system_document(timed)


@pytest.mark.parametrize("document", [G1, G2, G3])
def test_what_is_read_is_written_in_the_same_words(document):
    written = system_document(fleet_from_system(document, "x"))
    for part, rows in parts_of(document).items():
        if part not in ("optimizer", "servers"):
            assert [row | new for row, new in zip(rows, parts_of(written)[part], strict=True)] == parts_of(
                written
            )[part]
    load = parts_of(document)["servers"][0]["currentAlloc"]["load"]
    again = parts_of(written)["servers"][0]["currentAlloc"]["load"]
    assert {k.lower(): v for k, v in load.items()} == {k.lower(): v for k, v in again.items()}


def test_settings_survive_a_round_trip():
    for optimizer in (
        {"useCplex": True},
        {"milpSolver": True, "heterogeneous": True},
        {"saturationPolicy": "RoundRobin"},
    ):
        fleet = fleet_from_system({"optimizerData": {"optimizer": optimizer}}, "x")
        assert fleet_from_system(system_document(fleet), "x") == fleet


def places(value: object) -> list[tuple[object, object]]:
    """Every container of a document with each of its keys or indexes."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@st.composite
def mutated(draw: st.DrawFn) -> dict:
    document = copy.deepcopy(draw(st.sampled_from([G1, G2, G3])))
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(places(document)))
        container[key] = draw(
            JUNK | st.sampled_from([c[k] for c, k in places(G1) + places(G3)]).map(copy.deepcopy)
        )
    return document


def fleet_or_error(document: object) -> Fleet | WireError:
    try:
        return fleet_from_system(decode(document, "x") if isinstance(document, bytes) else document, "x")
    except WireError as error:
        return error


@given(mutated())
def test_a_mutated_document_is_a_fleet_that_survives_a_round_trip_or_one_error(document):
    fleet = fleet_or_error(document)
    if isinstance(fleet, Fleet):
        assert_alike(fleet_from_system(system_document(fleet), "y"), fleet)
    else:
        assert str(fleet).startswith("x")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_fleet_or_one_error(data):
    assert isinstance(fleet_or_error(data), Fleet | WireError)


def assert_alike(one: Fleet, other: Fleet) -> None:
    """Equal but for the rounding of numbers; a generation shows only where something is of it."""
    if not (one.profiles or one.servers or one.service_classes):
        other = msgspec.structs.replace(other, generation=one.generation)
    assert alike(one, other), (one, other)


def alike(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-300)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, msgspec.Struct) and type(one) is type(other):
        return all(alike(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__)
    return one == other
