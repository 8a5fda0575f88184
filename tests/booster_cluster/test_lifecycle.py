"""What users, autoscalers and other controllers do to ModelBoosters and their children."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml

from flyball.adapters.kubernetes.api import Api
from flyball.operator.booster_kinds import CHILDREN
from flyball.wire.kthena import DOCUMENTED_MANAGED_BY, MANAGED_BY, MODEL_UID, REVISION
from tests.booster_cluster.booth import QUIET, Booth, found, plain
from tests.booster_cluster.definitions import forget, have
from tests.boosting import samples
from tests.clusters import eventually
from tests.conftest import shared_dir
from tests.operator_cluster.desk import Running

pytestmark = pytest.mark.slow
GENERATION = "v1"


@pytest.fixture(scope="module")
def healthy(operator: Running, api: Api, desk: Any) -> Booth:
    """One to which nothing happens; it is looked at again at the end."""
    api.post("/api/v1/namespaces", {"metadata": {"name": "healthy"}}, dict)
    booth = Booth(desk, api, "healthy")
    booth.make()
    booth.done()
    booth.available()
    eventually(lambda: booth.word("Active") == "True")
    return booth


@pytest.fixture(scope="module")
def versions(healthy: Booth) -> dict[str, str]:
    return eventually(healthy._still)


@pytest.fixture(autouse=True)
def _healthy(versions: dict[str, str]) -> None:
    """Every test comes after it was made."""


def test_edits_drift_and_what_is_not_ours(booth: Booth) -> None:
    booth.make()
    booth.done()
    wanted = {kind: plain(one) for kind, one in booth.all()}
    # Drift of specs and labels, also where somebody adds what nobody asked for.
    booth.edit("ModelServer", "chat-b1", {"spec": {"workloadPort": {"port": 1}}})
    booth.edit("ModelRoute", "chat", {"spec": {"rateLimit": {"unit": "second", "inputTokensPerUnit": 1}}})
    booth.edit("ModelServing", "chat-b1", {"spec": {"template": {"restartGracePeriodSeconds": 1}}})
    booth.edit("ModelServing", "chat-b1", {"metadata": {"labels": {MANAGED_BY: None}}})
    eventually(lambda: {kind: plain(one) for kind, one in booth.all()} == wanted)
    # What others add beside it stays, and so do the replicas that somebody else sets.
    more = {"team": "search"}
    booth.edit("ModelServing", "chat-b1", {"metadata": {"labels": more, "annotations": more}})
    booth.scale(7)
    booth.ask({"backend": {"runtimeClassName": "nvidia"}})
    booth.done()
    serving = booth.get("ModelServing")
    assert "nvidia" in str(serving["spec"]["template"])
    assert serving["metadata"]["labels"]["team"] == serving["metadata"]["annotations"]["team"] == "search"
    assert serving["spec"]["replicas"] == 7
    booth.ask({"backend": {"replicas": 2, "runtimeClassName": None}})
    booth.done()
    assert booth.get("ModelServing")["spec"]["replicas"] == 2
    assert "nvidia" not in str(booth.get("ModelServing")["spec"]["template"])
    booth.quiet()


def test_a_part_into_which_somebody_wrote_goes_when_it_is_not_wanted(booth: Booth) -> None:
    key = "flyball.dev/rate-limit"
    booth.make(document=samples.document(annotations={key: "{inputTokensPerUnit: 5, unit: minute}"}))
    booth.done()
    booth.edit("ModelRoute", "chat", {"spec": {"rateLimit": {"unit": "hour"}}})
    eventually(lambda: booth.get("ModelRoute", "chat")["spec"]["rateLimit"]["unit"] == "minute")
    booth.edit("ModelBooster", "chat", {"metadata": {"annotations": {key: None}}})
    # An apply alone would leave `rateLimit: null`, which the definition refuses.
    eventually(lambda: "rateLimit" not in booth.get("ModelRoute", "chat")["spec"])
    booth.quiet()
    assert booth.word("Failed") != "True"


def test_what_cannot_be_changed_is_made_anew(booth: Booth) -> None:
    booth.make(workers=[samples.worker(replicas=2)])
    booth.done()
    before = {kind: one["metadata"]["uid"] for kind, one in booth.all()}
    booth.ask({"name": "called"})
    booth.done()
    assert booth.get("ModelRoute", "chat")["spec"]["modelName"] == "called"
    booth.ask({"backend": {"workers": [samples.worker(replicas=1)]}})
    booth.done()
    after = {kind: one["metadata"]["uid"] for kind, one in booth.all()}
    assert {kind for kind in before if before[kind] != after[kind]} == {"ModelRoute", "ModelServing"}
    eventually(lambda: [one["reason"] for one in booth.events()].count("Replaced") == 2)
    assert any(
        "minRoleReplicas of leader cannot be changed from 2" in one["message"] for one in booth.events()
    )
    assert booth.word("Failed") == ""
    # Another name of the backend: the new ones are there before the old ones go.
    booth.ask({"backend": {"name": "b2"}})
    eventually(lambda: booth.names() == ["ModelRoute chat", "ModelServer chat-b2", "ModelServing chat-b2"])
    booth.done()
    booth.quiet()


def test_an_object_of_somebody_else_is_left_alone_until_it_goes(booth: Booth) -> None:
    body = {
        "apiVersion": "networking.serving.volcano.sh/v1alpha1",
        "kind": "ModelRoute",
        "metadata": {"name": "chat"},
        "spec": {"modelName": "theirs", "rules": [{"targetModels": [{"modelServerName": "theirs"}]}]},
    }
    theirs = booth.post("ModelRoute", body)
    booth.make()
    eventually(lambda: booth.word("Failed") == "True")
    assert "ModelRoute chat is there and belongs to somebody else" in booth.said("Failed")["message"]
    booth.ask({"owner": "me"})
    time.sleep(0.5)
    assert booth.get("ModelRoute", "chat") == theirs
    booth.delete("ModelRoute", "chat")
    eventually(lambda: booth.word("Failed") == "False")
    assert booth.observed()
    assert booth.get("ModelRoute", "chat")["spec"]["modelName"] == "chat"
    # Two that want the same names: the first has them.
    booth.make("a", samples.document(name="b-c"))
    booth.done("a")
    booth.make("a-b", samples.document(name="c"))
    eventually(lambda: booth.word("Failed", "a-b") == "True")
    assert "belongs to ModelBooster a:" in booth.said("Failed", "a-b")["message"]
    booth.delete("ModelBooster", "a")
    booth.done("a-b")
    assert booth.get("ModelServing", "a-b-c")["metadata"]["ownerReferences"][0]["name"] == "a-b"


def _kthenas(booth: Booth, operator: Running, case: str) -> tuple[str, dict[str, Any]]:
    """A ModelBooster with the children that Kthena's controller made, which then went."""
    shared = shared_dir()
    assert shared is not None
    folder = shared / "vectors" / "kthena" / "generated-head" / case
    made = yaml.safe_load((folder / "input.yaml").read_text())
    name = made["metadata"]["name"]
    operator.process.stop(15.0)
    made["metadata"] = {"name": name}
    uid = booth.post("ModelBooster", made)["metadata"]["uid"]
    for file in ("modelserving", "modelserver", "modelroute"):
        text = (folder / f"{file}.yaml").read_text()
        one = yaml.safe_load(text)
        text = text.replace(one["metadata"]["labels"][MODEL_UID], uid)
        one = yaml.safe_load(text)
        one["metadata"]["namespace"] = booth.space
        booth.post(one["kind"], one, "manager")
    return name, {kind: one for kind, one in booth.all()}


