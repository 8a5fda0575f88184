"""Deletion costs by heat: one's own cost can always be read from a mark."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.adapters.kubernetes.deletion_cost import DELETION_COST, LEAST
from flyball.adapters.kubernetes.power_heat import CLASSES, STEP, HotPod, chosen, classes, marks, own_cost
from flyball.adapters.kubernetes.power_original import MANAGER
from flyball.spec.power_plan import WorkloadCap

COSTS = st.none() | st.integers(-STEP // 2 + 1, STEP // 2 - 1)


def pod(name: str, node: str, cost: int | str | None, ours: bool = False) -> HotPod:
    annotations = {} if cost is None else {DELETION_COST: str(cost)}
    about: dict[str, Any] = {"name": name, "namespace": "infer", "uid": name, "annotations": annotations}
    written: dict[str, Any] = {"f:metadata": {"f:annotations": {f"f:{key}": {} for key in annotations}}}
    about["managedFields"] = [{"manager": MANAGER if ours else "kubectl", "fieldsV1": written}]
    return msgspec.convert({"metadata": about, "spec": {"nodeName": node}}, HotPod)


@given(st.lists(COSTS, min_size=1, max_size=12), st.integers(1, 12))
def test_marks_order_by_heat_and_then_by_own_cost_and_can_be_taken_back(
    costs: list[int | None], hot: int
) -> None:
    nodes = [f"n{i}" for i in range(hot)]
    pods = [pod(str(i), f"n{i}", cost) for i, cost in enumerate(costs)]
    made = {mark.pod.metadata.name: mark for mark in marks(pods, [str(i) for i in range(len(costs))], nodes)}
    assert set(made) == {str(i) for i in range(min(len(costs), hot))}
    heat = classes(nodes)
    order = sorted(made.values(), key=lambda m: m.cost or 0)
    assert [(-heat[m.pod.spec.node_name], m.pod.cost or 0) for m in order] == sorted(
        (-heat[m.pod.spec.node_name], m.pod.cost or 0) for m in made.values()
    )
    for mark in made.values():
        assert mark.cost is not None
        assert LEAST <= mark.cost < -STEP // 2
        marked = pod(mark.pod.metadata.name, mark.pod.spec.node_name, mark.cost, ours=True)
        assert own_cost(marked) == (mark.pod.cost or None)
        assert marks([marked], [marked.metadata.uid], nodes) == ()
        (back,) = marks([marked], [], nodes)
        assert (back.cost, back.is_ours) == (mark.pod.cost or None, False)


@pytest.mark.parametrize("cost", [STEP, -STEP, "much"])
def test_costs_that_are_not_ours_to_read_are_left_alone(cost: int | str) -> None:
    assert marks([pod("a", "n", cost)], ["a"], ["n"]) == ()


def test_two_of_many_hot_nodes_that_change_places_are_mostly_of_one_class() -> None:
    names = [f"n{i}" for i in range(40)]
    heat = classes(names)
    assert (heat["n0"], heat["n39"]) == (CLASSES, 1)
    assert sum(heat[a] != heat[b] for a, b in pairwise(names)) == CLASSES - 1
    assert classes(["a", "b"]) == {"a": 2, "b": 1}


def test_chosen_pods_go_before_those_on_hot_nodes_and_those_of_this_step_first() -> None:
    cap = WorkloadCap("s", 3, 2, leave=("infer/c", "infer/a"))
    first = chosen([(4, cap)])
    pods = [pod(name, f"n-{name}", None) for name in "abcd"]
    made = {m.pod.metadata.name: m.cost for m in marks(pods, list("abcd"), ["n-d", "n-a"], first)}
    assert set(made) == {"a", "c", "d"}
    assert made["c"] < made["a"] < made["d"] < 0  # type: ignore[operator]
    assert marks(pods, [], ["n-d"], first) == ()
