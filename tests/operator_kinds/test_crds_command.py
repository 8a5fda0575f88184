"""`flyball crds`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flyball.commands.crds import definitions
from flyball.wire.kinds import kthena
from flyball.wire.kinds.kind import crd
from flyball.wire.text import decode
from tests.commands.terminal import flyball

ROOT = Path(__file__).parents[2]


def test_all_are_printed_as_one_stream() -> None:
    done = flyball("crds")
    assert (done.code, done.err) == (0, "")
    documents = [decode(text.encode(), "out") for text in done.out.split("---\n")]
    assert documents == [crd(d) for d in definitions()]


@pytest.mark.parametrize("name", ["Server", "servers", "isrv", "servers.inferno.platform.ai"])
def test_a_kind_is_known_by_each_of_its_names(name: str) -> None:
    done = flyball("crds", name, "Server")
    assert decode(done.out.encode(), "out") == crd(next(d for d in definitions() if d.kind == "Server"))


def test_files_are_written_and_checked(tmp_path: Path) -> None:
    folder = tmp_path / "deploy" / "crds"
    assert flyball("crds", "--output", folder).code == 0
    assert len(list(folder.iterdir())) == len(definitions())
    assert flyball("crds", "--check", folder) == (0, "", "")
    (folder / "inferno.platform.ai_models.yaml").unlink()
    server = folder / "inferno.platform.ai_servers.yaml"
    server.write_text(server.read_text().replace("int64", "int32", 1))
    done = flyball("crds", "--check", folder)
    assert done.code == 3
    assert "models.yaml is missing" in done.err
    assert "servers.yaml differs" in done.err
    assert f"flyball crds --output {folder}" in done.err
    assert flyball("crds", "--check", folder, "acc").code == 0


def test_model_boosters_are_printed_only_where_they_are_named(tmp_path: Path) -> None:
    (named,) = [d for d in kthena.DEFINITIONS]
    assert named.kind not in flyball("crds").out
    assert decode(flyball("crds", "modelboosters").out.encode(), "out") == crd(named)
    committed = ROOT / "deploy" / "crds-booster"
    assert flyball("crds", "--check", committed, "ModelBooster") == (0, "", "")
    (listed,) = yaml.safe_load_all((committed / "kustomization.yaml").read_text())
    assert listed["resources"] == [f"{named.group}_{named.plural}.yaml"]


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    done = flyball("crds", "Modle")
    assert done.code == 2
    assert 'there is no kind "Modle". Near: Model.' in done.err
    assert flyball("crds", "--check", tmp_path, "--output", tmp_path).code == 2
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = flyball("crds", "--output", blocked)
    assert done.code == 4
    assert "file" in done.err
