"""The Inferno family's own data sets and recorded requests; collected where that data is."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from flyball.adapters.files import read_fleet
from flyball.wire.inferno import fleet_from_system, system_document
from flyball.wire.text import decode, encode_yaml
from tests.conftest import shared_dir

SHARED = shared_dir()
SETS = sorted((SHARED / "data" / "inferno").glob("v*/*")) if SHARED else []
GENERATIONS = {"v0.2.0": "G1", "v0.6.0": "G2", "v0.7.0": "G3"}
RECORDED = ("rest-optimizer-v0.5.0.json", "rest-optimizer-v0.6.0.json", "rest-optimizer-light-v0.7.8.json")


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def wrapped(path: Path) -> dict:
    """The system document made of a data set's files."""
    parts = ("accelerator", "model", "serviceclass", "server", "optimizer", "capacity")
    keys = ("acceleratorData", "modelData", "serviceClassData", "serverData", "optimizerData", "capacityData")
    loaded = [json.loads((path / f"{part}-data.json").read_text()) for part in parts]
    return {"system": dict(zip(keys, loaded, strict=True))}


@pytest.mark.parametrize("path", SETS, ids=name_of)
def test_a_data_set_reads_alike_as_directory_as_system_and_as_yaml(path, tmp_path):
    fleet = read_fleet(path)
    assert fleet.generation == GENERATIONS[path.parent.name]
    assert len(fleet.servers) > 0
    assert fleet_from_system(wrapped(path), "system") == fleet
    for file in path.glob("*.json"):
        document = decode(file.read_bytes(), file.name)
        (tmp_path / file.with_suffix(".yaml").name).write_text(encode_yaml(document))
    assert read_fleet(tmp_path) == fleet
    assert fleet_from_system(system_document(fleet), "again") == fleet


@pytest.mark.parametrize("path", [p for p in SETS if (p / "system-data.json").exists()], ids=name_of)
def test_a_recorded_system_document_holds_the_same_servers(path):
    alone, beside = read_fleet(path / "system-data.json"), read_fleet(path)
    assert [s.name for s in alone.servers] == [s.name for s in beside.servers]
    assert alone.profiles == beside.profiles


@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_request_reads(name, shared, compared):
    recorded = json.loads((shared / "vectors" / "inferno" / name).read_text())
    exchanges = [e for group in recorded.values() if isinstance(group, list) for e in group]
    requests = [
        e["requestBody"] for e in exchanges if e["path"] == "/optimizeOne" and e["status"] in (200, 404)
    ]
    fleets = [fleet_from_system(r, "request") for r in requests if isinstance(r, dict) and "rawText" not in r]
    assert len(fleets) >= 5
    for fleet in fleets:
        assert (
            fleet_from_system(msgspec.json.decode(msgspec.json.encode(system_document(fleet))), "again")
            == fleet
        )
    compared["requests read and written again"] += len(fleets)
