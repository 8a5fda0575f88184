"""What random edits choose from: ModelBoosters whose children's names meet, changes of them, and drift."""

from __future__ import annotations

from typing import Any

from flyball.operator.booster_kinds import CHILDREN
from tests.boosting import samples

NAMES = ("a", "a-b", "c")
CHILD_NAMES = ("a", "a-b", "a-b-c", "c", "c-b", "a-more")
KINDS = tuple(CHILDREN)
BACKENDS: tuple[dict[str, Any], ...] = (
    {"name": "b"},
    {"name": "b-c"},
    {"name": "c"},
    {"replicas": 3},
    {"replicas": 0},
    {"type": "SGLang"},
    {"schedulerName": "other"},
    {"workers": [samples.worker(replicas=2)]},
    {"workers": [samples.worker(config={"port": 9000})]},
    {"workers": [samples.worker(config={"port": "x"})]},
    {"workers": [samples.worker(pods=3)]},
    {"workers": []},
)
POLICY = {"autoscalingPolicy": {"metrics": [{"metricName": "m", "targetValue": "10"}]}}
SPECS: tuple[dict[str, Any], ...] = (
    {"name": "called"},
    {"rateLimit": {"inputTokensPerUnit": 5, "unit": "minute"}},
    {"routes": [{"name": "more"}]},
    POLICY,
)
DRIFT: dict[str, tuple[Any, ...]] = {
    "ModelServing": ({"schedulerName": "mine"}, {"rolloutStrategy": {"type": "x"}}),
    "ModelServer": ({"inferenceEngine": "SGLang"}, {"kvConnector": {"type": "nixl"}}),
    "ModelRoute": ({"rateLimit": {"unit": "hour"}}, {"rules": []}),
    "AutoscalingPolicy": ({"tolerancePercent": 77},),
    "AutoscalingPolicyBinding": ({"policyRef": {"name": "mine"}},),
}
