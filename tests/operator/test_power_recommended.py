"""What is recommended, as objects: one for a policy and a domain, as long as it stands."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from flyball.adapters.kubernetes.errors import NotFound
from flyball.operator.kinds import Stored
from flyball.operator.power_kinds import KINDS
from flyball.operator.power_recommended import ABSENT, KIND, QUIET, RELIST, Recommendations, Recommended
from flyball.operator.writes import Writes
from flyball.spec.power import Policy, PowerSeen
from tests.operator.api import Server
from tests.operator.power_world import BEGIN, CHAT, LLAMA, World, advice, plan


def test_a_recommendation_is_an_object_that_goes_with_its_policy(powered: World) -> None:
    powered.publish(plan(recommendations=(advice(peak=44_444.0),)))
    (one,) = powered.recommended()
    about = one["metadata"]
    assert about["namespace"] == "llm"
    assert about["name"].startswith("chat-site-")
    policy = powered.server.document(KINDS["PowerPolicy"].path("llm", "chat"))
    assert about["ownerReferences"] == [
        {
            "apiVersion": "flyball.dev/v1alpha1",
            "kind": "PowerPolicy",
            "name": "chat",
            "uid": policy["metadata"]["uid"],
        }
    ]
    assert one["spec"] == {
        "reason": "too much",
        "actions": [
            {
                "lever": "replicas",
                "target": "ScaledObject/llama-so",
                "from": 5,
                "to": 3,
                "expectedWatts": 1_400.0,
                "expectedSlo": "90 tokens/s less are served",
            }
        ],
        "expiresAt": "2027-01-15T08:10:00Z",
        "domainRef": {"name": "site"},
        "policyRef": {"name": "chat"},
        "ifNotTaken": {"peakWatts": 44_400.0},
    }
    assert one["status"] == {"phase": "Proposed"}
    assert powered.events == [("PowerPolicy/chat", "Recommended", False)]
    assert policy["status"]["lastRecommendation"] == about["name"]


def test_what_still_stands_is_written_once_and_made_anew_before_it_ends(powered: World) -> None:
    assert len(powered.publish(plan(recommendations=(advice(),)))) == 4
    for _ in range(20):
        now = powered.time + 15.0
        assert powered.publish(plan(recommendations=(advice(now=now),)), 15.0) == []
    powered.publisher.close()
    powered.restarted()
    assert powered.publish(plan(recommendations=(advice(now=powered.time + 15.0),)), 15.0) == [], "restarted"
    (old,) = powered.recommended()
    for _ in range(20):
        now = powered.time + 15.0
        powered.publish(plan(recommendations=(advice(now=now),)), 15.0)
    (new,) = powered.recommended()
    assert new["metadata"]["name"] != old["metadata"]["name"]
    assert new["spec"]["expiresAt"] > old["spec"]["expiresAt"]
    assert len([e for e in powered.events if e[1] == "Recommended"]) == 1, "it is the same advice"


def test_other_advice_takes_its_place_but_not_in_each_cycle(powered: World) -> None:
    powered.publish(plan(recommendations=(advice(3),)))
    assert powered.publish(plan(recommendations=(advice(4),)), 15.0) == []
    powered.publish(plan(recommendations=(advice(4),)), QUIET - 15.0)
    (one,) = powered.recommended()
    assert one["spec"]["actions"][0]["to"] == 4
    powered.publish(plan(recommendations=(advice(1, level="shed"),)), 1.0)
    (one,) = powered.recommended()
    assert one["spec"]["actions"][0]["to"] == 1, "what is worse does not wait"


@pytest.mark.parametrize(("replicas", "phase"), [(5, "Withdrawn"), (3, "Applied"), (2, "Applied")])
def test_what_is_over_says_what_became_of_it_and_goes_when_its_time_is_over(
    powered: World, replicas: int, phase: str
) -> None:
    powered.publish(plan(recommendations=(advice(),)))
    had = (msgspec.structs.replace(LLAMA, replicas=replicas),)
    powered.publish(plan(), 60.0, workloads=had)
    (one,) = powered.recommended()
    assert one["status"] == {"phase": phase}
    assert "lastRecommendation" not in powered.status("PowerPolicy", "chat", "llm")
    powered.publish(plan(), 60.0, workloads=had)
    assert len(powered.recommended()) == 1
    powered.publisher.close()
    powered.restarted()
    powered.publish(plan(), 600.0, workloads=had)
    assert powered.recommended() == []


def test_each_policy_and_domain_has_its_own_and_the_rest_are_ours(powered: World) -> None:
    powered.put("PowerPolicy", "batch", {}, "llm")
    batch = Policy("batch", "llm")
    those = (
        advice(),
        advice(domain="row"),
        advice(policy="llm/batch"),
        advice(policy="llm/chat", domain="llm/chat"),  # its own cap
        advice(policy=""),
    )
    powered.publish(plan(recommendations=those), policies=(CHAT, batch))
    found = {
        (
            one["metadata"]["namespace"],
            one["spec"].get("policyRef", {}).get("name"),
            one["spec"].get("domainRef", {}).get("name"),
            one["metadata"]["ownerReferences"][0]["kind"],
        )
        for one in powered.recommended()
    }
    assert found == {
        ("llm", "chat", "site", "PowerPolicy"),
        ("llm", "chat", "row", "PowerPolicy"),
        ("llm", "batch", "site", "PowerPolicy"),
        ("llm", "chat", None, "PowerPolicy"),
        ("flyball-system", None, "site", "PowerDomain"),
    }
    target = {
        one["spec"]["actions"][0]["target"] for one in powered.recommended() if "policyRef" not in one["spec"]
    }
    assert target == {"llm/ScaledObject/llama-so"}


def test_a_policy_that_only_observes_recommends_nothing(powered: World) -> None:
    watching = msgspec.structs.replace(CHAT, mode="Observe")
    powered.publish(plan(recommendations=(advice(),)), policies=(watching,))
    assert powered.recommended() == []


def test_a_kind_that_is_not_there_is_said_once_and_looked_for_now_and_then() -> None:
    now, asked = [BEGIN], list[str]()

    class Without(Server):
        has = False

        def items(self, path: str, kind: type[Any], **more: object) -> list[Any]:
            asked.append(path)
            if not self.has:
                raise NotFound("GET", path, 404, "", "page not found")
            return super().items(path, kind, **more)

    server = Without()
    kept = Recommendations(server.api(), "flyball-system", clock=lambda: now[0])

    def publish(later: float) -> Recommended:
        now[0] += later
        seen = PowerSeen(now[0], 30.0, workloads=(LLAMA,))
        writes = Writes(server.api(), None, lambda kind, one: None, {**KINDS, KIND.name: KIND})
        return kept.publish(
            writes, seen, (advice(now=now[0]),), lambda subject: (Stored(), KINDS["PowerPolicy"])
        )

    assert publish(0.0) == Recommended((), (ABSENT,))
    for _ in range(3):
        assert publish(RELIST / 4) == Recommended()
    assert len(asked) == 1
    server.has = True
    assert publish(0.0) == Recommended()
    made = publish(RELIST / 4)
    assert (len(asked), len(made.made), made.problems) == (2, 1, ())
    server.has = False
    kept.forget()  # by who leads anew
    assert publish(1.0).problems == (ABSENT,)


def test_what_somebody_deleted_is_noticed_and_what_others_made_is_theirs(powered: World) -> None:
    theirs = {
        "metadata": {"name": "mine"},
        "spec": {"reason": "x", "actions": [], "expiresAt": "2020-01-01T00:00:00Z"},
    }
    powered.server.post(KIND.path("llm"), theirs, Stored)
    powered.publish(plan(recommendations=(advice(),)))
    ours = next(one["metadata"]["name"] for one in powered.recommended() if one["metadata"]["name"] != "mine")
    powered.server.delete(KIND.path("llm", ours))
    powered.publish(plan(recommendations=(advice(1, level="shed"),)), 15.0)
    powered.publish(plan(recommendations=(advice(1, level="shed"),)), 15.0)
    found = {one["metadata"]["name"]: one["spec"]["actions"] for one in powered.recommended()}
    assert found.pop("mine") == []
    assert [[a["to"] for a in actions] for actions in found.values()] == [[1]]
