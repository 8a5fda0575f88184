"""From creation to deletion where definitions say as little as possible: nothing leans on what others add."""

from __future__ import annotations

import pytest

from tests.booster_cluster.booth import Booth, plain
from tests.boosting import samples
from tests.clusters import eventually

pytestmark = pytest.mark.slow
GENERATION, LEAST = "v0.4", True
POLICY = {"autoscalingPolicy": {"metrics": [{"metricName": "m", "targetValue": "10"}]}}
THREE = ["ModelRoute chat", "ModelServer chat-b1", "ModelServing chat-b1"]
FIVE = ["AutoscalingPolicy chat-b1", "AutoscalingPolicyBinding chat-b1", *THREE]


def test_from_creation_to_deletion(booth: Booth) -> None:
    booth.make(workers=[samples.worker(replicas=2)])
    booth.done()
    assert booth.names() == THREE
    assert booth.word("Active") == "False"
    booth.available()
    eventually(lambda: booth.word("Active") == "True")
    wanted = {kind: plain(one) for kind, one in booth.all()}
    booth.edit("ModelServer", "chat-b1", {"spec": {"workloadPort": {"port": 1}, "inferenceEngine": "x"}})
    booth.edit("ModelServing", "chat-b1", {"spec": {"schedulerName": "mine", "theirs": 1}})
    booth.edit("ModelRoute", "chat", {"spec": {"rules": []}})
    eventually(lambda: {kind: plain(one) for kind, one in booth.all()} == wanted)
    booth.scale(7)
    booth.ask({"backend": {"runtimeClassName": "nvidia"}})
    booth.done()
    assert "nvidia" in str(booth.get("ModelServing")["spec"]["template"])
    assert booth.get("ModelServing")["spec"]["replicas"] == 7
    # What cannot be changed is made anew; what is not wanted any more goes.
    uid = booth.get("ModelServing")["metadata"]["uid"]
    booth.ask({"name": "called", "backend": {"workers": [samples.worker(replicas=1)]}})
    booth.done()
    assert booth.get("ModelRoute", "chat")["spec"]["modelName"] == "called"
    assert booth.get("ModelServing")["metadata"]["uid"] != uid
    booth.ask({**POLICY, "backend": {"minReplicas": 1, "maxReplicas": 4}})
    eventually(lambda: booth.names() == FIVE)
    booth.ask({"autoscalingPolicy": None, "backend": {"minReplicas": None, "maxReplicas": None}})
    eventually(lambda: booth.names() == THREE)
    booth.ask({"backend": {"workers": [samples.worker(config={"port": "many"})]}})
    eventually(lambda: booth.word("Failed") == "True")
    assert 'invalid port "many"' in booth.said("Failed")["message"]
    booth.ask({"backend": {"workers": [samples.worker()]}})
    eventually(lambda: booth.word("Failed") == "False")
    booth.quiet()
    booth.delete("ModelBooster", "chat")
    eventually(lambda: booth.names() == [])
