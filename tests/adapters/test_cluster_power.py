"""What is seen of a cluster's watts: from what was listed, from exporters, and from objects of power."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from flyball.adapters.cluster import ClusterReader
from flyball.adapters.cluster_power import HPA_SYNC, ClusterPower, Options
from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.assemble import Assembler
from flyball.adapters.kubernetes.errors import ApiError, ClusterError, Unreachable
from flyball.adapters.kubernetes.known import Library
from flyball.adapters.kubernetes.listing import Listing
from flyball.adapters.kubernetes.power import RACK
from flyball.adapters.kubernetes.power_original import ORIGINAL, WROTE, Note
from flyball.adapters.prometheus.errors import PrometheusError
from flyball.adapters.prometheus.power import PowerScrape
from flyball.spec.power import DeviceProfile, Domain, Policy, PowerReading, PowerSeen, WorkloadRef
from flyball.spec.snapshot import Scrape
from flyball.testing.cluster import NOW, Object, listing, metadata, node, pod_of, scaler, workload

PERIOD = 30.0


class Asked(msgspec.Struct, frozen=True):
    domains: tuple[Domain, ...] = ()
    discovering: dict[str, str] = {}
    policies: tuple[Policy, ...] = ()
    profiles: tuple[DeviceProfile, ...] = ()
    notes: tuple[str, ...] = ()


class Lists:
    """An API server that has further workloads, by plural; and which lists were asked for."""

    def __init__(self, **there: list[Object]) -> None:
        self.there, self.asked, self.fails = there, list[str](), dict[str, Exception]()

    def items(self, path: str, kind: type[Any], *, selector: str = "", **_: Any) -> list[Any]:
        assert selector == "inferno.server.managed!=true"
        self.asked.append(path)
        plural = path.rpartition("/")[2]
        if plural in self.fails:
            raise self.fails[plural]
        found = [one for one in self.there.get(plural, ()) if _within(path, one)]
        return msgspec.json.decode(msgspec.json.encode(found), type=list[kind])  # type: ignore[valid-type]


def _within(path: str, one: Object) -> bool:
    return "/namespaces/" not in path or f"/namespaces/{one['metadata']['namespace']}/" in path


def look(
    listed: Listing,
    asked: Asked | None = None,
    lists: Lists | None = None,
    readings: tuple[PowerReading, ...] | Exception | None = (),
    **options: Any,
) -> PowerSeen:
    """One look at a cluster as it was listed; `readings` None: there is no Prometheus."""
    return watcher(listed, asked, lists, readings, **options).look(Scrape(NOW))


def watcher(
    listed: Listing,
    asked: Asked | None = None,
    lists: Lists | None = None,
    readings: tuple[PowerReading, ...] | Exception | None = (),
    **options: Any,
) -> ClusterPower:
    cluster = Assembler(Library()).cluster(listed)
    reader = SimpleNamespace(listing=listed, cluster=cluster, seen=Scrape(NOW))

    def measure(places: Any) -> PowerScrape:
        if isinstance(readings, Exception):
            raise readings
        return PowerScrape(NOW, readings or ())

    return ClusterPower(
        cast(ClusterReader, reader),
        cast(Api, lists or Lists()),
        lambda: asked or Asked(),
        None if readings is None else measure,
        Options(PERIOD, **options),
        wall=lambda: NOW,
        monotonic=lambda: 0.0,
    )


CHAT = workload()
TRAIN = workload("train", replicas=2, labels={"inferno.server.managed": "false"}, args=())
ONE = listing([CHAT], [pod_of(CHAT)], [node("h100-1", labels={RACK: "r1"})])


def test_a_server_its_pods_nodes_and_domains_without_any_object() -> None:
    seen = look(ONE)
    assert [d.name for d in seen.domains] == ["cluster", "rack-r1"]
    assert [(n.name, n.cards, n.cards_used) for n in seen.nodes] == [("h100-1", 8, 1)]
    (chat,) = seen.workloads
    assert (chat.name, chat.namespace, chat.labels, chat.replicas) == ("chat", "infer", {"app": "chat"}, 1)
    assert (chat.governed, chat.wanted, chat.scaled_by) == (
        True, 1, (WorkloadRef("Deployment", "chat", "apps/v1"),),
    )  # fmt: skip
    assert [(p.server, p.node, p.phase) for p in seen.pods] == [("chat", "h100-1", "running")]
    assert seen.now == NOW
    assert seen.notes == ()


def governed(mode: str, **more: Any) -> tuple[int | None, int | None]:
    """What a server wants of which the plan is not the last word, and its bound."""
    annotations = {"flyball.dev/mode": mode, **more.pop("annotations", {})}
    there = workload(replicas=3, annotations=annotations)
    (chat,) = look(listing([there], [pod_of(there)], [node()], **more)).workloads
    return chat.wanted, chat.most


@pytest.mark.parametrize(("mode", "wanted"), [("act", 3), ("recommend", 3), ("keda", None), ("gauge", None)])
def test_who_is_scaled_by_others_wants_what_these_give_it(mode: str, wanted: int | None) -> None:
    assert governed(mode, scaled_objects=[scaled_object("chat", 0, 5)]) == (wanted, 5)
    capped = scaled_object("chat", 0, 3, annotations=held("maxReplicaCount", 3, 8))
    hidden = None if wanted is None else 8
    assert governed(mode, scaled_objects=[capped]) == (hidden, 8)


def test_who_is_only_recommended_for_keeps_what_it_has() -> None:
    assert governed("act") == (None, None)
    assert governed("recommend") == (3, None)
    assert governed("recommend", annotations=held("replicas", 3, 7)) == (7, None)
    assert governed("freeze") == (None, None)


@pytest.mark.parametrize(
    ("annotations", "options", "batch"),
    [
        ({"flyball.dev/batch": "apply"}, {}, 64),
        ({}, {}, 0),
        ({"flyball.dev/batch": "apply", "flyball.dev/mode": "recommend"}, {}, 0),
        ({"flyball.dev/batch": "apply"}, {"autoscalers": [scaler("chat")]}, 0),
    ],
)
def test_a_batch_is_ours_to_limit_where_its_owner_says_apply(
    annotations: dict[str, str], options: dict[str, Any], batch: int
) -> None:
    args = ("serve", "Qwen/Qwen3-8B", "--max-num-seqs", "64")
    there = workload(args=args, annotations={"flyball.dev/mode": "act"} | annotations)
    (chat,) = look(listing([there], [pod_of(there)], [node()], **options)).workloads
    assert chat.batch == batch


def test_no_prometheus_and_one_that_fails_cost_readings_alone() -> None:
    asked = Asked(policies=(Policy("p", "infer"),))
    whole = look(ONE, asked, readings=(PowerReading("dcgm", "card", "h100-1", 300.0, device="g0"),))
    for lost, said in (
        (None, "Give --prometheus"),
        (PrometheusError("http://p", "it is away", "Start it"), "it is away"),
        (RuntimeError("odd"), "odd"),
    ):
        seen = look(ONE, asked, readings=lost)
        assert said in seen.notes[0]
        assert replace(seen, notes=()) == replace(whole, readings=())


def test_without_the_kinds_nothing_is_looked_at() -> None:
    watch = watcher(ONE)
    watch._asked = lambda: None
    assert watch.look(Scrape(NOW)) == PowerSeen(NOW, PERIOD)


def test_a_cluster_that_was_never_listed_has_no_watts() -> None:
    watch = watcher(ONE)
    watch._reader.listing = None
    with pytest.raises(ClusterError, match="could not be listed yet"):
        watch.look(Scrape(NOW))


def test_an_older_listing_is_used_and_told() -> None:
    watch = watcher(ONE)
    watch._reader.seen = Scrape(NOW - 30.0)
    seen = watch.look(Scrape(NOW))
    assert [p.server for p in seen.pods] == ["chat"]
    assert "could not be seen now" in seen.notes[0]


def test_nodes_that_may_not_be_listed_are_told() -> None:
    seen = look(replace(ONE, nodes=None))
    assert seen.nodes == ()
    assert [p.server for p in seen.pods] == ["chat"]
    assert "nodes may not be listed" in seen.notes[0]


def test_pods_of_other_namespaces_that_are_not_seen_may_use_any_card() -> None:
    assert look(replace(ONE, everywhere=False)).nodes[0].cards_used is None


# ---- bounds and scalers --------------------------------------------------------------------------


def scaled_object(target: str, least: int = 1, most: int | None = 6, **about: Any) -> Object:
    one = scaler(target, **about)
    one["spec"] = {**one["spec"], "minReplicaCount": least, **({"maxReplicaCount": most} if most else {})}
    del one["spec"]["minReplicas"], one["spec"]["maxReplicas"]
    return one


def held(field: str, wrote: int, before: int) -> dict[str, str]:
    """The annotations of a cap that stands."""
    note = Note(field, wrote, None if field == "paused-replicas" else before)
    return {ORIGINAL: str(before), WROTE: msgspec.json.encode(note).decode()}


@pytest.mark.parametrize(
    ("annotations", "scalers", "bounds", "kinds"),
    [
        ({}, {}, (1, None), ["Deployment"]),
        ({"flyball.dev/min": "2", "flyball.dev/max": "8"}, {}, (2, 8), ["Deployment"]),
        ({}, {"autoscalers": [scaler("chat")]}, (1, 9), ["Deployment", "HorizontalPodAutoscaler"]),
        ({}, {"scaled_objects": [scaled_object("chat", 3)]}, (3, 6), ["Deployment", "ScaledObject"]),
        (
            {},
            {"scaled_objects": [scaled_object("chat", most=None)]},
            (1, 100),
            ["Deployment", "ScaledObject"],
        ),
        (
            {"flyball.dev/max": "4"},
            {"scaled_objects": [scaled_object("chat")]},
            (1, 4),
            ["Deployment", "ScaledObject"],
        ),
        (  # ours is 2 now; the user's was 12
            {},
            {"scaled_objects": [scaled_object("chat", 1, 2, annotations=held("maxReplicaCount", 2, 12))]},
            (1, 12),
            ["Deployment", "ScaledObject"],
        ),
        (  # its user wrote over ours: 5 is the newest word
            {},
            {"scaled_objects": [scaled_object("chat", 1, 5, annotations=held("maxReplicaCount", 2, 12))]},
            (1, 5),
            ["Deployment", "ScaledObject"],
        ),
        (
            {},
            {"scaled_objects": [scaled_object("chat", 0, 8, annotations=held("paused-replicas", 0, 8))]},
            (1, 8),
            ["Deployment", "ScaledObject"],
        ),
        (  # KEDA's own HPA is not the user's word
            {},
            {"autoscalers": [scaler("chat", ownerReferences=[{"kind": "ScaledObject", "name": "s"}])]},
            (1, None),
            ["Deployment"],
        ),
    ],
)
def test_bounds_are_the_users_own(
    annotations: dict[str, str], scalers: Any, bounds: tuple[int, int | None], kinds: list[str]
) -> None:
    chat = workload(annotations=annotations)
    (found,) = look(listing([chat], [pod_of(chat)], [node()], **scalers)).workloads
    assert (found.least, found.most) == bounds
    assert [ref.kind for ref in found.scaled_by] == kinds


def test_tau_is_the_period_the_hpa_the_grace_and_the_age_of_readings() -> None:
    readings = (
        PowerReading("dcgm", "card", "h100-1", 300.0, 12.0, device="g0"),
        PowerReading("dcgm", "card", "h100-1", 300.0, 900.0, device="g1"),  # it is none, and not waited for
    )
    assert look(ONE).tau == PERIOD + 120.0
    assert look(ONE, readings=readings).tau == PERIOD + 120.0 + 12.0
    scaled = listing([CHAT], [pod_of(CHAT)], [node()], autoscalers=[scaler("chat")])
    assert look(scaled).tau == PERIOD + HPA_SYNC + 120.0
    assert look(scaled, speed=10.0).tau == PERIOD + 10 * (HPA_SYNC + 120.0)


def test_time_is_unix_time_also_in_a_world_that_is_faster() -> None:
    watch = watcher(ONE, speed=10.0)
    first, second = watch.look(Scrape(7.0)), watch.look(Scrape(67.0))
    assert (first.now, second.now) == (NOW, NOW + 60.0)


# ---- what nobody governs -------------------------------------------------------------------------

TRAINING = Policy("training", "infer", labels={"app": "train"})


def both(*readings: PowerReading, policies: tuple[Policy, ...] = (TRAINING,), **more: Any) -> PowerSeen:
    pods = [pod_of(CHAT), pod_of(TRAIN), pod_of(TRAIN, 1, node="h100-2")]
    listed = listing([CHAT], pods, [node("h100-1"), node("h100-2")], **more)
    return look(listed, Asked(policies=policies), Lists(deployments=[TRAIN]), readings)


def test_what_a_policy_selects_is_seen_with_its_pods() -> None:
    seen = both()
    chat, train = seen.workloads
    assert (chat.name, train.name) == ("chat", "infer/Deployment/train")
    assert (train.governed, train.replicas, train.wanted, train.least, train.most) == (False, 2, 2, 0, None)
    assert [(p.server, p.node) for p in seen.pods] == [
        ("chat", "h100-1"), (train.name, "h100-1"), (train.name, "h100-2"),
    ]  # fmt: skip
    one = seen.pods[1]
    card = seen.nodes[0]
    assert (one.idle, one.idle + one.load, one.most) == (card.card_idle, card.card_most, card.card_most)


def test_pods_that_nobody_governs_draw_what_is_measured_of_them() -> None:
    pod = PowerReading("kepler", "pod", "h100-1", 321.0, device="infer/train-7d9f-0")
    cards = tuple(
        PowerReading("dcgm", "card", "h100-2", 500.0 if i == 0 else 80.0, device=f"g{i}") for i in range(8)
    )
    seen = both(pod, *cards)
    assert [round(p.idle + p.load) for p in seen.pods if p.server != "chat"] == [321, 500]


@pytest.mark.parametrize(
    "policies",
    [
        (),
        (Policy("all", "infer"),),  # without targets it is for what is governed
        (replace(TRAINING, namespace="elsewhere"),),
        (replace(TRAINING, kinds=("StatefulSet",)),),
    ],
)
def test_what_no_policy_names_is_not_seen(policies: tuple[Policy, ...]) -> None:
    assert [w.name for w in both(policies=policies).workloads] == ["chat"]


def test_nothing_is_listed_where_no_policy_names_anything() -> None:
    lists = Lists(deployments=[TRAIN])
    look(ONE, Asked(policies=(Policy("all", "infer"),)), lists)
    assert lists.asked == []
    look(ONE, Asked(policies=(TRAINING,)), lists)
    assert lists.asked == [
        f"/apis/{kind}"
        for kind in (
            "apps/v1/namespaces/infer/deployments",
            "apps/v1/namespaces/infer/statefulsets",
            "batch/v1/namespaces/infer/jobs",
        )
    ]
    lists.asked.clear()
    look(ONE, Asked(policies=(TRAINING, replace(TRAINING, namespace="b"))), lists)
    assert lists.asked == ["/apis/apps/v1/deployments", "/apis/apps/v1/statefulsets", "/apis/batch/v1/jobs"]


def test_a_policy_that_names_a_scaled_object_finds_what_that_scales() -> None:
    named = Policy("climatik", "infer", workloads=(WorkloadRef("ScaledObject", "scales-train"),))
    capped = scaled_object("train", 0, 1, annotations=held("maxReplicaCount", 1, 5))
    _, train = both(policies=(named,), scaled_objects=[capped]).workloads
    assert [ref.kind for ref in train.scaled_by] == ["Deployment", "ScaledObject"]
    assert (train.least, train.most, train.wanted) == (0, 5, 5)  # what is wanted is hidden behind our maximum


def test_what_was_taken_to_nothing_is_still_wanted() -> None:
    gone = workload("train", replicas=0, annotations=held("replicas", 0, 3))
    seen = look(
        listing([CHAT], [pod_of(CHAT)], [node()]),
        Asked(policies=(TRAINING,)),
        Lists(deployments=[gone]),
    )
    assert (seen.workloads[1].replicas, seen.workloads[1].wanted) == (0, 3)


def job(name: str, labels: dict[str, str], **spec: Any) -> Object:
    uid = {"batch.kubernetes.io/controller-uid": f"infer-{name}"}
    template = {"metadata": {"labels": {**labels, **uid}}, "spec": {"containers": []}}
    return {
        "metadata": metadata(name),
        "spec": {"parallelism": 2, "selector": {"matchLabels": uid}, "template": template, **spec},
    }


def test_jobs_have_replicas_too() -> None:
    labels = {"app": "train"}
    done = {**job("done", labels), "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    lists = Lists(jobs=[job("run", labels), job("rests", labels, suspend=True), done])
    pod = pod_of(workload("run"))
    pod["metadata"]["ownerReferences"] = [
        {"kind": "Job", "name": "run", "uid": "infer-run", "controller": True}
    ]
    pod["metadata"]["labels"] = {**labels, "batch.kubernetes.io/controller-uid": "infer-run"}
    seen = look(listing([CHAT], [pod], [node()]), Asked(policies=(TRAINING,)), lists)
    assert [(w.name, w.replicas) for w in seen.workloads[1:]] == [
        ("infer/Job/rests", 0),
        ("infer/Job/run", 2),
    ]
    assert [(p.server, p.phase) for p in seen.pods] == [("infer/Job/run", "running")]


def test_what_may_not_be_listed_is_told_and_the_rest_is_seen() -> None:
    lists = Lists(deployments=[TRAIN])
    lists.fails = {"jobs": ApiError("GET", "/apis/batch/v1/jobs", 403, "Forbidden", "no")}
    seen = look(ONE, Asked(policies=(TRAINING,)), lists)
    assert [w.name for w in seen.workloads] == ["chat", "infer/Deployment/train"]
    assert seen.notes[0].startswith("jobs.batch may not be listed in infer")


def test_a_list_that_fails_leaves_what_was_there() -> None:
    """Else what is held would seem to be gone, and be let go."""
    lists = Lists(deployments=[TRAIN])
    watch = watcher(ONE, Asked(policies=(TRAINING,)), lists)
    before = watch.look(Scrape(NOW))
    lists.fails = {"deployments": Unreachable("a", "GET", "/apis/apps/v1/deployments", "it is away")}
    after = watch.look(Scrape(NOW))
    assert after.workloads == before.workloads
    assert "as they were listed before" in after.notes[0]


def test_only_one_namespace_is_looked_at_where_only_one_is_watched() -> None:
    lists = Lists(deployments=[TRAIN])
    look(ONE, Asked(policies=(replace(TRAINING, namespace="b"),)), lists, namespace="infer")
    assert lists.asked == []


def test_objects_that_cannot_be_read_are_told() -> None:
    assert look(ONE, Asked(notes=("PowerPolicy infer/p: odd",))).notes == ("PowerPolicy infer/p: odd",)


def test_one_request_for_each_kind_however_many_there_are() -> None:
    many = [workload(f"chat-{i}") for i in range(40)]
    pods = [pod_of(one) for one in many]
    lists = Lists(deployments=[workload(f"train-{i}") for i in range(40)])
    policy = Policy("all", "infer", kinds=("Deployment",))
    seen = look(listing(many, pods, [node()]), Asked(policies=(policy,)), lists)
    assert (len(seen.workloads), len(lists.asked)) == (80, 3)
