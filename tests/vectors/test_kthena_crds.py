"""Children, and what a ModelBooster may say, against the CRDs of both generations."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flyball.boosting.expand import expand
from flyball.boosting.settings import Images, PolicyGeneration, Settings
from flyball.wire.kinds.kind import crd
from flyball.wire.kinds.kthena import MODEL_BOOSTER, BoosterStatus
from flyball.wire.kinds.schema import structural
from flyball.wire.kthena_booster import BoosterSpec, ModelBooster
from tests.boosting.samples import NIXL, booster, disaggregated, worker

FOLDERS: dict[PolicyGeneration, str] = {"v1": "crds-v1", "v0.4": "crds-v0.4"}
SCALED: dict[str, Any] = {
    "minReplicas": 1,
    "maxReplicas": 4,
    "spec": {
        "modelMatch": {"uri": {"prefix": "/v1"}, "headers": {"x": {"regex": "a.*"}}, "body": {"model": "m"}},
        "autoscalingPolicy": {"metrics": [{"metricName": "m", "targetValue": 2}]},
        "rateLimit": {"inputTokensPerUnit": 5, "global": {"redis": {"address": "redis:6379"}}},
        "routes": [
            {
                "name": "canary",
                "parentRefs": [{"name": "gateway"}],
                "rules": [{"targetModels": [{"weight": 5}, {"modelServerName": "x", "weight": 95}]}],
            }
        ],
    },
    "networkTopology": {"groupPolicy": {"mode": "soft", "highestTierAllowed": 1}},
    "loraAdapters": [{"name": "fin", "artifactURL": "hf://a/fin"}],
    "env": [
        {"name": "HF_ENDPOINT", "value": "x"},
        {"name": "T", "valueFrom": {"fieldRef": {"fieldPath": "a"}}},
    ],
    "envFrom": [{"secretRef": {"name": "tokens"}}],
    "runtimeClassName": "nvidia",
    "schedulerName": "volcano",
}
FULL = worker(
    pods=2,
    resources={"limits": {"nvidia.com/gpu": 1, "memory": "64Gi"}},
    tolerations=[{"key": "a", "operator": "Exists"}],
    topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    affinity={"podAntiAffinity": {}},
    config={"kv-transfer-config": NIXL % "kv_both", "port": 8080},
)
SAMPLES = {
    "vLLM": booster([FULL], **SCALED),
    "SGLang": booster([FULL], **SCALED, type="SGLang"),
    "vLLMDisaggregated": disaggregated(
        {"config": {"kv-transfer-config": NIXL % "kv_producer"}},
        {"config": {"kv-transfer-config": NIXL % "kv_consumer"}},
        **SCALED,
    ),
}


@functools.cache
def definition_of(shared: Path, folder: str, kind: str) -> dict[str, Any]:
    plural = re.sub("y$", "ie", kind.lower())
    (path,) = (shared / "vectors" / "kthena" / folder).glob(f"*_{plural}s.yaml")
    return yaml.load(path.read_text("utf-8"), Loader=yaml.CSafeLoader)  # type: ignore[no-any-return]


def schema_of(shared: Path, folder: str, kind: str, part: str = "spec") -> dict[str, Any]:
    version = definition_of(shared, folder, kind)["spec"]["versions"][0]
    return version["schema"]["openAPIV3Schema"]["properties"][part]  # type: ignore[no-any-return]


def violations(value: Any, schema: dict[str, Any], path: str = "spec") -> Iterator[str]:
    """Where a value is not as the schema has it; a field that would be pruned is one."""
    if schema.get("x-kubernetes-int-or-string") or "type" not in schema:
        return
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "number": float}
    if not isinstance(value, kinds[schema["type"]]) or (
        schema["type"] == "integer" and isinstance(value, bool)
    ):
        yield f"{path}: is no {schema['type']}"
    elif isinstance(value, dict):
        yield from (f"{path}.{name}: is missing" for name in schema.get("required", ()) if name not in value)
        known, rest = schema.get("properties", {}), schema.get("additionalProperties")
        for name, one in value.items():
            if name in known or isinstance(rest, dict):
                yield from violations(one, known.get(name, rest), f"{path}.{name}")
            elif not schema.get("x-kubernetes-preserve-unknown-fields"):
                yield f"{path}.{name}: is unknown"
    elif isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{path}: has {len(value)} items"
        for index, one in enumerate(value):
            yield from violations(one, schema["items"], f"{path}[{index}]")
    elif isinstance(value, str):
        if value not in schema.get("enum", [value]) or not re.search(schema.get("pattern", ""), value):
            yield f"{path}: is {value}"
    elif not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{path}: is {value}"


@pytest.mark.parametrize("generation", FOLDERS)
@pytest.mark.parametrize("made", SAMPLES.values(), ids=SAMPLES.keys())
def test_every_field_of_the_children_is_one_of_their_kinds(
    made: ModelBooster, generation: PolicyGeneration, shared: Path, compared: Counter[str]
) -> None:
    for child in expand(made, Images(), Settings(generation)).documents():
        folder = FOLDERS[generation] if child["kind"].startswith("Autoscaling") else "crds-v1"
        found = [*violations(child["spec"], schema_of(shared, folder, child["kind"]))]
        assert [one for one in found if not one.endswith("retryInterval: is missing")] == []
        compared["Kthena, children against CRDs"] += 1


def test_the_check_sees_what_is_wrong(shared: Path) -> None:
    schema = schema_of(shared, "crds-v1", "ModelServer")
    wrong = {"inferenceEngine": "MindIE", "workloadPort": {"port": 0}, "further": 1, "model": 3}
    assert {*violations(wrong, schema)} == {
        "spec.inferenceEngine: is MindIE",
        "spec.workloadPort.port: is 0",
        "spec.further: is unknown",
        "spec.model: is no string",
        "spec.workloadSelector: is missing",
    }


@pytest.mark.parametrize("folder", FOLDERS.values())
def test_a_booster_may_say_what_it_may_there(folder: str, shared: Path) -> None:
    """Every field of the stock CRDs is in ours, of the same type and as wide; parts of pods are whole."""
    ours, theirs = structural(BoosterSpec), schema_of(shared, folder, "ModelBooster")
    assert [*narrower(ours, theirs)] == []


@pytest.mark.parametrize("folder", FOLDERS.values())
def test_our_definition_takes_the_place_of_the_stock_one(folder: str, shared: Path) -> None:
    ours, theirs = crd(MODEL_BOOSTER)["spec"], definition_of(shared, folder, "ModelBooster")["spec"]
    assert {name: ours[name] for name in ("group", "scope", "names")} == {
        name: theirs[name] for name in ("group", "scope", "names")
    }
    (our,), (their,) = ours["versions"], theirs["versions"]
    for name in ("name", "served", "storage", "subresources"):
        assert our[name] == their[name]
    columns = {one["name"]: one["jsonPath"].replace('"', "'") for one in our["additionalPrinterColumns"]}
    stock = {one["name"]: one["jsonPath"] for one in their.get("additionalPrinterColumns", ())}
    assert stock.items() <= columns.items()
    root = our["schema"]["openAPIV3Schema"]
    assert "required" not in root
    status = schema_of(shared, folder, "ModelBooster", "status")
    assert [*narrower(structural(BoosterStatus), status, "status")] == []


def narrower(ours: dict[str, Any], theirs: dict[str, Any], path: str = "spec") -> Iterator[str]:
    if ours.get("x-kubernetes-preserve-unknown-fields"):
        return
    # Without defaults: what is left out of a behaviour gets those of the child's own kind.
    for keyword in ("type", "pattern", "minimum", "maximum", "minItems", "maxItems", "maxLength"):
        expected = theirs.get(keyword)
        if keyword == "pattern" and path.endswith("modelURI"):
            assert set(re.findall(r"\w+(?=://)", expected)) <= set(re.findall(r"\w+(?=://)", ours["pattern"]))
        elif keyword in ("type", "pattern") and theirs.get("x-kubernetes-int-or-string"):
            continue
        elif ours.get(keyword) != expected and not (keyword.startswith("min") and expected is None):
            yield f"{path}: {keyword} {ours.get(keyword)} instead of {expected}"
    if not set(theirs.get("enum", ())) <= set(ours.get("enum", theirs.get("enum", ()))):
        yield f"{path}: enum"
    for name in ours.get("required", ()):
        if name not in theirs.get("required", ()):
            yield f"{path}.{name}: required"
    for name, schema in theirs.get("properties", {}).items():
        if name not in ours.get("properties", {}):
            yield f"{path}.{name}: absent"
        else:
            yield from narrower(ours["properties"][name], schema, f"{path}.{name}")
    for below in ("items", "additionalProperties"):
        if isinstance(theirs.get(below), dict):
            yield from narrower(ours[below], theirs[below], f"{path}[]")
