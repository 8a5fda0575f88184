"""Objects of Kubernetes in files, read and written."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from flyball.wire.errors import WireError
from flyball.wire.manifests import manifest, objects_in
from flyball.wire.text import decode

words = st.one_of(
    st.sampled_from(["true", "No", "~", "null", "1e3", "0x1", "12:30", "a: b", "- a", "#", "a #b", "'", '"']),
    st.text(max_size=12),
    st.text(alphabet="ab \n'\":-#\t", max_size=20),
)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**12), 10**12), words),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(words, below, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(words, values, min_size=1, max_size=5))
@example({"a": "x\n\ny\n", "b": ["p\n q", "\n", " a\nb", "a\n\n", "a \nb"], "c": [[["d"]], {"e": {}}, []]})
def test_what_is_written_is_read_back_here(document: dict[str, Any]) -> None:
    assert decode(manifest(document).encode("utf-8", "surrogatepass"), "here") == document


@given(st.dictionaries(words, values, min_size=1, max_size=5))
def test_what_is_written_is_read_back_by_others(document: dict[str, Any]) -> None:
    assert yaml.safe_load(manifest(document)) == document


def test_numbers_keep_their_kind() -> None:
    assert manifest({"a": 1.5, "b": 1048576, "c": 0.0}) == "a: 1.5\nb: 1048576\nc: 0.0\n"


def test_scripts_stay_legible() -> None:
    script = "while true; do\n  sleep 5\n\ndone\n"
    assert manifest({"args": ["-c", script]}) == (
        "args:\n- '-c'\n- |\n  while true; do\n    sleep 5\n\n  done\n"
    )


def test_documents_and_lists_are_taken_apart() -> None:
    text = b"# head\n---\nkind: A\n--- # next\nkind: BList\nitems:\n- metadata: {name: x}\n- {kind: C}\n"
    assert [*objects_in("f", text)] == [
        ("f, document 1", {"kind": "A"}),
        ("f, document 2: items[0]", {"kind": "B", "metadata": {"name": "x"}}),
        ("f, document 2: items[1]", {"kind": "C"}),
    ]


@pytest.mark.parametrize("text", [b"", b"---\n# nothing\n---\n", b"[1, 2]", b"metadata: 3"])
def test_what_holds_no_objects_is_refused(text: bytes) -> None:
    with pytest.raises(WireError):
        [*objects_in("f", text)]
