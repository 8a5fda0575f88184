"""What pods are told of racks: preferred, added, and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from flyball.adapters.kubernetes.placement import FROM_HOT, PLACEMENT, TO_COOL, Racks, placement, racks_of
from flyball.adapters.kubernetes.power import RACK
from flyball.adapters.kubernetes.webhook import placing_by_address
from flyball.operator.placing import PATH, Placing
from flyball.spec.power import Domain, Level, PowerNode, PowerSeen
from flyball.spec.power_plan import DomainState, PowerPlan
from flyball.wire.admission import Asked

PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
ZONE = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z"]}]}
RACKED = {"matchExpressions": [{"key": RACK, "operator": "Exists"}]}


def patched(pod: dict[str, Any], patch: list[dict[str, Any]]) -> dict[str, Any]:
    made = copy.deepcopy(pod)
    for one in patch:
        assert one["op"] == "add"
        *parts, last = one["path"].split("/")[1:]
        below: Any = made
        for part in parts:
            below = below[part]
        if last == "-":
            below.append(one["value"])
        else:
            below[last] = one["value"]
    return made


@pytest.mark.parametrize(
    "affinity",
    [
        None,
        {},
        {"podAntiAffinity": {PREFERRED: [{"weight": 1}]}},
        {"nodeAffinity": {}},
        {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [ZONE]}}},
        {"nodeAffinity": {PREFERRED: [{"weight": 5, "preference": ZONE}]}},
    ],
)
def test_preferences_are_added_and_all_else_stays(affinity: dict[str, Any] | None) -> None:
    spec = {"containers": []} if affinity is None else {"containers": [], "affinity": affinity}
    made = patched({"spec": spec}, placement({"spec": spec}, ["r1", "r3"], ["r2"]))
    terms = made["spec"]["affinity"]["nodeAffinity"][PREFERRED]
    said = [(one["weight"], one["preference"]["matchExpressions"][0]) for one in terms[-2:]]
    assert said == [
        (TO_COOL, {"key": RACK, "operator": "In", "values": ["r1", "r3"]}),
        (FROM_HOT, {"key": RACK, "operator": "NotIn", "values": ["r2"]}),
    ]
    del terms[-2:]
    assert _bare(made) == _bare({"spec": spec})
    assert placement(patched({"spec": spec}, placement({"spec": spec}, ["r1"], [])), ["r1"], []) == []


def _bare(of: Any) -> Any:
    if isinstance(of, dict):
        return {key: _bare(value) for key, value in of.items() if _bare(value) not in ({}, [])}
    return of


@pytest.mark.parametrize(
    "spec",
    [
        {"nodeName": "n1"},
        {"nodeSelector": {RACK: "r2"}},
        {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [RACKED]}}}},
        {"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 1, "preference": RACKED}]}}},
    ],
)
def test_a_pod_that_says_itself_where_it_goes_is_left_alone(spec: dict[str, Any]) -> None:
    assert placement({"spec": spec}, ["r1"], ["r2"]) == []


def test_without_racks_nothing_is_said() -> None:
    assert placement({"spec": {}}, [], []) == []
    assert placement({"spec": {}}, ["r1"], ["r1"]) == placement({"spec": {}}, [], ["r1"])
    assert racks_of(None, None, "rack") == Racks("rack")


def seen(*racks: str) -> PowerSeen:
    nodes = tuple(PowerNode(f"n-{rack}", {RACK: rack}) for rack in racks)
    return PowerSeen(0.0, 60.0, tuple(Domain(rack, "Rack", labels={RACK: rack}) for rack in racks), (), nodes)


def state(rack: str, watts: float, threshold: float | None, level: Level = "normal") -> DomainState:
    return DomainState(rack, level, watts, True, threshold, threshold=threshold)


def test_racks_with_hot_nodes_or_no_room_are_not_cool() -> None:
    there = seen("r1", "r2", "r3", "r4", "r5")
    plan = PowerPlan(
        (
            state("r1", 100, 1000),
            state("r2", 500, 1000),
            state("r3", 900, 1000),
            state("r4", 0, 1000, "hold"),
            state("r5", 0, 1000),
        ),
        hot=("n-r5",),
    )
    assert racks_of(there, plan) == Racks(RACK, ("r1", "r2"), ("r4", "r5"))


def test_without_budgets_all_racks_but_the_hot_are_cool_and_without_heat_none_is_named() -> None:
    there = seen("r1", "r2", "r3")
    states = tuple(state(rack, 100, None) for rack in ("r1", "r2", "r3"))
    assert racks_of(there, PowerPlan(states, hot=("n-r2",))) == Racks(RACK, ("r1", "r3"), ("r2",))
    assert racks_of(there, PowerPlan(states)) == Racks(RACK)


def test_racks_that_the_plan_prefers_are_the_cool_ones_unless_they_are_hot() -> None:
    there = seen("r1", "r2", "r3", "r4")
    bare = tuple(state(rack, 100, None) for rack in ("r1", "r2", "r3", "r4"))
    assert racks_of(there, PowerPlan(bare, cool=("n-r3", "n-r1"))) == Racks(RACK, ("r1", "r3"))
    assert racks_of(there, PowerPlan(bare, hot=("n-r3",), cool=("n-r3", "n-r1"))).cool == ("r1",)
    budgets = (state("r1", 100, 1000), state("r2", 200, 1000), state("r3", 900, 1000))
    assert racks_of(there, PowerPlan(budgets, cool=("n-r2", "n-r3"))).cool == ("r2",)
    assert racks_of(there, PowerPlan(budgets, cool=("n-r3",))).cool == ("r3",)


def test_the_route_admits_every_pod_and_adds_what_was_seen_last() -> None:
    placing = Placing()
    pod = {"kind": "Pod", "spec": {}}
    asked = Asked("1", kind=_kind("Pod"), object=pod)
    assert not placing.rule(asked).patch
    placing.show(Racks(RACK, ("r1",), ()))
    verdict = placing.rule(asked)
    assert not verdict.refusal
    assert list(verdict.patch) == placement(pod, ["r1"], [])
    assert not placing.rule(Asked("2", kind=_kind("Pod"), operation="UPDATE", object=pod)).patch
    assert not placing.rule(Asked("3", kind=_kind("Job"), object=pod)).patch


def test_the_manifest_asks_as_a_local_operator_does() -> None:
    text = (Path(__file__).parents[3] / "deploy/operator/power/webhook.yaml").read_text()
    written, made = yaml.safe_load(text), placing_by_address("flyball", PLACEMENT, PATH, "https://x/", b"")
    for document in (written, made):
        for hook in cast(Any, document)["webhooks"]:
            client = hook.pop("clientConfig")
            assert (client.get("service", {}).get("path") or client["url"].removeprefix("https://x")) == PATH
            hook.pop("matchPolicy", None)
            for rule in hook["rules"]:
                rule.pop("scope", None)
    assert written == made


def _kind(name: str) -> Any:
    return type(Asked("0").kind)(kind=name)
