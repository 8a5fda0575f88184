"""The kinds of power as they stand in a cluster: read, told where they cannot be, Climatik's among them."""

from __future__ import annotations

from typing import Any

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.errors import NotFound
from flyball.adapters.kubernetes.objects import Metadata
from flyball.operator.kinds import Stored
from flyball.operator.power_kinds import CLIMATIK, KINDS, PowerKinds, read_objects
from flyball.spec.power import AbsoluteCap, RelativeCap
from flyball.wire.kinds.inferno_objects import Ref
from tests.clusters import eventually
from tests.operator.api import Server

Document = dict[str, Any]
RACKS = {"level": "Row", "discover": "topology.kubernetes.io/rack", "budget": {"watts": 40000}}
POLICY = {"threshold": "90%", "observationWindow": "4 Hours"}
H100 = {"match": {"gpuProduct": "H100"}, "tdpWatts": 700, "idleWatts": 72, "residentIdleWatts": 122}
CAPPING = {"powerCapLimit": 1000, "scaleObjectRefs": [{"metadata": {"name": "mistral"}}]}


def stored(name: str, spec: Document | None, namespace: str = "") -> Stored:
    return Stored(Metadata(name=name, namespace=namespace), spec)


def test_objects_as_nouns() -> None:
    found = read_objects(
        {
            "PowerDomain": [stored("site", {"level": "Site"}), stored("racks", RACKS)],
            "PowerPolicy": [stored("inference", POLICY, "llm")],
            "DevicePowerProfile": [stored("h100", H100)],
            "PowerCappingConfig": [stored("stress", CAPPING, "capping")],
        },
        "Enforce",
    )
    assert [(d.name, d.level, d.watts) for d in found.domains] == [
        ("site", "Site", None),
        ("racks", "Row", 4e4),
    ]
    assert found.discovering == {"racks": "topology.kubernetes.io/rack"}
    ours, theirs = found.policies
    assert (ours.namespace, ours.name, ours.mode) == ("llm", "inference", "Recommend")
    assert ours.cap == RelativeCap(0.9, "Peak", 4 * 3600.0)
    assert (theirs.namespace, theirs.mode, theirs.cap) == ("capping", "Enforce", AbsoluteCap(1000.0))
    assert [p.product for p in found.profiles] == ["H100"]
    assert found.problems == {}


def test_one_bad_object_does_not_hold_up_the_others_and_is_told() -> None:
    found = read_objects(
        {
            "PowerDomain": [
                stored("bad", {"level": "Shelf"}),
                stored("none", None),
                stored("good", {"level": "Row"}),
            ],
            "PowerPolicy": [stored("odd", {"threshold": "200%"}, "llm"), stored("fine", POLICY, "llm")],
            "DevicePowerProfile": [stored("falling", {**H100, "idleWatts": 300})],
        }
    )
    assert [d.name for d in found.domains] == ["good"]
    assert [p.name for p in found.policies] == ["fine"]
    assert found.profiles == ()
    assert sorted(found.problems) == [
        Ref("DevicePowerProfile", "", "falling"),
        Ref("PowerDomain", "", "bad"),
        Ref("PowerDomain", "", "none"),
        Ref("PowerPolicy", "llm", "odd"),
    ]
    assert found.problems[Ref("PowerDomain", "", "bad")].startswith("PowerDomain bad: ")
    assert "spec.level" in found.problems[Ref("PowerDomain", "", "bad")]


class Cluster(Server):
    """A cluster that lacks some kinds."""

    def __init__(self, absent: tuple[str, ...]) -> None:
        super().__init__(live=True)
        self._absent = absent

    def listed(self, path: str, kind: type[Any], *, selector: str = "") -> tuple[list[Any], str]:
        if any(part in path for part in self._absent):
            raise NotFound("GET", path, 404, "NotFound", "the server could not find the requested resource")
        return super().listed(path, kind, selector=selector)


def put(api: Api, kind: str, name: str, spec: Document, namespace: str = "") -> None:
    about = {"name": name, **({"namespace": namespace} if namespace else {})}
    path = next(k for k in (*KINDS.values(), *CLIMATIK) if k.name == kind).path(namespace)
    api.post(path, {"metadata": about, "spec": spec}, Stored)


def test_what_changes_is_seen_and_kinds_that_are_not_there_hold_up_nothing() -> None:
    server = Cluster(("climatik-project.io/v1/", "devicepowerprofiles"))
    api = server.api()
    changed: list[Ref] = []
    put(api, "PowerDomain", "racks", RACKS)
    kinds = PowerKinds(api, changed.append)
    kinds.start()
    try:
        assert kinds.wait(10.0)
        assert kinds.absent == ("DevicePowerProfile",)
        assert eventually(lambda: [d.name for d in kinds.objects().domains]) == ["racks"]
        assert eventually(lambda: kinds.problem == "")
        put(api, "PowerPolicy", "inference", POLICY, "llm")
        put(api, "PowerCappingConfig", "stress", CAPPING, "capping")
        assert eventually(lambda: len(kinds.objects().policies) == 2)
        assert Ref("PowerPolicy", "llm", "inference") in changed
        assert kinds.get(Ref("PowerCappingConfig", "capping", "stress")) is not None
        assert kinds.get(Ref("PowerPolicy", "llm", "other")) is None
    finally:
        kinds.stop()


def test_both_versions_of_one_definition_are_one_object() -> None:
    server = Cluster(())
    put(server.api(), "PowerCappingConfig", "stress", CAPPING, "capping")
    kinds = PowerKinds(server.api(), lambda ref: None)
    kinds.start()
    try:
        assert kinds.wait(10.0)
        # This server knows plurals only, as one whose definition has both versions would show it twice.
        assert eventually(lambda: [p.name for p in kinds.objects().policies]) == ["stress"]
    finally:
        kinds.stop()