@pytest.mark.skipif(shared_dir() is None, reason="the recorded children are not beside the checkout")
@pytest.mark.parametrize("case", ["03-modelscope", "09-custom-port-int"])
def test_children_of_kthena_are_taken_over_without_a_restart(
    booth: Booth, operator: Running, case: str
) -> None:
    try:
        name, before = _kthenas(booth, operator, case)
    finally:
        operator.start()
    booth.done(name)
    after = {kind: one for kind, one in booth.all()}
    for kind, one in after.items():
        assert one["metadata"]["uid"] == before[kind]["metadata"]["uid"]
        assert one["metadata"]["labels"][REVISION] == before[kind]["metadata"]["labels"][REVISION]
        assert one["metadata"]["labels"][DOCUMENTED_MANAGED_BY]
    assert after["ModelServing"]["spec"] == before["ModelServing"]["spec"]
    assert after["ModelServing"]["metadata"]["generation"] == 1
    booth.quiet()
    # What Kthena wrote and nobody asks for any more does not stay because it wrote it.
    booth.ask({"backend": {"replicas": 2, "schedulerName": "default-scheduler"}}, name)
    booth.done(name)
    assert booth.get("ModelServing", after["ModelServing"]["metadata"]["name"])["spec"]["replicas"] == 2


def test_another_controller_that_runs_is_seen(booth: Booth) -> None:
    booth.make()
    booth.done()
    time.sleep(1.1)  # who wrote when is known to the second
    # Values of its own: who only takes away, or says the same, owns nothing that could be seen.
    theirs = {
        "type": "Active",
        "status": "False",
        "reason": "ModelProcessing",
        "message": "theirs",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    booth.edit(
        "ModelBooster",
        "chat",
        {"status": {"observedGeneration": 1, "conditions": [theirs]}},
        "status",
        "manager",
    )
    before = booth.booster()["metadata"]["resourceVersion"]
    said = eventually(lambda: [one for one in booth.events() if one["reason"] == "Contended"])
    assert said[0]["message"] == "manager writes its status, too: this one stands back"
    booth.edit("ModelServer", "chat-b1", {"spec": {"workloadPort": {"port": 1}}})
    time.sleep(QUIET)
    assert booth.booster()["metadata"]["resourceVersion"] == before
    assert booth.get("ModelServer")["spec"]["workloadPort"]["port"] == 1


def test_why_pods_do_not_run(booth: Booth) -> None:
    booth.make()
    booth.done()
    pod = booth.pod("chat-b1-0-leader-0")
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        booth.becomes(pod, containers=[{"state": {"waiting": {"reason": reason}}}])
    eventually(lambda: booth.word("Failed") == "True")
    assert booth.said("Failed")["message"] == "chat-b1-0-leader-0: ImagePullBackOff"
    terminated = {"reason": "OOMKilled", "exitCode": 137}
    booth.becomes(pod, containers=[{"state": {"running": {}}, "lastState": {"terminated": terminated}}])
    eventually(lambda: booth.said("Failed")["message"] == "chat-b1-0-leader-0: OOMKilled")
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/7 fit"}
    booth.becomes(pod, conditions=[unscheduled])
    eventually(lambda: "Unschedulable: 0/7 fit" in booth.said("Active")["message"])
    eventually(lambda: booth.word("Failed") == "False")
    booth.becomes(
        pod, conditions=[{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]
    )
    eventually(lambda: booth.said("Active")["message"] == "ModelBooster not ready yet")


def test_what_happens_while_nobody_keeps_them(booth: Booth, operator: Running) -> None:
    for name in ("edited", "deleted", "robbed", "still"):
        booth.make(name)
        booth.done(name)
    operator.process.stop(15.0)
    booth.ask({"backend": {"name": "b2", "replicas": 4}}, "edited")
    booth.delete("ModelBooster", "deleted")
    booth.delete("ModelServing", "robbed-b1")
    booth.edit("ModelRoute", "robbed", {"spec": {"rules": [{"targetModels": [{"modelServerName": "x"}]}]}})
    booth.make("new")
    eventually(lambda: not any("deleted" in one for one in booth.names()))
    before = booth.versions()
    operator.start()
    for name in ("edited", "new"):
        booth.done(name)
    eventually(lambda: found(lambda: booth.get("ModelServing", "robbed-b1")))
    eventually(lambda: "robbed-b1" in str(booth.get("ModelRoute", "robbed")["spec"]))
    eventually(lambda: not any("edited-b1" in one for one in booth.names()))
    assert booth.get("ModelServing", "edited-b2")["spec"]["replicas"] == 4
    after = booth.versions()
    for one in ("ModelBooster still", "ModelServing still-b1", "ModelServer still-b1", "ModelRoute still"):
        assert after[one] == before[one]


def test_one_that_is_being_deleted_gets_no_children_again(booth: Booth) -> None:
    booth.make()
    booth.done()
    booth.edit("ModelServing", "chat-b1", {"metadata": {"finalizers": ["test/slow"]}})
    booth.desk.kubectl(
        *("delete", "modelbooster", "chat", "-n", booth.space, "--cascade=foreground", "--wait=false")
    )
    eventually(lambda: booth.names() == ["ModelServing chat-b1"])
    time.sleep(QUIET)
    assert booth.names() == ["ModelServing chat-b1"]
    booth.edit("ModelServing", "chat-b1", {"metadata": {"finalizers": None}})
    eventually(lambda: not booth.there("ModelBooster", "chat"))
    assert booth.names() == []


def test_nothing_was_written_where_nothing_happened(
    healthy: Booth, versions: dict[str, str], operator: Running
) -> None:
    """Over all that was done above, restarts of the operator included."""
    assert healthy.versions() == versions
    assert "Traceback" not in operator.words


def test_a_kind_that_is_missing_is_told_until_it_comes(booth: Booth, healthy: Booth, api: Api) -> None:
    booth.make()
    booth.done()
    forget(api, CHILDREN["ModelServer"])
    # Until the definition is gone, the API server refuses children in words of its own.
    eventually(lambda: "the cluster does not serve ModelServer" in booth.said("Failed").get("message", ""))
    assert booth.word("Failed") == "True"
    have(api, "v1")
    eventually(lambda: booth.word("Failed") == "False")
    assert booth.there("ModelServer")
    eventually(lambda: healthy.word("Failed") == "False")
    assert healthy.word("Active") == "True"
