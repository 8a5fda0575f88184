"""Inferno's kinds kept in step, over an API server in memory."""

from __future__ import annotations

import pytest

from flyball.adapters.kubernetes.errors import Unreachable
from flyball.operator.kinds import LEFT_BEHIND, Stored
from flyball.operator.planning import Outcome, Unanswered, built_in
from flyball.operator.reconciler import AGAIN, Held, replacing
from flyball.operator.writes import NotLeading
from flyball.spec.fleet import Fleet
from flyball.wire.kinds.inferno_objects import Ref
from tests.operator.world import SPACE, World
from tests.operator_kinds.samples import KINDS, sample

SERVER = Ref("Server", SPACE, "premium-granite-13b")


def asked(world: World, **changes: object) -> None:
    """Ask for a plan, and have it made."""
    for path, value in changes.items():
        world.set("Optimizer", path, value)
    world.set("Optimizer", "optimize", True)
    world.settle()


# ---- one request ---------------------------------------------------------------------------------


def test_the_six_samples_end_in_two_a100(world: World) -> None:
    world.samples()
    world.settle()
    assert world.planned() == ("G2", 6, 20, 125)  # nobody asked yet
    assert world.status("Optimizer")["done"] is False
    asked(world)
    assert world.planned() == ("A100", 2, 16, 80)
    desired = world.spec("Server")["desiredAlloc"]
    assert desired["itlAverage"] == pytest.approx(24.395647)
    assert desired["load"] == {"arrivalRate": 40, "avgLength": 1024, "arrivalCOV": 1, "serviceCOV": 1}
    assert world.spec("Optimizer")["optimize"] is False
    told = world.status("Optimizer")
    assert (told["done"], told["cost"], told["served"], told["unserved"]) == (True, 80, 1, 0)
    assert world.condition("Optimizer", "Feasible")[:2] == ("True", "Served")
    server = world.status("Server")
    assert server["desiredAlloc"] == desired
    assert (server["reason"], server["bindingConstraint"]) == ("cheapest", "wait")
    assert world.condition("Server", "Feasible")[:2] == ("True", "Cheapest")
    assert world.condition("Server", "Stale")[0] == "False"
    for kind in KINDS:
        document = world.server.document(world.path(kind))
        assert world.condition(kind, "Ready")[:2] == ("True", "Accepted")
        assert document["status"]["observedGeneration"] == document["metadata"]["generation"]


def test_a_second_look_writes_nothing(world: World) -> None:
    world.samples()
    asked(world)
    assert world.further_writes() == []
    asked(world)  # the same again: the request is ended, nothing else is written
    assert {path.rsplit("/", 2)[-2] for path in world.server.writes[-3:]} <= {"optimizers", "inferno"}
    assert world.further_writes() == []


def test_the_request_is_done_only_when_all_that_it_led_to_is_written(world: World) -> None:
    world.samples()
    world.settle()
    world.set("Optimizer", "optimize", True)
    world.watch()
    before = len(world.server.writes)
    world.look()
    order = [path.split(f"{SPACE}/")[1] for path in world.server.writes[before:]]
    assert order == [
        "servers/premium-granite-13b",
        "servers/premium-granite-13b/status",
        "optimizers/inferno/status",
        "optimizers/inferno",
        "optimizers/inferno/status",
    ]


@pytest.mark.parametrize("written", [1, 2, 3, 4])
def test_a_request_that_was_cut_off_anywhere_is_ended_by_the_next_one(world: World, written: int) -> None:
    world.samples()
    world.settle()
    world.set("Optimizer", "optimize", True)
    world.watch()
    world.die_after(written)
    with pytest.raises(Unreachable):
        world.look()
    world.server.before = lambda method, path: None
    world.settle()
    assert world.spec("Optimizer")["optimize"] is False
    assert world.status("Optimizer")["done"] is True
    assert world.condition("Optimizer", "Ready")[:2] == ("True", "Accepted")


def test_what_cannot_be_met_is_said_and_the_request_ended(world: World) -> None:
    world.samples()
    world.set("ServiceClass", "data.0.slo-itl", 1)
    asked(world)
    assert world.spec("Optimizer")["optimize"] is False
    told = world.status("Optimizer")
    assert (told["done"], told["served"], told["unserved"]) == (True, 0, 1)
    assert world.condition("Optimizer", "Feasible") == (
        "False",
        "NotServed",
        "not served, or not whole: Premium-granite-13b",
    )
    status, reason, message = world.condition("Server", "Feasible")
    assert (status, reason) == ("False", "OutOfReach")
    assert "itl" in message
    assert ("Server infer/premium-granite-13b", "OutOfReach", True) in world.events
    world.set("ServiceClass", "data.0.slo-itl", 40)
    asked(world)
    assert world.condition("Server", "Feasible")[0] == "True"
    assert ("Server infer/premium-granite-13b", "Cheapest", False) in world.events


