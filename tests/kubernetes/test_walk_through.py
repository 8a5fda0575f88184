"""The walk-through of the control loop's document, outside the cluster, word for word where it can be."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.kubernetes.stage import DEPLOY, SPEED, Loop, Stage

pytestmark = pytest.mark.slow

SERVERS = ("vllm-001", "vllm-002", "vllm-003")
LIMITS = {
    "vllm-001": {"ttft": 1.0, "itl": 0.08},
    "vllm-002": {"ttft": 2.0, "itl": 0.16},
    "vllm-003": {"ttft": 4.0, "itl": 0.32},
}
"""Of the sample data: Premium, Bronze, and Free where no class is said."""
MINUTE = 60.0
DATA = str(DEPLOY / "sample-data" / "large") + "/"


@pytest.fixture(autouse=True)
def servers(stage: Stage, infer: str) -> Iterator[None]:
    """The sample servers; taken away again as the document says."""
    files = ",".join(f"deploy/workload/dep{number}.yaml" for number in (1, 2, 3))
    stage.kubectl("apply", "-f", files)
    yield
    stage.kubectl("delete", "-f", files)
    assert stage.kubectl("get", "deployments", "-n", "infer", "--ignore-not-found") == ""


def attained(stage: Stage, since: float) -> dict[str, float]:
    found = {name: stage.report("infer", name, since=since, **LIMITS[name]) for name in SERVERS}
    return {name: one["attained"] / max(one["finished"] + one["failed"], 1) for name, one in found.items()}


def reversals(history: list[int]) -> int:
    """How often it went up after it had gone down."""
    moves = [after - before for before, after in pairwise(history) if after != before]
    return sum(1 for before, after in pairwise(moves) if before < 0 < after)


def disturbed(stage: Stage, alpha: float, minutes: float, seed: int = 1) -> tuple[float, Loop]:
    """The loop under the load emulator for so many minutes of the engines' clock: when it began, and what it
    said."""
    with (
        stage.command("emulate", MINUTE / SPEED, alpha, "--seed", seed, "--namespace", "infer") as emulator,
        stage.loop("infer", own="inferno", period=MINUTE, INFERNO_DATA_PATH=DATA) as loop,
    ):
        began = stage.now()
        assert loop.invoke() == (200, '"OK"')
        stage.until(began + minutes * MINUTE)
        assert "cycle 2: 3 servers" in emulator.said
        assert not [one["errors"] for one in loop.cycles() if one["errors"]]
    assert "put back: the labels of 3 objects" in emulator.said
    return began, loop


def stable(loop: Loop) -> None:
    """No server without replicas, none that runs away, none that goes to and fro."""
    for name in SERVERS:
        history = loop.history(name)
        assert min(history) >= 1, (name, history)
        assert max(history) <= 32, (name, history)  # two and a half times rate and tokens want about a dozen
        assert reversals(history) <= 1 + len(history) // 5, (name, history)


def test_the_document_outside_the_cluster(stage: Stage) -> None:
    before = {name: stage.read("infer", name)["metadata"]["labels"] for name in SERVERS}
    began, loop = disturbed(stage, 0.1, 14)
    # One replica takes a batch of eight, thirty requests a minute want two dozen places: it had to grow.
    assert stage.replicas("infer", "vllm-001") == loop.history("vllm-001")[-1] >= 3
    stable(loop)
    # The queue of the first minutes, with one replica each, may take eight minutes to drain.
    shares = attained(stage, began + 10 * MINUTE)
    assert min(shares.values()) >= 0.95, (shares, {name: loop.history(name) for name in SERVERS})
    labels = {name: stage.read("infer", name)["metadata"]["labels"] for name in SERVERS}
    for name in SERVERS:  # the emulator has put its own back; the loop's are those of the allocation
        changed = {key for key in labels[name] if labels[name][key] != before[name].get(key)}
        assert changed <= {f"inferno.server.allocation.{what}" for what in ("accelerator", "maxbatchsize")}


def test_a_wild_load_is_followed_and_survived(stage: Stage) -> None:
    _, loop = disturbed(stage, 0.5, 6)
    stable(loop)
    with stage.loop("infer", own="inferno", period=MINUTE, INFERNO_DATA_PATH=DATA):  # goes on from its memory
        calm = stage.now()
        stage.until(calm + 3 * MINUTE)
        shares = attained(stage, calm + 1.5 * MINUTE)
    assert min(shares.values()) >= 0.95, shares


@pytest.mark.soak
@pytest.mark.parametrize("alpha", [0.1, 0.5])
def test_half_an_hour_under_the_load_emulator(stage: Stage, alpha: float) -> None:
    began, loop = disturbed(stage, alpha, 30)
    stable(loop)
    shares = attained(stage, began + 10 * MINUTE)
    assert min(shares.values()) >= (0.95 if alpha < 0.2 else 0.8), shares
    with stage.loop("infer", own="inferno", period=MINUTE, INFERNO_DATA_PATH=DATA):
        calm = stage.now()
        stage.until(calm + 10 * MINUTE)
        shares = attained(stage, calm + 5 * MINUTE)
    assert min(shares.values()) >= 0.95, shares
