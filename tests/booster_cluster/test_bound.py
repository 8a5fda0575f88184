"""The generation of Kthena in which policy and binding are two objects, and fields of the ModelBooster."""

from __future__ import annotations

import pytest

from tests.booster_cluster.booth import Booth
from tests.boosting import samples
from tests.clusters import eventually

pytestmark = pytest.mark.slow
GENERATION = "v0.4"
POLICY = {"autoscalingPolicy": {"metrics": [{"metricName": "m", "targetValue": "10"}]}}
THREE = ["ModelRoute chat", "ModelServer chat-b1", "ModelServing chat-b1"]
FIVE = ["AutoscalingPolicy chat-b1", "AutoscalingPolicyBinding chat-b1", *THREE]


def test_five_children_of_which_two_go_with_autoscaling(booth: Booth) -> None:
    booth.make(document=samples.document(spec=POLICY, minReplicas=1, maxReplicas=4, replicas=None))
    booth.done()
    assert booth.names() == FIVE
    booth.scale(3)
    booth.ask({"backend": {"maxReplicas": 6}})
    booth.done()
    bound = booth.get("AutoscalingPolicyBinding")["spec"]["homogeneousTarget"]
    assert (bound["minReplicas"], bound["maxReplicas"]) == (1, 6)
    assert booth.get("ModelServing")["spec"]["replicas"] == 3
    booth.edit("AutoscalingPolicy", "chat-b1", {"spec": {"tolerancePercent": 50}})
    eventually(lambda: booth.get("AutoscalingPolicy")["spec"]["tolerancePercent"] != 50)
    booth.ask({"autoscalingPolicy": None, "backend": {"minReplicas": 2, "maxReplicas": 2}})
    eventually(lambda: booth.names() == THREE)
    booth.quiet()
