"""What the loop decides, as it stands in Server objects: written only when it says something else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from flyball.adapters.collected import STALE
from flyball.adapters.kubernetes.governed import DEPLOYMENT, Cluster, Governed
from flyball.decide.plan import plan
from flyball.operator.assembler import named
from flyball.operator.published import Publisher, Seen, asked, news
from flyball.operator.reconciler import Held
from flyball.spec.decision import Decision, Hold, Order, Step
from flyball.spec.snapshot import Observation, Reading, Variant
from flyball.wire.kinds.documents import read_namespace
from flyball.wire.kinds.inferno_objects import Ref
from tests.operator.world import SPACE, World
from tests.operator_kinds.samples import at

NAME = "Premium-granite-13b"
REF = Ref("Server", SPACE, "premium-granite-13b")


class Loop:
    """A loop that decides as it is told, and what publishes that."""

    def __init__(self) -> None:
        self.world = World()
        self.world.samples()
        self.world.watch()
        self.events: list[tuple[str, bool]] = []
        self.publisher = Publisher(
            self.world.server.api(),
            self.world.lease,
            self.world.kinds,
            told=lambda stored, ref, reason, message, warning: self.events.append((reason, warning)),
            wall=lambda: f"2026-01-01T00:00:00.{self.world.seconds:g}Z",
        )

    def seen(self, replicas: int = 2, rate: Reading | None = None, holds: tuple[Hold, ...] = ()) -> Seen:
        read = read_namespace(self.world.kinds.objects(SPACE))
        made = plan(read.fleet)
        one = made.servers[0]
        step = Step(
            NAME, (Order(NAME, "A100", replicas, 16),), goal=one.allocation, holds=holds, cause="steady"
        )
        governed = Governed(NAME, "A100", DEPLOYMENT, SPACE, "chat", "uid", "1", "act", 4, max_batch_size=16)
        observed = Observation(
            NAME,
            variants=(Variant("A100", ready=4),),
            arrival_rate=Reading(40 / 60) if rate is None else rate,
            in_tokens=Reading(128.0),
            out_tokens=Reading(1024.0),
        )
        return Seen(
            Cluster(read.fleet, (governed,), {}),
            {NAME: observed},
            read.fleet,
            Decision("flyball", 0.0, (step,), plan=made),
            {name: found for (_, name), found in named([read]).items()},
        )

    def publish(self, seen: Seen) -> list[str]:
        """What it asks to be written."""
        self.world.watch()
        before = len(self.world.server.asked)
        assert self.publisher.publish(seen) == ()
        self.world.watch()
        return [one.split(f"{SPACE}/")[1] for one in self.world.server.asked[before:]]


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.publisher.close()
    made.world.reconciler.close()


BOTH = ["servers/premium-granite-13b", "servers/premium-granite-13b/status"]
BLIND = Hold("no_data", 1, 2)
HELD = Hold("blast_radius", 1, 2)


def test_a_decision_stands_in_spec_and_status(loop: Loop) -> None:
    assert loop.publish(loop.seen()) == BOTH
    desired = loop.world.spec("Server")["desiredAlloc"]
    assert (desired["accelerator"], desired["numReplicas"], desired["maxBatch"]) == ("A100", 2, 16)
    assert desired["cost"] == 80
    assert desired["load"]["arrivalRate"] == pytest.approx(40)
    document = loop.world.server.document(loop.world.path("Server"))
    status = document["status"]
    assert status["observedGeneration"] == document["metadata"]["generation"]
    assert status["desiredAlloc"] == desired
    assert (status["currentAlloc"]["accelerator"], status["currentAlloc"]["numReplicas"]) == ("A100", 4)
    assert status["reason"] == "cheapest"
    words = {one["type"]: one["status"] for one in status["conditions"]}
    assert words == {"Ready": "True", "Feasible": "True", "Limited": "False", "Stale": "False"}


def test_figures_alone_write_nothing(loop: Loop) -> None:
    loop.publish(loop.seen())
    for rate in (0.6, 0.7, 0.71):
        loop.world.seconds += 60
        assert loop.publish(loop.seen(rate=Reading(rate))) == []


def test_another_number_is_written(loop: Loop) -> None:
    loop.publish(loop.seen())
    assert loop.publish(loop.seen(3)) == BOTH
    assert loop.world.spec("Server")["desiredAlloc"]["numReplicas"] == 3
    assert "cost" not in loop.world.spec("Server")["desiredAlloc"]  # it is not what the plan reckoned
    assert loop.publish(loop.seen(3)) == []


def test_what_holds_it_back_is_said_once(loop: Loop) -> None:
    loop.publish(loop.seen())
    assert loop.publish(loop.seen(holds=(HELD,))) == BOTH[1:]
    assert loop.world.condition("Server", "Limited")[:2] == ("True", "BlastRadius")
    assert loop.publish(loop.seen(holds=(HELD,))) == []
    assert loop.publish(loop.seen(holds=(BLIND,))) == BOTH[1:]
    assert loop.world.condition("Server", "Stale")[:2] == ("True", "NoData")
    assert loop.world.condition("Server", "Limited")[0] == "False"
    assert loop.events == [("BlastRadius", True), ("NoData", True)]


def test_what_it_decides_for_is_held_with_the_load_it_sees(loop: Loop) -> None:
    assert loop.publisher.held() == {}
    loop.publish(loop.seen(rate=Reading(1.0)))
    held = loop.publisher.held()[REF].current
    assert held is not None
    assert held["load"]["arrivalRate"] == pytest.approx(60)
    nothing = loop.seen()
    loop.publish(msgspec.structs.replace(nothing, decision=Decision("flyball", 0.0), refs={}))
    assert loop.publisher.held() == {}


def test_a_load_that_is_not_known_is_not_none(loop: Loop) -> None:
    loop.publish(loop.seen(rate=Reading(1.0, age=STALE + 1)))
    assert loop.publisher.held() == {REF: Held(None)}  # the loop decides for it all the same
    assert "currentAlloc" not in loop.world.status("Server")


def test_a_conflict_is_left_to_the_next_cycle(loop: Loop) -> None:
    def before(method: str, path: str) -> None:
        loop.world.server.before = lambda method, path: None
        loop.world.edit("Server", lambda one: one["metadata"].update(labels={"a": "b"}))

    loop.world.server.before = before
    loop.publish(loop.seen())
    assert loop.world.spec("Server")["desiredAlloc"]["accelerator"] == "G2"
    assert loop.events == []
    assert loop.publish(loop.seen()) == BOTH
    assert loop.world.spec("Server")["desiredAlloc"]["accelerator"] == "A100"


def test_a_status_that_was_lost_is_written_in_the_next_cycle(loop: Loop) -> None:
    def before(method: str, path: str) -> None:
        if path.endswith("/status"):
            loop.world.server.before = lambda method, path: None
            loop.world.edit("Server", lambda one: one["metadata"].update(labels={"a": "b"}))

    loop.world.server.before = before
    assert loop.publish(loop.seen()) == [BOTH[0], BOTH[0], BOTH[1]]  # theirs among them
    assert loop.world.status("Server") == {}
    assert loop.publish(loop.seen()) == BOTH[1:]


def test_what_cannot_be_written_is_said(loop: Loop) -> None:
    loop.world.server.away = True
    (said,) = loop.publisher.publish(loop.seen())
    assert said.startswith(f"{REF} is not written: ")
    loop.world.server.away = False
    loop.world.lease.term = None
    (said,) = loop.publisher.publish(loop.seen())
    assert "does not lead" in said
    assert loop.world.status("Server") == {}


@pytest.mark.parametrize("spec", [None, [], "x"])
def test_an_object_that_was_broken_meanwhile_is_left_alone(loop: Loop, spec: object) -> None:
    seen = loop.seen()
    loop.world.edit("Server", lambda one: one.update(spec=spec))
    assert loop.publish(seen) == []


def test_an_object_that_went_meanwhile_is_left_alone(loop: Loop) -> None:
    seen = loop.seen()
    loop.world.remove("Server")
    assert loop.publish(seen) == []


def test_a_server_without_a_step_is_left_alone(loop: Loop) -> None:
    seen = loop.seen()
    assert loop.publish(msgspec.structs.replace(seen, decision=Decision("flyball", 0.0))) == []
    assert loop.publisher.held() == {}


def test_the_reconciler_and_the_loop_do_not_write_in_turns(loop: Loop) -> None:
    world = loop.world
    world.reconciler._held = loop.publisher.held
    world.settle()
    loop.publish(loop.seen(3))
    world.set("Optimizer", "period", 60)
    world.settle()
    before = world.server.document(world.path("Server"))
    for _ in range(3):
        world.seconds += 60
        loop.publish(loop.seen(3, rate=Reading(1.0, age=2 * STALE)))
        world.settle()
    after = world.server.document(world.path("Server"))
    assert after["spec"] == before["spec"]
    assert world.further_writes() == []


# ---- what is news --------------------------------------------------------------------------------

STATUS: dict[str, Any] = {
    "conditions": [{"type": "Ready", "status": "True", "reason": "Accepted", "message": "a"}],
    "observedGeneration": 3,
    "reason": "cheapest",
    "desiredAlloc": {"accelerator": "A100", "numReplicas": 2, "maxBatch": 16, "cost": 80},
}


@pytest.mark.parametrize(
    ("path", "value", "is_news"),
    [
        ("desiredAlloc.cost", 81, False),
        ("conditions.0.message", "b", False),
        ("lastDecisionTime", "2026", False),
        ("nextBest", {"accelerator": "G2"}, False),
        ("desiredAlloc.numReplicas", 3, True),
        ("desiredAlloc.maxBatch", 8, True),
        ("conditions.0.reason", "Other", True),
        ("observedGeneration", 4, True),
        ("reason", "kept", True),
        ("desiredAlloc", None, True),
    ],
)
def test_what_is_news(path: str, value: object, is_news: bool) -> None:
    changed = msgspec.json.decode(msgspec.json.encode(STATUS))
    at(changed, path, value)
    assert news(STATUS, changed) is is_news
    assert not news(STATUS, STATUS)


def test_garbage_in_a_status_is_no_hindrance() -> None:
    assert news({"conditions": ["x", 5], "desiredAlloc": "y"}, STATUS)
    assert asked("y") == asked(None) == ()
