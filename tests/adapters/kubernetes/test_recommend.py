"""Recommendations on a real API server, by a service account that may write nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flyball.adapters.kubernetes.actuator import KubernetesActuator
from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import ApiError
from flyball.adapters.kubernetes.events import AT_ONCE, REFILL, Events
from flyball.adapters.kubernetes.gauges import Gauges
from flyball.adapters.kubernetes.governed import DEPLOYMENT
from flyball.adapters.kubernetes.lease import Lease
from flyball.adapters.kubernetes.objects import Workload
from flyball.adapters.kubernetes.recommend import NAME, Recommendation, Recommender, key_of
from flyball.sandbox.cluster import Sandbox
from flyball.wire.text import encode_yaml
from tests.adapters.kubernetes.governing import Time, cluster, leading, make, order, read, workload
from tests.clusters import eventually

slow = pytest.mark.slow


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[Api]:
    with closing(Api(sandbox.kubeconfig)) as api:
        yield api


@pytest.fixture
def limited(sandbox: Sandbox, api: Api, namespace: str, tmp_path: Path) -> Iterator[Api]:
    """May write ConfigMaps, Leases and Events of the namespace, and read Deployments and pods."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    own = ["get", "list", "create", "update", "patch", "delete"]
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": own},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "create", "patch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": own},
        {"apiGroups": ["", "apps"], "resources": ["deployments", "pods"], "verbs": ["get", "list"]},
    ]
    api.post(f"{rbac}/roles", {"metadata": {"name": "own"}, "rules": rules}, dict)
    binding = {
        "metadata": {"name": "own"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "own"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    api.post(f"{rbac}/rolebindings", binding, dict)
    token = api.post(f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token", {}, dict)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "c", "cluster": {"server": sandbox.url, "certificate-authority": str(sandbox.authority)}}
        ],
        "users": [{"name": "u", "user": {"token": token["status"]["token"]}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
        "current-context": "c",
    }
    (tmp_path / "kubeconfig").write_text(encode_yaml(config))
    with closing(Api(tmp_path / "kubeconfig")) as limited:
        eventually(lambda: _may(lambda: limited.items(f"/api/v1/namespaces/{namespace}/configmaps", dict)))
        yield limited


def _may(call: Callable[[], object]) -> bool:
    try:
        call()
    except ApiError:
        return False
    return True


def kept(api: Api, namespace: str) -> dict[str, Recommendation]:
    there = api.get(f"/api/v1/namespaces/{namespace}/configmaps/{NAME}", dict)
    return {
        key: msgspec.json.decode(text, type=Recommendation) for key, text in (there.get("data") or {}).items()
    }


def version(api: Api, namespace: str) -> str:
    there = api.get(f"/api/v1/namespaces/{namespace}/configmaps/{NAME}", dict)
    return str(there["metadata"]["resourceVersion"])


def events(api: Api, namespace: str) -> list[dict[str, Any]]:
    all_of = api.items(f"/api/v1/namespaces/{namespace}/events", dict)
    return [one for one in all_of if one["source"].get("component") == "flyball"]


@slow
def test_it_recommends_without_a_right_to_write_what_is_the_users(
    api: Api, limited: Api, namespace: str
) -> None:
    make(api, namespace, ["chat", "code"])
    with pytest.raises(ApiError, match="403"):
        limited.patch(DEPLOYMENT.path(namespace, "chat"), {"spec": {"replicas": 1}}, Workload)
    lease = leading(limited, namespace)
    said = Events(limited)
    recommender = Recommender(limited, lease, namespace, events=said, wall=lambda: "now")
    here = cluster(
        read(limited, namespace, "chat", mode="recommend"), read(limited, namespace, "code", mode="act")
    )
    orders = [order("chat", 3, batch=64), order("code", 2)]
    why = {"chat": "the load grew", "code": "the load grew"}.__getitem__
    assert recommender.publish(here, orders, why, {"chat": 9.0}) == ()
    said.flush()
    for name in ("chat", "code"):
        written = api.get(DEPLOYMENT.path(namespace, name), Workload).metadata.managed_fields
        assert "flyball" not in {field.manager for field in written}
    (one,) = kept(api, namespace).values()
    assert (one.server, one.mode) == ("chat", "recommend")
    assert (one.reason, one.cost_per_hour) == ("the load grew", 9.0)
    assert [(v.workload, v.accelerator, v.replicas, v.max_batch_size) for v in one.variants] == [
        ("chat", "H100", 3, 64)
    ]
    (event,) = events(api, namespace)
    assert event["involvedObject"]["name"] == "chat"
    assert event["message"] == "0 to 3 replicas on H100 would be right: the load grew"
    asked = limited.requests
    assert recommender.publish(here, orders, lambda server: "another sentence", {"chat": 9.5}) == ()
    said.close()
    assert limited.requests == asked


@slow
def test_what_it_has_no_right_to_write_is_said(limited: Api, api: Api, namespace: str) -> None:
    make(api, namespace, ["chat"])
    here = cluster(read(limited, namespace, "chat"))
    actuator = KubernetesActuator(limited, leading(limited, namespace), lambda: here, lambda: "")
    with closing(actuator):
        *_, said = actuator.act([order("chat", 3)])
    assert "0 to 3 replicas on H100" in said
    assert "403 Forbidden" in said


@slow
def test_changes_are_written_and_what_is_gone_or_acts_is_removed(api: Api, namespace: str) -> None:
    lease = leading(api, namespace)
    recommender = Recommender(api, lease, namespace)
    both = cluster(workload("a", mode="gauge"), workload("b/c", mode="keda"))
    recommender.publish(both, [order("a", 3), order("b/c", 4)])
    assert {one.server: one.mode for one in kept(api, namespace).values()} == {"a": "gauge", "b/c": "keda"}
    recommender.publish(both, [order("b/c", 4)])  # nothing is known of a in this cycle
    assert set(kept(api, namespace)) == {"a", key_of("b/c")}
    recommender.publish(both, [order("a", 5)])
    assert kept(api, namespace)["a"].variants[0].replicas == 5
    recommender.publish(cluster(workload("a"), workload("b/c", mode="keda")), [order("a", 5)])
    assert set(kept(api, namespace)) == {key_of("b/c")}


@slow
def test_a_new_leader_goes_on_with_what_is_there(api: Api, namespace: str) -> None:
    here = cluster(workload("a", mode="recommend"))
    lease = leading(api, namespace)
    Recommender(api, lease, namespace).publish(here, [order("a", 3)])
    before = version(api, namespace)
    lease.stop()
    recommender = Recommender(api, lease, namespace)
    assert recommender.publish(here, [order("a", 4)]) == ()
    assert version(api, namespace) == before  # it does not lead
    other = leading(api, namespace, "other")
    recommender = Recommender(api, other, namespace)
    recommender.publish(here, [order("a", 3)])
    assert version(api, namespace) == before
    path = f"/api/v1/namespaces/{namespace}/configmaps/{NAME}"
    api.patch(path, {"data": {"a": "spoilt"}}, dict)
    assert "the next cycle does it" in recommender.publish(here, [order("a", 4)])[0]
    assert recommender.publish(here, [order("a", 4)]) == ()
    assert kept(api, namespace)["a"].variants[0].replicas == 4


@slow
def test_what_cannot_be_kept_is_said(sandbox: Sandbox, api: Api, namespace: str) -> None:
    lease = leading(api, namespace)
    recommender = Recommender(api, lease, "no-such-namespace")
    (said,) = recommender.publish(cluster(workload("a", mode="gauge")), [order("a", 3)])
    assert "recommendations are not kept" in said
    assert "no-such-namespace" in said


@slow
def test_the_same_event_is_counted_and_too_many_are_dropped(api: Api, namespace: str) -> None:
    make(api, namespace, ["chat"])
    here = read(api, namespace, "chat")
    clock = Time()
    said = Events(api, now=clock)
    for _ in range(3):
        said.say(here, "Recommended", "the same")
    for number in range(AT_ONCE):
        said.say(here, "Recommended", f"number {number}")
    said.flush()
    assert said.problem == ""
    assert said.dropped == 3
    clock.seconds += REFILL
    said.say(here, "Recommended", "x" * 5000)
    said.close()
    counts = {one["message"]: one["count"] for one in events(api, namespace)}
    assert counts["the same"] == 3
    assert counts["x" * 999 + "…"] == 1
    assert len(counts) == 1 + AT_ONCE - 3 + 1


def test_gauges_show_what_is_wanted_and_forget_what_is_gone() -> None:
    gauges = Gauges()
    here = cluster(workload("chat", replicas=2), workload("code", accelerator="A100", replicas=0))
    recommender = Recommender(_nobody(), _follower(), "flyball", gauges=gauges)
    recommender.publish(here, [order("chat", 3), order("code", 2, "A100")])

    def sample(name: str, variant: str, accelerator: str) -> float | None:
        labels = {"variant_name": variant, "namespace": "serving", "accelerator_type": accelerator}
        return gauges.registry.get_sample_value(name, labels)

    assert sample("inferno_desired_replicas", "chat-h100", "H100") == 3
    assert sample("wva_desired_replicas", "chat-h100", "H100") == 3
    assert sample("inferno_current_replicas", "code-a100", "A100") == 0
    assert sample("inferno_desired_ratio", "code-a100", "A100") == 2
    recommender.publish(here, [order("chat", 4)])
    assert sample("inferno_desired_replicas", "code-a100", "A100") == 2
    recommender.publish(cluster(workload("chat", replicas=2)), [order("chat", 4)])
    assert sample("inferno_desired_replicas", "chat-h100", "H100") == 4
    assert sample("inferno_desired_replicas", "code-a100", "A100") is None


def test_keys_hold_any_name_and_keep_them_apart() -> None:
    assert key_of("chat-1.x_y") == "chat-1.x_y"
    assert key_of("a/b") != key_of("a:b") != "a_b"
    assert key_of("..") != ".."


def _nobody() -> Any:
    return None


def _follower() -> Any:
    return Lease(_nobody(), "flyball", "me", now=Time())
