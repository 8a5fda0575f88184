"""Batches and cards that are carried out in templates: once, with all replicas serving; then it is quiet."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clusters import eventually
from tests.kubernetes.stage import PRODUCTS, Stage, follows, server

pytestmark = pytest.mark.slow

FLAG = "--max-num-seqs"
LOAD = {"rpm": 300, "tokens_in": 500, "tokens_out": 150}
TWO = {"flyball.dev/min": "2", "flyball.dev/max": "2"}
(KEY,) = PRODUCTS["H100"][1]


def _spec(there: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = there["spec"]["template"]["spec"]
    return found


def _is_through(there: dict[str, Any]) -> bool:
    status, replicas = there["status"], there["spec"]["replicas"]
    counts = (status.get(key) for key in ("replicas", "updatedReplicas", "readyReplicas"))
    return status["observedGeneration"] == there["metadata"]["generation"] and set(counts) == {replicas}


def test_a_batch_is_carried_out_once_and_put_back_on_release(stage: Stage, space: str) -> None:
    made = server("chat", replicas=2, annotations={"flyball.dev/batch": "apply", **TWO}, **LOAD)
    _spec(made)["containers"][0]["args"] += [FLAG, "16"]
    stage.create(space, made)
    eventually(lambda: stage.ready(space, "chat") == 2)
    ready: list[int] = []

    def rolled() -> bool:
        there = stage.read(space, "chat")
        ready.append(there["status"].get("readyReplicas", 0))
        return _spec(there)["containers"][0]["args"][-1] != "16" and _is_through(there)

    with stage.loop(space) as loop:
        follows(rolled)
        assert min(ready) >= 2
        settled = stage.read(space, "chat")
        cycles = loop.more(6)
        after = stage.read(space, "chat")
        assert not [one["errors"] for one in cycles if one["errors"]]
    assert after["metadata"]["resourceVersion"] == settled["metadata"]["resourceVersion"]
    assert int(_spec(after)["containers"][0]["args"][-1]) > 16
    assert after["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    (said,) = [text for reason, text in stage.events(space, "chat") if reason == "RolledOver"]
    assert f"args {FLAG} 16 to " in said
    assert stage.report(space, "chat")["failed"] == 0
    with stage.command("release", "deployment/chat", "--namespace", space) as command:
        eventually(lambda: command.process.poll() == 0)
        assert f"its template has {FLAG} 16 again" in command.said
    assert _spec(stage.read(space, "chat"))["containers"][0]["args"][-2:] == [FLAG, "16"]


def test_it_moves_to_cheaper_cards_by_its_selector(stage: Stage, space: str) -> None:
    made = server("chat", "H100", replicas=2, annotations={"flyball.dev/accelerator": "apply", **TWO}, **LOAD)
    stage.create(space, made)
    eventually(lambda: stage.ready(space, "chat") == 2)
    ready: list[int] = []

    def moved() -> bool:
        there = stage.read(space, "chat")
        ready.append(there["status"].get("readyReplicas", 0))
        return _spec(there)["nodeSelector"] != PRODUCTS["H100"][1] and _is_through(there)

    with stage.loop(space) as loop:
        follows(moved)
        assert min(ready) >= 2
        settled = stage.read(space, "chat")
        loop.more(6)
        after = stage.read(space, "chat")
    assert after["metadata"]["resourceVersion"] == settled["metadata"]["resourceVersion"]
    assert _spec(after)["nodeSelector"][KEY] in (PRODUCTS["L40S"][1][KEY], PRODUCTS["A100"][1][KEY])
    assert stage.report(space, "chat")["failed"] == 0
