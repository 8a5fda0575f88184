"""Objects of power in memory, watches that are followed by hand, clocks, and what publishes."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import jsonschema_rs
import msgspec

from flyball.adapters.kubernetes.errors import Gone
from flyball.operator.kinds import Stored
from flyball.operator.power_kinds import CLIMATIK, KINDS, PowerKinds
from flyball.operator.power_published import PowerPublisher
from flyball.operator.power_recommended import KIND
from flyball.spec.power import Domain, Policy, PowerSeen, PowerWorkload, WorkloadRef
from flyball.spec.power_plan import DomainState, PolicyState, PowerAction, PowerPlan, Recommendation
from flyball.wire.kinds import power as kinds
from flyball.wire.kinds.kind import crd
from tests.operator.api import Server
from tests.operator.world import Leading

Document = dict[str, Any]
BEGIN = 1_800_000_000.0
RACKS = {"level": "Row", "discover": "rack", "budget": {"watts": 10_000}}
SITE = {"level": "Site", "budget": {"watts": 40_000}}
POLICY = {"outputs": ["slack"], "levers": ["hold", "replicas", "concurrency"]}
LLAMA = PowerWorkload(
    "llama", "llm", {}, (WorkloadRef("Deployment", "llama"), WorkloadRef("ScaledObject", "llama-so")), 5
)
CHAT = Policy("chat", "llm", outputs=("slack",), levers=("hold", "replicas", "concurrency"))
SCHEMAS = {
    definition.kind: crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    for definition in kinds.DEFINITIONS
}


def state(domain: str = "site", watts: float = 30_000.0, **more: Any) -> DomainState:
    given: Document = {"level": "normal", "complete": True, "budget": 40_000.0, "threshold": 38_000.0} | more
    return DomainState(domain=domain, watts=watts, **given)


def advice(after: int = 3, now: float = BEGIN, domain: str = "site", **more: Any) -> Recommendation:
    action = PowerAction("replicas", "llama", 5, after, 1_400.0, 90.0)
    given = {"policy": "llm/chat", "level": "hold", "actions": (action,), "reason": "too much"} | more
    return Recommendation(domain=domain, expires=now + 600.0, **given)


def plan(*states: DomainState, **more: Any) -> PowerPlan:
    mine = (PolicyState("llm/chat", ("llama",), 9_000.0, 12_000.0),)
    return PowerPlan(states or (state(),), **{"policies": mine, **more})


class World:
    """Objects in memory, watches that are followed by hand, clocks, and what publishes."""

    def __init__(self, server: Server | None = None, policy: Document | None = None) -> None:
        self.server = server or Server()
        self.lease = Leading()
        self.time = BEGIN
        self.events: list[tuple[str, str, bool]] = []
        self.kinds = PowerKinds(self.server.api(), lambda ref: None)
        self.publisher = self.restarted()

    def restarted(self) -> PowerPublisher:
        self.publisher = PowerPublisher(
            self.server.api(),
            self.lease,
            self.kinds,
            "flyball-system",
            told=lambda stored, ref, reason, message, warning: self.events.append(
                (f"{ref.kind}/{stored.metadata.name}", reason, warning)
            ),
            wall=lambda: f"2026-01-01T00:00:{self.time - BEGIN:g}Z",
            clock=lambda: self.time,
            now=lambda: self.time,
        )
        return self.publisher

    def put(self, kind: str, name: str, spec: Document, namespace: str = "") -> None:
        of = next(k for k in (*KINDS.values(), *CLIMATIK) if k.name == kind)
        about = {"name": name, "namespace": namespace}
        self.server.post(of.path(namespace), {"metadata": about, "spec": copy.deepcopy(spec)}, Stored)

    def hear(self) -> None:
        for path, watch in self.kinds.watches.items():
            if path == CLIMATIK[1].path():
                continue  # a cluster has one version of it
            with suppress(Gone):
                if not watch.synced:
                    watch._list()
                watch._follow()

    def publish(self, plan: PowerPlan, seconds: float = 0.0, **seen: Any) -> list[str]:
        """What it writes, some seconds later."""
        self.time += seconds
        self.hear()
        before = len(self.server.writes)
        given: Document = {
            "domains": (Domain("site", "Site"),),
            "policies": (CHAT,),
            "workloads": (LLAMA,),
        }
        problems, untold = seen.pop("problems", None), seen.pop("untold", None)
        now = PowerSeen(self.time, 30.0, **given | seen)
        assert self.publisher.publish(now, plan, problems, untold) == ()
        return [one.rpartition("/v1alpha1/")[2] for one in self.server.writes[before:]]

    def status(self, kind: str, name: str, namespace: str = "") -> Document:
        of = next(k for k in (*KINDS.values(), *CLIMATIK, KIND) if k.name == kind)
        there = self.server.document(of.path(namespace, name)).get("status", {})
        found: Document = msgspec.json.decode(msgspec.json.encode(there))
        if kind in SCHEMAS:
            jsonschema_rs.validator_for(SCHEMAS[kind]["status"]).validate(found)
        return found

    def condition(self, kind: str, name: str, type: str, namespace: str = "") -> tuple[str, str, str]:
        rows = self.status(kind, name, namespace).get("conditions", [])
        return next(
            ((c["status"], c["reason"], c["message"]) for c in rows if c["type"] == type), ("", "", "")
        )

    def recommended(self) -> list[Document]:
        """All there are, the oldest first."""
        found = self.server.items(KIND.path(), dict)
        for one in found:
            jsonschema_rs.validator_for(SCHEMAS["PowerRecommendation"]["spec"]).validate(one["spec"])
        return sorted(found, key=lambda one: int(one["metadata"]["uid"].removeprefix("uid-")))
