"""Inferno's six kinds: structural, described, and wider than the original in every field it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flyball.commands.crds import definitions, texts_of
from flyball.wire.inferno_shapes import (
    UNITS,
    OptimizerShape,
    PartShape,
    ProfileShape,
    ServerShape,
    Shape,
    TargetShape,
)
from flyball.wire.kinds.inferno import DEFINITIONS, GROUP
from flyball.wire.kinds.inferno_specs import REPLICA_BOUNDS, TARGET
from flyball.wire.kinds.kind import Definition, crd
from flyball.wire.quantities import parse_target
from flyball.wire.text import decode
from tests.operator_kinds import original
from tests.operator_kinds.cases import BOUNDS, RULES, Case
from tests.operator_kinds.samples import KINDS, at, sample
from tests.operator_kinds.structural import Schema, faults, fields, misfits

ROOT = Path(__file__).parents[2]
SCHEMAS: dict[str, dict[str, Any]] = {
    d.kind: crd(d)["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for d in DEFINITIONS
}


def test_the_committed_files_are_what_is_generated() -> None:
    files = {path.name: path.read_text() for path in (ROOT / "deploy" / "crds").glob("*_*.yaml")}
    assert files == texts_of(definitions())


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.kind)
def test_the_schema_is_structural_and_every_field_described(definition: Definition) -> None:
    schema = SCHEMAS[definition.kind]
    assert list(faults(schema)) == []
    for path, below in fields(schema):
        if path != "$.metadata":
            assert re.fullmatch(r"[A-Za-z0-9(\"].*[.]", below.get("description", "")), path
    document = crd(definition)
    assert document["metadata"]["name"] == f"{original.PLURALS[definition.kind]}.{GROUP}"
    version = document["spec"]["versions"][0]
    assert version["subresources"] == {"status": {}}
    for column in version["additionalPrinterColumns"]:
        there = {path for path, _ in fields(schema)} | {"$.metadata.creationTimestamp"}
        assert column["jsonPath"].partition("[")[0].replace(".", "$.", 1) in there


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_says_its_unit(kind: str) -> None:
    for path, below in fields(SCHEMAS[kind]):
        unit = UNITS.get(path.rpartition(".")[2])
        if unit and below["type"] in ("number", "integer"):
            assert unit.partition(",")[0] in below["description"].lower(), path


def test_every_rule_has_a_good_and_a_bad_case() -> None:
    rules = [
        (kind, rule["message"])
        for kind, schema in SCHEMAS.items()
        for _, below in fields(schema)
        for rule in (
            *below.get("x-kubernetes-validations", ()),
            *below.get("items", {}).get("x-kubernetes-validations", ()),
        )
    ]
    assert len(rules) == 7
    for kind, message in rules:
        tried = any(case.kind == kind and case.said in message for case in RULES)
        assert tried or message == REPLICA_BOUNDS.message  # in a test of its own


@pytest.mark.parametrize("kind", KINDS)
def test_the_sample_fits(kind: str) -> None:
    assert list(misfits(SCHEMAS[kind], sample(kind))) == []
    assert list(misfits(original.schema(kind), sample(kind))) == []


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_the_original_takes_is_taken(kind: str) -> None:
    assert list(narrower(SCHEMAS[kind], original.schema(kind))) == []


def narrower(ours: Schema, theirs: Schema, path: str = "$") -> list[str]:
    """Where a value that fits theirs would not fit ours."""
    found = []
    if ours["type"] != theirs["type"] and (ours["type"], theirs["type"]) != ("number", "integer"):
        found.append(f"{path}: {ours['type']}, not {theirs['type']}")
    for low in ("minimum", "minLength", "minItems"):
        if ours.get(low, -1e300) > theirs.get(low, -1e300):
            found.append(f"{path}: {low} is higher")
    bounds = {"maximum", "maxLength", "maxItems", "pattern", "enum", "format"} & set(ours)
    bounds -= {"format"} if ours.get("format") == "int64" else set()
    found += [f"{path}: {b}" for b in bounds if ours[b] != theirs.get(b)]
    if ours.get("x-kubernetes-list-type") not in (None, "atomic"):
        found.append(f"{path}: a list of another type")
    if "default" in theirs and ours.get("default") != theirs["default"]:
        found.append(f"{path}: another default")
    found += [
        f"{path}: {name} is required" for name in ours.get("required", ()) if name not in theirs["required"]
    ]
    for name, below in theirs.get("properties", {}).items():
        found += narrower(ours["properties"][name], below, f"{path}.{name}")
    if "items" in theirs:
        found += narrower(ours["items"], theirs["items"], f"{path}[]")
    return found


def test_being_narrower_is_found() -> None:
    text = {"type": "object", "properties": {"a": {"type": "string"}}, "required": []}
    less = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "required": ["a"]}
    assert narrower(less, text) == ["$: a is required", "$.a: maxLength"]


@pytest.mark.parametrize("case", BOUNDS, ids=lambda c: f"{c.kind}.{c.path}")
def test_bounds_hold(case: Case) -> None:
    for value, fits in ((case.good, True), (case.bad, False)):
        one = sample(case.kind)
        at(one["spec"], case.path, value)
        if "Duplicate" not in case.said:  # of which this reader knows nothing
            assert (list(misfits(SCHEMAS[case.kind], one)) == []) is fits


@pytest.mark.parametrize(
    ("shape", "kind", "path", "elsewhere"),
    [
        (ProfileShape, "Model", "$.spec.data", {"name"}),
        (TargetShape, "ServiceClass", "$.spec.data", set()),
        (ServerShape, "Server", "$.spec", set()),
        (PartShape, "Server", "$.spec.desiredAlloc", set()),
        (PartShape, "Server", "$.status.nextBest", set()),
        (OptimizerShape, "Optimizer", "$.spec.data.optimizer", set()),
    ],
)
def test_all_that_documents_can_say_can_be_said(
    shape: type[Shape], kind: str, path: str, elsewhere: set[str]
) -> None:
    there = {name.rpartition(".")[2] for name, _ in fields(SCHEMAS[kind]) if name.rpartition(".")[0] == path}
    assert {f.encode_name for f in msgspec.structs.fields(shape)} - elsewhere <= there


@pytest.mark.parametrize("text", ["p95<1s", "mean <= 40ms", "500ms", "p99.9<2min", "p50 < .5s"])
def test_targets_that_fit_can_be_read(text: str) -> None:
    assert re.search(TARGET, text)
    assert parse_target(text, "ttft", "here").limit > 0


@pytest.mark.parametrize(
    "text", ["", "1", "p95", "p955<1s", "p95>1s", "p95<1 day", "soon", "-5ms", "p95<1s x"]
)
def test_targets_that_do_not_are_refused(text: str) -> None:
    assert not re.search(TARGET, text)


def test_files_read_back() -> None:
    for definition, text in zip(DEFINITIONS, texts_of(DEFINITIONS).values(), strict=True):
        assert decode(text.encode(), definition.kind) == crd(definition)
        assert max(map(len, text.splitlines())) <= 160
