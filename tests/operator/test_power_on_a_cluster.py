"""The same on a real API server, which knows our definitions, their rules, and who owns what."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from flyball.adapters.kubernetes.api import Api
from flyball.adapters.kubernetes.definitions import install
from flyball.adapters.kubernetes.errors import ApiError
from flyball.adapters.kubernetes.events import EVENT, Events
from flyball.operator.power_kinds import KINDS, PowerKinds
from flyball.operator.power_published import PowerPublisher
from flyball.operator.power_recommended import KIND
from flyball.sandbox.cluster import Options, Sandbox
from flyball.spec.power import Domain, PowerSeen
from flyball.spec.power_plan import PowerPlan
from flyball.wire.kinds.kind import crd
from flyball.wire.kinds.power import DEFINITIONS
from tests.clusters import eventually, fleet, needed
from tests.operator.power_world import CHAT, LLAMA, POLICY, SITE, advice, plan, state

pytestmark = pytest.mark.slow
COLLECTED = 120.0
"""Seconds until a new kind's orphans go: the collector learns of new kinds each half minute."""


@pytest.fixture
def api() -> Iterator[Api]:
    needed()
    with Sandbox.start(Options(fleet=fleet(), cold_start=0.5)) as sandbox:
        made = Api(sandbox.kubeconfig, None, 10.0)
        install(made, [crd(definition) for definition in DEFINITIONS])
        sandbox.restart("kube-controller-manager")  # its collector then knows of the new kinds at once
        for name in ("llm", "flyball-system"):
            made.post("/api/v1/namespaces", {"metadata": {"name": name}}, dict)
        yield made
        made.close()


def put(api: Api, kind: str, name: str, spec: dict[str, Any], namespace: str = "") -> None:
    of = KINDS[kind]
    head = {"apiVersion": f"{of.group}/{of.version}", "kind": kind, "metadata": {"name": name}}
    api.post(of.path(namespace), {**head, "spec": spec}, dict)


def test_objects_events_and_recommendations(api: Api) -> None:
    put(api, "PowerDomain", "site", SITE)
    put(api, "PowerPolicy", "chat", POLICY, "llm")
    kinds = PowerKinds(api, lambda ref: None)
    kinds.start()
    events = Events(api)
    by_name = {watch.kind.name: watch.kind for watch in kinds.watches.values()}
    publisher = PowerPublisher(
        api,
        None,
        kinds,
        "flyball-system",
        told=lambda stored, ref, reason, message, warns: events.tell(
            by_name[ref.kind], stored.metadata, reason, message, warns
        ),
    )

    def publish(made: PowerPlan) -> None:
        seen = PowerSeen(time.time(), 30.0, (Domain("site", "Site"),), (CHAT,), workloads=(LLAMA,))
        assert publisher.publish(seen, made) == ()

    def versions() -> list[str]:
        kept = (*KINDS.values(), KIND)
        return [one["metadata"]["resourceVersion"] for kind in kept for one in api.items(kind.path(), dict)]

    above = state(watts=41_000.0, level="shed", complete=False, feasible=False)
    try:
        assert kinds.wait(20.0)
        both = (advice(now=time.time()), advice(now=time.time(), policy=""))
        publish(plan(above, recommendations=both))
        status = api.get(KINDS["PowerDomain"].path("", "site"), dict)["status"]
        assert (status["level"], status["watts"], len(status["conditions"])) == ("shed", 41_000, 4)
        found = {one["metadata"]["name"]: one for one in api.items(KIND.path(), dict)}
        assert {one["status"]["phase"] for one in found.values()} == {"Proposed"}
        last = api.get(KINDS["PowerPolicy"].path("llm", "chat"), dict)["status"]["lastRecommendation"]
        ours = next(name for name in found if name != last)
        before = versions()
        publish(plan(above, recommendations=both))
        assert versions() == before, "a quiet fleet writes nothing"

        path = KIND.path("llm", last)
        with pytest.raises(ApiError, match="does not change"):
            api.patch(path, {"spec": {"reason": "another"}}, dict)

        events.flush()
        assert events.problem == ""
        told = {
            (one["metadata"]["namespace"], one["involvedObject"]["kind"], one["reason"])
            for one in api.items(EVENT.path(), dict)
        }
        assert ("default", "PowerDomain", "LevelShed") in told
        assert ("llm", "PowerPolicy", "Recommended") in told

        api.delete(KINDS["PowerPolicy"].path("llm", "chat"))

        def left() -> list[str]:
            return [one["metadata"]["name"] for one in api.items(KIND.path(), dict)]

        assert eventually(lambda: left() == [ours], COLLECTED), "it goes with its policy, and no other"
    finally:
        publisher.close()
        events.close()
        kinds.stop()
