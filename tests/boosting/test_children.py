"""The parts of the children that Flyball's own fields, the policies and other engines ask for."""

from __future__ import annotations

from typing import Any

import pytest

from flyball.boosting.errors import BoosterError
from flyball.boosting.expand import expand
from flyball.boosting.settings import Images, Settings
from tests.boosting.samples import IMAGES, booster, children, command, container, disaggregated, pods, worker

METRICS = [{"metricName": "vllm:num_requests_waiting", "targetValue": "0.8"}]
UP = {"instances": 4, "percent": 100, "period": "1m0s", "selectPolicy": "Or", "stabilizationWindow": "0s"}
DOWN = {"instances": 0, "percent": 100, "period": "1m0s", "selectPolicy": "Or", "stabilizationWindow": "5m0s"}
NO_PANIC = {"percent": 0, "period": "0s", "panicThresholdPercent": 200, "panicModeHold": "0s"}


def scaled(behavior: dict[str, Any] | None = None, **backend: Any) -> Any:
    policy = {"metrics": METRICS, "tolerancePercent": 5} | ({"behavior": behavior} if behavior else {})
    bounds: dict[str, Any] = {"replicas": None, "minReplicas": 1, "maxReplicas": 6}
    return booster(spec={"autoscalingPolicy": policy}, **(bounds | backend))


# ---- policies --------------------------------------------------------------------------------------


def test_a_policy_of_the_fourth_release_has_a_binding() -> None:
    found = children(scaled())
    assert found["AutoscalingPolicy"]["spec"] == {
        "metrics": [{"metricName": "vllm:num_requests_waiting", "targetValue": "800m"}],
        "tolerancePercent": 5,
        "behavior": {"scaleUp": {"stablePolicy": UP, "panicPolicy": NO_PANIC}, "scaleDown": DOWN},
    }
    leader = {"labelSelector": {"matchLabels": {"modelserving.volcano.sh/role": "leader"}}}
    assert found["AutoscalingPolicyBinding"]["spec"] == {
        "policyRef": {"name": "chat-b1"},
        "homogeneousTarget": {
            "minReplicas": 1,
            "maxReplicas": 6,
            "target": {"targetRef": {"kind": "ModelServing", "name": "chat-b1"}, "metricEndpoint": leader},
        },
    }
    assert found["ModelServing"]["spec"]["replicas"] == 1


def test_a_policy_of_v1_has_its_target_in_it() -> None:
    found = children(scaled(), "v1")
    assert "AutoscalingPolicyBinding" not in found
    spec = found["AutoscalingPolicy"]["spec"]
    assert spec["metrics"] == [{"name": "vllm:num_requests_waiting", "targetValue": "800m"}]
    assert spec["homogeneousTarget"] == {
        "minReplicas": 1,
        "maxReplicas": 6,
        "target": {
            "targetRef": {"kind": "ModelServing", "name": "chat-b1"},
            "metricSources": {
                "vllm:num_requests_waiting": {
                    "pod": {"labelSelector": {"matchLabels": {"modelserving.volcano.sh/role": "leader"}}}
                }
            },
        },
    }


def test_where_the_cluster_has_no_policies_there_is_a_note() -> None:
    found = expand(scaled(), IMAGES, Settings(None))
    assert (found.policy, found.binding) == (None, None)
    assert found.notes == (
        "spec.autoscalingPolicy: the cluster serves no AutoscalingPolicy; "
        "1 replicas stay until somebody scales them",
    )
    assert expand(booster(), IMAGES, Settings(None)).notes == ()


def test_panic_is_off_unless_asked_for_and_nothing_is_left_open() -> None:
    for asked, panic in (
        (None, NO_PANIC),
        ({"period": "90s", "percent": 300}, {"period": "1m30s", "percent": 300}),
    ):
        behavior = {"scaleUp": {"panicPolicy": asked}} if asked else None
        up = children(scaled(behavior))["AutoscalingPolicy"]["spec"]["behavior"]["scaleUp"]
        assert up == {"stablePolicy": UP, "panicPolicy": panic}


def test_what_is_asked_of_the_behaviour_is_kept_and_has_a_window() -> None:
    behavior = {"scaleDown": {"instances": 1, "period": "120s"}}
    found = children(scaled(behavior))["AutoscalingPolicy"]["spec"]["behavior"]
    assert found["scaleDown"] == {"instances": 1, "period": "2m0s", "stabilizationWindow": "5m0s"}


