"""The checks of `flyball doctor` on clusters that are only written down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from flyball.adapters.kubernetes.assemble import Assembler, Rules
from flyball.adapters.kubernetes.candidates import candidates_of
from flyball.adapters.kubernetes.governed import Cluster
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.kubernetes.lease import Holder
from flyball.adapters.kubernetes.listing import Listing
from flyball.adapters.kubernetes.nodes import Pool
from flyball.adapters.kubernetes.rights import OPTIONAL, READ
from flyball.adapters.prometheus.figures import Histogram, Metrics, PodFigures
from flyball.adapters.prometheus.mapping import shipped_names
from flyball.commands import doctor_checks, doctor_metrics
from flyball.report.checks import Check
from flyball.testing.cluster import listing, lone_pod, node, pod_of, scaler, workload

LIBRARY = Library()


def read(*deployments: Any, nodes: Iterable[Any] | None = None, **more: Any) -> tuple[Cluster, Listing, Pool]:
    """A cluster with one node of 8 H100."""
    listed = listing(deployments, more.pop("pods", ()), [node()] if nodes is None else nodes, **more)
    pool = Pool(listed.nodes or (), LIBRARY.card_type)
    return Assembler(LIBRARY, Rules(mode="act")).cluster(listed), listed, pool


def of(checks: Iterable[Check], state: str) -> list[Check]:
    return [one for one in checks if one.state == state]


def test_a_workload_that_lacks_nothing_is_well() -> None:
    cluster, listed, _ = read(workload())
    (check,) = doctor_checks.workloads(cluster, listed)
    assert check.state == "ok"
    assert "Qwen/Qwen3-8B on H100 in class Free" in check.said


def test_a_model_that_nobody_knows_is_missing_with_the_annotation_that_names_one() -> None:
    cluster, listed, _ = read(workload(args=("serve", "acme/unheard-of")))
    (check,) = of(doctor_checks.workloads(cluster, listed), "missing")
    assert "acme/unheard-of" in check.said
    assert "kubectl annotate deployment chat -n infer --overwrite flyball.dev/model=NAME" in check.mend


def test_a_class_that_nobody_knows_is_missing_with_those_that_there_are() -> None:
    cluster, listed, _ = read(workload(labels={"inferno.server.class": "Gold"}))
    (check,) = of(doctor_checks.workloads(cluster, listed), "missing")
    assert "Gold promises nothing" in check.said
    assert "Free" in check.said
    assert "kubectl label deployment chat -n infer --overwrite inferno.server.class=CLASS" in check.mend


def test_pods_that_end_badly_are_mended_by_one_patch() -> None:
    chat = workload()
    pod = chat["spec"]["template"]["spec"]
    del pod["containers"][0]["lifecycle"]
    pod["terminationGracePeriodSeconds"] = 30
    cluster, listed, _ = read(chat)
    found = of(doctor_checks.workloads(cluster, listed), "warning")
    assert len(found) == 2
    (mend,) = [one.mend for one in found if one.mend]
    assert (
        'kubectl patch deployment chat -n infer -p \'{"spec":{"template":{"spec":'
        '{"terminationGracePeriodSeconds":120,"containers":[{"name":"engine","lifecycle":'
        '{"preStop":{"sleep":{"seconds":15}}}}]}}}}\'' in mend
    )


def test_a_template_without_cards_is_told() -> None:
    cluster, listed, _ = read(
        workload(resources={}, labels={"inferno.server.allocation.accelerator": "H100"})
    )
    assert any("asks for no cards" in one.said for one in doctor_checks.workloads(cluster, listed))


@pytest.mark.parametrize(("mode", "state"), [("act", "missing"), ("recommend", "warning")])
def test_an_autoscaler_beside_is_in_the_way_only_where_flyball_acts(mode: str, state: str) -> None:
    chat = workload(annotations={"flyball.dev/mode": mode})
    cluster, listed, _ = read(chat, autoscalers=[scaler("chat")])
    (check,) = doctor_checks.workloads(cluster, listed)
    assert check.state == state
    assert "kubectl delete hpa scales-chat -n infer" in check.mend


def test_nodes_are_counted_by_card_and_those_without_a_label_are_named() -> None:
    _, listed, pool = read(nodes=[node(), node("h100-2"), node("dark", product="")])
    found = doctor_checks.nodes(listed, pool)
    assert [(one.state, one.said) for one in found[:1]] == [("ok", "2 nodes with 16 H100 cards")]
    (check,) = of(found, "warning")
    assert check.mend == "kubectl label node dark flyball.dev/accelerator=H100"


def test_nodes_that_are_all_unknown_or_without_cards_are_missing() -> None:
    _, listed, pool = read(nodes=[node("dark", product="")])
    assert [one.state for one in doctor_checks.nodes(listed, pool)] == ["missing"]
    _, listed, pool = read(nodes=[node("plain", cards=0)])
    (check,) = doctor_checks.nodes(listed, pool)
    assert check.state == "missing"
    assert "none of 1 node has cards" in check.said


def test_what_looks_like_a_model_server_is_offered_with_its_label() -> None:
    plain = workload("site", args=("run",), resources={})
    plain["spec"]["template"]["spec"]["containers"][0] |= {"image": "nginx", "command": ["nginx"]}
    trainer = workload("trainer", args=("train.py",))
    trainer["spec"]["template"]["spec"]["containers"][0] |= {"image": "pytorch", "command": ["python"]}
    found = candidates_of(listing([workload(), plain, trainer]).workloads)
    assert [one.name for one in found] == ["chat"]
    cluster, _, _ = read()
    (check,) = doctor_checks.governed(cluster, found)
    assert check.state == "missing"
    assert check.mend == (
        "kubectl label deployment chat -n infer inferno.server.managed=true inferno.server.class=Free"
    )
    cluster, _, _ = read(workload("code"))
    assert not of(doctor_checks.governed(cluster, found), "missing")


@pytest.mark.parametrize(("taken", "fits"), [(0, 8), (5, 3), (8, 0)])
def test_capacity_is_what_a_node_has_free(taken: int, fits: int) -> None:
    chat = workload()
    pods = [lone_pod("other", "h100-1", taken)] if taken else []
    cluster, listed, pool = read(chat, pods=pods)
    (check,) = doctor_checks.capacity(cluster, listed, pool)
    assert check.state == ("ok" if fits else "warning")
    assert (f"{fits} replica" in check.said) is bool(fits)


def test_cards_on_different_nodes_make_no_replica_together() -> None:
    chat = workload(resources={"nvidia.com/gpu": "4"})
    nodes = [node("a", cards=4), node("b", cards=4)]
    pods = [lone_pod("x", "a", 2), lone_pod("y", "b", 2)]
    cluster, listed, pool = read(chat, nodes=nodes, pods=pods)
    (check,) = doctor_checks.capacity(cluster, listed, pool)
    assert check.state == "warning"
    assert "no node has 4 H100 cards free (4 are" in check.said


def test_rights_that_only_show_more_are_warnings() -> None:
    found = doctor_checks.rights({READ[0]: ("list",), OPTIONAL[0]: ("list",)}, 14, "you")
    assert [one.state for one in found] == ["missing", "warning"]
    assert "you may not list deployments.apps in all namespaces" in found[0].said
    assert doctor_checks.rights({}, 14, "you")[0].state == "ok"


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        (None, None, "warning"),
        (Holder("a", "1"), Holder("", "2"), "warning"),
        (Holder("a", "1"), Holder("a", "2"), "ok"),
        (Holder("a", "1"), Holder("b", "2"), "ok"),
        (None, Holder("a", "1"), "ok"),
        (Holder("a", "1"), Holder("a", "1"), "missing"),
    ],
)
def test_a_loop_lives_that_renews_its_lease(before: Holder | None, after: Holder | None, state: str) -> None:
    assert doctor_checks.lease("flyball", before, after, 3.0).state == state


def figures(name: str = "chat-7d9f-0", **changes: Any) -> PodFigures:
    some = Histogram((1.0,), (1.0, 1.0), 1.0)
    return PodFigures("infer", name, age=3.0, finished=1.0, ttft=some, **changes)


@pytest.mark.parametrize(
    ("pods", "state", "said"),
    [
        ([figures()], "ok", "metrics of all 1 pods"),
        ([], "missing", "knows none of its 1 ready pods"),
        ([figures("other-7d9f-0")], "missing", "knows none"),
        ([PodFigures("infer", "chat-7d9f-0", age=90.0, finished=1.0)], "missing", "90 s old"),
        ([PodFigures("infer", "chat-7d9f-0", age=3.0)], "missing", "no rate of vllm:request_success_total"),
        ([PodFigures("infer", "chat-7d9f-0", age=3.0, finished=1.0)], "warning", "time_to_first_token"),
        ([PodFigures("infer", "chat-7d9f-0", age=3.0, fresh=True)], "ok", "metrics of all"),
    ],
)
def test_metrics_of_a_workload(pods: list[PodFigures], state: str, said: str) -> None:
    chat = workload()
    cluster, _, _ = read(chat, pods=[pod_of(chat)])
    metrics = Metrics(0.0, 60.0, {pod.key: pod for pod in pods})
    (check,) = doctor_metrics.workloads(cluster, metrics, shipped_names())
    assert check.state == state
    assert said in check.said


def test_without_prometheus_a_service_of_that_name_is_offered() -> None:
    cluster, _, _ = read(workload())
    check = doctor_metrics.without(cluster, ("prometheus-k8s.monitoring:9090",))
    assert check.state == "warning"
    assert "kubectl port-forward -n monitoring service/prometheus-k8s 9090:9090" in check.mend
