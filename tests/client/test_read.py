"""Reading answers: lenient where services differ, exact where they agree."""

from __future__ import annotations

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.client.read import read
from flyball.wire.inferno_queue import QueueAnalysis
from flyball.wire.inferno_shapes import AcceleratorShape, AllocationShape, ModelData, PartShape, ServerShape
from flyball.wire.plans import Planned, SolutionDocument

PLAN = {
    "generation": "G3", "solver": "greedy", "servers": [],
    "resources": [{"name": "A", "used": 1, "limit": None}],
    "objective": 3, "bound": None, "gap": None, "proved": False, "cost": 3.5, "watts": None,
}  # fmt: skip

LATENCY = st.one_of(st.floats(0, 1e12), st.just(math.inf))
PART = {
    "accelerator": st.text(max_size=9),
    "num_replicas": st.integers(0, 10**9),
    "itl_average": LATENCY,
    "ttft_average": LATENCY,
}


@given(st.builds(AllocationShape, **PART, mix=st.lists(st.builds(PartShape, **PART), max_size=2).map(tuple)))
def test_what_is_written_is_read_again_and_null_is_no_bound(allocation: AllocationShape) -> None:
    solution = SolutionDocument({"a": allocation})
    assert read(msgspec.json.encode(solution), SolutionDocument) == solution


def test_null_is_what_json_cannot_say() -> None:
    planned = read(json.dumps({"plan": PLAN, "summary": [], "explanations": {}}).encode(), Planned)
    assert planned.plan.bound == -math.inf
    assert planned.plan.gap == planned.plan.resources[0].limit == math.inf
    assert planned.plan.watts is None
    assert planned.plan.objective == 3.0


def test_null_is_what_go_leaves_out() -> None:
    server = read(b'{"name": "a", "model": null, "currentAlloc": null, "minNumReplicas": 2.0}', ServerShape)
    assert (server.model, server.current_alloc, server.min_num_replicas) == ("", None, 2)
    assert read(b'{"models": null}', ModelData) == ModelData()
    assert read(b"null", list[str]) == []
    assert read(b'{"allocations": null}', SolutionDocument) == SolutionDocument({})


def test_more_and_other_than_is_known_is_passed_over() -> None:
    found = read(b'{"name": "a", "multiplicity": 0, "cost": -1, "new": {"x": 1}}', AcceleratorShape)
    assert (found.multiplicity, found.cost) == (0, -1.0)
    servers = [{"server": "s", "priority": 1, "status": "asleep", "reason": "a new one"}]
    document = {"plan": {**PLAN, "servers": servers}, "summary": ["x"], "explanations": {"s": ["y"]}}
    made = read(json.dumps(document).encode(), Planned)
    assert made.plan.servers[0].status == "asleep"
    assert made.explanations == {"s": ("y",)}


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", str, "no JSON"),
        (b"<html>", str, "no JSON"),
        (b'"\xff"', str, "no JSON"),
        (b"[" * 100_000, list[str], "no JSON"),
        (b"{}", SolutionDocument, r"\$\.allocations is not there"),
        (b"[]", SolutionDocument, r"\$ is not an object"),
        (b'{"allocations": []}', SolutionDocument, r"\$\.allocations is not an object"),
        (b'{"allocations": {"a": {"cost": "1"}}}', SolutionDocument, r"allocations\.a\.cost is not a number"),
        (b'{"allocations": {"a": {"numReplicas": 1.5}}}', SolutionDocument, "numReplicas is not a whole"),
        (b'{"allocations": {"a": {"numReplicas": true}}}', SolutionDocument, "numReplicas is not a whole"),
        (b'{"name": null}', ServerShape, r"\$\.name is not text"),
        (b'{"name": "a", "keepAccelerator": 1}', ServerShape, "keepAccelerator is not true or false"),
        (b'["a", 1]', list[str], r"\$\[1\] is not text"),
        (b'{"message": "x"}', QueueAnalysis, "offeredRPS is not there"),
    ],
)  # fmt: skip
def test_what_is_none_says_where(data: bytes, kind: type, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(data, kind)