def test_metrics_are_read_where_the_sidecar_is() -> None:
    env = [{"name": "RUNTIME_PORT", "value": "8900"}]
    for generation in ("v0.4", "v1"):
        found = children(scaled(env=env), generation)  # type: ignore[arg-type]
        if generation == "v1":
            sources = found["AutoscalingPolicy"]["spec"]["homogeneousTarget"]["target"]["metricSources"]
            assert [one["pod"]["port"] for one in sources.values()] == [8900]
        else:
            target = found["AutoscalingPolicyBinding"]["spec"]["homogeneousTarget"]["target"]
            assert target["metricEndpoint"]["port"] == 8900
    assert container(pods(scaled(env=env))["leader"], "runtime")["ports"] == [{"containerPort": 8900}]


@pytest.mark.parametrize(
    "odd", [{"value": 1}, {"valueFrom": {"fieldRef": {"fieldPath": "a"}}}, {"value": "many"}]
)
def test_a_variable_that_is_no_text_has_no_say(odd: dict[str, Any]) -> None:
    """As in Kthena one that comes from elsewhere: its text is not known here."""
    made = booster(env=[{"name": "RUNTIME_PORT", **odd}])
    assert container(pods(made)["leader"], "runtime")["args"][:2] == ["--port", "8100"]


def test_metrics_of_a_disaggregated_model_are_those_of_its_pods() -> None:
    """Of which none is a leader, the role that Kthena looks for."""
    made = disaggregated(spec={"autoscalingPolicy": {"metrics": METRICS}}, minReplicas=1, maxReplicas=2)
    target = children(made)["AutoscalingPolicyBinding"]["spec"]["homogeneousTarget"]["target"]
    assert "labelSelector" not in target.get("metricEndpoint", {})


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({"replicas": 3, "minReplicas": None, "maxReplicas": None}, 3),
        ({"replicas": None, "minReplicas": 0, "maxReplicas": 4}, 0),
        ({"replicas": 3, "minReplicas": 1, "maxReplicas": 4}, 3),
        ({"replicas": 9, "minReplicas": 1, "maxReplicas": 4}, 4),
        ({"replicas": 0, "minReplicas": 1, "maxReplicas": 4}, 1),
    ],
)
def test_replicas_begin_within_their_bounds(given: dict[str, Any], first: int) -> None:
    made = booster(**given)
    assert children(made)["ModelServing"]["spec"]["replicas"] == first


def test_without_any_number_there_are_no_children() -> None:
    with pytest.raises(BoosterError, match="neither replicas nor minReplicas"):
        expand(booster(replicas=None), Images(), Settings())


# ---- routes ----------------------------------------------------------------------------------------


def test_further_routes_have_rules_weights_and_limits() -> None:
    canary = {
        "name": "canary",
        "modelName": "chat-next",
        "rules": [
            {
                "name": "beta",
                "modelMatch": {"headers": {"x-tier": {"exact": "beta"}}},
                "targetModels": [{"weight": 10}, {"modelServerName": "old-b1", "weight": 90}],
            }
        ],
        "parentRefs": [{"name": "gateway"}],
        "rateLimit": {
            "inputTokensPerUnit": 1000,
            "unit": "minute",
            "global": {"redis": {"address": "redis:6379"}},
        },
    }
    limit = {"outputTokensPerUnit": 50}
    made = booster(spec={"name": "talk", "rateLimit": limit, "routes": [canary, {"name": "plain"}]})
    first, second, third = [
        one for one in expand(made, IMAGES, Settings()).documents() if one["kind"] == "ModelRoute"
    ]
    assert [one["metadata"]["name"] for one in (first, second, third)] == [
        "chat",
        "chat-canary",
        "chat-plain",
    ]
    assert first["spec"]["rateLimit"] == {"unit": "second", "outputTokensPerUnit": 50}
    assert second["spec"] == {
        "modelName": "chat-next",
        "rules": [
            {
                "name": "beta",
                "modelMatch": {"headers": {"x-tier": {"exact": "beta"}}},
                "targetModels": [
                    {"modelServerName": "chat-b1", "weight": 10},
                    {"modelServerName": "old-b1", "weight": 90},
                ],
            }
        ],
        "parentRefs": [{"name": "gateway"}],
        "rateLimit": {
            "unit": "minute",
            "inputTokensPerUnit": 1000,
            "global": {"redis": {"address": "redis:6379"}},
        },
    }
    plain_rule = {"name": "default", "targetModels": [{"modelServerName": "chat-b1"}]}
    assert third["spec"] == {"modelName": "talk", "rules": [plain_rule]}
    revisions = {
        one["metadata"]["labels"]["workload.serving.volcano.sh/revision"] for one in (first, second, third)
    }
    assert len(revisions) == 3


