"""What a cycle says of power, as it stands in the objects: once, by the leader, and without flapping."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.adapters.kubernetes.errors import NotFound
from flyball.operator.conditions import Holds
from flyball.operator.power_kinds import KINDS
from flyball.operator.power_status import FIGURES, HOLD, is_bad, is_moved, of_domain, rounded, steady
from flyball.power.govern import Need, Power, PowerMemory
from flyball.power.outcome import decided
from flyball.spec.power import (
    AbsoluteCap,
    Answer,
    Domain,
    PlacedPod,
    Policy,
    PowerNode,
    PowerReading,
    PowerSeen,
    RelativeCap,
)
from flyball.spec.power_plan import Ahead, DomainState, Exceeded, PolicyState, WorkloadCap
from flyball.wire.kinds.inferno_objects import Ref
from tests.operator.api import Server
from tests.operator.power_world import CHAT, LLAMA, RACKS, World, advice, plan, state

# ---- domains -----------------------------------------------------------------------------------


def test_a_domain_says_all_that_is_known_of_it(powered: World) -> None:
    ahead = tuple(
        Ahead(h, (30_000.0, 33_000.0, 35_123.4), (0.5, 0.913), 40) for h in (60.0, 300.0, 900.0, 3600.0)
    )
    found = state(
        watts=31_234.5,
        rise=1_800.0,
        ungoverned=4_400.0,
        per_kilowatt=1.2345,
        nodes=12,
        inlet=24.26,
        ahead=ahead,
        exceeded=Exceeded(2, 31.0, 12_345.0),
        budget_reason="peak hours",
    )
    powered.publish(plan(found))
    status = powered.status("PowerDomain", "site")
    conditions = status.pop("conditions")
    assert status == {
        "observedGeneration": 1,
        "level": "normal",
        "watts": 31_200.0,
        "budgetWatts": 40_000.0,
        "budgetReason": "peak hours",
        "thresholdWatts": 38_000.0,
        "headroomWatts": 6_770.0,
        "riseWatts": 1_800.0,
        "ungovernedWatts": 4_400.0,
        "forecast": [
            {"seconds": h, "p50": 30_000.0, "p90": 33_000.0, "p99": 35_100.0, "coverage90": 0.91}
            for h in (60, 300, 900, 3600)
        ],
        "pricePerKilowatt": 1.23,
        "nodes": 12,
        "inletCelsius": 24.3,
        "exceedance": {"count": 2, "seconds": 31.0, "joules": 12_300.0},
    }
    assert {c["type"]: (c["status"], c["reason"]) for c in conditions} == {
        "Ready": ("True", "Accepted"),
        "TelemetryHealthy": ("True", "Measured"),
        "WithinBudget": ("True", "Within"),
        "GuaranteeFeasible": ("True", "Fits"),
    }


def test_a_domain_without_a_budget_is_only_watched(powered: World) -> None:
    powered.publish(plan(state(budget=None, threshold=None)))
    assert powered.condition("PowerDomain", "site", "WithinBudget")[:2] == ("Unknown", "NoBudget")
    assert powered.condition("PowerDomain", "site", "GuaranteeFeasible")[:2] == ("Unknown", "NoBudget")
    assert "headroomWatts" not in powered.status("PowerDomain", "site")
    assert powered.events == []


def test_a_quiet_fleet_writes_nothing_and_figures_only_now_and_then(powered: World) -> None:
    assert sorted(powered.publish(plan())) == [
        "namespaces/llm/powerpolicies/chat/status",
        "powerdomains/site/status",
    ]
    assert powered.publish(plan(), 15.0) == []
    assert powered.publish(plan(state(watts=30_300.0)), 1000.0) == [], "noise is none"
    assert powered.publish(plan(state(watts=33_000.0)), 1.0) == ["powerdomains/site/status"]
    assert powered.publish(plan(state(watts=36_000.0)), FIGURES - 1.0) == [], "soon enough"
    assert powered.publish(plan(state(watts=36_000.0)), 1.0) == ["powerdomains/site/status"]
    assert powered.publish(plan(state(watts=36_100.0, level="warn")), 1.0) == ["powerdomains/site/status"]
    assert powered.publish(plan(state(watts=36_100.0, level="warn")), 500.0) == []


def test_levels_and_conditions_are_told_when_they_turn(powered: World) -> None:
    powered.publish(plan())
    assert powered.events == []
    powered.publish(plan(state(watts=41_000.0, level="shed", complete=False, feasible=False)), 15.0)
    assert sorted(powered.events) == [
        ("PowerDomain/site", "GuaranteeFeasibleTooLittle", True),
        ("PowerDomain/site", "LevelShed", True),
        ("PowerDomain/site", "TelemetryHealthyNotAllMeasured", True),
        ("PowerDomain/site", "WithinBudgetAbove", True),
    ]
    powered.events.clear()
    powered.publish(plan(state(watts=31_000.0)), 15.0)
    assert powered.events == [("PowerDomain/site", "LevelNormal", False)], "the ladder has its own hysteresis"
    powered.events.clear()
    powered.publish(plan(state(watts=31_000.0)), HOLD)
    assert sorted(powered.events) == [
        ("PowerDomain/site", "GuaranteeFeasibleFits", False),
        ("PowerDomain/site", "TelemetryHealthyMeasured", False),
        ("PowerDomain/site", "WithinBudgetWithin", False),
    ]


def test_since_when_does_not_flap_with_the_draw(powered: World) -> None:
    powered.publish(plan())
    for number in range(8):
        above = number % 2 == 0
        powered.publish(plan(state(watts=40_500.0 if above else 39_500.0, level="shed")), 15.0)
    rows = {c["type"]: c for c in powered.status("PowerDomain", "site")["conditions"]}
    assert (rows["WithinBudget"]["status"], rows["WithinBudget"]["lastTransitionTime"]) == (
        "False",
        "2026-01-01T00:00:15Z",
    )
    assert [e for e in powered.events if e[1].startswith("WithinBudget")] == [
        ("PowerDomain/site", "WithinBudgetAbove", True)
    ]


@given(st.lists(st.tuples(st.floats(1.0, 50.0), st.booleans()), min_size=1, max_size=40))
def test_what_was_bad_is_bad_for_a_while(times: list[tuple[float, bool]]) -> None:
    now, last, bad = 0.0, -HOLD, {}
    for gone, good in times:
        now += gone
        last = last if good else now
        (one,) = steady((Holds("WithinBudget", good, "Any"),), bad, now)
        assert is_bad(one) == (now - last < HOLD or not good)


def test_who_mends_an_object_sees_it_at_once(powered: World) -> None:
    problems = {Ref("PowerDomain", "", "site"): "PowerDomain site: spec.level"}
    powered.publish(plan(state(feasible=False)), problems=problems)
    powered.publish(plan(state(feasible=False)), 1.0)
    assert powered.condition("PowerDomain", "site", "Ready")[:2] == ("True", "Accepted")
    powered.publish(plan(), 1.0)
    assert powered.condition("PowerDomain", "site", "GuaranteeFeasible")[0] == "False", "it may come again"
    path = KINDS["PowerDomain"].path("", "site")
    powered.server.patch(path, {"spec": {"budget": {"watts": 90_000}}}, dict)
    powered.publish(plan(), 1.0)
    assert powered.condition("PowerDomain", "site", "GuaranteeFeasible")[0] == "True"
    assert powered.status("PowerDomain", "site")["observedGeneration"] == 2


def test_what_does_not_fit_is_said_with_its_mend(powered: World) -> None:
    said = "site: least replicas draw 45,000 W, 40,000 W are left: raise the budget"
    powered.publish(plan(state(feasible=False), infeasible=(said, "row: other")))
    assert powered.condition("PowerDomain", "site", "GuaranteeFeasible") == ("False", "TooLittle", said)


def test_racks_that_were_discovered_are_told_by_the_domain_that_asked_for_them(powered: World) -> None:
    powered.put("PowerDomain", "racks", RACKS)
    domains = (Domain("site", "Site"), Domain("racks", "Row", "site"), Domain("racks-r1", "Rack", "racks"))
    hot = state("racks-r1", 11_000.0, budget=10_000.0, level="shed", complete=False)
    row = state("racks", 20_000.0, budget=None, threshold=None)
    powered.publish(plan(state(), row, hot), domains=domains)
    assert powered.status("PowerDomain", "racks")["level"] == "shed"
    said = powered.condition("PowerDomain", "racks", "WithinBudget")
    assert said == ("False", "Above", "racks-r1 draws 11,000 W of 10,000 W (budget)")
    assert "racks-r1" in powered.condition("PowerDomain", "racks", "TelemetryHealthy")[2]
    assert powered.status("PowerDomain", "site")["level"] == "normal", "which has its own budget"


def test_what_cannot_be_read_or_placed_is_said(powered: World) -> None:
    powered.put("PowerDomain", "odd", {"level": "Shelf"})
    powered.put("PowerDomain", "lost", {"level": "Rack", "parentRef": {"name": "nowhere"}})
    powered.put("DevicePowerProfile", "h100", {"match": {}})
    why = "lost is a part of nowhere, which is not there: correct parentRef"
    problems = {
        Ref("PowerDomain", "", "odd"): "PowerDomain odd: spec.level",
        Ref("DevicePowerProfile", "", "h100"): "x",
    }
    powered.publish(plan(notes=(why,)), problems=problems)
    assert powered.condition("PowerDomain", "odd", "Ready") == (
        "False",
        "Invalid",
        "PowerDomain odd: spec.level",
    )
    assert powered.condition("PowerDomain", "lost", "Ready") == ("False", "Invalid", why)
    assert powered.condition("DevicePowerProfile", "h100", "Ready")[:2] == ("False", "Invalid")
    assert powered.condition("PowerDomain", "site", "Ready")[:2] == ("True", "Accepted")
    assert ("PowerDomain/odd", "ReadyInvalid", True) in powered.events
    assert powered.publish(plan(notes=(why,)), 500.0, problems=problems) == []


def test_problems_are_those_of_the_objects_where_none_are_given(powered: World) -> None:
    powered.put("PowerPolicy", "odd", {"threshold": "200%"}, "llm")
    powered.publish(plan())
    assert powered.condition("PowerPolicy", "odd", "Ready", "llm")[:2] == ("False", "Invalid")


# ---- policies ----------------------------------------------------------------------------------


def test_a_policy_says_what_it_holds_and_what_nothing_moves(powered: World) -> None:
    caps = (WorkloadCap("llama", 3, 3, "llm/chat"), WorkloadCap("other", 1, 1, "llm/else"))
    powered.publish(plan(caps=caps), untold={"slack": "Slack is away", "gitops": "no"})
    status = powered.status("PowerPolicy", "chat", "llm")
    assert {k: v for k, v in status.items() if k != "conditions"} == {
        "observedGeneration": 1,
        "attributedWatts": 9_000.0,
        "effectiveCapWatts": 12_000.0,
        "servers": 1,
        "held": 1,
    }
    said = "concurrency is passed over: no workload of it says flyball.dev/batch: apply"
    assert powered.condition("PowerPolicy", "chat", "Ready", "llm") == ("True", "Accepted", said)
    assert powered.condition("PowerPolicy", "chat", "Held", "llm") == (
        "True",
        "Recommended",
        "at most: llama to 3",
    )
    assert powered.condition("PowerPolicy", "chat", "Told", "llm") == ("False", "Unreached", "Slack is away")
    assert powered.condition("PowerPolicy", "chat", "Overruled", "llm")[:2] == ("False", "InForce")
    powered.publish(plan(), HOLD)
    assert powered.condition("PowerPolicy", "chat", "Told", "llm")[:2] == ("True", "Told")
    assert powered.condition("PowerPolicy", "chat", "Held", "llm")[:2] == ("False", "Free")


def test_a_policy_that_is_overruled_says_by_whom(powered: World) -> None:
    powered.publish(plan(overruled={"llm/chat": "night is more restrictive for llama"}))
    said = "night is more restrictive for llama: the most restrictive wins"
    assert powered.condition("PowerPolicy", "chat", "Overruled", "llm") == ("True", "MoreRestrictive", said)
    assert ("PowerPolicy/chat", "OverruledMoreRestrictive", True) in powered.events


def test_a_policy_that_does_nothing_yet_says_why(powered: World) -> None:
    share = msgspec.structs.replace(CHAT, cap=RelativeCap(0.8, "Peak", 3600.0))
    none = (PolicyState("llm/chat", (), 0.0),)
    powered.publish(plan(policies=none))
    assert powered.condition("PowerPolicy", "chat", "Ready", "llm")[:2] == ("False", "NothingSelected")
    waits = (PolicyState("llm/chat", ("llama",), 9_000.0),)
    powered.publish(plan(policies=waits), HOLD, policies=(share,))
    ready = powered.condition("PowerPolicy", "chat", "Ready", "llm")
    assert ready[:2] == ("True", "Observing")
    assert "60 min" in ready[2]
    powered.publish(plan(), HOLD, policies=(share,))
    assert powered.status("PowerPolicy", "chat", "llm")["referenceWatts"] == 15_000.0
    answers = {"llm/chat": Answer("theirs", None, "theirs: it did not end within 1 s")}
    powered.publish(plan(), HOLD, policies=(share,), answers=answers)
    ready = powered.condition("PowerPolicy", "chat", "Ready", "llm")
    assert ready[:2] == ("True", "NoAnswer")
    assert ready[2].startswith("theirs: it did not end within 1 s: the safety filter acts alone")


def test_an_answer_that_was_taken_in_part_is_no_silence(powered: World) -> None:
    odd = "algorithm 'theirs': it asked for 9 of llama, which wants 5"
    powered.publish(plan(), answers={"llm/chat": Answer("theirs", {"llama": 5.0}, odd)})
    ready = powered.condition("PowerPolicy", "chat", "Ready", "llm")
    assert ready[:2] == ("True", "Accepted")
    assert ready[2].startswith(odd)
    assert "acts alone" not in ready[2]


def test_another_mode_is_told(powered: World) -> None:
    powered.publish(plan())
    powered.publish(plan(), 15.0, policies=(msgspec.structs.replace(CHAT, mode="Enforce"),))
    powered.publish(plan(), 15.0, policies=(msgspec.structs.replace(CHAT, mode="Enforce"),))
    assert [e for e in powered.events if e[1].startswith("Mode")] == [
        ("PowerPolicy/chat", "ModeEnforce", False)
    ]


# ---- who writes --------------------------------------------------------------------------------


def test_only_the_leader_writes(powered: World) -> None:
    powered.lease.term = None
    assert powered.publish(plan(recommendations=(advice(),))) == []
    powered.lease.term = 3
    assert len(powered.publish(plan(recommendations=(advice(),)))) == 4


def test_a_term_that_ends_meanwhile_writes_nothing_more(powered: World) -> None:
    def lose(method: str, path: str) -> None:
        powered.lease.term = 9

    powered.server.before = lose
    written = powered.publish(plan(recommendations=(advice(),)))
    assert len(written) == 1, "what was on its way"


# ---- Climatik ----------------------------------------------------------------------------------

CAPPING = {"powerCapLimit": 1000, "scaleObjectRefs": [{"metadata": {"name": "llama-so"}}]}
THEIRS = Policy("stress", "llm")
OF_THEIRS = (PolicyState("llm/stress", ("llama",), 812.4, 1000.0),)


def foretold(watts: float = 30_000.0, median: float = 33_000.0) -> DomainState:
    return state(watts=watts, ahead=(Ahead(300.0, (median, 34_000.0, 35_000.0), (0.5, 0.9), 0),))


def test_climatiks_objects_get_their_two_figures(powered: World) -> None:
    powered.put("PowerCappingConfig", "stress", CAPPING, "llm")
    mine = plan(foretold(), policies=OF_THEIRS)
    assert "namespaces/llm/powercappingconfigs/stress/status" in powered.publish(mine, policies=(THEIRS,))
    status = powered.status("PowerCappingConfig", "stress", "llm")
    assert status == {"currentPowerConsumption": 812, "forecastPowerConsumption": 894}
    assert powered.publish(mine, 500.0, policies=(THEIRS,)) == []


class WithoutStatus(Server):
    """A cluster whose definition of the kind has no subresource for the status."""

    def put(self, path: str, body: Any, kind: type[Any], **params: str) -> Any:
        if path.endswith("/status") and "powercapping" in path:
            raise NotFound("PUT", path, 404, "NotFound", "the server could not find the requested resource")
        return super().put(path, body, kind, **params)

    def patch(self, path: str, body: Any, kind: type[Any], **params: str) -> Any:
        within = f"{path}/status" if "status" in body else path
        return super().patch(within, body, kind, **params)


def test_climatiks_definition_without_a_status_of_its_own() -> None:
    powered = World(WithoutStatus())
    powered.put("PowerCappingConfig", "stress", CAPPING, "llm")
    powered.publish(plan(foretold(), policies=OF_THEIRS), policies=(THEIRS,))
    assert powered.status("PowerCappingConfig", "stress", "llm")["currentPowerConsumption"] == 812
    powered.publisher.close()


def test_a_recommendation_for_climatiks_policy_is_owned_by_its_object(powered: World) -> None:
    powered.put("PowerCappingConfig", "stress", CAPPING, "llm")
    made = plan(recommendations=(advice(policy="llm/stress"),))
    powered.publish(made, policies=(CHAT, THEIRS))
    (one,) = powered.recommended()
    (owner,) = one["metadata"]["ownerReferences"]
    assert (owner["apiVersion"], owner["kind"]) == ("climatik-project.io/v1alpha1", "PowerCappingConfig")
    assert ("PowerCappingConfig/stress", "Recommended", False) in powered.events


def test_climatiks_object_that_cannot_be_read_is_told_once(powered: World) -> None:
    powered.put("PowerCappingConfig", "stress", {"powerCapLimit": -1}, "llm")
    for _ in range(2):
        powered.publish(plan(), 15.0)
    assert powered.events.count(("PowerCappingConfig/stress", "Invalid", True)) == 1


# ---- figures -----------------------------------------------------------------------------------


@given(st.floats(-1e9, 1e9))
def test_three_digits_are_kept(value: float) -> None:
    assert rounded(value) == pytest.approx(value, rel=0.0051, abs=1e-300)
    assert rounded(rounded(value)) == rounded(value)


def test_figures_within_sentences_are_no_news() -> None:
    status, _ = of_domain(state(), (), plan(), "site")
    one = {**msgspec.to_builtins(status), "conditions": [{"type": "A", "message": "draws 9,500 W"}]}
    other = {**one, "conditions": [{"type": "A", "message": "draws 9,600.5 W"}]}
    assert not is_moved(one, other)
    assert is_moved(one, {**one, "conditions": [{"type": "A", "message": "takes 9,500 W"}]})


# ---- with what decides -------------------------------------------------------------------------


def test_what_the_loop_decides_is_what_is_written(powered: World) -> None:
    racks = {"rack": "r1"}
    found = PowerSeen(
        powered.time,
        30.0,
        (Domain("site", "Site", watts=6_000.0),),
        (
            msgspec.structs.replace(CHAT, cap=AbsoluteCap(4_000.0)),
            Policy("batch", "llm", cap=AbsoluteCap(3_000.0)),
        ),
        (PowerNode("n", racks, 8, 8, 500.0, 1_000.0, 0.0, 70.0, 700.0),),
        (
            *(PowerReading("dcgm", "card", "n", 600.0, device=f"g{i}") for i in range(8)),
            PowerReading("agent", "cpu", "n", 800.0, zone="package"),
        ),
        tuple(PlacedPod(f"llm/p{i}", "llama", "n", "running", "H100", 150.0, 450.0, 700.0) for i in range(8)),
        (msgspec.structs.replace(LLAMA, replicas=8),),
    )
    _, made, _ = decided(Power(found, PowerMemory(), {LLAMA.name: Need(8, 8)}), {})
    powered.put("PowerPolicy", "batch", {}, "llm")
    powered.hear()
    assert powered.publisher.publish(found, made) == ()
    site = powered.status("PowerDomain", "site")
    assert site["nodes"] == 1
    assert site["budgetWatts"] == 6_000.0
    assert site["watts"] >= 5_600.0
    batch, chat = (powered.status("PowerPolicy", name, "llm") for name in ("batch", "chat"))
    assert (batch["attributedWatts"], batch["effectiveCapWatts"], batch["servers"]) == (4_800.0, 3_000.0, 1)
    assert chat["effectiveCapWatts"] == 4_000.0
    assert powered.condition("PowerPolicy", "chat", "Overruled", "llm")[:2] == ("True", "MoreRestrictive")
    assert "batch is more restrictive" in powered.condition("PowerPolicy", "chat", "Overruled", "llm")[2]
    assert powered.condition("PowerPolicy", "batch", "Held", "llm")[:2] == ("True", "Recommended")
    (own,) = [one for one in powered.recommended() if "domainRef" not in one["spec"]]
    assert own["spec"]["policyRef"] == {"name": "batch"}
    assert own["spec"]["actions"][0]["target"] == "ScaledObject/llama-so"
    powered.time += 15.0
    powered.hear()
    before = len(powered.server.writes)
    assert powered.publisher.publish(found, made) == ()
    assert len(powered.server.writes) == before
