"""When a workload is rolled over: what asks for it, what is in its way, and one at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flyball.adapters.kubernetes.assemble import Assembler, Rules, observe
from flyball.adapters.kubernetes.governed import Cluster, Kind
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.kubernetes.labels import ACCELERATOR, BATCH
from flyball.adapters.kubernetes.rollout import ROLLED
from flyball.adapters.kubernetes.targets import change_of, one_rollout, permitted, targets_of
from flyball.spec.server import Server
from flyball.testing.cluster import H100, NOW, Object, listing, node, pod_of, scaler, workload
from tests.adapters.kubernetes.governing import order

A100 = "NVIDIA-A100-SXM4-80GB"
KEY = "nvidia.com/gpu.product"
FLAG = "--max-num-seqs"
ARGS = ("serve", "Qwen/Qwen3-8B", FLAG, "64")
TWO = ("serve", "Qwen/Qwen3-8B", "--tensor-parallel-size", "2")
NODES = (node("h100-1"), node("a100-1", A100))
APPLY = {"flyball.dev/batch": "apply"}
MOVE = {"flyball.dev/accelerator": "apply"}


def one(name: str = "chat", replicas: int = 4, **more: Any) -> Object:
    spec = more.pop("strategy", None)
    fields: Object = {"args": ARGS, "annotations": APPLY, "spec": {"nodeSelector": {KEY: H100}}}
    made = workload(name, replicas=replicas, **(fields | more))
    if spec:
        made["spec"]["strategy"] = spec
    return made


def seen(*deployments: Object, nodes: Any = NODES, kinds: Any = None, **more: Any) -> Cluster:
    pods = more.pop("pods", None)
    if pods is None:
        pods = [pod_of(d, n, f"h100-{n % 2}") for d in deployments for n in range(d["spec"]["replicas"])]
    assembler = Assembler(Library(), Rules(mode="act", hold=more.pop("hold", 1800.0)))
    return assembler.cluster(listing(deployments, pods, nodes, **more))


def server(cluster: Cluster, name: str = "chat") -> Server:
    return next(s for s in cluster.fleet.servers if s.name == name)


def test_a_batch_is_the_flag_and_the_label_that_is_there_says_the_same() -> None:
    here = seen(one(labels={BATCH: "32"}))
    assert server(here).max_batch_size == 0, "the plan chooses"
    assert here.governed[0].max_batch_size == 64, "a label is no engine"
    (target,), said = targets_of(here, [order("chat", 4, batch=96)])
    assert target.rollout is not None
    assert (target.rollout.labels, target.labels, said) == ({BATCH: "96"}, {}, ())
    assert change_of(target) == f"4 replicas on H100, args {FLAG} 64 to 96, which restarts its pods"
    assert target.grows
    assert target.differs


def test_without_the_annotation_the_template_is_nobodys() -> None:
    here = seen(one(annotations={}))
    assert server(here).max_batch_size == 64
    assert here.governed[0].rolling is None
    (target,), _ = targets_of(here, [order("chat", 4, batch=96)])
    assert not target.differs


@pytest.mark.parametrize(("batch", "rolls"), [(64, False), (76, False), (77, True), (52, False), (51, True)])
def test_less_than_a_fifth_is_not_worth_it(batch: int, rolls: bool) -> None:
    (target,), said = targets_of(seen(one()), [order("chat", 4, batch=batch)])
    assert (target.rollout is not None, target.differs, said) == (rolls, rolls, ())


def test_it_never_shrinks_in_the_same_cycle() -> None:
    (target,), _ = targets_of(seen(one()), [order("chat", 2, batch=96)])
    assert (target.replicas, target.rollout is not None) == (4, True)
    (target,), _ = targets_of(seen(one()), [order("chat", 6, batch=96)])
    assert (target.replicas, target.rollout is not None) == (6, True)
    limited = seen(one(annotations=APPLY | {"flyball.dev/max": "3"}))
    (target,), said = targets_of(limited, [order("chat", 4, batch=96)])
    assert (target.replicas, target.rollout) == (3, None)
    assert "it is to have 3 replicas first" in said[-1]


def rolled(ago: float) -> dict[str, str]:
    return APPLY | {ROLLED: datetime.fromtimestamp(NOW - ago, UTC).isoformat()}


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ({"annotations": rolled(1799)}, {}, "it was rolled over 1799 s ago, and is left for 1800 s"),
        ({"annotations": rolled(-60)}, {}, "it was rolled over 0 s ago"),
        ({"annotations": rolled(1801)}, {}, ""),
        ({"annotations": APPLY | {ROLLED: "soon"}}, {}, 'is "soon" and no time: remove it'),
        ({}, {"updatedReplicas": 3}, "under way"),
        ({}, {"observedGeneration": 0}, "under way"),
        ({}, {"replicas": 5}, "under way"),
        ({"strategy": {"type": "Recreate"}}, {}, "its strategy is Recreate: set RollingUpdate"),
        ({"strategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}, {}, "leaves none of its 4"),
        ({"strategy": {"rollingUpdate": {"maxUnavailable": 3, "maxSurge": 0}}}, {}, ""),
        ({"replicas": 1}, {}, ""),
        ({"replicas": 1, "strategy": {"rollingUpdate": {"maxUnavailable": 1}}}, {}, "leaves none of its 1"),
        ({"replicas": 1, "strategy": {"rollingUpdate": {"maxSurge": 0}}}, {}, "leaves none of its 1"),
    ],
)
def test_what_is_in_its_way(more: dict[str, Any], status: dict[str, int], said: str) -> None:
    made = one(**more)
    made["status"] |= status
    here = seen(made)
    (governed,) = here.governed
    assert governed.rolling is not None
    assert said in governed.rolling.refused
    assert bool(said) == bool(governed.rolling.refused)
    # What cannot be changed now is planned with as it is.
    assert server(here).max_batch_size == (64 if said else 0)
    (target,), _ = targets_of(here, [order("chat", governed.replicas, batch=96)])
    assert (target.rollout is None) == bool(said)


def test_only_obstacles_that_stay_are_told_in_every_cycle() -> None:
    assert not any("template" in note for note in seen(one(annotations=rolled(5))).notes)
    (note,) = [n for n in seen(one(strategy={"type": "Recreate"})).notes if "template" in n]
    assert note.startswith("Deployment infer/chat: its template is left as it is: its strategy is Recreate")
    (note,) = [n for n in seen(one(args=("-c", "vllm serve Qwen/Qwen3-8B"))).notes if "batch" in n]
    assert "its batch is not set: a shell starts it, without --max-num-seqs" in note
    here = seen(one(), autoscalers=[scaler("chat")])
    assert "HorizontalPodAutoscaler infer/scales-chat writes it too" in here.governed[0].rolling.refused  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("strategy", "replicas", "said"),
    [
        ({}, 3, ""),
        ({}, 1, "leaves none of its 1 to serve meanwhile: have another replica"),
        ({"type": "OnDelete"}, 3, "its strategy is OnDelete"),
        ({"rollingUpdate": {"partition": 2}}, 3, "its partition is 2"),
    ],
)
def test_stateful_sets_have_rules_of_their_own(strategy: Object, replicas: int, said: str) -> None:
    made = one(replicas=replicas)
    made["spec"]["updateStrategy"] = strategy
    here = seen(stateful_sets=[made])
    rolling = here.governed[0].rolling
    assert rolling is not None
    assert said in rolling.refused
    assert bool(said) == bool(rolling.refused)


def test_other_kinds_are_left_to_their_controllers() -> None:
    kind = Kind("workload.example.com", "v1", "servings", "Serving")
    made = one()
    made["spec"]["strategy"] = "whatever"
    (governed,) = seen(others={kind: [made]}, pods=()).governed
    assert "only templates of Deployments and StatefulSets" in governed.rolling.refused  # type: ignore[union-attr]


def test_replicas_that_are_short_come_first() -> None:
    made = one()
    ready = [pod_of(made, n) for n in range(3)]
    (target,), said = targets_of(seen(made, pods=ready), [order("chat", 4, batch=96)])
    assert target.rollout is None
    change = f"args {FLAG} 64 to 96, which restarts its pods"
    assert said == (f"Deployment infer/chat keeps its template ({change}): 3 of its 4 replicas are ready",)


def test_a_move_that_must_wait_asks_for_nothing_in_its_place() -> None:
    made = one(annotations=MOVE)
    ready = [pod_of(made, n) for n in range(3)]
    (target,), said = targets_of(seen(made, pods=ready), [order("chat", 4), order("chat", 9, "A100")])
    assert (target.accelerator, target.replicas, target.differs) == ("H100", 4, False)
    assert "3 of its 4 replicas are ready" in said[0]


def test_a_replica_more_needs_a_card() -> None:
    nodes = [node("h100-1", cards=4), node("a100-1", A100)]
    pods = [pod_of(one(), n) for n in range(4)]
    (target,), said = targets_of(seen(one(), nodes=nodes, pods=pods), [order("chat", 4, batch=96)])
    assert target.rollout is not None, "one of the four is taken away first"
    surge = one(strategy={"rollingUpdate": {"maxUnavailable": 0}})
    (target,), said = targets_of(seen(surge, nodes=nodes, pods=pods), [order("chat", 4, batch=96)])
    assert target.rollout is None
    assert "a replica more takes 1 H100, 0 are free" in said[0]


def test_other_cards_are_a_nodes_label_in_the_selector() -> None:
    here = seen(one(annotations=MOVE | APPLY, labels={ACCELERATOR: "H100"}))
    assert server(here).accelerators == ("A100", "H100")
    (target,), said = targets_of(here, [order("chat", 4, "H100"), order("chat", 2, "A100", 128)])
    assert said == ()
    assert (target.accelerator, target.replicas) == ("A100", 4)
    assert target.rollout is not None
    assert target.rollout.labels == {ACCELERATOR: "A100"}
    assert target.rollout.said == (
        f"args {FLAG} 64 to 128, nodeSelector {KEY} {H100} to {A100}, which restarts its pods"
    )
    assert target.rollout.found.selector == {KEY: H100}


def test_while_it_must_wait_no_other_cards_are_candidates() -> None:
    here = seen(one(annotations=MOVE | rolled(60)))
    assert server(here).accelerators == ("H100",)
    (target,), said = targets_of(here, [order("chat", 4, "H100"), order("chat", 2, "A100")])
    assert (target.accelerator, target.differs) == ("H100", False)
    assert "there is no workload of it on A100" in said[0]


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ((node("h100-1"), node("a100-1", A100, unschedulable=True)), ""),
        ((node("h100-1"), node("a100-1", A100, taints=[{"key": "own", "effect": "NoSchedule"}])), ""),
        ((node("h100-1"), node("a100-1", A100, label="flyball.dev/accelerator")), ""),
    ],
)
def test_nodes_where_it_could_not_run_are_no_candidates(nodes: Any, reason: str) -> None:
    assert server(seen(one(annotations=MOVE), nodes=nodes)).accelerators == ("H100",)


def test_a_template_without_one_product_label_is_not_guessed_about() -> None:
    here = seen(one(annotations=MOVE, spec={"nodeSelector": {"kubernetes.io/hostname": "h100-1"}}))
    assert server(here).accelerators == ("H100",)
    assert any("it is moved to no other cards" in note for note in here.notes)


def test_the_number_of_cards_changes_where_the_engine_can_follow() -> None:
    two = {"resources": {"nvidia.com/gpu": "2"}, "annotations": MOVE}
    here = seen(one(args=TWO, **two))
    assert server(here).accelerators == ("A100", "A100x2", "A100x4", "A100x8", "H100x2")
    (target,), _ = targets_of(here, [order("chat", 4, "H100x2"), order("chat", 2, "A100x4")])
    assert target.rollout is not None
    assert target.rollout.found.cards == {"nvidia.com/gpu": 2}
    assert "args --tensor-parallel-size 2 to 4" in target.rollout.said
    assert server(seen(one(**two))).accelerators == ("A100x2", "H100x2")


def test_with_a_workload_for_each_accelerator_none_of_them_moves() -> None:
    named = {"labels": {"inferno.server.name": "chat"}, "annotations": MOVE}
    here = seen(one("a", **named), one("b", spec={"nodeSelector": {KEY: A100}}, **named), pods=())
    assert server(here).accelerators == ("A100", "H100")
    assert any("it has a workload for each accelerator" in note for note in here.notes)
    targets, _ = targets_of(here, [order("chat", 1, "H100"), order("chat", 2, "A100")])
    assert [t.rollout for t in targets] == [None, None]


def test_one_in_a_cycle_and_who_moves_goes_first() -> None:
    nodes = [*NODES, node("h100-2"), node("h100-3")]
    here = seen(one("a"), one("b"), one("c", annotations=MOVE), nodes=nodes)
    orders = [order("a", 5, batch=96), order("b", 4, batch=96), order("c", 4), order("c", 2, "A100")]
    targets, _ = targets_of(here, orders)
    assert sum(t.rollout is not None for t in targets) == 3
    kept, said = one_rollout(permitted(targets)[0])
    assert [(t.workload.name, t.replicas, t.rollout is not None) for t in kept] == [
        ("a", 5, False),
        ("b", 4, False),
        ("c", 4, True),
    ]
    assert len(said) == 2
    assert all("Deployment infer/c is rolled over first" in text for text in said)
    kept, said = one_rollout(kept[:1])
    assert (len(kept), said) == (1, ())


def test_in_other_modes_it_is_only_said() -> None:
    here = seen(one(annotations=APPLY | {"flyball.dev/mode": "recommend"}))
    targets, _ = targets_of(here, [order("chat", 4, batch=96)])
    allowed, (said,) = permitted(targets)
    assert allowed == ()
    assert f"args {FLAG} 64 to 96, which restarts its pods): it is in mode recommend" in said
    (target,), _ = targets_of(here, [order("chat", 2, batch=96)])
    assert (target.replicas, target.rollout is not None) == (2, True), "nothing waits for it"


@pytest.mark.parametrize("mode", ["keda", "gauge"])
def test_replicas_that_others_follow_are_for_the_engine_that_is_there(mode: str) -> None:
    here = seen(one(annotations=APPLY | MOVE | {"flyball.dev/mode": mode}))
    assert (server(here).max_batch_size, server(here).accelerators) == (64, ("H100",))
    (target,), _ = targets_of(here, [order("chat", 2, batch=96)])
    assert (target.replicas, target.rollout) == (2, None)


def test_pods_that_a_rollout_adds_are_no_more_replicas_than_are_asked_for() -> None:
    made = one(replicas=2)
    for state, ready in (("pending", 2), ("ready", 2)):
        pods = [pod_of(made, 0), pod_of(made, 1), pod_of(made, 2, state=state)]
        (variant,) = observe(seen(made, pods=pods))["chat"]
        assert (variant.ready, variant.pending, variant.draining) == (ready, 0, 1)
    (variant,) = observe(seen(made, pods=[pod_of(made, 0), pod_of(made, 1, state="pending")]))["chat"]
    assert (variant.ready, variant.pending, variant.draining) == (1, 1, 0)
