"""The definition of ModelBooster: structural, described, and taking what Flyball reads."""

from __future__ import annotations

from typing import Any

import pytest

from flyball.wire.kinds.kind import crd
from flyball.wire.kinds.kthena import MODEL_BOOSTER
from flyball.wire.kthena_booster import read_booster
from tests.boosting.samples import document, worker
from tests.operator_kinds.structural import faults, fields, misfits

VERSION = crd(MODEL_BOOSTER)["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]


def test_it_is_structural_and_every_field_is_described() -> None:
    assert [*faults(SCHEMA)] == []
    undescribed = [path for path, below in fields(SCHEMA) if not below.get("description")]
    assert undescribed == ["$.metadata"]


def test_columns_show_what_there_is() -> None:
    there = {path for path, _ in fields(SCHEMA)} | {"$.metadata.creationTimestamp"}
    names = []
    for column in VERSION["additionalPrinterColumns"]:
        names.append(column["name"])
        assert column["jsonPath"].partition("[")[0].replace(".", "$.", 1) in there
    assert names[0] == "Active"
    assert names[-1] == "Age"


FITTING: list[dict[str, Any]] = [
    {},
    {"minReplicas": 1, "maxReplicas": 1_000_000},
    {"type": "SGLang", "loraAdapters": [{"name": "fin", "artifactURL": "hf://a/b"}]},
    {"workers": [worker(config={"a": 1, "b": [{"c": "d"}]}, affinity={"x": {"y": 1}})]},
    {"workers": [{"type": "server"}], "replicas": None},
]


@pytest.mark.parametrize("backend", FITTING)
def test_what_fits_can_be_read(backend: dict[str, Any]) -> None:
    made = document(**backend)
    assert [*misfits(SCHEMA, made)] == []
    read_booster(made, "it")


@pytest.mark.parametrize(
    "backend",
    [
        {"type": "MindIE"},
        {"modelURI": "http://x"},
        {"workers": []},
        {"maxReplicas": 1_000_001},
        {"minReplicas": -1},
        {"cacheURI": "/tmp"},
        {"workers": [worker("captain")]},
    ],
)
def test_what_does_not_is_refused(backend: dict[str, Any]) -> None:
    assert [*misfits(SCHEMA, document(**backend))] != []
