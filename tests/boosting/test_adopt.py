"""Children that are there already: what is no difference, what is kept, what must be made anew."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from flyball.boosting.adopt import adopted, needs_replacing, same, settled
from flyball.wire.kthena import REVISION
from tests.boosting.samples import GPU, booster, children, disaggregated, worker

Plain = dict[str, Any]
POLICY = {"autoscalingPolicy": {"metrics": [{"metricName": "m", "targetValue": "10"}]}}


def every_child() -> list[Plain]:
    made = booster([worker(resources=GPU)], spec=POLICY, minReplicas=1, maxReplicas=4)
    return [*children(made).values(), children(made, "v1")["AutoscalingPolicy"]]


def as_stored(child: Plain) -> Plain:
    """With what the API server and others add."""
    found = copy.deepcopy(child)
    found["status"] = {"replicas": 1}
    found["metadata"] |= {"uid": "u-2", "resourceVersion": "7", "generation": 3, "managedFields": []}
    found["metadata"]["labels"]["team"] = "search"
    spec = found["spec"]
    if child["kind"] == "ModelServing":
        spec |= {"recoveryPolicy": "RoleRecreate", "schedulerName": "volcano"}
        for role in spec["template"]["roles"]:
            role["maxUnavailable"] = 1
            pod = role["entryTemplate"]["spec"]
            pod["affinity"] = {}
            for one in pod["containers"]:
                for port in one.get("ports", []):
                    port["protocol"] = "TCP"
    elif child["kind"] == "ModelServer":
        spec["workloadPort"]["protocol"] = "http"
    elif child["kind"] == "ModelRoute":
        spec["rules"][0]["targetModels"][0]["weight"] = 100
    elif child["kind"] == "AutoscalingPolicyBinding":
        spec["homogeneousTarget"]["target"]["metricEndpoint"] |= {"uri": "/metrics", "port": 8100}
    elif "homogeneousTarget" in spec:
        for source in spec["homogeneousTarget"]["target"]["metricSources"].values():
            source["pod"] |= {"uri": "/metrics", "port": 8100}
    return found


def relabelled(child: Any, revision: str) -> Any:
    """As somebody else would have labelled it."""
    if isinstance(child, list):
        return [relabelled(one, revision) for one in child]
    if not isinstance(child, dict):
        return child
    return {key: revision if key == REVISION else relabelled(one, revision) for key, one in child.items()}


def kept(child: Plain, templates_of: Plain) -> Plain:
    """The child without its pod templates, which are to be another's to the letter."""
    if child["kind"] != "ModelServing":
        return child
    roles, others = (one["spec"]["template"]["roles"] for one in (child, templates_of))
    bare = []
    for role, other in zip(roles, others, strict=True):
        names = [name for name in ("entryTemplate", "workerTemplate") if role.get(name)]
        assert all(role[name] == other[name] for name in names)  # another spelling restarts pods
        bare.append({key: value for key, value in role.items() if key not in names})
    template = {**child["spec"]["template"], "roles": bare}
    return {**child, "spec": {**child["spec"], "template": template}}


@pytest.mark.parametrize("child", every_child(), ids=lambda child: child["kind"])
def test_what_the_api_server_adds_is_no_difference(child: Plain) -> None:
    stored = as_stored(child)
    assert same(stored, child)
    assert settled(stored, child)
    assert kept(adopted(stored, child), stored) == kept(child, child)


@pytest.mark.parametrize("child", every_child(), ids=lambda child: child["kind"])
def test_labels_of_another_hash_are_kept_everywhere(child: Plain) -> None:
    stored = relabelled(as_stored(child), "theirs")
    assert kept(adopted(stored, child), stored) == kept(
        relabelled(child, "theirs"), relabelled(child, "theirs")
    )
    assert settled(stored, child)


@pytest.mark.parametrize("child", every_child(), ids=lambda child: child["kind"])
def test_what_differs_is_seen(child: Plain) -> None:
    stored = relabelled(as_stored(child), "theirs")
    changes: Any = {
        "ModelServing": lambda spec: spec.update(replicas=9),
        "ModelServer": lambda spec: spec["workloadPort"].update(port=9),
        "ModelRoute": lambda spec: spec["rules"][0]["targetModels"][0].update(weight=9),
        "AutoscalingPolicy": lambda spec: spec.update(tolerancePercent=9),
        "AutoscalingPolicyBinding": lambda spec: spec["homogeneousTarget"].update(maxReplicas=9),
    }
    changes[child["kind"]](stored["spec"])
    assert not same(stored, child)
    assert not settled(stored, child)
    kept = adopted(stored, child)["metadata"]["labels"][REVISION] == "theirs"
    assert kept is (child["kind"] == "ModelServing"), "how many replicas there are restarts no pod"


