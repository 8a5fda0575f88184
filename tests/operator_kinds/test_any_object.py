"""Whatever the API server may hold by our schemas is read, or left out with its name: nothing is a fault."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyball.decide.plan import plan
from flyball.wire.kinds.decided import decided
from flyball.wire.kinds.documents import Objects, read_namespace
from tests.operator_kinds import original
from tests.operator_kinds.cases import ENTRY, FLAT, G2, G3
from tests.operator_kinds.samples import KINDS, Document, at, sample
from tests.operator_kinds.structural import Schema, misfits
from tests.operator_kinds.test_inferno_kinds import SCHEMAS

NAMES = ("A100", "granite-13b", "Premium", "a", "b")
"""Few, so that what is named is often there."""


def values(schema: Schema, name: str = "") -> st.SearchStrategy[Any]:
    """Values that fit a schema."""
    kind = schema.get("type")
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if kind == "object":
        required = set(schema.get("required", ()))
        parts = {key: values(below, key) for key, below in schema.get("properties", {}).items()}
        return st.fixed_dictionaries(
            {k: v for k, v in parts.items() if k in required},
            optional={k: v for k, v in parts.items() if k not in required},
        )
    if kind == "array":
        return st.lists(
            values(schema["items"]), max_size=3, unique=schema.get("x-kubernetes-list-type") == "set"
        )
    if kind == "boolean":
        return st.booleans()
    if kind == "string":
        if "pattern" in schema:
            return st.sampled_from(["p95<1s", "mean<.5s", "p99.9<1.2.3s", "p0<1s", "500ms"])
        return st.sampled_from(NAMES)
    low, high = schema.get("minimum"), schema.get("maximum")
    if kind == "integer":
        wild = st.integers(-(2**63) if low is None else low, 2**63 - 1 if high is None else high)
        return st.integers(max(1, low or 0), min(64, 64 if high is None else high)) | wild
    wild = st.floats(low, high, allow_nan=False, allow_infinity=False)
    return st.floats(max(0.01, low or 0), min(100, 100 if high is None else high)) | wild | st.just(0)


BASES: dict[str, tuple[Document, Document, Document]] = {
    "G1": (FLAT, {"avgLength": 1024}, {"slo-itl": 40, "slo-ttw": 500}),
    "G2": (G2, {"avgInTokens": 128, "avgOutTokens": 1024}, {"slo-itl": 40, "slo-ttft": 2500}),
    "G3": (G3, {"avgInTokens": 128, "avgOutTokens": 1024}, {"slo-itl": 40, "slo-ttft": 500}),
}


def base(kind: str, generation: str) -> Document:
    """A sample, in the words of a generation."""
    parameters, load, slo = BASES[generation]
    changes: dict[str, Document] = {
        "Model": {"data": [{**ENTRY, **parameters}]},
        "ServiceClass": {"data": [{"model": "granite-13b", **slo}]},
        "Server": {"currentAlloc__load": {"arrivalRate": 40, **load}},
    }
    return sample(kind, "infer", **changes.get(kind, {}))


def places(schema: Schema, path: str = "") -> list[tuple[str, Schema]]:
    """Every field below, in lists that of the first item."""
    found = []
    for name, below in schema.get("properties", {}).items():
        found.append((f"{path}{name}", below))
        inner, step = (below["items"], f"{path}{name}.0.") if "items" in below else (below, f"{path}{name}.")
        found += places(inner, step)
    return found


@st.composite
def objects(draw: st.DrawFn, kind: str, schema: Schema, generation: str) -> tuple[Document, ...]:
    """A sample and another one, of which a field is anything that fits."""
    made = []
    below = schema["properties"]["spec"]
    for called in draw(st.sampled_from([("a",), ("a", "b")])):
        one = base(kind, generation)
        one["metadata"]["name"] = called
        if called == "b":
            one["spec"].pop("name", None)
        for path, field in draw(st.lists(st.sampled_from(places(below)), max_size=1)):
            with contextlib.suppress(IndexError, TypeError):  # what was there is gone
                at(one["spec"], path, draw(values(field)))
        made.append(one if draw(st.integers(0, 20)) else {**one, "spec": draw(values(below))})
    return tuple(one for one in made if not list(misfits(schema, one)))


@st.composite
def namespaces(draw: st.DrawFn, schemas: dict[str, Any], generations: tuple[str, ...]) -> Objects:
    generation = draw(st.sampled_from(generations))
    return Objects(*(draw(objects(kind, schemas[kind], generation)) for kind in KINDS))


def check(given: Objects) -> None:
    found = read_namespace(given)
    every = {
        (o["kind"], o["metadata"]["name"])
        for group in (getattr(given, field) for field in given.__struct_fields__)
        for o in group
    }
    assert {(ref.kind, ref.name) for ref in found.errors} <= every
    assert all(message.startswith(f"{ref}: spec") for ref, message in found.errors.items())
    servers = {("Server", one.ref.name) for one in found.servers.values()}
    left_out = {(ref.kind, ref.name) for ref in found.errors if ref.kind == "Server"}
    assert servers | left_out == {key for key in every if key[0] == "Server"}
    assert not servers & left_out
    made = decided(found.fleet, plan(found.fleet))
    assert made.keys() == found.servers.keys()
    for one in made.values():
        if one.desired is not None:
            written = {"spec": {"model": "m", "desiredAlloc": one.desired}}
            assert list(misfits(SCHEMAS["Server"], written)) == []


@pytest.mark.slow
@settings(max_examples=300)
@given(namespaces(SCHEMAS, tuple(BASES)))
def test_what_our_schemas_allow_is_never_a_fault(given: Objects) -> None:
    check(given)


@pytest.mark.slow
@settings(max_examples=200)
@given(namespaces({kind: original.schema(kind) for kind in KINDS}, ("G1",)))
def test_what_the_original_allows_is_never_a_fault(given: Objects) -> None:
    for field in given.__struct_fields__:
        for one in getattr(given, field):
            assert list(misfits(SCHEMAS[one["kind"]], one)) == []
    check(given)
