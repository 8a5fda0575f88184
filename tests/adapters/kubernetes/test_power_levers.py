"""Caps on an API server in memory: whose number is whose, what is given back, and what is left alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, cast

import pytest

from flyball.adapters.kubernetes.errors import ApiError, Conflict
from flyball.adapters.kubernetes.governed import DEPLOYMENT
from flyball.adapters.kubernetes.lease import Lease
from flyball.adapters.kubernetes.listing import AUTOSCALERS, SCALED_OBJECTS
from flyball.adapters.kubernetes.power_levers import PowerLevers
from flyball.adapters.kubernetes.power_original import MANAGER, ORIGINAL, PAUSED, WROTE
from flyball.spec.power import PowerWorkload, WorkloadRef
from flyball.spec.power_plan import WorkloadCap
from tests.adapters.kubernetes.power_memory import Document, Server

SPACE = "serving"


class Led:
    """A lease as others see it."""

    holder = "other"

    def __init__(self) -> None:
        self.term: int | None = 1

    def holds(self) -> bool:
        return self.term is not None


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def lease() -> Led:
    return Led()


@pytest.fixture
def levers(server: Server, lease: Led) -> Iterator[PowerLevers]:
    made = begun(server, lease)
    yield made
    made.close()


def begun(server: Server, lease: Led | None = None, frozen: str = "") -> PowerLevers:
    return PowerLevers(server.api(), cast(Lease, lease or Led()), lambda: frozen, sleep=lambda s: None)


def scaled(server: Server, most: int | None = 6, **spec: Any) -> str:
    bounds = {} if most is None else {"maxReplicaCount": most}
    metadata = spec.pop("metadata", {})
    manager = spec.pop("manager", "kubectl")
    whole = {"scaleTargetRef": {"name": "chat"}, **bounds, **spec}
    return server.make(SCALED_OBJECTS, SPACE, "chat", manager, spec=whole, metadata=metadata)


def workload(*kinds: str, **more: Any) -> PowerWorkload:
    refs = tuple(WorkloadRef(kind, "chat") for kind in ("Deployment", *kinds))
    return PowerWorkload("chat", SPACE, {"app": "chat"}, refs, **{"replicas": 5, **more})


KEDA = workload("ScaledObject")
HPA = workload("HorizontalPodAutoscaler")
PLAIN = workload(governed=False)


def cap(most: int, **more: Any) -> WorkloadCap:
    return WorkloadCap("chat", most, most, **{"mode": "Enforce", **more})


def spec_of(server: Server, path: str) -> Document:
    return dict(server.objects[path]["spec"])


def notes(server: Server, path: str) -> Document:
    return dict(server.objects[path]["metadata"].get("annotations", {}))


# ---- given and given back ------------------------------------------------------------------------


@pytest.mark.parametrize("most", [6, None])
def test_a_maximum_goes_in_steps_and_comes_back_as_it_was(
    server: Server, levers: PowerLevers, most: int | None
) -> None:
    path = scaled(server, most)
    before = spec_of(server, path)
    for step in (4, 2, 3):
        assert levers.apply([cap(step)], [KEDA]) == ()
        assert spec_of(server, path) == before | {"maxReplicaCount": step}
        assert notes(server, path)[ORIGINAL] == str(most or 100)
        assert server.owners(path, "spec", "maxReplicaCount") == {(MANAGER, "Apply")}
    assert levers.apply([], [KEDA]) == ()
    assert spec_of(server, path) == before
    assert notes(server, path) == {}
    assert server.ours(path) == set()
    if most is not None:
        assert server.owners(path, "spec", "maxReplicaCount") == {("kubectl", "Update")}


def test_nothing_is_written_where_nothing_changes(server: Server, levers: PowerLevers) -> None:
    scaled(server)
    levers.apply([cap(4)], [KEDA])
    writes = len(server.writes)
    assert levers.apply([cap(4)], [KEDA]) == ()
    assert len(server.writes) == writes == 1
    levers.apply([], [KEDA])
    writes = len(server.writes)
    levers.apply([], [KEDA])
    assert len(server.writes) == writes


@pytest.mark.parametrize(
    "more", [{"mode": "Recommend"}, {"mode": "Observe"}, {"workload": "other"}, {"most": 6}, {"most": 9}]
)
def test_what_is_not_enforced_or_does_not_bind_is_not_written(
    server: Server, levers: PowerLevers, more: dict[str, Any]
) -> None:
    scaled(server)
    fields = {"workload": "chat", "most": 2, "goal": 2, "mode": "Enforce", **more}
    levers.apply([WorkloadCap(**fields)], [KEDA])
    assert server.writes == []


def test_an_hpa_and_what_nothing_scales_are_capped_by_their_own_fields(
    server: Server, levers: PowerLevers
) -> None:
    hpa = server.make(AUTOSCALERS, SPACE, "chat", spec={"maxReplicas": 8, "minReplicas": 2})
    plain = server.make(DEPLOYMENT, SPACE, "chat", spec={"replicas": 5, "paused": False})
    (said,) = levers.apply([cap(1)], [HPA])
    assert "gets 2: its minimum is 2: lower that" in said
    assert spec_of(server, hpa) == {"maxReplicas": 2, "minReplicas": 2}
    assert levers.apply([cap(1)], [PLAIN]) == ()  # also where it was something else before
    assert spec_of(server, hpa)["maxReplicas"] == 8
    assert spec_of(server, plain) == {"replicas": 1, "paused": False}
    assert server.ours(plain) == {
        ("spec", "replicas"),
        ("metadata", "annotations", ORIGINAL),
        ("metadata", "annotations", WROTE),
    }
    assert levers.apply([], []) == ()
    assert spec_of(server, plain) == {"replicas": 5, "paused": False}
    assert server.owners(plain, "spec", "replicas") == {("kubectl", "Update")}


def test_what_the_loop_scales_itself_is_left_to_it(server: Server, levers: PowerLevers) -> None:
    server.make(DEPLOYMENT, SPACE, "chat", spec={"replicas": 5})
    assert levers.apply([cap(1)], [workload()]) == ()
    assert server.writes == []


def test_what_the_loop_only_recommends_for_is_scaled_as_what_it_does_not_govern(
    server: Server, levers: PowerLevers
) -> None:
    plain = server.make(DEPLOYMENT, SPACE, "chat", spec={"replicas": 5})
    assert levers.apply([cap(3)], [workload(wanted=5)]) == ()
    assert spec_of(server, plain) == {"replicas": 3}
    assert levers.apply([], [workload(wanted=5)]) == ()
    assert spec_of(server, plain) == {"replicas": 5}


def test_several_scalers_of_one_workload_share_its_cap(server: Server, levers: PowerLevers) -> None:
    old = server.make(SCALED_OBJECTS, SPACE, "a", spec={"maxReplicaCount": 9})
    new = server.make(SCALED_OBJECTS, SPACE, "b", spec={"maxReplicaCount": 9})
    refs = (WorkloadRef("ScaledObject", "b"), WorkloadRef("ScaledObject", "a"))
    assert levers.apply([cap(5)], [PowerWorkload("chat", SPACE, scaled_by=refs)]) == ()
    assert (spec_of(server, old)["maxReplicaCount"], spec_of(server, new)["maxReplicaCount"]) == (3, 2)


def test_of_two_caps_on_one_object_the_lower_holds(server: Server, levers: PowerLevers) -> None:
    path = scaled(server)
    other = PowerWorkload("other", SPACE, scaled_by=KEDA.scaled_by)
    caps = [cap(4), WorkloadCap("other", 2, 2, mode="Enforce"), cap(3)]
    assert levers.apply(caps, [KEDA, other]) == ()
    assert spec_of(server, path)["maxReplicaCount"] == 2


@pytest.mark.parametrize(("minimum", "asked", "written"), [(0, 0, 1), (3, 1, 3), (None, 2, 2)])
def test_it_never_goes_below_the_minimum_of_its_user(
    server: Server, levers: PowerLevers, minimum: int | None, asked: int, written: int
) -> None:
    path = scaled(server, **({} if minimum is None else {"minReplicaCount": minimum}), idleReplicaCount=0)
    said = levers.apply([cap(asked)], [KEDA])
    assert spec_of(server, path)["maxReplicaCount"] == written
    assert len(said) == (written != asked)


# ---- pause ---------------------------------------------------------------------------------------


def test_a_pause_is_no_growth_and_its_end_brings_the_users_own_back(
    server: Server, levers: PowerLevers
) -> None:
    path = scaled(server, metadata={"annotations": {PAUSED: "4", "team": "x"}})
    small = workload("ScaledObject", replicas=1)
    levers.apply([cap(3, lever="pause")], [small])
    assert notes(server, path)[PAUSED] == "1"
    assert notes(server, path)[ORIGINAL] == "4"
    levers.apply([cap(3, lever="pause")], [small])  # later it is let grow
    assert notes(server, path)[PAUSED] == "3"
    levers.apply([], [KEDA])
    assert notes(server, path) == {PAUSED: "4", "team": "x"}
    assert spec_of(server, path)["maxReplicaCount"] == 6
    assert server.ours(path) == set()


def test_what_its_user_paused_is_held_by_its_pause(server: Server, levers: PowerLevers) -> None:
    path = scaled(server, metadata={"annotations": {PAUSED: "4"}})
    assert levers.apply([cap(2)], [KEDA]) == ()
    assert (spec_of(server, path)["maxReplicaCount"], notes(server, path)[PAUSED]) == (6, "2")
    assert levers.apply([cap(3)], [KEDA]) == ()
    assert notes(server, path)[PAUSED] == "3"
    levers.apply([], [KEDA])
    assert notes(server, path) == {PAUSED: "4"}
    server.edited(path, {"metadata": {"annotations": {PAUSED: None, "autoscaling.keda.sh/paused": "true"}}})
    (said,) = levers.apply([cap(2)], [KEDA])
    assert "is paused by its user, so that KEDA heeds no maximum" in said


def test_from_one_lever_to_the_other_only_one_of_them_stays(server: Server, levers: PowerLevers) -> None:
    path = scaled(server)
    levers.apply([cap(3)], [KEDA])
    levers.apply([cap(0, lever="pause")], [KEDA])
    assert (spec_of(server, path)["maxReplicaCount"], notes(server, path)[PAUSED]) == (6, "0")
    levers.apply([cap(3)], [KEDA])
    assert spec_of(server, path)["maxReplicaCount"] == 3
    assert PAUSED not in notes(server, path)


# ---- others write, too ---------------------------------------------------------------------------


@pytest.mark.parametrize(("to", "capped", "after"), [(8, 4, 8), (3, 3, 3), (4, 4, 4), (None, 4, None)])
def test_what_its_user_writes_meanwhile_is_what_it_gets_back(
    server: Server, levers: PowerLevers, to: int | None, capped: int, after: int | None
) -> None:
    path = scaled(server)
    levers.apply([cap(4)], [KEDA])
    if to == 4:  # stated by its user with our value: both own it
        body = {"metadata": {"name": "chat"}, "spec": {"maxReplicaCount": 4}}
        server.apply(path, body, dict, "kubectl")
    else:
        server.edited(path, {"spec": {"maxReplicaCount": to}})
    assert levers.apply([cap(4)], [KEDA]) == ()
    assert spec_of(server, path)["maxReplicaCount"] == capped
    levers.apply([], [KEDA])
    assert spec_of(server, path).get("maxReplicaCount") == after
    assert server.ours(path) == set()


def test_whoever_leads_next_gives_all_back(server: Server, lease: Led, levers: PowerLevers) -> None:
    path, plain = scaled(server), server.make(DEPLOYMENT, SPACE, "batch", spec={"replicas": 5})
    other = PowerWorkload("batch", SPACE, scaled_by=(WorkloadRef("Deployment", "batch"),), governed=False)
    levers.apply([cap(2), WorkloadCap("batch", 1, 1, mode="Enforce")], [KEDA, other])
    restarted = begun(server)
    assert restarted.apply([cap(2)], [KEDA]) == ()
    assert (spec_of(server, path)["maxReplicaCount"], spec_of(server, plain)["replicas"]) == (2, 5)
    again = begun(server)
    assert again.release() == ()
    assert spec_of(server, path)["maxReplicaCount"] == 6


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_process_that_ends_between_any_two_requests_leaves_nothing_wrong(server: Server, cut: int) -> None:
    path, plain = scaled(server), server.make(DEPLOYMENT, SPACE, "batch", spec={"replicas": 5})
    other = PowerWorkload("batch", SPACE, scaled_by=(WorkloadRef("Deployment", "batch"),), governed=False)
    caps = [cap(2), WorkloadCap("batch", 1, 1, mode="Enforce")]
    step = [cap(3), WorkloadCap("batch", 2, 2, mode="Enforce")]
    for now, expected in ((caps, (2, 1)), (step, (3, 2)), ([], (6, 5))):
        left = [cut]

        def ends(method: str, path: str, left: list[int] = left) -> None:
            left[0] -= method != "GET"
            if left[0] < 0:
                raise ApiError(method, path, 400, "Gone", "the process has ended")

        server.before = ends
        begun(server).apply(now, [KEDA, other])
        server.before = lambda method, path: None
        begun(server).apply(now, [KEDA, other])
        assert (spec_of(server, path)["maxReplicaCount"], spec_of(server, plain)["replicas"]) == expected
    assert server.ours(path) == server.ours(plain) == set()
    assert notes(server, path) == notes(server, plain) == {}


def test_a_write_in_between_is_read_again_and_then_told(server: Server, levers: PowerLevers) -> None:
    path = scaled(server)
    times = [1]

    def meddles(method: str, at: str) -> None:
        if method == "APPLY" and times[0]:
            times[0] -= 1
            server.edited(path, {"metadata": {"labels": {"n": str(times[0])}}})

    server.before = meddles
    assert levers.apply([cap(4)], [KEDA]) == ()
    assert spec_of(server, path)["maxReplicaCount"] == 4
    times[0] = 100
    (said,) = levers.apply([cap(3)], [KEDA])
    assert "is not capped to 3 replicas: others write it all the time" in said


@pytest.mark.parametrize(
    ("metadata", "manager", "tool"),
    [
        (
            {"annotations": {"argocd.argoproj.io/tracking-id": "a:keda.sh/ScaledObject:serving/chat"}},
            "x",
            "Argo CD",
        ),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, "x", "Flux"),
        ({"labels": {"helm.toolkit.fluxcd.io/name": "apps"}}, "x", "Flux"),
        ({}, "argocd-controller", "Argo CD"),
        ({}, "kustomize-controller", "Flux"),
    ],
)
def test_what_git_keeps_is_left_to_it_which_is_said_once(
    server: Server, levers: PowerLevers, metadata: Document, manager: str, tool: str
) -> None:
    scaled(server, metadata=metadata, manager=manager)
    (said,) = levers.apply([cap(4)], [KEDA])
    assert f"ScaledObject {SPACE}/chat is left as it is: {tool}" in said
    assert "Set maxReplicaCount to 4 there" in said
    assert levers.apply([cap(3)], [KEDA]) == ()
    assert server.writes == []


def test_what_git_takes_over_is_given_back(server: Server, levers: PowerLevers) -> None:
    path = scaled(server)
    levers.apply([cap(4)], [KEDA])
    server.edited(path, {"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}})
    levers.apply([cap(4)], [KEDA])
    assert spec_of(server, path)["maxReplicaCount"] == 6
    assert server.ours(path) == set()


# ---- what hinders it -----------------------------------------------------------------------------


def test_what_is_gone_forbidden_or_unreadable_is_told_and_the_rest_is_done(
    server: Server, levers: PowerLevers
) -> None:
    path = scaled(server)
    batch = server.make(SCALED_OBJECTS, SPACE, "batch", spec={"maxReplicaCount": 6})
    broken = server.make(
        SCALED_OBJECTS, SPACE, "broken", spec={"maxReplicaCount": 6}, metadata={"annotations": {WROTE: "{"}}
    )
    names = ("chat", "batch", "broken", "gone")
    known = [PowerWorkload(n, SPACE, scaled_by=(WorkloadRef("ScaledObject", n),)) for n in names]
    caps = [WorkloadCap(n, 2, 2, mode="Enforce") for n in names]

    def forbids(method: str, at: str) -> None:
        if method == "APPLY" and at == batch:
            raise ApiError(method, at, 403, "Forbidden", "no")

    server.before = forbids
    said = sorted(levers.apply(caps, known))
    assert spec_of(server, path)["maxReplicaCount"] == 2
    assert spec_of(server, broken)["maxReplicaCount"] == 6
    assert len(said) == 3
    assert "Allow its service account to get and patch scaledobjects.keda.sh" in said[0]
    assert f"{WROTE} is '{{', which cannot be read" in said[1]
    assert "gone is gone" in said[2]


def test_who_does_not_lead_or_is_frozen_writes_nothing(
    server: Server, lease: Led, levers: PowerLevers
) -> None:
    scaled(server)
    lease.term = None
    (said,) = levers.apply([cap(4)], [KEDA])
    assert "does not lead (other does)" in said
    (said,) = begun(server, frozen="ConfigMap x says so").apply([cap(4)], [KEDA])
    assert "all is frozen, ConfigMap x says so" in said
    assert server.writes == []


def test_without_caps_nothing_is_asked_for(server: Server, levers: PowerLevers) -> None:
    scaled(server)
    assert levers.apply([], [KEDA], ["hot"]) == ()  # looks once for what is there from before
    asked: list[str] = []
    server.before = lambda method, path: asked.append(path)
    assert levers.apply([cap(2, mode="Recommend")], [KEDA], ["hot"]) == ()
    assert asked == []


def test_leading_that_ends_half_way_ends_the_writes(server: Server, lease: Led, levers: PowerLevers) -> None:
    scaled(server)

    def loses(method: str, path: str) -> None:
        if path.endswith("/chat"):
            lease.term = None

    server.before = loses
    (said,) = levers.apply([cap(4)], [KEDA])
    assert "no longer leads" in said
    assert server.writes == []


def test_any_order_of_caps_edits_and_restarts_gives_back_what_its_user_wrote_last(server: Server) -> None:
    chance = random.Random(7)
    path, user = scaled(server, 6), 6
    levers = begun(server)
    for _ in range(400):
        what = chance.choice(("cap", "pause", "free", "edit", "restart"))
        if what in ("cap", "pause"):
            most = chance.randrange(8)
            levers.apply([cap(most, lever="pause" if what == "pause" else "replicas")], [KEDA])
            assert spec_of(server, path)["maxReplicaCount"] <= user
            if what == "cap":
                assert spec_of(server, path)["maxReplicaCount"] == min(user, max(most, 1))
        elif what == "free":
            levers.apply([], [KEDA])
            assert spec_of(server, path)["maxReplicaCount"] == user
            assert server.ours(path) == set()
            assert notes(server, path) == {}
        elif what == "edit":
            user = chance.randrange(1, 10)
            server.edited(path, {"spec": {"maxReplicaCount": user}})
            # What is written with our own value over ours changes nothing, and nobody can tell.
            if not server.owners(path, "spec", "maxReplicaCount") - {(MANAGER, "Apply")}:
                user = 10
                server.edited(path, {"spec": {"maxReplicaCount": user}})
        else:
            levers = begun(server)


def test_conflicts_of_pods_and_of_their_names_are_no_problem(server: Server, levers: PowerLevers) -> None:
    def moves(method: str, path: str) -> None:
        if method == "APPLY" and "/pods/" in path:
            raise Conflict(method, path, 409, "Conflict", "another uid")

    scaled(server)
    pod(server, "chat-abc-1", "hot")
    server.before = moves
    assert levers.apply([cap(4)], [KEDA], ["hot"]) == ()


# ---- pods ----------------------------------------------------------------------------------------


def pod(server: Server, name: str, node: str, cost: str | None = None, owner: str = "chat-abc") -> str:
    from flyball.adapters.kubernetes.deletion_cost import DELETION_COST
    from flyball.adapters.kubernetes.listing import PODS

    about: Document = {
        "labels": {"app": "chat", "pod-template-hash": owner.rpartition("-")[2]},
        "ownerReferences": [{"kind": "ReplicaSet", "name": owner, "controller": True, "uid": "u"}],
    }
    if cost is not None:
        about["annotations"] = {DELETION_COST: cost}
    return server.make(PODS, SPACE, name, metadata=about, spec={"nodeName": node})


def cost_of(server: Server, path: str) -> str | None:
    found = notes(server, path).get("controller.kubernetes.io/pod-deletion-cost")
    return None if found is None else str(found)


def test_pods_on_hot_nodes_go_first_and_have_their_own_cost_again(
    server: Server, levers: PowerLevers
) -> None:
    scaled(server)
    hottest, hot = pod(server, "a", "n1"), pod(server, "b", "n2", "7")
    cool, other = pod(server, "c", "n3"), pod(server, "d", "n1", owner="chat-two-abc")
    assert levers.apply([cap(3)], [KEDA], ["n1", "n2"]) == ()
    first, second = (int(cost_of(server, path) or 0) for path in (hottest, hot))
    assert first < second < 0
    assert cost_of(server, cool) is None
    assert cost_of(server, other) is None
    assert server.ours(hot) == {("metadata", "annotations", "controller.kubernetes.io/pod-deletion-cost")}
    writes = len(server.writes)
    levers.apply([cap(3)], [KEDA], ["n1", "n2"])
    assert len(server.writes) == writes
    levers.apply([], [KEDA], ["n1", "n2"])
    assert (cost_of(server, hottest), cost_of(server, hot)) == (None, "7")
    levers.apply([cap(3)], [KEDA], ["n1", "n2"])
    levers.apply([cap(3)], [KEDA], ["n2"])  # one has cooled down
    assert cost_of(server, hottest) is None
    assert begun(server).apply([], [KEDA], ["n2"]) == ()
    assert cost_of(server, hot) == "7"
    assert server.ours(hot) == server.ours(hottest) == set()
