"""From orders to workloads, without a cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.adapters.kubernetes.deletion_cost import deletion_costs
from flyball.adapters.kubernetes.governed import STATEFUL_SET, PodState
from flyball.adapters.kubernetes.labels import ACCELERATOR, BATCH
from flyball.adapters.kubernetes.targets import change_of, permitted, targets_of
from tests.adapters.kubernetes.governing import cluster, order, workload


def test_what_is_absent_from_the_orders_is_left_alone() -> None:
    here = cluster(workload("chat"), workload("code"))
    targets, said = targets_of(here, [order("chat", 3)])
    assert [(one.workload.server, one.replicas) for one in targets] == [("chat", 3)]
    assert said == ()


def test_nothing_differs_where_the_orders_are_what_is_there() -> None:
    labels = {ACCELERATOR: "H100", BATCH: "64"}
    here = cluster(workload(replicas=2, labels=labels, pinned=False), workload("code", replicas=1))
    targets, _ = targets_of(here, [order("chat", 2, batch=64), order("code", 1, batch=32)])
    assert [one.differs for one in targets] == [False, False]


def test_min_and_max_hold_and_are_said() -> None:
    here = cluster(workload("a", least=2), workload("b", most=4))
    targets, said = targets_of(here, [order("a", 0), order("b", 9)])
    assert [one.replicas for one in targets] == [2, 4]
    assert "flyball.dev/min is 2" in said[0]
    assert "flyball.dev/max is 4" in said[1]


def test_a_workload_that_pins_nothing_changes_its_accelerator_by_label() -> None:
    here = cluster(workload(accelerator="A100", replicas=3, labels={ACCELERATOR: "A100"}, pinned=False))
    (target,), said = targets_of(here, [order("chat", 2, "H100", 48), order("chat", 0, "A100")])
    assert target.labels == {ACCELERATOR: "H100", BATCH: "48"}
    assert (target.accelerator, target.replicas, said) == ("H100", 2, ())
    assert change_of(target) == "3 to 2 replicas on A100 to H100, batch 48"


def test_a_hand_over_within_one_workload_never_shrinks_what_serves() -> None:
    here = cluster(workload(accelerator="A100", replicas=4, pinned=False))
    (target,), _ = targets_of(here, [order("chat", 4, "A100"), order("chat", 1, "H100")])
    assert (target.accelerator, target.replicas) == ("H100", 4)


def test_pinned_workloads_keep_their_labels_and_have_no_other_accelerator() -> None:
    here = cluster(workload(accelerator="A100", labels={ACCELERATOR: "A100", BATCH: "8"}))
    (target,), said = targets_of(here, [order("chat", 2, "A100", 16), order("chat", 1, "H100")])
    assert target.labels == {BATCH: "16"}
    assert "there is no workload of it on H100" in said[0]
    (target,), said = targets_of(cluster(workload(accelerator="A100")), [order("chat", 2, "A100", 16)])
    assert target.labels == {}


def test_two_workloads_of_one_server_on_one_accelerator_are_not_guessed_about() -> None:
    here = cluster(workload(), workload(name="other"))
    targets, said = targets_of(here, [order("chat", 5)])
    assert targets == ()
    assert "both serve it on H100" in said[0]


@pytest.mark.parametrize("mode", ["recommend", "gauge", "keda", "freeze"])
def test_only_mode_act_is_written(mode: str) -> None:
    targets, _ = targets_of(cluster(workload(mode=mode)), [order("chat", 5)])
    allowed, said = permitted(targets)
    assert allowed == ()
    assert f"mode {mode}" in said[0]
    assert "2 to 5 replicas on H100" in said[0]


def test_what_somebody_else_scales_is_refused_only_where_it_would_differ() -> None:
    owned = workload(owner="HorizontalPodAutoscaler chat-hpa")
    targets, _ = targets_of(cluster(owned), [order("chat", 5)])
    allowed, said = permitted(targets)
    assert allowed == ()
    assert "HorizontalPodAutoscaler chat-hpa writes its replicas" in said[0]
    targets, _ = targets_of(cluster(owned), [order("chat", 2)])
    assert permitted(targets) == ((), ())


def pods(*busy: float | None, pending: int = 0) -> tuple[tuple[PodState, ...], dict[str, float]]:
    ready = tuple(PodState(f"p{i}", "ready") for i in range(len(busy)))
    known = {f"serving/p{i}": share for i, share in enumerate(busy) if share is not None}
    return ready + tuple(PodState(f"q{i}", "pending") for i in range(pending)), known


def test_the_idlest_pods_go_first_and_the_unknown_count_as_busy() -> None:
    all_of, busy = pods(0.9, 0.0, None, 0.1)
    costs = deletion_costs(workload(replicas=4, pods=all_of), 2, busy)
    assert costs == {"p1": -1, "p3": -1}


def test_pending_pods_go_by_themselves() -> None:
    all_of, busy = pods(0.9, 0.0, pending=2)
    assert deletion_costs(workload(replicas=4, pods=all_of), 2, busy) == {}
    assert deletion_costs(workload(replicas=4, pods=all_of), 1, busy) == {"p1": -1}


def test_nothing_is_marked_where_it_would_change_nothing() -> None:
    all_of, busy = pods(0.5, 0.5, 0.5)
    assert deletion_costs(workload(replicas=3, pods=all_of), 1, busy) == {}
    assert deletion_costs(workload(replicas=3, pods=all_of), 0, {"serving/p0": 0.1}) == {}
    assert deletion_costs(workload(replicas=3, pods=all_of, kind=STATEFUL_SET), 1, {"serving/p0": 0.1}) == {}
    marked = (PodState("p0", "ready", deletion_cost=-5), *all_of[1:])
    assert deletion_costs(workload(replicas=3, pods=marked), 2, {"serving/p0": 0.1}) == {}


@given(
    st.lists(st.tuples(st.integers(0, 10), st.integers(-3, 3)), min_size=2, max_size=12),
    st.integers(0, 12),
)
def test_after_marking_the_controller_takes_exactly_the_idlest(
    given: list[tuple[int, int]], left: int
) -> None:
    left = min(left, len(given))
    states = tuple(PodState(f"p{i:02}", "ready", deletion_cost=cost) for i, (_, cost) in enumerate(given))
    busy = {f"serving/p{i:02}": share / 10 for i, (share, _) in enumerate(given)}
    marks = deletion_costs(workload(replicas=len(given), pods=states), left, busy)
    cost = {pod.name: marks.get(pod.name, pod.deletion_cost or 0) for pod in states}
    going = sorted(cost, key=lambda name: cost[name])[: len(given) - left]
    share = sorted(busy[f"serving/{name}"] for name in going)
    assert share == sorted(busy.values())[: len(given) - left]
