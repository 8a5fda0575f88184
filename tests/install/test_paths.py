"""docs/paths-of-the-documents.md: it knows all that the documents name, and what it names is there."""

from __future__ import annotations

import re

import pytest

from tests.conftest import COMPARED, shared_dir
from tests.install.made import ROOT

TABLE = (ROOT / "docs" / "paths-of-the-documents.md").read_text()
FILE = re.compile(r"(?<![\w.])[\w$./-]*\.(?:sh|yaml|yml|json|txt|py|pdf|md)\b")
PROSE = {"make sure", "make decisions", "make the", "make informed", "make target", "make targets"}


def test_everything_that_the_documents_name_is_in_the_table() -> None:
    shared = shared_dir()
    if shared is None:
        pytest.skip("the documents are not here")
    documents = "\n".join(path.read_text() for path in sorted((shared / "seeds").glob("00[0-4]_*.txt")))
    bare = re.sub(r"https?://\S+", "", documents)
    files = {match.rpartition("/")[2] for match in FILE.findall(bare)}
    targets = {f"make {one}" for one in re.findall(r"(?m)^\s*(?:`{0,3}|.*`)make ([a-z-]+)", bare)} - PROSE
    folders = {one for one in re.findall(r"\$\w+REPO\w*/([\w/-]+)", bare)} | {"dist/chart", "manifests/yamls"}
    variables = set(re.findall(r"\b(?:INFERNO|CONTROLLER)_(?!REPO)[A-Z_]+", bare))
    assert {"setparms.sh", "deploy.yaml", "sa.yaml"} <= files
    assert {"make install", "make cluster-up", "make build-installer"} <= targets
    known = files | targets | variables | {folder.rstrip("/") for folder in folders}
    assert sorted(one for one in known if one not in TABLE) == []
    COMPARED["names of the documents"] += len(known)


def test_what_the_table_leads_to_is_there() -> None:
    rows = [line.split("|") for line in TABLE.splitlines() if line.startswith("| ") and "---" not in line]
    ours = " ".join(row[2] for row in rows)
    named = {one for one in FILE.findall(ours) if "/" in one and not one.startswith("../")}
    assert len(named) > 5
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "docs" / name).exists(), name
    targets = set(re.findall(r"`make ([a-z -]+?)(?: \w+=\S*)?`", ours))
    makefile = (ROOT / "Makefile").read_text()
    for target in {word for one in targets for word in one.split()}:
        assert re.search(rf"(?m)^{target}:", makefile), target
