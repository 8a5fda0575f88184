"""One ModelBooster and its children: what is written, what is left alone, and what its status says."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from flyball.adapters.kubernetes.errors import Conflict
from flyball.operator.booster_around import CONFIG
from flyball.operator.booster_kinds import BOOSTER, CHILDREN
from flyball.operator.booster_status import CONTENDED
from flyball.wire.kthena import MANAGED_BY, REVISION
from tests.boosting import samples
from tests.operator_boosters.world import SPACE, Cluster

KEY = (SPACE, "chat")
POLICY = {"autoscalingPolicy": {"metrics": [{"metricName": "m", "targetValue": "10"}]}}


@pytest.fixture
def cluster() -> Cluster:
    """With a ModelBooster whose children are there."""
    made = Cluster()
    made.make()
    made.settle()
    return made


def scaled(**backend: Any) -> dict[str, Any]:
    return samples.document(spec=POLICY, minReplicas=1, maxReplicas=4, replicas=None, **backend)


def test_three_children_and_a_status_are_four_writes(cluster: Cluster) -> None:
    assert cluster.names() == ["ModelRoute chat", "ModelServer chat-b1", "ModelServing chat-b1"]
    assert cluster.right()
    assert cluster.boosters.writes == len(cluster.server.asked) - 1 == 4
    assert cluster.said("Initialized") == ("True", "ModelCreating", "ModelBooster initialized")
    assert cluster.said("Active") == ("False", "ModelProcessing", "ModelBooster not ready yet")
    assert cluster.said("Failed") == ("", "", "")
    cluster.available()
    cluster.settle()
    assert cluster.said("Active") == ("True", "ModelAvailable", "ModelBooster is ready")
    assert cluster.boosters.writes == 5
    assert cluster.events == [("chat", "ModelAvailable", "ModelBooster is ready", False)]
    assert cluster.further_writes() == []


def test_initialized_is_said_after_the_children_are_there() -> None:
    cluster = Cluster()
    cluster.make()
    cluster.hear_all()
    there: list[list[str]] = []

    def before(method: str, path: str) -> None:
        if path.endswith("/status"):
            there.append(cluster.names())

    cluster.server.before = before
    cluster.look(KEY)
    assert [len(names) for names in there] == [3]


@pytest.mark.parametrize("generation", ["v1", "v0.4", None])
def test_autoscaling_in_the_generation_that_is_served(generation: str | None) -> None:
    cluster = Cluster()
    bound = {"autoscalingpolicybindings"}
    cluster.server.unserved = {"v1": bound, "v0.4": set(), None: {*bound, "autoscalingpolicies"}}[generation]
    cluster.make(scaled())
    cluster.settle()
    more = {"v1": ["AutoscalingPolicy"], "v0.4": ["AutoscalingPolicy", "AutoscalingPolicyBinding"], None: []}
    assert [one.split()[0] for one in cluster.names()][:-3] == more[generation]
    assert ("no AutoscalingPolicy" in cluster.said("Active")[2]) is (generation is None)
    cluster.touch("ModelServing", lambda one: one["spec"].update(replicas=3))  # by its autoscaler
    cluster.edit(lambda one: one["spec"]["backend"].update(maxReplicas=6))
    cluster.settle()
    assert cluster.right()
    assert cluster.child("ModelServing")["spec"]["replicas"] == 3
    cluster.edit(
        lambda one: (one["spec"].pop("autoscalingPolicy"), one["spec"]["backend"].update(replicas=2))
    )
    cluster.settle()
    assert len(cluster.names()) == 3
    assert cluster.child("ModelServing")["spec"]["replicas"] == 2
    assert cluster.further_writes() == []


def test_a_kind_that_comes_later_is_used(cluster: Cluster) -> None:
    cluster.server.unserved = {"modelservers", "autoscalingpolicybindings"}
    cluster.make(scaled(), "late")
    cluster.kinds.children["ModelServer"]._version = ""
    cluster.settle()
    assert cluster.said("Failed", "late")[:2] == ("True", "ModelAbnormal")
    assert "does not serve ModelServer" in cluster.said("Failed", "late")[2]
    cluster.server.unserved = set()
    cluster.settle()
    assert cluster.said("Failed", "late") == ("False", "ModelRecovered", "")
    assert cluster.right("late")
    assert "AutoscalingPolicyBinding late-b1" in cluster.names()


def test_an_edit_reaches_the_children_and_is_then_observed(cluster: Cluster) -> None:
    image = "vllm/vllm-openai:v9"
    cluster.edit(lambda one: one["spec"]["backend"]["workers"][0].update(image=image))
    cluster.settle()
    assert image in str(cluster.child("ModelServing")["spec"])
    assert (
        cluster.booster()["status"]["observedGeneration"] == 2 == cluster.booster()["metadata"]["generation"]
    )


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("ModelServing", lambda one: one["spec"]["template"].update(restartGracePeriodSeconds=1)),
        ("ModelServing", lambda one: one["spec"]["template"]["roles"][0].update(replicas=5)),
        ("ModelServing", lambda one: one["spec"].update(rolloutStrategy={"type": "x"})),
        ("ModelServer", lambda one: one["spec"]["workloadPort"].update(port=1)),
        ("ModelServer", lambda one: one["spec"]["workloadSelector"]["matchLabels"].update(more="x")),
        ("ModelRoute", lambda one: one["spec"].update(rateLimit={"unit": "second", "inputTokensPerUnit": 1})),
        ("ModelRoute", lambda one: one["spec"].update(rules=[])),
        ("ModelServing", lambda one: one["metadata"]["labels"].pop(MANAGED_BY)),
        ("ModelServer", lambda one: one["metadata"]["labels"].update({MANAGED_BY: "me"})),
    ],
)
def test_drift_is_repaired(cluster: Cluster, kind: str, change: Any) -> None:
    name = "chat" if kind == "ModelRoute" else "chat-b1"
    before = cluster.child(kind, name)
    cluster.touch(kind, change, name)
    assert not cluster.right()
    cluster.settle()
    assert cluster.right()
    after = cluster.child(kind, name)
    assert (after["spec"], after["metadata"]["labels"]) == (before["spec"], before["metadata"]["labels"])
    assert cluster.further_writes() == []


def test_labels_and_annotations_of_others_survive(cluster: Cluster) -> None:
    more = {"team": "search"}
    cluster.touch("ModelServing", lambda one: one["metadata"]["labels"].update(more))
    cluster.touch("ModelServing", lambda one: one["metadata"]["annotations"].update(more))
    cluster.edit(lambda one: one["spec"]["backend"]["workers"][0].update(image="other"))
    cluster.settle()
    about = cluster.child("ModelServing")["metadata"]
    assert about["labels"]["team"] == about["annotations"]["team"] == "search"
    assert cluster.right()


def test_replicas_of_others_survive_until_another_number_is_asked_for(cluster: Cluster) -> None:
    def replicas() -> int:
        cluster.settle()
        found: int = cluster.child("ModelServing")["spec"]["replicas"]
        return found

    cluster.touch("ModelServing", lambda one: one["spec"].update(replicas=7))
    assert replicas() == 7
    cluster.edit(lambda one: one["spec"]["backend"]["workers"][0].update(image="other"))
    assert replicas() == 7
    cluster.restart()
    assert replicas() == 7
    cluster.edit(lambda one: one["spec"]["backend"].update(replicas=3))
    assert replicas() == 3


def test_who_scales_between_a_look_and_its_write_is_not_overruled(cluster: Cluster) -> None:
    cluster.edit(lambda one: one["spec"]["backend"]["workers"][0].update(image="other"))
    cluster.hear_all()

    def before(method: str, path: str) -> None:
        cluster.server.before = lambda method, path: None
        cluster.touch("ModelServing", lambda one: one["spec"].update(replicas=6))

    cluster.server.before = before
    cluster.settle()
    assert cluster.child("ModelServing")["spec"]["replicas"] == 6
    assert cluster.right()


def test_a_backend_renamed_old_ones_go_after_the_new_are_there(cluster: Cluster) -> None:
    cluster.server.asked.clear()
    cluster.edit(lambda one: one["spec"]["backend"].update(name="b2"))
    cluster.settle()
    verbs = [one.split()[0] for one in cluster.server.asked if "/status" not in one]
    assert verbs == ["POST", "POST", "PATCH", "DELETE", "DELETE"]
    assert cluster.names() == ["ModelRoute chat", "ModelServer chat-b2", "ModelServing chat-b2"]


def test_a_route_renamed_is_made_anew(cluster: Cluster) -> None:
    uid = cluster.child("ModelRoute", "chat")["metadata"]["uid"]
    cluster.edit(lambda one: one["spec"].update(name="other"))
    cluster.settle()
    assert cluster.right()
    assert cluster.child("ModelRoute", "chat")["metadata"]["uid"] != uid
    assert [one[1] for one in cluster.events] == ["Replaced"]
    assert cluster.said("Failed") == ("", "", "")


def test_a_smaller_gang_is_made_anew_and_said() -> None:
    cluster = Cluster()
    cluster.make(workers=[samples.worker(replicas=3)])
    cluster.settle()
    cluster.edit(lambda one: one["spec"]["backend"]["workers"][0].update(replicas=1))
    cluster.settle()
    assert cluster.right()
    (said,) = cluster.events
    assert said[1] == "Replaced"
    assert "minRoleReplicas of leader cannot be changed from 3" in said[2]


def test_what_goes_slowly_is_waited_for(cluster: Cluster) -> None:
    """With a finalizer on it a child stays for a while; that is no failure."""
    mark = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    cluster.available()
    cluster.settle()
    cluster.touch("ModelServing", lambda one: one["metadata"].update(mark))
    cluster.settle()
    assert cluster.said("Failed") == ("", "", "")
    assert cluster.said("Active")[0] == "False"
    assert "is being deleted" in cluster.said("Active")[2]
    cluster.server.delete(CHILDREN["ModelServing"].path(SPACE, "chat-b1"))
    cluster.settle()
    assert cluster.right()
    assert "being deleted" not in cluster.said("Active")[2]


@pytest.mark.parametrize("owner", [None, {"kind": "ModelBooster", "name": "another", "uid": "u-9"}])
def test_an_object_of_somebody_else_is_left_alone_and_told_until_it_goes(owner: Any) -> None:
    cluster = Cluster()
    cluster.foreign("ModelServer", "chat-b1", **({"ownerReferences": [owner]} if owner else {}))
    if owner:
        cluster.make(name="another")
        path = CHILDREN["ModelServer"].path(SPACE, "chat-b1")
        uid = cluster.booster("another")["metadata"]["uid"]
        cluster.server.user(path, lambda one: one["metadata"]["ownerReferences"][0].update(uid=uid))
        cluster.restart()
        theirs = cluster.child("ModelServer")
        cluster.hear_all()
        cluster.due.clear()
    else:
        theirs = cluster.child("ModelServer")
    cluster.make()
    cluster.hear_all()
    cluster.look(KEY)
    cluster.hear_all()
    cluster.due.clear()
    assert cluster.child("ModelServer") == theirs
    word, reason, message = cluster.said("Failed")
    assert (word, reason) == ("True", "ModelAbnormal")
    assert (
        f"ModelServer chat-b1 is there and belongs to {'ModelBooster another' if owner else 'somebody else'}"
        in message
    )
    assert (
        "observedGeneration" not in cluster.booster()["status"]
        or not cluster.booster()["status"]["observedGeneration"]
    )
    assert [one[1] for one in cluster.events] == ["ModelAbnormal"]
    cluster.server.delete(CHILDREN["ModelServer"].path(SPACE, "chat-b1"))
    cluster.settle()
    assert cluster.right()
    assert cluster.said("Failed") == ("False", "ModelRecovered", "")
    assert cluster.further_writes() == []


def test_children_of_a_namesake_that_went_are_waited_for() -> None:
    cluster = Cluster()
    cluster.make()
    cluster.settle()
    cluster.server.delete(BOOSTER.path(SPACE, "chat"))
    cluster.make(name="chat")
    cluster.hear_all()
    cluster.look(KEY)
    assert cluster.said("Failed") == ("", "", "")
    assert "of the ModelBooster that was here before" in cluster.said("Active")[2]
    cluster.settle()
    assert cluster.right()


def kthenas(cluster: Cluster) -> dict[str, Any]:
    """Children as Kthena's controller makes them: other hashes, without what its documents promise."""
    made = {}
    for one in cluster.wanted():
        found = _relabelled(copy.deepcopy(one))
        about = found["metadata"]
        about["labels"].pop("registry.volcano.sh/managed-by")
        for role in found["spec"].get("template", {}).get("roles", ()):
            role["entryTemplate"]["spec"]["affinity"] = {}
        cluster.server.post(CHILDREN[one["kind"]].path(SPACE), found, dict)
        made[one["kind"]] = cluster.child(one["kind"], about["name"])
    return made


