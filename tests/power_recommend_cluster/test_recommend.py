"""Recommending under an account of its own: it cannot do more, whatever it is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError
from tests.clusters import deployment, eventually
from tests.operator_cluster.desk import Desk, Running, holds
from tests.power_recommend_cluster.conftest import ACCOUNT, SPACE, installation

pytestmark = pytest.mark.slow

PATHS = {
    "ScaledObject": f"/apis/keda.sh/v1alpha1/namespaces/{SPACE}/scaledobjects/train",
    "HorizontalPodAutoscaler": f"/apis/autoscaling/v2/namespaces/{SPACE}/horizontalpodautoscalers/train",
    "Deployment": f"/apis/apps/v1/namespaces/{SPACE}/deployments/train",
    "StatefulSet": f"/apis/apps/v1/namespaces/{SPACE}/statefulsets/train",
    "Job": f"/apis/batch/v1/namespaces/{SPACE}/jobs/train",
    "Pod": f"/api/v1/namespaces/{SPACE}/pods/train",
    "Resize": f"/api/v1/namespaces/{SPACE}/pods/train/resize",
    "PowerPolicy": f"/apis/flyball.dev/v1alpha1/namespaces/{SPACE}/powerpolicies/train",
    "PowerDomain": "/apis/flyball.dev/v1alpha1/powerdomains/train",
    "DevicePowerProfile": "/apis/flyball.dev/v1alpha1/devicepowerprofiles/train",
    "PowerRecommendation": f"/apis/flyball.dev/v1alpha1/namespaces/{SPACE}/powerrecommendations/train",
}
OBJECT = "/apis/keda.sh/v1alpha1/namespaces/llm/scaledobjects/train"


def status_of(refused: ApiError) -> int:
    return refused.status


@pytest.mark.parametrize("kind", PATHS)
def test_it_may_not_change_a_workload_what_scales_it_or_what_is_asked(recommender: Api, kind: str) -> None:
    for write in (
        lambda: recommender.patch(PATHS[kind], {"metadata": {"labels": {"a": "b"}}}, dict),
        lambda: recommender.apply(PATHS[kind], {"kind": kind, "metadata": {"name": "train"}}, dict, "t"),
        lambda: recommender.put(f"{PATHS[kind]}/scale", {"spec": {"replicas": 0}}, dict),
    ):
        with pytest.raises(ApiError) as refused:
            write()
        assert status_of(refused.value) == 403


@pytest.mark.parametrize("kind", ["PowerPolicy", "PowerDomain", "DevicePowerProfile", "PowerRecommendation"])
def test_it_may_write_statuses_of_its_own_kinds(recommender: Api, kind: str) -> None:
    with pytest.raises(ApiError) as missing:  # it may, but there is no such object
        recommender.patch(f"{PATHS[kind]}/status", {"status": {}}, dict)
    assert status_of(missing.value) == 404


# ---- the operator --------------------------------------------------------------------------------


@pytest.fixture
def training(desk: Desk, administrator: Api) -> Iterator[Api]:
    """A training that nobody governs, under a ScaledObject, and a policy that leaves it a tenth."""
    one: dict[str, Any] = deployment("train", node="h100-1", replicas=4)
    one["spec"]["template"]["metadata"]["labels"]["workload"] = "training"
    scaled = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "train"},
        "spec": {"scaleTargetRef": {"name": "train"}, "minReplicaCount": 1, "maxReplicaCount": 4},
    }
    policy = {
        "apiVersion": "flyball.dev/v1alpha1",
        "kind": "PowerPolicy",
        "metadata": {"name": "brake"},
        "spec": {
            "mode": "Enforce",
            "threshold": 300,
            "targets": {"selector": {"matchLabels": {"workload": "training"}}},
        },
    }
    domain = {
        "apiVersion": "flyball.dev/v1alpha1",
        "kind": "PowerDomain",
        "metadata": {"name": "hall"},
        "spec": {"level": "Cluster", "budget": {"watts": 1_000_000}},
    }
    desk.apply(one, scaled, policy, domain, namespace=SPACE)
    yield administrator
    desk.kubectl("delete", "-n", SPACE, "deployment/train", "scaledobject/train")
    desk.kubectl("delete", "-n", SPACE, "--ignore-not-found", "powerpolicy/brake", "powerdomain/hall")


@pytest.fixture
def operator(desk: Desk, training: Api) -> Iterator[Running]:
    """It looks at watts every two seconds; there is no Prometheus, so bounds of the model count."""
    words = ("operator", "--power", "--namespace", "flyball", "--mode", "recommend", "--period", "2")
    with desk.running(*words, account=ACCOUNT) as one:
        yield one
        assert "Traceback" not in one.words


def test_a_policy_that_enforces_is_refused_until_the_rights_are_there_and_all_is_given_back(
    desk: Desk, training: Api, operator: Running
) -> None:
    def scaled() -> dict[str, Any]:
        return training.get(OBJECT, dict[str, Any])

    before = scaled()
    policy = eventually(
        lambda: holds(found := desk.get("powerpolicy", "brake", SPACE), "Held") == "True Enforced" and found
    )
    assert policy["status"]["effectiveCapWatts"] == 300
    assert policy["status"]["attributedWatts"] > 300
    domain = eventually(lambda: holds(d := desk.get("powerdomain", "hall"), "TelemetryHealthy") and d)
    assert holds(domain, "TelemetryHealthy") == "False NotAllMeasured"
    assert domain["status"]["nodes"] == 7
    eventually(lambda: "is not capped to" in operator.words)
    assert "orbidden" in operator.words or "may not" in operator.words
    assert scaled() == before  # to the version and to who wrote what

    more = yaml.safe_dump_all(installation("power", "power-enforce"))
    desk.kubectl("apply", "-f", "-", stdin=more)
    try:
        eventually(lambda: scaled()["spec"]["maxReplicaCount"] < 4)
        assert scaled()["metadata"]["annotations"]["flyball.dev/power-original"] == "4"
        milder = '{"spec": {"mode": "Recommend"}}'
        desk.kubectl("patch", "powerpolicy", "brake", "-n", SPACE, "--type=merge", "-p", milder)
        eventually(lambda: scaled()["spec"] == before["spec"])
        assert "flyball.dev/power-original" not in scaled()["metadata"].get("annotations", {})
        eventually(lambda: holds(desk.get("powerpolicy", "brake", SPACE), "Held") == "True Recommended")
        assert scaled()["spec"] == before["spec"]  # it may, and was not told to
        said = eventually(lambda: training.items(PATHS["PowerRecommendation"].rpartition("/")[0], dict))
        assert "train" in said[0]["spec"]["actions"][0]["target"]
        desk.kubectl("delete", "powerpolicy", "brake", "-n", SPACE)
    finally:
        names = ("clusterrole/flyball-power-enforce", "clusterrolebinding/flyball-power-enforce")
        desk.kubectl("delete", *names)
