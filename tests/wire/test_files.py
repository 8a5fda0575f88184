"""Fleets from directories, files and standard input, in any form."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from flyball.adapters.files import STANDARD_INPUT, read_fleet
from flyball.wire.errors import WireError
from flyball.wire.inferno import fleet_from_system
from flyball.wire.own import own_document
from flyball.wire.read import fleet_from
from flyball.wire.text import encode_yaml
from tests.wire.inferno_samples import G2, G3, files_of

OWN = {"apiVersion": "flyball/v1", "kind": "Fleet"}


def write(folder: Path, documents: dict[str, dict]) -> Path:
    for name, document in documents.items():
        text = json.dumps(document) if name.endswith("json") else encode_yaml(document)
        (folder / name).write_text(text)
    return folder


def test_a_directory_a_file_and_standard_input_agree(tmp_path, monkeypatch):
    expected = fleet_from_system(G3, "x")
    files = write(tmp_path, files_of(G3))
    assert read_fleet(files) == expected
    (tmp_path / "one").mkdir()
    single = write(tmp_path / "one", {"fleet.yml": G3}) / "fleet.yml"
    assert read_fleet(single) == expected
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(single.read_bytes())))
    assert read_fleet(STANDARD_INPUT) == expected


def test_other_files_in_a_directory_are_passed_over(tmp_path):
    write(tmp_path, files_of(G2))
    for name in ("notes.txt", ".hidden.json"):
        (tmp_path / name).write_text("{broken")
    (tmp_path / "SOLUTION.JSON").write_text('{"allocations": {}}')
    assert read_fleet(tmp_path) == fleet_from_system(G2, "x")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent", "there is no such file or directory"),
        ("a\0b", "cannot be read"),
        ("folder", "no file in it ends in .json"),
        ("folder.json/below", "cannot be read|no such file"),
        ("x" * 5000, "cannot be read"),
        ("broken.json", "neither JSON"),
    ],
)
def test_what_cannot_be_read(tmp_path, name, says):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.json").write_text("{}")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(WireError, match=says):
        read_fleet(tmp_path / name)


def test_a_broken_file_in_a_directory_is_named(tmp_path):
    write(tmp_path, files_of(G2))
    (tmp_path / "zzz.yaml").write_text("a: [1")
    with pytest.raises(WireError, match=r"zzz\.yaml: neither"):
        read_fleet(tmp_path)


def test_servers_may_come_from_elsewhere(tmp_path):
    write(tmp_path, {name: doc for name, doc in files_of(G3).items() if "server-data" not in name})
    with pytest.raises(WireError, match=r"server-data\.json is missing"):
        read_fleet(tmp_path)
    assert read_fleet(tmp_path, servers=False).servers == ()


def test_flyballs_own_form_is_known_by_its_kind():
    assert fleet_from({"fleet.yaml": OWN, "scenario.yaml": {"kind": "Scenario"}}).generation == "flyball"
    assert fleet_from({"again.yaml": own_document(fleet_from({"fleet.yaml": OWN}))}).generation == "flyball"
    with pytest.raises(WireError, match=r"accelerator-data\.json beside it is a fleet too"):
        fleet_from({"fleet.yaml": OWN, **files_of(G3)})
    with pytest.raises(WireError, match=r"b\.yaml beside it is a fleet too"):
        fleet_from({"a.yaml": OWN, "b.yaml": OWN})