# ---- topology, adapters, engines -------------------------------------------------------------------


def test_topology_reaches_the_template_and_the_pods() -> None:
    topology = {
        "groupPolicy": {"mode": "soft", "highestTierAllowed": 2},
        "rolePolicy": {"highestTierName": "rack"},
    }
    spread = [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
    made = booster([worker(topologySpreadConstraints=spread)], networkTopology=topology)
    assert children(made)["ModelServing"]["spec"]["template"]["networkTopology"] == topology
    assert pods(made)["leader"]["topologySpreadConstraints"] == spread


def test_adapters_are_downloaded_loaded_and_routed() -> None:
    adapters = [{"name": "law", "artifactURL": "s3://b/law"}, {"name": "fin", "artifactURL": "hf://a/fin"}]
    made = booster([worker(config={"max-model-len": 8192})], loraAdapters=adapters)
    downloads = pods(made)["leader"]["initContainers"]
    assert [one["name"] for one in downloads] == [
        "chat-model-downloader",
        "chat-lora-downloader-0",
        "chat-lora-downloader-1",
    ]
    law, fin = (one["args"][-1] for one in downloads[1:])
    assert command(made)[-6:] == [
        "--max-model-len", "8192", "--enable-lora", "--lora-modules", f"law={law}", f"fin={fin}",
    ]  # fmt: skip
    assert children(made)["ModelRoute"]["spec"]["loraAdapters"] == ["fin", "law"]
    assert command(booster(type="SGLang", loraAdapters=adapters))[-2:] == [f"law={law}", f"fin={fin}"]


def test_sglang_is_served() -> None:
    made = booster([worker(config={"tp": 8, "served-model-name": "talk"}, pods=2)], type="SGLang")
    found = children(made)
    assert found["ModelServer"]["spec"]["inferenceEngine"] == "SGLang"
    assert found["ModelServer"]["spec"]["model"] == "talk"
    assert found["ModelServer"]["spec"]["workloadPort"] == {"port": 30000}
    pod = pods(made)["leader"]
    engine, runtime = container(pod, "engine"), container(pod, "runtime")
    assert engine["command"][:4] == ["python3", "-m", "sglang.launch_server", "--model-path"]
    assert engine["command"][5:] == [
        *("--host", "0.0.0.0", "--port", "30000", "--enable-metrics"),
        *("--served-model-name", "talk", "--tp", "8", "--nnodes", "2", "--node-rank", "$(WORKER_INDEX)"),
        *("--dist-init-addr", "$(ENTRY_ADDRESS):20000"),
    ]
    assert engine["readinessProbe"]["httpGet"]["port"] == 30000
    assert "sglang:num_running_reqs" in engine["lifecycle"]["preStop"]["exec"]["command"][2]
    assert "VLLM_USE_V1" not in {one["name"] for one in engine["env"]}
    assert runtime["args"][3:6] == ["sglang", "--engine-base-url", "http://localhost:30000"]
    assert command(made, "leader-worker", "b1-sglang-worker") == engine["command"]


def test_sglang_takes_the_port_of_its_config_once() -> None:
    found = command(booster([worker(config={"port": "8123"})], type="SGLang"))
    assert found.count("--port") == 1
    assert found[found.index("--port") + 1] == "8123"


def test_the_children_are_a_function_of_their_booster() -> None:
    def once() -> list[dict[str, Any]]:
        return expand(scaled(), IMAGES, Settings("v1")).documents()

    assert once() == once()
    other = expand(scaled(), Images("d:2", "r:2"), Settings("v1")).documents()
    assert other[0] != once()[0]
    assert other[1:] == once()[1:]
