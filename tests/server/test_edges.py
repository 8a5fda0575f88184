"""Values that are allowed and that nobody should send: an answer in finite JSON, soon, and one to keep."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from flyball.adapters.state_file import StateFile
from flyball.server.optimizer.changes import desire
from flyball.server.optimizer.planning import Ask, optimize_one
from flyball.server.service.answers import answer
from flyball.wire.inferno_system import System
from tests.server.systems import GENERATIONS, Edge, system

HANG = 60
"""Seconds: a hundred times what the slowest takes on an idle machine."""
LATENCIES = ("itlAverage", "ttftAverage", "waitAverage")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[StateFile]:
    with closing(StateFile(tmp_path / "state.json")) as made:
        yield made


@contextmanager
def no_hang(what: object) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError(f"no answer in {HANG} s: {json.dumps(what)}")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is no JSON")


def answered(document: dict[str, Any], ask: Ask, file: StateFile) -> dict[str, Any]:
    """What is answered, with its reasons; also checked: the system with it can be kept and read again."""
    with no_hang(document):
        solution = optimize_one(json.dumps(document).encode(), ask)
    made = json.loads(answer(solution.document).content, parse_constant=refuse)
    kept: System = desire(solution.system, solution.allocations)(solution.system)
    file.write(kept)
    assert file.read() == kept
    return made  # type: ignore[no-any-return]


def searched(count: int, seed: int, file: StateFile) -> Counter[str]:
    edge, seen = Edge(seed), Counter[str]()
    for _ in range(count):
        document = edge.system()
        ask = Ask(solver=edge.of(None, None, "greedy", "exact", "unlimited"), explain=edge.often(0.5))
        made = answered(document, ask, file)
        servers = {s["name"] for s in document["system"]["serverData"]["servers"]}
        unserved = made.get("unserved", {})
        assert set(made["allocations"]) | set(unserved) == servers
        assert not set(made["allocations"]) & set(unserved)
        for allocation in made["allocations"].values():
            assert 0 <= allocation["numReplicas"] <= 1e9
            assert allocation["cost"] >= 0
            assert all(allocation.get(name) is None or allocation[name] >= 0 for name in LATENCIES)
            seen["served"] += allocation["numReplicas"] > 0
        seen.update(each["reason"] for each in unserved.values())
    return seen


@pytest.mark.slow
def test_a_search_at_the_edge_of_what_is_allowed(file: StateFile) -> None:
    seen = searched(400, 1, file)
    assert seen["served"] > 100
    assert set(seen) > {"out_of_reach", "no_capacity", "no_target", "no_profile", "bad_load"}


@pytest.mark.soak
def test_a_long_search_at_the_edge_of_what_is_allowed(file: StateFile) -> None:
    assert searched(20_000, 2, file)["served"] > 1000


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("tokens", [1.0, 8192.0, 1e7])
def test_a_batch_of_65536_with_any_prompt(generation: str, tokens: float, file: StateFile) -> None:
    """Up to 1.3e12 tokens of a full batch, 8e7 chunks a prompt."""
    document = system(generation, 1, seed=1, unlimited=True)
    parts = document["system"]
    for entry in parts["modelData"]["models"]:
        entry |= {"maxBatchSize": 65_536, "atTokens": 10_000_000}
    for each in parts["serviceClassData"]["serviceClasses"]:
        each["modelTargets"] = [{"model": f"m{i}"} for i in range(3)]
    server = parts["serverData"]["servers"][0]
    names = ("avgLength",) if generation == "G1" else ("avgInTokens", "avgOutTokens")
    server["currentAlloc"]["load"] = {"arrivalRate": 60.0, **dict.fromkeys(names, tokens)}
    server["maxQueueSize"] = 10**9
    made = answered(document, Ask(explain=True), file)["allocations"]["server-1-0"]
    assert made["maxBatch"] == 65_536
    assert made["numReplicas"] > 0


def test_a_billion_cards_are_shared_out(file: StateFile) -> None:
    """Best effort goes round as often as it takes, not replica by replica."""
    document = system("G2", 4, seed=1)
    parts = document["system"]
    parts["capacityData"]["count"] = [{"type": "A", "count": 10**9 - 2}]
    for server in parts["serverData"]["servers"]:
        server |= {"minNumReplicas": 10**9, "class": "Free", "model": "m0"}
    made = answered(document, Ask(solver="greedy"), file)["allocations"]
    assert [made[f"server-1-{i}"]["numReplicas"] for i in range(4)] == [250_000_000] * 2 + [249_999_999] * 2


@pytest.mark.parametrize("generation", GENERATIONS)
def test_less_than_a_token_of_output_is_one(generation: str, file: StateFile) -> None:
    name, made = ("avgLength" if generation == "G1" else "avgOutTokens"), []
    for tokens in (1e-300, 0.5, 1.0, 1.5):
        document = system(generation, 1, seed=1, unlimited=True)
        document["system"]["serverData"]["servers"][0]["currentAlloc"]["load"][name] = tokens
        made.append(answered(document, Ask(explain=True), file)["allocations"])
    assert made[0] == made[1] == made[2] != made[3]
    assert made[0]["server-1-0"]["itlAverage"] > 0


def test_more_than_a_billion_replicas_are_none(file: StateFile) -> None:
    document = system("G2", 1, seed=1, unlimited=True)
    parts = document["system"]
    for entry in parts["modelData"]["models"]:
        entry["prefillParms"]["gamma"] = 1e12
    parts["serviceClassData"]["serviceClasses"][0]["modelTargets"] = [{"model": "m0"}]
    parts["serverData"]["servers"][0]["currentAlloc"]["load"]["arrivalRate"] = 1e9
    made = answered(document, Ask(explain=True), file)
    assert made["unserved"]["server-1-0"]["reason"] == "out_of_reach"
    assert "it would take more than a billion replicas" in str(made["explained"])
