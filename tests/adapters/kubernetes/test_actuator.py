"""Orders carried out on a real API server, with the real controllers behind it."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

import httpx2
import pytest

from flyball.adapters.kubernetes.actuator import KubernetesActuator
from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import Conflict, NotFound
from flyball.adapters.kubernetes.events import Events
from flyball.adapters.kubernetes.freeze import frozen
from flyball.adapters.kubernetes.governed import DEPLOYMENT, Governed
from flyball.adapters.kubernetes.labels import ACCELERATOR, BATCH
from flyball.adapters.kubernetes.lease import RENEW_DEADLINE, Lease
from flyball.adapters.kubernetes.listing import Scope, list_cluster
from flyball.adapters.kubernetes.objects import Scale, Workload
from flyball.adapters.kubernetes.owners import owner_of, scalers
from flyball.adapters.kubernetes.release import Untouched, release
from flyball.adapters.kubernetes.write import FOUND
from flyball.sandbox.cluster import Sandbox
from flyball.spec.decision import Order
from tests.adapters.kubernetes.governing import (
    Time,
    cluster,
    governed,
    leading,
    make,
    order,
    read,
    replicas,
)
from tests.clusters import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[Api]:
    api = Api(sandbox.kubeconfig)
    yield api
    api.close()


@pytest.fixture
def lease(api: Api, namespace: str) -> Lease:
    return leading(api, namespace)


def act(
    api: Api, lease: Lease, workloads: Sequence[Governed], orders: Sequence[Order], **more: Any
) -> tuple[str, ...]:
    actuator = KubernetesActuator(
        api, lease, lambda: cluster(*workloads), more.pop("freeze", lambda: ""), **({"limit": 60.0} | more)
    )
    try:
        return actuator.act(orders)
    finally:
        actuator.close()


def annotations(api: Api, namespace: str, name: str) -> dict[str, str]:
    return api.get(DEPLOYMENT.path(namespace, name), Workload).metadata.annotations


def test_a_hundred_are_scaled_in_one_go_and_then_nothing_is_written(
    sandbox: Sandbox, api: Api, lease: Lease, namespace: str
) -> None:
    names = [f"s{number:03}" for number in range(100)]
    orders = [order(name, 1 + number % 3) for number, name in enumerate(names)]
    sandbox.pause("kube-controller-manager")  # their pods are not wanted
    try:
        make(api, namespace, names)
        assert act(api, lease, _all_of(api, namespace), orders) == ()
        there = _all_of(api, namespace)
        assert [one.replicas for one in there] == [one.replicas for one in orders]
        asked = api.requests
        assert act(api, lease, there, orders) == ()
        assert api.requests == asked
    finally:
        api.delete(DEPLOYMENT.path(namespace))
        sandbox.resume("kube-controller-manager")


def _all_of(api: Api, namespace: str) -> list[Governed]:
    return [governed(there) for there in api.items(DEPLOYMENT.path(namespace), Workload)]


def test_a_version_that_is_old_is_refused_by_the_api_server_itself(api: Api, namespace: str) -> None:
    make(api, namespace, ["chat"])
    old = read(api, namespace, "chat")
    api.patch(old.path, {"metadata": {"labels": {"by": "somebody"}}}, Workload)
    metadata = {"name": "chat", "namespace": namespace, "resourceVersion": old.resource_version}
    body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": {"replicas": 3}}
    with pytest.raises(Conflict):
        api.put(f"{old.path}/scale", body, Scale)
    assert replicas(api, namespace, "chat") == 0


def test_a_version_that_moved_on_for_a_reason_that_does_not_matter_is_written(
    api: Api, lease: Lease, namespace: str
) -> None:
    make(api, namespace, ["chat"])
    old = read(api, namespace, "chat")
    api.patch(old.path, {"metadata": {"labels": {"by": "somebody"}}}, Workload)
    assert act(api, lease, [old], [order("chat", 3)]) == ()
    assert replicas(api, namespace, "chat") == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spec": {"replicas": 1}}, "somebody set it from 0 to 1 replicas"),
        ({"spec": {"minReadySeconds": 2}}, "somebody changed its specification"),
        ({"metadata": {"labels": {BATCH: "8"}}}, "somebody set its label inferno.server.allocation.maxbatch"),
    ],
)
def test_what_somebody_else_wrote_since_is_left_for_the_next_cycle(
    api: Api, lease: Lease, namespace: str, change: dict[str, object], said: str
) -> None:
    make(api, namespace, ["chat"])
    old = read(api, namespace, "chat")
    api.patch(old.path, change, Workload)
    (sentence,) = act(api, lease, [old], [order("chat", 3)])
    assert said in sentence
    assert "0 to 3 replicas on H100" in sentence
    assert FOUND not in annotations(api, namespace, "chat")
    assert replicas(api, namespace, "chat") != 3


def test_one_of_the_same_name_that_was_made_anew_is_not_mistaken_for_it(
    api: Api, lease: Lease, namespace: str
) -> None:
    make(api, namespace, ["chat"])
    old = read(api, namespace, "chat")
    api.delete(old.path)
    eventually(lambda: _gone(api, old))
    assert "it is gone" in act(api, lease, [old], [order("chat", 3)])[0]
    make(api, namespace, ["chat"])
    assert "made anew" in act(api, lease, [old], [order("chat", 3)])[0]
    assert replicas(api, namespace, "chat") == 0


def _gone(api: Api, one: Governed) -> bool:
    try:
        api.get(one.path, Workload)
    except NotFound:
        return True
    return False


def test_what_an_hpa_scales_is_refused(api: Api, lease: Lease, namespace: str) -> None:
    make(api, namespace, ["chat"], replicas=1)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
    hpa = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "chat-hpa"},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 4},
    }
    api.post(f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers", hpa, dict)
    listing = list_cluster(api, time.time(), Scope("", namespace))
    (listed,) = listing.workloads
    owner = owner_of(listed, scalers(listing))
    (said,) = act(api, lease, [governed(listed.workload, owner=owner)], [order("chat", 3)])
    assert f"HorizontalPodAutoscaler {namespace}/chat-hpa writes its replicas" in said
    assert replicas(api, namespace, "chat") == 1
    assert FOUND not in annotations(api, namespace, "chat")


def test_a_stopped_leader_writes_nothing_when_it_goes_on(api: Api, namespace: str) -> None:
    make(api, namespace, ["chat"])
    here = read(api, namespace, "chat")
    clock = Time()
    lease = leading(api, namespace, now=clock)
    actuator = KubernetesActuator(api, lease, lambda: cluster(here), lambda: _stopped(clock))
    (said,) = actuator.act([order("chat", 3)])
    actuator.close()
    assert "no longer leads" in said
    assert FOUND not in annotations(api, namespace, "chat")
    assert replicas(api, namespace, "chat") == 0


def _stopped(clock: Time) -> str:
    clock.seconds += RENEW_DEADLINE  # stopped between the decision and the first write
    return ""


def test_a_follower_writes_nothing(api: Api, lease: Lease, namespace: str) -> None:
    make(api, namespace, ["chat"])
    follower = Lease(api, namespace, "other", now=Time())
    follower.step()
    asked = api.requests
    (said,) = act(api, follower, [read(api, namespace, "chat")], [order("chat", 3)])
    assert "does not lead (me does)" in said
    assert api.requests == asked + 2  # what the test itself read
    assert replicas(api, namespace, "chat") == 0


def test_the_freeze_stops_all(api: Api, lease: Lease, namespace: str, tmp_path: Any) -> None:
    make(api, namespace, ["chat"])
    here = read(api, namespace, "chat")
    assert frozen(api, namespace, environment={}) == ""
    assert frozen(api, namespace, environment={"FLYBALL_FREEZE": "true"}) == "FLYBALL_FREEZE is set"
    (tmp_path / "freeze").touch()
    assert "is there" in frozen(api, namespace, tmp_path / "freeze", {})
    settings = {"metadata": {"name": "flyball"}, "data": {"freeze": "true"}}
    api.post(f"/api/v1/namespaces/{namespace}/configmaps", settings, dict)
    (said,) = act(
        api, lease, [here], [order("chat", 3)], freeze=lambda: frozen(api, namespace, environment={})
    )
    assert "ConfigMap" in said
    assert "freeze: true" in said
    assert replicas(api, namespace, "chat") == 0


def test_quotas_of_cards_cut_what_would_be_refused(api: Api, lease: Lease, namespace: str) -> None:
    quota = {"metadata": {"name": "cards"}, "spec": {"hard": {"requests.nvidia.com/gpu": "5"}}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    api.post(path, quota, dict)
    eventually(lambda: api.get(f"{path}/cards", dict)["status"].get("hard"))
    make(api, namespace, ["a", "b"], replicas=1)
    eventually(lambda: all(len(read(api, namespace, name).pods) == 1 for name in "ab"))
    eventually(lambda: api.get(f"{path}/cards", dict)["status"]["used"].get("requests.nvidia.com/gpu") == "2")
    here = [read(api, namespace, name) for name in "ab"]
    said = act(api, lease, here, [order("a", 3), order("b", 4)])
    assert [replicas(api, namespace, name) for name in "ab"] == [3, 2]
    (sentence,) = said
    assert f"ResourceQuota {namespace}/cards leaves 1 nvidia.com/gpu, a replica takes 1" in sentence


def test_the_idle_pod_goes_first(api: Api, lease: Lease, namespace: str) -> None:
    make(api, namespace, ["chat"], replicas=1, node="h100-2")
    eventually(lambda: _ready(api, namespace) == 1)
    (idle,) = _staying(api, namespace)
    time.sleep(1.1)  # of a second and more older: by itself the controller would take another one
    api.patch(DEPLOYMENT.path(namespace, "chat"), {"spec": {"replicas": 3}}, Workload)
    eventually(lambda: _ready(api, namespace) == 3)
    here = read(api, namespace, "chat")
    busy = {f"{namespace}/{pod.name}": 0.0 if pod.name == idle else 0.8 for pod in here.pods}
    assert act(api, lease, [here], [order("chat", 2)], busy=lambda: busy) == ()
    eventually(lambda: len(_staying(api, namespace)) == 2)
    assert _staying(api, namespace) == {pod.name for pod in here.pods} - {idle}


def _ready(api: Api, namespace: str) -> int:
    return sum(pod.state == "ready" for pod in read(api, namespace, "chat").pods)


def _staying(api: Api, namespace: str) -> set[str]:
    return {pod.name for pod in read(api, namespace, "chat").pods if pod.state != "draining"}


def test_the_new_variant_grows_before_the_old_one_goes(api: Api, lease: Lease, namespace: str) -> None:
    make(api, namespace, ["old"], node="a100-1", replicas=2)
    make(api, namespace, ["new"])
    old = read(api, namespace, "old", "A100", server="chat", warnings=("it has no preStop hook",))
    new = read(api, namespace, "new", server="chat")
    orders = [order("chat", 2), order("chat", 0, "A100")]
    api.patch(new.path, {"spec": {"replicas": 1}}, Workload)  # somebody interferes: it cannot grow now
    said = act(api, lease, [old, new], orders)
    assert replicas(api, namespace, "old") == 2
    assert any("chat was to grow elsewhere first" in one for one in said)
    old = read(api, namespace, "old", "A100", server="chat", warnings=("it has no preStop hook",))
    new = read(api, namespace, "new", server="chat")
    (said_of_drain,) = act(api, lease, [old, new], orders)
    assert "it has no preStop hook" in said_of_drain
    assert (replicas(api, namespace, "old"), replicas(api, namespace, "new")) == (0, 2)


@pytest.mark.parametrize("why", ["nowhere", "max", "owner"])
def test_nothing_shrinks_for_what_cannot_grow(api: Api, lease: Lease, namespace: str, why: str) -> None:
    make(api, namespace, ["old"], node="a100-1", replicas=2)
    make(api, namespace, ["new"])
    here = [read(api, namespace, "old", "A100", server="chat")]
    if why != "nowhere":
        more = {"most": 1} if why == "max" else {"owner": "somebody"}
        here.append(read(api, namespace, "new", server="chat", **more))
    said = act(api, lease, here, [order("chat", 2), order("chat", 0, "A100")])
    assert any("chat was to grow elsewhere first" in one for one in said)
    assert replicas(api, namespace, "old") == 2
    assert replicas(api, namespace, "new") == (1 if why == "max" else 0)


def test_the_first_touch_is_recorded_and_release_gives_all_back(
    api: Api, lease: Lease, namespace: str
) -> None:
    make(api, namespace, ["chat"], replicas=1, labels={ACCELERATOR: "A100", "team": "x"})
    here = read(api, namespace, "chat", "A100", pinned=False)
    events = Events(api)
    said = act(
        api,
        lease,
        [here],
        [order("chat", 2, "H100", 64)],
        events=events,
        why=lambda server: f"{server} is busy",
    )
    assert said == ()
    there = api.get(here.path, Workload)
    assert there.metadata.labels == {ACCELERATOR: "H100", BATCH: "64", "team": "x"}
    assert there.spec.replicas == 2
    found = json.loads(there.metadata.annotations[FOUND])
    assert found == {"replicas": 1, "labels": {ACCELERATOR: "A100", BATCH: None}}
    again = read(api, namespace, "chat", "H100", pinned=False)
    assert act(api, lease, [again], [order("chat", 0, "H100")], events=events) == ()
    events.close()
    assert json.loads(annotations(api, namespace, "chat")[FOUND]) == found
    released = release(api, DEPLOYMENT, namespace, "chat")
    assert f"has 1 replica again, {ACCELERATOR} A100, as it was found" in released
    there = api.get(here.path, Workload)
    assert (there.spec.replicas, there.metadata.labels) == (1, {ACCELERATOR: "A100", "team": "x"})
    assert FOUND not in there.metadata.annotations
    with pytest.raises(Untouched, match="has changed nothing"):
        release(api, DEPLOYMENT, namespace, "chat")
    about = {one["reason"]: one["message"] for one in _events(api, namespace, "chat")}
    assert about["ScaledUp"] == "1 to 2 replicas on A100 to H100, batch 64: chat is busy"
    assert about["ScaledDown"] == "2 to 0 replicas on H100"


def _events(api: Api, namespace: str, name: str) -> list[dict[str, Any]]:
    all_of = api.items(f"/api/v1/namespaces/{namespace}/events", dict, fields=f"involvedObject.name={name}")
    return [one for one in all_of if one["source"].get("component") == "flyball"]


def test_the_field_manager_is_ours(api: Api, lease: Lease, namespace: str) -> None:
    make(api, namespace, ["chat"])
    act(api, lease, [read(api, namespace, "chat")], [order("chat", 1)])
    managers = api.get(DEPLOYMENT.path(namespace, "chat"), Workload).metadata.managed_fields
    assert {one.subresource for one in managers if one.manager == "flyball"} >= {"scale"}


class Troubled(httpx2.BaseTransport):
    """An API server that is real, but answers the first writes as it is told."""

    def __init__(self, sandbox: Sandbox, answers: list[httpx2.Response], lost: bool) -> None:
        """`lost`: of the first PUT the answer is."""
        self.real = httpx2.HTTPTransport(verify=ssl.create_default_context(cafile=str(sandbox.authority)))
        self.answers, self.lost = answers, lost

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "PUT" and self.lost:
            self.lost = False
            self.real.handle_request(request).read()  # it was done, and nobody heard of it
            return httpx2.Response(504)
        if request.method != "GET" and self.answers:
            return self.answers.pop(0)
        return self.real.handle_request(request)

    def close(self) -> None:
        self.real.close()


@pytest.fixture
def troubled(sandbox: Sandbox) -> Iterator[Callable[..., Api]]:
    with ExitStack() as made:

        def make_one(*answers: httpx2.Response, lost: bool = False) -> Api:
            transport = Troubled(sandbox, list(answers), lost)
            return made.enter_context(closing(Api(sandbox.kubeconfig, transport=transport)))

        yield make_one


def _pauses(clock: Time) -> tuple[list[float], Any]:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.seconds += seconds

    return pauses, sleep


def test_it_waits_as_long_as_a_busy_api_server_asks(
    troubled: Callable[..., Api], api: Api, lease: Lease, namespace: str
) -> None:
    make(api, namespace, ["chat"])
    busy = [httpx2.Response(429, headers={"Retry-After": "3"}), httpx2.Response(503)]
    with_trouble = troubled(*busy)
    clock = Time()
    pauses, sleep = _pauses(clock)
    here = [read(api, namespace, "chat")]
    assert act(with_trouble, lease, here, [order("chat", 3)], now=clock, sleep=sleep, limit=30.0) == ()
    assert pauses == [3.0, 6.0]
    assert replicas(api, namespace, "chat") == 3


def test_it_gives_up_at_the_end_of_the_cycle_and_says_so(
    troubled: Callable[..., Api], api: Api, lease: Lease, namespace: str
) -> None:
    make(api, namespace, ["chat"])
    with_trouble = troubled(*[httpx2.Response(500)] * 99)
    clock = Time()
    pauses, sleep = _pauses(clock)
    here = [read(api, namespace, "chat")]
    (said,) = act(with_trouble, lease, here, [order("chat", 3)], now=clock, sleep=sleep, limit=8.0)
    assert "500" in said
    assert sum(pauses) < 8.0
    assert len(pauses) > 3
    assert replicas(api, namespace, "chat") == 0


def test_a_write_whose_answer_was_lost_is_not_taken_for_somebody_elses(
    troubled: Callable[..., Api], api: Api, lease: Lease, namespace: str
) -> None:
    make(api, namespace, ["chat"])
    here = [read(api, namespace, "chat")]
    assert act(troubled(lost=True), lease, here, [order("chat", 3)], sleep=lambda seconds: None) == ()
    assert replicas(api, namespace, "chat") == 3


def test_an_api_server_that_hangs_costs_the_cycle_and_no_more(
    sandbox: Sandbox, api: Api, lease: Lease, namespace: str
) -> None:
    make(api, namespace, ["chat"])
    here = [read(api, namespace, "chat")]
    impatient = Api(sandbox.kubeconfig, timeout=0.3)
    sandbox.pause("kube-apiserver")
    try:
        said = act(impatient, lease, here, [order("chat", 3)], limit=1.0, now=time.monotonic)
    finally:
        sandbox.resume("kube-apiserver")
        impatient.close()
    assert "Deployment" in said[-1]
    assert "does not answer" in said[-1] or "are over" in said[-1]
    assert replicas(api, namespace, "chat") == 0


def test_a_server_that_is_only_recommended_for_is_not_written(api: Api, lease: Lease, namespace: str) -> None:
    make(api, namespace, ["chat"])
    said = act(api, lease, [read(api, namespace, "chat", mode="recommend")], [order("chat", 3)])
    assert "0 to 3 replicas on H100" in said[0]
    assert FOUND not in annotations(api, namespace, "chat")
    assert replicas(api, namespace, "chat") == 0
