"""Load that rises and falls, cards that are short, lost and back, and somebody else who scales too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flyball.adapters.kubernetes.governed import Kind
from tests.clusters import eventually
from tests.kubernetes.stage import PERIOD, Stage, bounded, follows, server

pytestmark = pytest.mark.slow

CHAT = {"tokens_in": 500, "tokens_out": 150}


def attained(stage: Stage, space: str, name: str, since: float) -> float:
    found = stage.report(space, name, since=since)
    share: float = found["share"]
    return share


def test_load_up_and_down(stage: Stage, space: str) -> None:
    stage.create(space, server("chat", rpm=900, **CHAT))
    with stage.loop(space) as loop:
        stage.pass_by(60)
        assert stage.replicas(space, "chat") <= 2
        stage.load(space, "chat", rpm=9000)
        follows(lambda: stage.replicas(space, "chat") >= 3)
        most = stage.replicas(space, "chat")
        eventually(lambda: stage.ready(space, "chat") >= most)
        stage.pass_by(60)
        settled = stage.now()
        stage.pass_by(90)
        assert attained(stage, space, "chat", settled) >= 0.95
        most = max(loop.history("chat"))
        stage.load(space, "chat", rpm=600)
        follows(lambda: stage.replicas(space, "chat") <= most // 2)
        assert stage.report(space, "chat")["failed"] == 0, "who goes finishes what it has"
        bounded(loop.history("chat"))
    said = stage.events(space, "chat")
    assert {"ScaledUp", "ScaledDown"} <= {reason for reason, _ in said}
    assert all(": " in message for _, message in said), said


def test_pods_that_no_node_takes_are_no_capacity_and_no_reason_for_more(stage: Stage, space: str) -> None:
    # Of sixteen cards two can be had, as a replica takes almost all processors of a node.
    made = server("chat", rpm=900, **CHAT)
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container["resources"]["requests"] = {"cpu": "100"}
    stage.create(space, made)
    with stage.loop(space) as loop:
        follows(lambda: loop.cycles()[-1]["servers"][0]["occTotal"] > 0)
        stage.load(space, "chat", rpm=9000)
        follows(lambda: stage.replicas(space, "chat") >= 3)
        stage.pass_by(8 * PERIOD)  # until its backlog is provided for
        settled = len(loop.cycles())
        loop.more(4)
        history = loop.history("chat")
    assert stage.ready(space, "chat") == 2
    assert max(history) <= 12, history
    assert len(set(history[settled:])) == 1, history


@pytest.mark.soak
def test_who_outgrows_its_cards_is_handed_over_to_others(stage: Stage, space: str) -> None:
    named = {"inferno.server.name": "chat"}
    load = {"tokens_in": 500, "tokens_out": 200}
    stage.create(
        space,
        server("chat-l40s", "L40S", labels=named, replicas=2, rpm=1200, **load),
        server("chat-h100", "H100", labels=named, replicas=0),
    )
    eventually(lambda: stage.ready(space, "chat-l40s") == 2)
    both: list[tuple[int, int]] = []

    def moved() -> bool:
        both.append((stage.ready(space, "chat-l40s"), stage.ready(space, "chat-h100")))
        return both[-1][0] == 0 and both[-1][1] >= 1

    with stage.loop(space) as loop:
        stage.pass_by(60)
        assert stage.replicas(space, "chat-l40s") >= 1
        stage.load(space, "chat-l40s", rpm=20_000)  # more than eight of them can do
        follows(moved)
        assert any(old and new for old, new in both), "both serve for a while"
        settled = stage.now()
        loop.more(4)
        found = stage.report(space, "chat", since=settled)
        assert found["failed"] == 0
        assert found["share"] >= 0.95, found


def test_who_is_scaled_by_an_hpa_is_left_to_it(stage: Stage, space: str) -> None:
    stage.create(space, server("chat", rpm=9000, **CHAT), server("free", rpm=9000, **CHAT))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
    memory = {"type": "Resource", "resource": {"name": "memory"}}
    memory["resource"] |= {"target": {"type": "Utilization", "averageUtilization": 80}}  # type: ignore[operator]
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "theirs"},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5, "metrics": [memory]},
    }
    kind = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
    stage.api.post(kind.path(space), body, dict)
    with stage.loop(space) as loop:
        follows(lambda: stage.replicas(space, "free") >= 3)
        loop.more(2)
        said = f"Deployment {space}/chat is left as it is"
        eventually(lambda: said in loop.said)
        line = next(one for one in loop.said.splitlines() if said in one)
        assert f"HorizontalPodAutoscaler {space}/theirs writes its replicas. Remove that" in line
        there = stage.read(space, "chat")
        assert there["spec"]["replicas"] == 1
        assert not {one["manager"] for one in there["metadata"]["managedFields"]} & {"flyball"}
        assert stage.events(space, "chat") == []
        # When that is gone, it is governed.
        stage.api.delete(kind.path(space, "theirs"))
        follows(lambda: stage.replicas(space, "chat") >= 3)


@pytest.fixture
def lost(stage: Stage) -> Iterator[str]:
    """A node that can be lost; it is back at the end."""
    yield "l40s-1"
    stage.sandbox.return_node("l40s-1")


def test_cards_that_are_lost_and_come_back(stage: Stage, space: str, lost: str) -> None:
    # Eight cards on two nodes, all of them wanted.
    stage.create(space, server("chat", "L40S", replicas=4, rpm=6000, tokens_in=500, tokens_out=200))
    with stage.loop(space) as loop:
        follows(lambda: stage.ready(space, "chat") >= 6)
        stage.sandbox.lose_node(lost)
        follows(lambda: stage.ready(space, "chat") <= 4)
        follows(lambda: _cards(loop.cycles()[-1]) == 4)
        stage.pass_by(3 * PERIOD)
        assert 1 <= stage.ready(space, "chat") <= 4
        assert min(loop.history("chat")) >= 3, "what is left of the cards is used"
        assert max(loop.history("chat")) <= 8
        stage.sandbox.return_node(lost)
        follows(lambda: _cards(loop.cycles()[-1]) == 8)
        follows(lambda: stage.ready(space, "chat") >= 6)
        assert max(loop.history("chat")) <= 8


def _cards(cycle: dict[str, Any]) -> int:
    found: int = next(one["available"] for one in cycle["capacity"] if one["type"] == "L40S")
    return found
