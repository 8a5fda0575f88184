"""Where replicas have nothing left to give, a smaller batch holds a cap: from the policy to the engines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clusters import eventually
from tests.kubernetes.stage import DEPLOY, Stage, follows, server

pytestmark = pytest.mark.slow

FLAG, OWN, CAP = "--max-num-seqs", 256, 1000
BUSY = {"rpm": 6000, "tokens_in": 500, "tokens_out": 300}
"""More than two replicas can take: their batches are full."""
KINDS = ("powerdomains", "powerpolicies", "powerrecommendations", "devicepowerprofiles")


@pytest.fixture
def kinds(stage: Stage) -> Iterator[None]:
    """The kinds of power, for as long as the test takes."""
    files = ",".join(str(DEPLOY / "crds" / f"flyball.dev_{kind}.yaml") for kind in KINDS)
    stage.kubectl("apply", "-f", files)
    stage.kubectl("wait", "--for=condition=Established", "-f", files)
    yield
    stage.kubectl("delete", "-f", files)


def policy() -> dict[str, Any]:
    return {
        "apiVersion": "flyball.dev/v1alpha1",
        "kind": "PowerPolicy",
        "metadata": {"name": "brake"},
        "spec": {
            "mode": "Enforce",
            "threshold": CAP,
            "targets": {"selector": {"matchLabels": {"app": "chat"}}},
            "levers": ["hold", "replicas", "concurrency"],
        },
    }


@pytest.mark.usefixtures("kinds")
def test_a_cap_below_the_least_limits_the_batch(stage: Stage, space: str) -> None:
    asked = {"flyball.dev/batch": "apply", "flyball.dev/mode": "act", "flyball.dev/min": "2"}
    made = server("chat", replicas=2, annotations=asked, **BUSY)
    made["spec"]["strategy"] = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    made["spec"]["template"]["spec"]["containers"][0]["args"] += [FLAG, str(OWN)]
    stage.create(space, made)
    eventually(lambda: stage.ready(space, "chat") == 2)
    path = f"/apis/flyball.dev/v1alpha1/namespaces/{space}/powerpolicies"
    stage.api.post(path, policy(), dict)

    def batch() -> int:
        return int(stage.read(space, "chat")["spec"]["template"]["spec"]["containers"][0]["args"][-1])

    def status() -> dict[str, Any]:
        return stage.api.get(f"{path}/brake", dict)["status"]

    def held() -> str:
        conditions = {one["type"]: one for one in status()["conditions"]}
        return str(conditions["Held"]["message"])

    with stage.loop(space, "--power") as loop:
        follows(lambda: batch() < OWN)
        limited = batch()
        assert limited >= OWN / 4
        follows(lambda: f"chat to a batch of {limited}" in held())
        follows(lambda: stage.ready(space, "chat") == 2 and status()["attributedWatts"] <= CAP)
        assert loop.history("chat")[-1] == 2
        assert batch() == limited
        assert not [one["errors"] for one in loop.cycles() if one["errors"]]
    (said,) = [text for reason, text in stage.events(space, "chat") if reason == "RolledOver"]
    assert f"args {FLAG} {OWN} to {limited}" in said