def _relabelled(value: Any) -> Any:
    if isinstance(value, list):
        return [_relabelled(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: "theirs" if key == REVISION else _relabelled(one) for key, one in value.items()}


def test_children_of_kthena_are_adopted_without_another_spec() -> None:
    cluster = Cluster()
    cluster.make()
    before = kthenas(cluster)
    cluster.settle()
    for kind, one in before.items():
        after = cluster.child(kind, one["metadata"]["name"])
        assert after["spec"] == one["spec"]
        assert after["metadata"]["generation"] == 1
        assert after["metadata"]["labels"] == {
            **one["metadata"]["labels"],
            "registry.volcano.sh/managed-by": "registry.volcano.sh",
        }
    assert cluster.right()
    assert cluster.said("Initialized")[0] == "True"
    assert cluster.further_writes() == []


def test_fields_of_kthena_that_the_booster_drops_go_too() -> None:
    """Who wrote them does not write any more, so that they would stay for ever."""
    cluster = Cluster()
    cluster.make(samples.document(schedulerName="other", runtimeClassName="nvidia"))
    kthenas(cluster)
    cluster.settle()
    cluster.edit(lambda one: one["spec"]["backend"].pop("schedulerName"))
    cluster.settle()
    assert "other" not in str(cluster.child("ModelServing")["spec"])
    assert cluster.right()
    assert cluster.further_writes() == []


# ---- status -------------------------------------------------------------------------------------------


def test_what_is_wrong_is_told_and_cleared_when_cured(cluster: Cluster) -> None:
    cluster.available()
    cluster.settle()
    cluster.events.clear()
    cluster.edit(lambda one: one["spec"]["backend"]["workers"][0].update(config={"port": "x"}))
    cluster.settle()
    assert cluster.said("Failed")[:2] == ("True", "ModelAbnormal")
    assert 'invalid port "x"' in cluster.said("Failed")[2]
    status = cluster.booster()["status"]
    assert status["observedGeneration"] == 1
    assert len(cluster.names()) == 3
    assert cluster.further_writes() == []
    # Another change that cures nothing is told of its own generation.
    cluster.edit(lambda one: one["spec"].update(owner="me"))
    cluster.settle()
    failed = next(one for one in cluster.booster()["status"]["conditions"] if one["type"] == "Failed")
    assert failed["observedGeneration"] == 3
    cluster.edit(lambda one: one["spec"]["backend"]["workers"][0].pop("config"))
    cluster.settle()
    assert cluster.said("Failed") == ("False", "ModelRecovered", "")
    assert cluster.said("Active")[0] == "True"
    assert cluster.booster()["status"]["observedGeneration"] == 4
    reasons = [(one[1], one[3]) for one in cluster.events]
    assert reasons == [("ModelAbnormal", True), ("ModelAvailable", False), ("ModelRecovered", False)]


def test_reasons_of_pods_are_told_and_cleared(cluster: Cluster) -> None:
    container = {"state": {"waiting": {"reason": "ImagePullBackOff"}}}
    cluster.pod("chat-b1-0-leader-0", "chat-b1", {"containerStatuses": [container]})
    cluster.pod("other", "another", {"containerStatuses": [container]})
    cluster.settle()
    assert cluster.said("Failed") == ("True", "ModelAbnormal", "chat-b1-0-leader-0: ImagePullBackOff")
    assert "chat-b1-0-leader-0: ImagePullBackOff" in cluster.said("Active")[2]
    assert cluster.further_writes() == []
    cluster.server.delete("/api/v1/namespaces/serving/pods/chat-b1-0-leader-0")
    cluster.settle()
    assert cluster.said("Failed") == ("False", "ModelRecovered", "")
    assert cluster.said("Active")[2] == "ModelBooster not ready yet"


def test_a_pod_that_fails_beside_others_that_serve_is_told_and_no_failure(cluster: Cluster) -> None:
    cluster.available()
    container = {"lastState": {"terminated": {"reason": "OOMKilled"}}, "restartCount": 1}
    cluster.pod("chat-b1-1-leader-0", "chat-b1", {"containerStatuses": [container]})
    cluster.settle()
    assert cluster.said("Active") == (
        "True",
        "ModelAvailable",
        "ModelBooster is ready: chat-b1-1-leader-0: OOMKilled",
    )
    assert cluster.said("Failed") == ("", "", "")


def test_another_that_writes_the_status_is_seen_and_has_the_field(cluster: Cluster) -> None:
    cluster.wait(1.0)
    cluster.edit(lambda one: one["status"].update(observedGeneration=9))
    cluster.edit(lambda one: one["spec"]["backend"].update(replicas=3))
    cluster.server.asked.clear()
    cluster.settle()
    assert cluster.server.asked == []
    assert cluster.events[-1][1:3] == ("Contended", "kubectl writes its status, too: this one stands back")
    cluster.wait(CONTENDED + 1.0)
    cluster.settle()
    assert cluster.right()
    assert cluster.booster()["status"]["observedGeneration"] == 2


def test_whoever_wrote_before_us_is_no_contender() -> None:
    cluster = Cluster()
    cluster.make()
    cluster.edit(lambda one: one.update(status={"observedGeneration": 1}))
    cluster.wait(1.0)
    cluster.settle()
    assert cluster.right()
    assert cluster.said("Initialized")[0] == "True"


def test_what_somebody_else_made_a_moment_ago_is_left_alone() -> None:
    """Its event has not come yet."""
    cluster = Cluster()
    cluster.make()
    cluster.hear_all()
    cluster.foreign("ModelServer", "chat-b1")
    theirs = cluster.child("ModelServer")
    with pytest.raises(Conflict):
        cluster.look(KEY)
    cluster.settle()
    assert cluster.child("ModelServer") == theirs
    assert "belongs to somebody else" in cluster.said("Failed")[2]


# ---- what happens meanwhile ---------------------------------------------------------------------------


def test_a_booster_that_is_being_deleted_gets_no_children_again(cluster: Cluster) -> None:
    """Its own event comes after those of its children, which have a watch of their own."""
    cluster.server.delete(CHILDREN["ModelServer"].path(SPACE, "chat-b1"))
    cluster.hear(cluster.kinds.children["ModelServer"])
    cluster.edit(lambda one: one["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"))
    cluster.look(KEY)
    assert "ModelServer chat-b1" not in cluster.names()
    cluster.settle()
    assert "ModelServer chat-b1" not in cluster.names()
    cluster.server.delete(BOOSTER.path(SPACE, "chat"))
    cluster.settle()
    assert cluster.names() == []


def test_a_child_that_goes_comes_again(cluster: Cluster) -> None:
    cluster.server.delete(CHILDREN["ModelServing"].path(SPACE, "chat-b1"))
    cluster.settle()
    assert cluster.right()


def test_nothing_is_written_twice_while_events_are_behind(cluster: Cluster) -> None:
    fresh = Cluster()
    fresh.make()
    fresh.hear_all()
    for _ in range(3):
        fresh.look(KEY)
    assert fresh.boosters.writes == 4
    fresh.hear(fresh.kinds.boosters)
    fresh.edit(lambda one: one["spec"]["backend"].update(replicas=2))
    fresh.hear(fresh.kinds.boosters)
    for _ in range(3):
        fresh.look(KEY)
    assert fresh.boosters.writes == 6


def test_other_images_reach_everybody(cluster: Cluster) -> None:
    path = "/api/v1/namespaces/flyball/configmaps"
    config = {"metadata": {"name": CONFIG}, "data": {"model_serving_runtime_image": " mine:2 "}}
    cluster.server.post(path, config, dict)
    cluster.server.user(f"{path}/{CONFIG}", lambda one: one.update(data=config["data"]))
    cluster.settle()
    assert "mine:2" in str(cluster.child("ModelServing")["spec"])
    assert cluster.right()


def test_who_does_not_lead_writes_nothing() -> None:
    cluster = Cluster()
    cluster.make()
    cluster.lease.term = None
    cluster.hear_all()
    with pytest.raises(Exception, match="does not lead"):
        cluster.look(KEY)
    assert cluster.server.writes[1:] == []