def test_too_few_cards_are_said(world: World) -> None:
    world.samples()
    world.set("Capacity", "count", [{"type": "A100", "count": 1}])
    asked(world, **{"data.optimizer.unlimited": False})
    status, reason, message = world.condition("Server", "Limited")
    assert (status, reason) == ("True", "Short")
    assert "A100" in message


# ---- bad objects ---------------------------------------------------------------------------------


def test_a_bad_object_is_told_and_the_others_are_planned(world: World) -> None:
    world.samples()
    bad = sample("Server", SPACE, minNumReplicas=3, maxNumReplicas=2, name="bad")
    bad["metadata"]["name"] = "bad"
    world.make(bad)
    asked(world)
    assert world.planned()[:2] == ("A100", 2)
    status, reason, message = world.condition("Server", "Ready", "bad")
    assert (status, reason) == ("False", "Invalid")
    assert "spec.maxNumReplicas is 2" in message
    assert world.status("Server", "bad")["active"] is False
    assert "desiredAlloc" not in world.status("Server", "bad")
    world.set("Server", "maxNumReplicas", 3, "bad")
    world.settle()
    assert world.condition("Server", "Ready", "bad")[0] == "True"


NO_SPECS = (None, [], "x", 7)
ODD = ({}, {"data": 3}, {"optimize": "yes", "count": {}}, {"name": [], "currentAlloc": 5, "power": "x"})


@pytest.mark.parametrize("spec", [*NO_SPECS, *ODD])
def test_specs_of_any_type_are_told(world: World, spec: object) -> None:
    world.samples()
    for kind in KINDS:
        odd = sample(kind, SPACE)
        odd["metadata"]["name"] = "odd"
        odd["spec"] = spec
        world.make(odd)
    asked(world)
    assert world.planned()[:2] == ("A100", 2)
    for kind in KINDS:
        status, reason, message = world.condition(kind, "Ready", "odd")
        assert bool(message) == (status == "False")
        if spec in NO_SPECS:
            assert (status, reason) == ("False", "Invalid")
            assert "spec: is missing" in message
    assert world.further_writes() == []


def test_what_is_named_and_not_there_is_told(world: World) -> None:
    world.samples("ServiceClass")
    world.settle()
    status, reason, message = world.condition("Server", "Ready")
    assert (status, reason) == ("False", "Lacking")
    assert "Premium" in message
    asked(world)
    assert world.spec("Optimizer")["optimize"] is False
    assert world.status("Optimizer")["unserved"] == 1
    world.make(sample("ServiceClass", SPACE))
    asked(world)
    assert world.condition("Server", "Ready")[0] == "True"
    assert world.planned()[:2] == ("A100", 2)


def test_an_optimizer_that_cannot_be_read_runs_when_it_can(world: World) -> None:
    world.samples()
    asked(world, period=-1)
    assert world.planned()[0] == "G2"
    assert world.condition("Optimizer", "Ready")[:2] == ("False", "Invalid")
    assert world.spec("Optimizer")["optimize"] is True
    world.set("Optimizer", "period", 0)
    world.settle()
    assert world.planned()[0] == "A100"
    assert world.spec("Optimizer")["optimize"] is False


# ---- again ---------------------------------------------------------------------------------------


def test_a_period_runs_again_and_writes_only_what_is_new(world: World) -> None:
    world.samples()
    world.set("Optimizer", "period", 60)
    world.settle()
    assert world.planned()[:2] == ("A100", 2)
    writes = len(world.server.writes)
    for _ in range(3):
        world.seconds += 60
        world.settle()
    assert len(world.server.writes) == writes
    world.set("Server", "currentAlloc.load.arrivalRate", 400)
    world.settle()
    assert world.planned()[1] == 2
    world.seconds += 59
    world.settle()
    assert world.planned()[1] == 2
    world.seconds += 1
    world.settle()
    assert world.planned()[:2] == ("A100", 19)
    assert world.condition("Server", "Stale")[0] == "False"


def test_an_optimizer_made_anew_runs_at_once(world: World) -> None:
    world.samples("Optimizer")
    world.make(sample("Optimizer", SPACE, period=600))
    world.settle()
    world.set("Server", "currentAlloc.load.arrivalRate", 400)
    world.seconds += 1
    world.remove("Optimizer")
    world.make(sample("Optimizer", SPACE, period=600))
    world.settle()
    assert world.planned()[:2] == ("A100", 19)


