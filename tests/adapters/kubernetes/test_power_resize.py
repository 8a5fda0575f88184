"""Resources trimmed on an API server in memory: what is given back, to whom, and what is left alone."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.adapters.kubernetes.errors import ApiError, Conflict
from flyball.adapters.kubernetes.listing import PODS
from flyball.adapters.kubernetes.power_levers import PowerLevers
from flyball.adapters.kubernetes.power_original import MANAGER
from flyball.adapters.kubernetes.power_resize import RESOURCES, trimmed
from flyball.spec.power import PowerWorkload, Trim, WorkloadRef
from flyball.spec.power_plan import Relief
from flyball.wire.kthena_text import quantity
from tests.adapters.kubernetes.power_memory import Document, Server, _decoded
from tests.adapters.kubernetes.test_power_levers import SPACE, Led, begun, cap, notes

ENGINE = {
    "requests": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"},
    "limits": {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "1"},
}


class Pods(Server):
    """The same, with `pods/resize`."""

    def __init__(self) -> None:
        super().__init__()
        self.served = True

    def serves(self, group: str, version: str, plural: str) -> bool:
        assert (group, version, plural) == ("", "v1", "pods/resize")
        return self.served

    def patch(self, path: str, body: Mapping[str, Any], kind: type[Any], **params: str) -> Any:
        self._begin("PATCH", path)
        there = copy.deepcopy(self._at("PATCH", path))
        self._same("PATCH", path, body["metadata"], there)
        there["metadata"].setdefault("annotations", {}).update(body["metadata"]["annotations"])
        return _decoded(self._keep(path, there, params["fieldManager"], "Update"), kind)

    def edit(self, path: str, operations: Sequence[Mapping[str, Any]], kind: type[Any], **params: str) -> Any:
        if not path.endswith("/resize"):
            return super().edit(path, operations, kind, **params)
        is_dry = params.get("dryRun") == "All"
        self.before("DRY" if is_dry else "EDIT", path)
        pod = path.removesuffix("/resize")
        there = copy.deepcopy(self._at("EDIT", pod))
        for one in operations:
            parts = [p.replace("~1", "/").replace("~0", "~") for p in one["path"].split("/")[1:]]
            below: Any = there
            for part in parts[:-1]:
                below = below[int(part) if isinstance(below, list) else part]
            if one["op"] == "replace":
                assert parts[:2] == ["spec", "containers"]
                below[parts[-1]] = one["value"]
            elif below.get(parts[-1]) != one["value"]:
                raise Conflict("EDIT", path, 422, "Invalid", "a test has failed")
        if is_dry:
            return _decoded(there, kind)
        self.writes.append(f"EDIT {path}")
        return _decoded(self._keep(pod, there, params["fieldManager"], "Update"), kind)


@pytest.fixture
def server() -> Pods:
    return Pods()


@pytest.fixture
def lease() -> Led:
    return Led()


@pytest.fixture
def levers(server: Pods, lease: Led) -> Iterator[PowerLevers]:
    made = begun(server, lease)
    yield made
    made.close()


def pod(
    server: Pods,
    name: str = "chat-abc-1",
    owner: tuple[str, str] = ("ReplicaSet", "chat-abc"),
    resources: Document = ENGINE,
    **spec: Any,
) -> str:
    about = {
        "labels": {"pod-template-hash": owner[1].rpartition("-")[2]},
        "ownerReferences": [{"kind": owner[0], "name": owner[1], "controller": True, "uid": "u"}],
    }
    engine = {"name": "engine", "resources": copy.deepcopy(resources), **spec}
    sidecar = {"name": "proxy", "resources": {"requests": {"cpu": "100m"}}}
    return server.make(PODS, SPACE, name, metadata=about, spec={"containers": [engine, sidecar]})


def resources(server: Pods, path: str) -> list[Document]:
    return [copy.deepcopy(one["resources"]) for one in server.objects[path]["spec"]["containers"]]


def resized(server: Pods, path: str, cpu: str, container: int = 0) -> None:
    """By somebody else."""
    there = copy.deepcopy(server.objects[path])
    there["spec"]["containers"][container]["resources"]["requests"]["cpu"] = cpu
    server._keep(path, there, "kubectl-edit", "Update")


CHAT = PowerWorkload("chat", SPACE, {}, (WorkloadRef("Deployment", "chat"),), 1)
BEFORE = [ENGINE, {"requests": {"cpu": "100m"}}]


def relief(cpu: float = 0.5, memory: float = 1.0, **more: Any) -> Relief:
    fields = {"workload": "chat", "policy": "p", "lever": "resources", "mode": "Enforce", **more}
    return Relief(trim=Trim(cpu, memory), **fields)


# ---- given and given back ------------------------------------------------------------------------

MILLICORES = st.integers(1, 200_000)


@given(MILLICORES, MILLICORES, st.floats(0, 1))
def test_what_is_left_is_never_more_nor_nothing_nor_of_another_qos_class(
    one: int, other: int, share: float
) -> None:
    was = {"requests": f"{min(one, other)}m", "limits": f"{max(one, other)}m"}
    kept = trimmed(was, "cpu", share)
    before, after = ({f: quantity(text, f) for f, text in each.items()} for each in (was, kept))
    assert all(Fraction(1, 1000) <= after[field] <= before[field] for field in was)
    assert (after["requests"] == after["limits"]) == (one == other)
    assert after["requests"] <= after["limits"]
    assert trimmed({"limits": was["limits"]}, "cpu", share).keys() == {"limits"}


def test_none_stays_none_and_memory_is_written_in_bytes() -> None:
    assert trimmed({"requests": "0", "limits": "1Gi"}, "memory", 0.5) == {
        "requests": "0",
        "limits": "536870912",
    }


def test_it_is_trimmed_from_what_was_and_has_exactly_that_again(server: Pods, levers: PowerLevers) -> None:
    path = pod(server)
    for cpu, memory, expected in ((0.5, 1.0, "2000m"), (0.25, 0.5, "1000m"), (0.75, 1.0, "3000m")):
        assert levers.apply((), [CHAT], (), [relief(cpu, memory)]) == ()
        engine, proxy = resources(server, path)
        memory_now = "16Gi" if memory == 1 else "8589934592"
        assert engine["requests"] == {"cpu": expected, "memory": memory_now, "nvidia.com/gpu": "1"}
        assert engine["limits"]["memory"] == memory_now
        assert proxy == {"requests": {"cpu": f"{round(100 * cpu)}m"}}
        assert server.ours(path) == {("spec", "containers"), ("metadata", "annotations", RESOURCES)}
        writes = len(server.writes)
        assert levers.apply((), [CHAT], (), [relief(cpu, memory)]) == ()
        assert len(server.writes) == writes
    assert levers.apply((), [CHAT]) == ()
    assert resources(server, path) == BEFORE
    assert (notes(server, path), server.ours(path)) == ({}, set())
    asked: list[str] = []
    server.before = lambda method, path: asked.append(path)
    assert levers.apply((), [CHAT]) == ()
    assert asked == []


def test_whoever_leads_next_gives_back(server: Pods, levers: PowerLevers) -> None:
    path = pod(server)
    levers.apply((), [CHAT], (), [relief()])
    again = begun(server)
    assert again.apply((), [CHAT], (), [relief()]) == ()
    assert resources(server, path)[0]["requests"]["cpu"] == "2000m"
    assert begun(server).release() == ()
    assert (resources(server, path), notes(server, path)) == (BEFORE, {})


@pytest.mark.parametrize("cut", range(5))
def test_a_process_that_ends_between_any_two_writes_leaves_nothing_wrong(server: Pods, cut: int) -> None:
    path = pod(server)
    for now, expected in (
        ([relief()], "2000m"),
        ([relief(0.25)], "1000m"),
        ([], "4"),
        ([relief(0.75)], "3000m"),
        ([], "4"),
    ):
        left = [cut]

        def ends(method: str, path: str, left: list[int] = left) -> None:
            left[0] -= method in ("PATCH", "EDIT")
            if left[0] < 0:
                raise ApiError(method, path, 400, "Gone", "the process has ended")

        server.before = ends
        begun(server).apply((), [CHAT], (), now)
        server.before = lambda method, path: None
        assert begun(server).apply((), [CHAT], (), now) == ()
        assert resources(server, path)[0]["requests"]["cpu"] == expected
    assert (notes(server, path), server.ours(path)) == ({}, set())


def test_any_order_of_reliefs_and_failures_and_restarts_gives_back_what_was(server: Pods) -> None:
    chance = random.Random(5)
    path, levers = pod(server), begun(server)

    def fails(method: str, path: str) -> None:
        if method != "GET" and chance.random() < 0.2:
            raise ApiError(method, path, 400, "Broken", "no")

    for _ in range(300):
        server.before = fails
        asked = [relief(chance.choice((0.25, 0.5, 1)), chance.choice((0.5, 1)))]
        levers.apply((), [CHAT], (), chance.choice((asked, [])))
        if chance.random() < 0.2:
            levers = begun(server)
        server.before = lambda method, path: None
        if chance.random() < 0.3:
            assert levers.apply((), [CHAT]) == ()
            assert (resources(server, path), notes(server, path)) == (BEFORE, {})


def test_marks_of_the_same_manager_neither_take_the_note_nor_are_taken_by_it(
    server: Pods, levers: PowerLevers
) -> None:
    path = pod(server)
    server.objects[path]["spec"]["nodeName"] = "hot"
    cost = "controller.kubernetes.io/pod-deletion-cost"
    for node, now in (("hot", {cost, RESOURCES}), ("cool", {RESOURCES}), ("hot", {cost, RESOURCES})):
        levers.apply([cap(1)], [CHAT], [node], [relief()])
        assert notes(server, path).keys() == now
    levers.apply([cap(1)], [CHAT], ["hot"])
    assert notes(server, path).keys() == {cost}
    levers.apply([cap(1)], [CHAT])
    writes = len(server.writes)
    levers.apply([cap(1)], [CHAT])
    assert (len(server.writes), notes(server, path)) == (writes, {})


# ---- which pods ----------------------------------------------------------------------------------


def test_only_pods_of_the_workload_and_of_reliefs_that_are_enforced_are_trimmed(
    server: Pods, levers: PowerLevers
) -> None:
    own, direct = pod(server), pod(server, "chat-0", ("StatefulSet", "chat"))
    other = pod(server, "other-abc-1", ("ReplicaSet", "other-abc"))
    for more in ({"mode": "Recommend"}, {"lever": "concurrency"}, {"cpu": 1.0}):
        assert levers.apply((), [CHAT], (), [relief(**more)]) == ()
    assert server.writes == []
    refs = (*CHAT.scaled_by, WorkloadRef("StatefulSet", "chat"))
    both = PowerWorkload("chat", SPACE, {}, refs, 2)
    assert levers.apply((), [both], (), [relief(), relief(0.25, policy="q")]) == ()
    for path in (own, direct):
        assert resources(server, path)[0]["requests"]["cpu"] == "1000m"
    assert resources(server, other) == BEFORE
    none = PowerWorkload("none", SPACE, {}, (WorkloadRef("Deployment", "none"),), 2)
    gone, unknown = levers.apply((), [none], (), [relief(workload="gone"), relief(workload="none")])
    assert "gone is to be trimmed and is not there" in gone
    assert "none has no running pod that is known as its own" in unknown
    assert resources(server, own) == BEFORE


def test_what_a_change_restarts_and_what_has_nothing_is_not_trimmed(
    server: Pods, levers: PowerLevers
) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    path = pod(server, resizePolicy=policy)
    empty = pod(server, "chat-abc-2", resources={})
    server.objects[empty]["spec"]["containers"].pop()
    (said,) = levers.apply((), [CHAT], (), [relief(0.5, 0.5)])
    assert said == f"Pod {SPACE}/chat-abc-2 has no CPU or memory that can be trimmed without a restart"
    assert resources(server, path)[0]["limits"] == ENGINE["limits"] | {"cpu": "4000m"}
    assert levers.apply((), [CHAT], (), [relief(0.5, 0.5)]) == ()


# ---- others write, too ---------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["3", "4"])
def test_what_somebody_else_gives_a_pod_stays_and_all_else_is_given_back(
    server: Pods, levers: PowerLevers, to: str
) -> None:
    path = pod(server)
    levers.apply((), [CHAT], (), [relief()])
    resized(server, path, to)
    (said,) = levers.apply((), [CHAT], (), [relief()])
    assert said == f"Pod {SPACE}/chat-abc-1 keeps the resources that somebody else gave it"
    engine, proxy = resources(server, path)
    assert (engine["requests"]["cpu"], engine["limits"]["cpu"]) == (to, "4000m")
    assert (proxy, notes(server, path)) == (BEFORE[1], {})
    writes = len(server.writes)
    assert levers.apply((), [CHAT], (), [relief()]) == ()
    assert len(server.writes) == writes
    assert levers.apply((), [CHAT]) == ()
    assert resources(server, path)[0]["requests"]["cpu"] == to


def test_a_write_in_between_is_read_again_and_then_told(server: Pods, levers: PowerLevers) -> None:
    path = pod(server)
    times = [1]

    def meddles(method: str, at: str) -> None:
        if method == "PATCH" and times[0]:
            times[0] -= 1
            server.edited(path, {"metadata": {"labels": {"n": str(times[0])}}})

    server.before = meddles
    assert levers.apply((), [CHAT], (), [relief()]) == ()
    assert resources(server, path)[0]["requests"]["cpu"] == "2000m"
    times[0] = 100
    (said,) = levers.apply((), [CHAT], (), [relief(0.25)])
    assert "is not resized: others write it all the time" in said


def test_a_pod_that_goes_meanwhile_is_no_problem(server: Pods, levers: PowerLevers) -> None:
    path = pod(server)

    def goes(method: str, at: str) -> None:
        if method == "EDIT":
            server.objects.pop(path, None)

    server.before = goes
    assert levers.apply((), [CHAT], (), [relief()]) == ()


# ---- what hinders it -----------------------------------------------------------------------------


def test_a_cluster_that_cannot_resize_is_told_of_once(server: Pods, levers: PowerLevers) -> None:
    path = pod(server)
    server.served = False
    (said,) = levers.apply((), [CHAT], (), [relief()])
    assert "the cluster has no pods/resize. It comes with 1.33" in said
    assert levers.apply((), [CHAT], (), [relief()]) == ()
    assert server.writes == []
    server.served = True
    assert levers.apply((), [CHAT], (), [relief()]) == ()
    assert resources(server, path)[0]["requests"]["cpu"] == "2000m"


@pytest.mark.parametrize(
    ("status", "message", "mend", "is_told_again"),
    [
        (422, 'Pod "a" is invalid: no', "", False),
        (403, 'cannot patch resource "pods/resize"', ". Allow its service account to patch pods", True),
        (403, "minimum cpu usage per Container is 3", "", True),
    ],
)
def test_a_pod_that_may_not_be_resized_has_no_note(
    server: Pods, levers: PowerLevers, status: int, message: str, mend: str, is_told_again: bool
) -> None:
    path, other = pod(server), pod(server, "chat-abc-2")

    def refuses(method: str, at: str) -> None:
        if at.endswith("/resize"):
            raise ApiError(method, at, status, "No", message)

    server.before = refuses
    (said,) = levers.apply((), [CHAT], (), [relief()])
    assert said.startswith(f"Pod {SPACE}/chat-abc-1 is not resized: ")
    assert said.endswith(f" (the same of 1 more in {SPACE})")
    assert ("Allow" in said) == bool(mend)
    assert mend in said
    assert bool(levers.apply((), [CHAT], (), [relief()])) == is_told_again
    assert server.writes == []
    server.before = lambda method, path: None
    levers.apply((), [CHAT])
    assert levers.apply((), [CHAT], (), [relief()]) == ()  # tried anew, as it is asked for anew
    assert [resources(server, each)[0]["requests"]["cpu"] for each in (path, other)] == ["2000m"] * 2


def test_what_its_node_refuses_is_given_back(server: Pods, levers: PowerLevers) -> None:
    path = pod(server)
    levers.apply((), [CHAT], (), [relief()])
    pending = {"type": "PodResizePending", "status": "True", "reason": "Infeasible", "message": "static CPUs"}
    server.objects[path]["status"] = {"conditions": [pending]}
    (said,) = levers.apply((), [CHAT], (), [relief()])
    assert said == f"Pod {SPACE}/chat-abc-1 is not resized: its node refuses: static CPUs"
    assert (resources(server, path), notes(server, path)) == (BEFORE, {})
    assert levers.apply((), [CHAT], (), [relief()]) == ()
    assert resources(server, path) == BEFORE


@pytest.mark.parametrize(
    "text", ["{", '{"was": {}, "wrote": {"engine/cpu": {"requests": "1"}}}', '{"was": {}, "wrote": 1}',
             '{"was": {"engine/cpu": {"requests": "x"}}, "wrote": {}}']
)  # fmt: skip
def test_a_note_that_nobody_can_read_is_told(server: Pods, levers: PowerLevers, text: str) -> None:
    path = pod(server)
    server.edited(path, {"metadata": {"annotations": {RESOURCES: text}}})
    (said,) = levers.apply((), [CHAT], (), [relief()])
    assert f"its annotation {RESOURCES} is " in said
    (said,) = levers.apply((), [CHAT])
    assert "is not given back: its annotation" in said
    assert (server.writes, resources(server, path)) == ([], BEFORE)


def test_who_does_not_lead_or_is_frozen_or_cannot_list_writes_nothing(
    server: Pods, lease: Led, levers: PowerLevers
) -> None:
    pod(server)
    (said,) = begun(server, frozen="ConfigMap x says so").apply((), [CHAT], (), [relief()])
    assert "all is frozen" in said

    def refuses(method: str, path: str) -> None:
        if path.endswith(f"{SPACE}/pods"):
            raise ApiError(method, path, 400, "No", "no")

    server.before = refuses
    (said,) = levers.apply((), [CHAT], (), [relief()])
    assert f"resources of pods in {SPACE} stay as they are" in said
    lease.term = None
    (said,) = levers.apply((), [CHAT], (), [relief()])
    assert "does not lead (other does)" in said
    assert server.writes == []
    assert MANAGER not in str(server.objects)