def test_labels_and_owner_that_are_missing_are_written() -> None:
    child = children(booster())["ModelServer"]
    for missing in ("labels", "ownerReferences"):
        stored = as_stored(child)
        del stored["metadata"][missing]
        assert same(stored, child)
        assert not settled(stored, child)


def test_amounts_are_compared_by_what_they_mean() -> None:
    child = children(booster([worker(resources={"limits": {"cpu": 2, "memory": "64Gi"}})]))["ModelServing"]
    stored = copy.deepcopy(child)
    engine = stored["spec"]["template"]["roles"][0]["entryTemplate"]["spec"]["containers"][1]
    engine["resources"]["limits"] = {"cpu": "2000m", "memory": "65536Mi"}
    assert same(stored, child)
    engine["resources"]["limits"]["memory"] = "64G"
    assert not same(stored, child)


def test_only_the_role_that_changes_restarts() -> None:
    before = relabelled(as_stored(children(disaggregated())["ModelServing"]), "theirs")
    after = children(disaggregated(decode={"image": "vllm/vllm-openai:v0.11.0"}))["ModelServing"]
    prefill, decode = adopted(before, after)["spec"]["template"]["roles"]
    assert prefill["entryTemplate"]["metadata"]["labels"][REVISION] == "theirs"
    assert decode["entryTemplate"] == after["spec"]["template"]["roles"][1]["entryTemplate"]
    assert adopted(before, after)["metadata"]["labels"] == after["metadata"]["labels"]


def test_scaling_changes_no_revision_and_any_change_of_pods_does() -> None:
    def revision(*arguments: Any, **fields: Any) -> str:
        labels = children(booster(*arguments, **fields))["ModelServing"]["metadata"]["labels"]
        return str(labels[REVISION])

    first = revision()
    assert revision(replicas=5) == revision([worker(replicas=3)]) == first
    others = {
        revision([worker(image="vllm/vllm-openai:v0.11.0")]),
        revision([worker(config={"max-model-len": 4096})]),
        revision([worker(pods=2)]),
        revision(env=[{"name": "A", "value": "1"}]),
        revision(schedulerName="default-scheduler"),
        revision(networkTopology={"groupPolicy": {"highestTierAllowed": 1}}),
    }
    assert len(others) == 6
    assert first not in others


def test_the_revision_is_the_same_in_every_release() -> None:
    """A constant: whoever changes what is hashed restarts every pod of every fleet."""
    revisions = {kind: child["metadata"]["labels"][REVISION] for kind, child in children(booster()).items()}
    assert revisions == {
        "ModelServing": "605a1f027c",
        "ModelServer": "f5d581feb8",
        "ModelRoute": "53f2397354",
    }


def test_replicas_of_somebody_else_are_kept() -> None:
    stored, child = (
        as_stored(children(booster())["ModelServing"]),
        children(booster(replicas=2))["ModelServing"],
    )
    stored["spec"]["replicas"] = 7
    assert adopted(stored, child)["spec"]["replicas"] == 2
    assert adopted(stored, child, keep_replicas=True)["spec"]["replicas"] == 7


def test_a_gang_that_cannot_be_changed_is_kept_or_calls_for_a_new_object() -> None:
    stored = as_stored(children(booster([worker(replicas=2)]))["ModelServing"])
    more = children(booster([worker(replicas=3)]))["ModelServing"]
    taken = adopted(stored, more)
    assert taken["spec"]["template"]["gangPolicy"] == {"minRoleReplicas": {"leader": 2}}
    assert taken["spec"]["template"]["roles"][0]["replicas"] == 3
    assert not needs_replacing(stored, more)
    fewer = children(booster([worker(replicas=1)]))["ModelServing"]
    assert (
        needs_replacing(stored, fewer)
        == "minRoleReplicas of leader cannot be changed from 2, and 1 are wanted"
    )
    assert "the role leader, which is to go" in needs_replacing(
        stored, children(disaggregated())["ModelServing"]
    )


def test_a_route_of_another_model_calls_for_a_new_object() -> None:
    stored = as_stored(children(booster())["ModelRoute"])
    renamed = children(booster(spec={"name": "talk"}))["ModelRoute"]
    assert needs_replacing(stored, renamed) == "modelName cannot be changed from chat to talk"
    assert not needs_replacing(stored, children(booster())["ModelRoute"])
