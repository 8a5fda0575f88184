"""What the documents of Kthena's ModelBooster controller say, sentence by sentence."""

from __future__ import annotations

import pytest
import yaml

from flyball.wire.kthena import ANNOTATIONS, DOCUMENTED_MANAGED_BY, DOCUMENTED_MANAGER, MANAGED_BY, WORKLOAD
from tests.booster_cluster.booth import Booth
from tests.boosting import samples
from tests.clusters import eventually

pytestmark = pytest.mark.slow
GENERATION = "v1"
POLICY = {"metrics": [{"metricName": "vllm:num_requests_waiting", "targetValue": "10"}]}
CHILDREN = ["ModelRoute chat", "ModelServer chat-b1", "ModelServing chat-b1"]


def booster(**annotations: str) -> str:
    """As a user writes it down."""
    document = samples.document()
    document["metadata"] = {"name": "chat", "annotations": annotations}
    return yaml.safe_dump(document)


def test_from_creation_to_deletion(booth: Booth) -> None:
    kubectl, space = booth.desk.kubectl, ("-n", booth.space)
    kubectl("apply", *space, "-f", "-", stdin=booster())
    # It converts the ModelBooster, and sets the conditions after creating the related resources.
    eventually(lambda: booth.word("Initialized") == "True")
    assert booth.names() == CHILDREN
    assert booth.word("Active") == "False"
    uid = booth.booster()["metadata"]["uid"]
    for _, one in booth.all():
        # "All these CRs will carry the label"; what Kthena's code writes is there, too.
        assert one["metadata"]["labels"][DOCUMENTED_MANAGED_BY] == DOCUMENTED_MANAGER
        assert one["metadata"]["labels"][MANAGED_BY] == WORKLOAD
        (owner,) = one["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("ModelBooster", "chat", uid)
    # The semantic content is the same: the model, its image, its route.
    assert booth.get("ModelRoute", "chat")["spec"]["modelName"] == "chat"
    assert samples.IMAGE in str(booth.get("ModelServing")["spec"])
    # Active once all ModelServings are Available.
    condition = {"type": "Available", "status": "True", "reason": "R", "message": ""}
    condition["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    patch = yaml.safe_dump({"status": {"conditions": [condition]}})
    kubectl(
        *("patch", "modelserving", "chat-b1", *space, "--subresource=status"),
        *("--type", "merge", "-p", patch),
    )
    eventually(lambda: booth.word("Active") == "True")
    assert booth.word("Failed") == ""
    assert booth.observed()
    # Events of changes reach the same children.
    image = "vllm/vllm-openai:v9"
    kubectl("apply", *space, "-f", "-", stdin=booster().replace(samples.IMAGE, image))
    eventually(lambda: image in str(booth.get("ModelServing")["spec"]))
    # "If any error occurs": Failed, and an error message; cleared when it is cured.
    broken = yaml.safe_load(booster())
    broken["spec"]["backend"]["workers"][0]["config"] = {"port": "many"}
    kubectl("apply", *space, "-f", "-", stdin=yaml.safe_dump(broken))
    eventually(lambda: booth.word("Failed") == "True")
    assert 'invalid port "many"' in booth.said("Failed")["message"]
    assert not booth.observed()
    kubectl("apply", *space, "-f", "-", stdin=booster())
    eventually(lambda: booth.word("Failed") == "False")
    assert booth.word("Active") == "True"
    said = eventually(
        lambda: len(booth.events()) >= 3 and kubectl("describe", "modelbooster", "chat", *space)
    )
    assert "ModelAbnormal" in said
    assert "ModelRecovered" in said
    # "When the ModelBooster CR is deleted, all the related resources will be deleted as well."
    kubectl("delete", "modelbooster", "chat", *space)
    eventually(lambda: booth.names() == [])


def test_autoscaling_is_optional_and_stands_in_annotations_of_a_stock_definition(booth: Booth) -> None:
    key = {path[-1]: name for name, path in ANNOTATIONS.items()}
    bounds = {key["minReplicas"]: "1", key["maxReplicas"]: "4"}
    document = booster(**bounds, **{key["autoscalingPolicy"]: yaml.safe_dump(POLICY)})
    booth.desk.kubectl("apply", "-n", booth.space, "-f", "-", stdin=document)
    booth.done()
    assert booth.names() == ["AutoscalingPolicy chat-b1", *CHILDREN]
    target = booth.get("AutoscalingPolicy")["spec"]["homogeneousTarget"]
    assert (target["minReplicas"], target["maxReplicas"]) == (1, 4)
    assert target["target"]["targetRef"]["name"] == "chat-b1"
    booth.scale(3)
    booth.desk.kubectl(
        *("annotate", "-n", booth.space, "modelbooster", "chat"),
        *(f"{key['maxReplicas']}=6", "--overwrite"),
    )
    eventually(lambda: booth.get("AutoscalingPolicy")["spec"]["homogeneousTarget"]["maxReplicas"] == 6)
    assert booth.get("ModelServing")["spec"]["replicas"] == 3
    booth.desk.kubectl("annotate", "-n", booth.space, "modelbooster", "chat", f"{key['autoscalingPolicy']}-")
    eventually(lambda: booth.names() == CHILDREN)