def test_two_optimizers_end_each_its_own_request(world: World) -> None:
    world.samples("Optimizer")
    for name in ("one", "two"):
        other = sample("Optimizer", SPACE, optimize=True)
        other["metadata"]["name"] = name
        world.make(other)
    world.settle()
    for name in ("one", "two"):
        assert world.spec("Optimizer", name)["optimize"] is False
        assert world.status("Optimizer", name)["done"] is True
    assert world.further_writes() == []


def test_a_server_that_is_changed_is_stale(world: World) -> None:
    world.samples()
    asked(world)
    world.set("Server", "currentAlloc.load.arrivalRate", 400)
    world.settle()
    assert world.condition("Server", "Stale")[:2] == ("True", "Changed")
    assert world.planned()[1] == 2
    asked(world)
    assert world.condition("Server", "Stale")[:2] == ("False", "Decided")
    assert world.planned()[1] == 19


# ---- elsewhere -----------------------------------------------------------------------------------


def test_an_optimizer_elsewhere_that_is_down_is_asked_again(world: World) -> None:
    down = [True]

    def planner(fleet: Fleet) -> Outcome:
        if down:
            raise Unanswered("nobody is there")
        return built_in(fleet)

    world.reconciler._planner = planner
    world.samples()
    asked(world)
    assert world.spec("Optimizer")["optimize"] is True
    assert world.status("Optimizer")["done"] is False
    assert world.condition("Optimizer", "Ready") == ("False", "Unanswered", "nobody is there")
    assert world.further_writes() == []
    down.clear()
    world.settle()
    assert world.spec("Optimizer")["optimize"] is True  # not yet
    world.seconds += AGAIN
    world.settle()
    assert world.spec("Optimizer")["optimize"] is False
    assert world.status("Optimizer")["done"] is True
    assert world.condition("Optimizer", "Ready")[0] == "True"


# ---- the loop ------------------------------------------------------------------------------------


def test_what_the_loop_decides_for_is_left_to_it(world: World) -> None:
    world.samples()
    world.settle()
    before = world.server.document(world.path("Server"))
    load = {"arrivalRate": 400, "avgLength": 1024}
    world.held = {SERVER: Held({"accelerator": "A100", "numReplicas": 2, "load": load})}
    asked(world)
    assert world.server.document(world.path("Server")) == before
    assert world.status("Optimizer")["cost"] == 760  # but it is planned with what the loop measured
    world.held = {SERVER: Held(None)}
    asked(world)
    assert world.status("Optimizer")["cost"] == 80
    assert world.server.document(world.path("Server")) == before


def test_a_bad_server_is_told_so_whoever_decides_for_it(world: World) -> None:
    world.samples()
    world.held = {SERVER: Held(None)}
    world.edit("Server", lambda one: one.update(spec=None))
    world.settle()
    assert world.condition("Server", "Ready")[0] == "False"


# ---- patches -------------------------------------------------------------------------------------


def test_a_replaced_part_has_no_fields_of_the_old_one(world: World) -> None:
    world.samples()
    world.settle()
    old, new = {"a": 1, "b": {"c": 1, "d": 2}, "e": 3}, {"b": {"d": 4}, "e": {"f": 5}}
    path = world.path("Server")
    world.set("Server", "desiredAlloc", old)
    world.server.patch(path, {"spec": {"desiredAlloc": replacing(old, new)}}, Stored)
    assert world.spec("Server")["desiredAlloc"] == new
    for odd in (None, [], "x"):
        assert replacing(odd, new) == new


# ---- what the original has left ------------------------------------------------------------------


def test_the_original_s_finalizer_is_taken_off_when_its_object_is_deleted_and_no_other_is(
    world: World,
) -> None:
    world.samples()
    for kind in KINDS:
        world.edit(kind, lambda one: one["metadata"].update(finalizers=[LEFT_BEHIND]))
    world.edit("Capacity", lambda one: one["metadata"]["finalizers"].append("example.com/other"))
    asked(world)
    for kind in KINDS:  # nobody wants them gone yet
        assert world.server.document(world.path(kind))["metadata"]["finalizers"][0] == LEFT_BEHIND
    world.lease.term = None
    for kind in KINDS:
        world.remove(kind)
    world.watch()
    with pytest.raises(NotLeading):
        world.look()
    world.lease.term = 1
    world.settle()
    assert world.server.document(world.path("Capacity"))["metadata"]["finalizers"] == ["example.com/other"]
    assert [kind for kind in KINDS if world.kinds.all(kind)] == ["Capacity"]
    assert world.further_writes() == []
